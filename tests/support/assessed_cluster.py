"""
A cluster that Slicewise never saw, for assessments: three teams on EKS nodes, with a week of DCGM's metrics.

    serving   six pods on an L4 each, 6,000 MiB at most and one tenth busy by day; 2 of another kind, larger
    vllm      one pod that reserves an L4 when it starts
    train     one pod with two GPUs of a four-GPU machine, two GPUs of which no pod asked for
    mig       two pods with an instance of an A100 each, of seven on each of its eight GPUs
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube.ref import Object
from slicewise.model.cluster import Series

from cli.assessment.assessment import ClusterListing
from tests.support.builders import NOW

STEP = 600
Value = float | Callable[[int], float]


def node(
    name: str,
    machine: str = "g6.xlarge",
    offers: Mapping[str, int] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Object:
    """A Node as a managed node group makes it: no labels of Karpenter."""
    offered = {"nvidia.com/gpu": 1} if offers is None else offers
    cpu, memory = {"g6.xlarge": ("3920m", "15000Mi")}.get(machine, ("47810m", "180000Mi"))
    amounts = {"cpu": cpu, "memory": memory, "pods": "58", **{k: str(v) for k, v in offered.items()}}
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": {"node.kubernetes.io/instance-type": machine, **(labels or {})},
        },
        "status": {"allocatable": amounts, "capacity": amounts},
    }


def pod(
    name: str,
    node: str,
    owner: tuple[str, str] = ("StatefulSet", ""),
    *,
    namespace: str = "serving",
    asks: Mapping[str, int] | None = None,
    age: timedelta = timedelta(days=9),
    **spec: Any,
) -> Object:
    """Of one container; its owner is (kind, name), the pod's own name up to the last dash where none is."""
    kind, called = owner
    wanted = {"nvidia.com/gpu": 1} if asks is None else asks
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": kind,
                    "name": called or name.rpartition("-")[0],
                    "controller": True,
                }
            ],
        },
        "spec": {
            **({"nodeName": node} if node else {}),
            "containers": [
                {
                    "name": "main",
                    "resources": {
                        "requests": {"cpu": "500m", "memory": "1Gi"},
                        "limits": {resource: str(count) for resource, count in wanted.items()},
                    },
                }
            ],
            **spec,
        },
        "status": {"phase": "Running", "startTime": (NOW - age).isoformat()},
    }


def three_teams() -> ClusterListing:
    small = [node(f"l4-{i}") for i in range(7)]
    quad = node("l4-quad", "g6.12xlarge", {"nvidia.com/gpu": 4})
    cut = node("a100", "p4d.24xlarge", {"nvidia.com/mig-1g.5gb": 56})
    serving = [pod(f"chat-{i}", f"l4-{i}") for i in range(6)]
    vllm = pod("vllm-0", "l4-6", namespace="vllm")
    train = pod("train-0", "l4-quad", ("Job", "train"), namespace="train", asks={"nvidia.com/gpu": 2})
    mig = [pod(f"mig-{i}", "a100", namespace="mig", asks={"nvidia.com/mig-1g.5gb": 1}) for i in range(2)]
    return ClusterListing(
        "prod", "gpu-1", "eu-west-1", (*small, quad, cut), (*serving, vllm, train, *mig), None
    )


def by_day(busy: float) -> Callable[[int], float]:
    """Busy from 06:00 to 20:00 UTC from Monday to Friday, and not at all else."""

    def value(at: int) -> float:
        days, second = divmod(at, 86_400)
        is_workday = (days + 3) % 7 < 5  # the epoch began on a Thursday
        return busy if is_workday and 6 * 3600 <= second < 20 * 3600 else 0.0

    return value


def series_of_a_week(now: datetime = NOW) -> Iterable[Series]:
    for i in range(6):
        yield from of_a_pod(f"chat-{i}", f"l4-{i}", by_day(0.1), _loading, now=now)
    yield from of_a_pod("vllm-0", "l4-6", by_day(0.2), 20_500.0, namespace="vllm", now=now)


def _loading(at: int) -> float:
    return 5000.0 + at // STEP % 2 * 1000


def of_a_pod(
    pod: str,
    node: str,
    busy: Value,
    memory_mib: Value,
    *,
    namespace: str = "serving",
    days: float = 7,
    now: datetime = NOW,
) -> Iterable[Series]:
    """What dcgm-exporter says of the one pod on a GPU, a point a step."""
    labels = {
        "Hostname": node,
        "gpu": "0",
        "UUID": f"GPU-{node}",
        "modelName": "NVIDIA L4",
        "pod": pod,
        "namespace": namespace,
    }
    end = int(now.timestamp()) // STEP * STEP
    times = tuple(range(end - int(days * 86_400), end, STEP))

    def points(value: Value, scale: float = 1) -> tuple[float, ...]:
        return tuple(scale * (value(at) if callable(value) else value) for at in times)

    yield Series("DCGM_FI_DEV_GPU_UTIL", labels, times, points(busy, 100))
    yield Series("DCGM_FI_PROF_GR_ENGINE_ACTIVE", labels, times, points(busy))
    yield Series("DCGM_FI_DEV_FB_USED", labels, times, points(memory_mib))
