"""What the demo's chapters do alike: pods that ask for slices, and waiting with words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slicewise.kube.labels import POOL_LABEL

from sandbox.cluster.client import KubeClient
from sandbox.demo.narrator import Narrator

PODS = "/api/v1/namespaces/default/pods"
GPU = "nvidia.com/gpu"
GPU_NODES = {"labelSelector": POOL_LABEL}


def slice_pods(name: str, replicas: int, pool: str = "shared") -> dict[str, Any]:
    """A Deployment whose pods ask for one slice each, as examples/ has them."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "nodeSelector": {POOL_LABEL: pool},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "containers": [
                        {
                            "name": "server",
                            "image": "example.com/inference:1",
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "128Mi"},
                                "limits": {"nvidia.com/gpu": "1"},
                            },
                        }
                    ],
                },
            },
        },
    }


def wait(story: Narrator, done: Callable[[], bool], says: str, within_seconds: float = 180) -> bool:
    """Poll until `done`; an overdue wait is told, and the claim that follows will fail."""
    if not follow(story, done, lambda: (), within_seconds, says):
        return False
    story.saw(says)
    return True


def follow(
    story: Narrator,
    done: Callable[[], bool],
    news: Callable[[], Iterable[str]],
    within_seconds: float = 180,
    says: str = "",
) -> bool:
    """
    As `wait`, and tell what is new meanwhile: what reconciles say, above all.

    Args:
        news: Lines that are new since it was last asked.
        says: What is waited for, where `news` would not tell.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        finished = done()
        for line in news():
            story.saw(line)
        if finished:
            return True
        if time.monotonic() > deadline:
            story.saw(": ".join(filter(None, (f"still waiting after {within_seconds:.0f} s", says))))
            return False
        time.sleep(0.2)


class Reasons:
    """
    The reason of a record, each once.

    Args:
        record: Reads the newest one; empty where there is none.
    """

    def __init__(self, record: Callable[[], Mapping[str, Any]]):
        self._record, self._last = record, ""

    def news(self) -> list[str]:
        """One line, or none where the reason is the one of the last call."""
        reason = str(self._record().get("reason", ""))
        if reason == self._last:
            return []
        self._last = reason
        return [f"Slicewise: {reason}"]


def running(kube: KubeClient) -> int:
    return sum(pod["status"].get("phase") == "Running" for pod in kube.list(PODS))
