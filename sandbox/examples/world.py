"""
Slicewise deployed with an example's own policy, and clusters to which the example's own files are applied.

    with World.start(example, story, folder) as world:
        cluster = world.onboarded_cluster()
        cluster.apply_example()
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from slicewise.kube.labels import POLICY_TAG

from sandbox.artifacts.tools import tools
from sandbox.cluster.client import KubeClient
from sandbox.controllers.process import Controllers
from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import GPU, GPU_NODES, PODS
from sandbox.examples import overlay
from sandbox.examples.catalog import HERE, Beside, Example
from sandbox.examples.policy_text import with_fields
from sandbox.system import Cluster, System

CLUSTER = "gpu-1"
# The events of API calls arrive once a cluster is ACTIVE: else its first look finds it CREATING, and the next
# comes a minute later.
CREATING_SECONDS, CLOUDTRAIL_DELAY = 0.5, 1.0
# What reconciles wait for in an account, such as an operator's installation, takes seconds here.
DELAY_SHARE = 0.4
# kubectl waits for what it deletes, and finalizers take as long as their controller.
KUBECTL_SECONDS = 180
GPU_COUNT = "karpenter.k8s.aws/instance-gpu-count"


class ExampleCluster:
    """
    A cluster in which an example is tried, as an engineer reaches it.

    Attributes:
        files: What is applied of the example: its folder, or an overlay of it that has `changes`.
        controllers: Those of the example's row.
    """

    def __init__(
        self,
        example: Example,
        cluster: Cluster,
        controllers: Controllers,
        files: Path,
        changes: Sequence[overlay.Change],
    ):
        self.example, self.cluster, self.controllers = example, cluster, controllers
        self.files, self.changes = files, changes
        self.name = cluster.name
        self.kube: KubeClient = cluster.kube

    def apply_example(self, part: str = "") -> list[str]:
        """`kubectl apply -k examples/NAME`, with its changes, or of a folder below it; what it printed."""
        return self.kubectl("apply", "-k", str(self._folder(part))).splitlines()

    def delete_example(self, part: str = "") -> list[str]:
        """`kubectl delete -k examples/NAME`, or of a folder below it; what it printed."""
        return self.kubectl("delete", "-k", str(self._folder(part))).splitlines()

    def _folder(self, part: str) -> Path:
        return self.example.folder / part if part else self.files

    def gpu_nodes(self) -> list[dict[str, Any]]:
        """Nodes of Slicewise's pools."""
        return self.kube.list("/api/v1/nodes", **GPU_NODES)

    def gpus(self) -> int:
        """Cards in them, by the label that Karpenter's AWS provider writes."""
        return sum(cards(node) for node in self.gpu_nodes())

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        """Of the default namespace, to which examples are applied."""
        return self.kube.list(PODS, **({"labelSelector": selector} if selector else {}))

    def running(self, selector: str = "") -> int:
        return sum(pod["status"].get("phase") == "Running" for pod in self.pods(selector))

    def end(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """Their containers have ended, and well. None runs here, so the kubelet that says so is played."""
        for pod in pods:
            self.kube.merge(f"{PODS}/{pod['metadata']['name']}/status", {"status": {"phase": "Succeeded"}})

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """
        What kubectl prints, as an administrator of the cluster.

        Raises:
            KubectlFailed: With what it said.
        """
        place = self.cluster.plane
        reach = ["--kubeconfig", str(place.kubeconfig), "--cache-dir", str(place.folder / "kubectl")]
        return _kubectl(*reach, *arguments, given=given)


class KubectlFailed(Exception):
    """kubectl refused, or could not; the message has its command and what it said."""


class World:
    """
    Attributes:
        beside: What the example's module started before the deployment; empty where it starts nothing.
    """

    def __init__(
        self,
        example: Example,
        story: Narrator,
        system: System,
        beside: Beside,
        files: Path,
        ending: ExitStack,
    ):
        self.example, self.story, self.system, self.beside = example, story, system, beside
        self._files, self._ending = files, ending

    @classmethod
    def start(cls, example: Example, story: Narrator, folder: Path) -> World:
        """
        Deploy Slicewise with the example's policy as its only one.

        Raises:
            SynthesisFailed: Also where the policy is refused, with everything that is wrong in it.
        """
        with ExitStack() as starting:
            begin = getattr(example.load(), "beside", None)
            beside = starting.enter_context(begin(folder / "beside")) if begin else Beside()
            system = starting.enter_context(
                System.start(
                    folder,
                    context={
                        "policies": str(_policies(example, beside, folder / "policies")),
                        **example.context,
                    },
                    creating_seconds=CREATING_SECONDS,
                    cloudtrail_delay_seconds=CLOUDTRAIL_DELAY,
                    delay_share=DELAY_SHARE,
                    progress=story.saw,
                )
            )
            files = _files(example, beside, folder / "files")
            return cls(example, story, system, beside, files, starting.pop_all())

    def stop(self) -> None:
        """End everything; a second call does nothing."""
        self._ending.close()

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_cluster(self, name: str = CLUSTER, *, karpenter: bool = True) -> ExampleCluster:
        """
        A control plane with the example's controllers, which EKS does not know yet.

        Args:
            karpenter: Whether Karpenter is there; if not, it starts when its chart is installed.
        """
        cluster = self.system.start_control_plane(name, karpenter=karpenter)
        beside = Controllers.start(cluster.plane, *self.example.controllers, progress=self.story.saw)
        running = self._ending.enter_context(beside)
        return ExampleCluster(self.example, cluster, running, self._files, self.beside.changes)

    def onboard(
        self, cluster: ExampleCluster, within_seconds: float = 180, **options: Any
    ) -> Mapping[str, Any]:
        """
        Create it in EKS with the policy's tag, and wait until Slicewise has onboarded it; the last record.

        Args:
            options: As System.create_cluster takes them.
        """
        self.system.create_cluster(cluster.name, tags={POLICY_TAG: self.example.name}, **options)
        self.story.saw(f"cluster {cluster.name} is created with the tag {POLICY_TAG}: {self.example.name}")
        try:
            record = self.system.wait_for_stage(
                cluster.name, "onboarded", within_seconds=within_seconds, saw=self._report
            )
        except TimeoutError as late:
            self.story.saw(str(late))
            return self.system.record(cluster.name) or {}
        return record

    def onboarded_cluster(self, name: str = CLUSTER) -> ExampleCluster:
        """Start a cluster and onboard it; claims `onboarded`, which the example's row must have."""
        cluster = self.start_cluster(name)
        stage = self.onboard(cluster).get("stage")
        says = "the event of its creation was enough"
        self.story.claim("onboarded", says, expected="onboarded", observed=stage)
        return cluster

    def _report(self, record: Mapping[str, Any]) -> None:
        self.story.saw(f"Slicewise: [{record['stage']}] {record['reason']}")


def cards(node: Mapping[str, Any]) -> int:
    """A GPU node's, whatever its device plugin makes of them."""
    return int(node["metadata"]["labels"][GPU_COUNT])


def offered(node: Mapping[str, Any], resource: str = GPU) -> int:
    """How many of it the kubelet lets pods have."""
    return int(node["status"]["allocatable"].get(resource, 0))


def rendered(example: Example, part: str = "") -> list[dict[str, Any]]:
    """The objects of `kubectl kustomize examples/NAME`, or of a folder below it: what `apply -k` applies."""
    return [item for item in yaml.safe_load_all(_kubectl("kustomize", str(example.folder / part))) if item]


def _kubectl(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [str(tools().kubectl), *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=KUBECTL_SECONDS,
    )
    if done.returncode:
        raise KubectlFailed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _files(example: Example, beside: Beside, folder: Path) -> Path:
    return overlay.write(example.folder, beside.changes, folder) if beside.changes else example.folder


def _policies(example: Example, beside: Beside, folder: Path) -> Path:
    """A folder of policies as a user has it, with the example's alone."""
    folder.mkdir(parents=True)
    text = example.policy.read_text()
    for fields in (HERE, example.here, beside.here):
        text = with_fields(text, fields)
    (folder / f"{example.name}.yaml").write_text(text)
    return folder
