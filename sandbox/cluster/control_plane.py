"""
A real Kubernetes control plane, with or without Karpenter, ready in seconds.

    with ControlPlane.start(folder) as plane:
        KubeClient(plane.url, plane.ca_pem, plane.admin_token)

Each start begins empty. Several run side by side, in one process or in many.
"""

from __future__ import annotations

import json
import secrets
import shutil
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from sandbox.artifacts import binaries
from sandbox.artifacts.binaries import Binaries
from sandbox.cluster import components, eks_defaults, free_ports, instance_types, pki
from sandbox.cluster.client import KubeClient, KubeError, condition
from sandbox.cluster.components import Layout, Ports
from sandbox.libyaml import LOADER
from sandbox.processes import Children, end_recorded

MARKER = "slicewise-sandbox"  # in every folder that we may empty
STAGES = Path(__file__).parents[1] / "stages"
DEPLOYMENT_PATH = "/apis/apps/v1/namespaces/kube-system/deployments/karpenter"
# Whose kubeconfig → (user name, group). kwok and Karpenter stand for kubelets and a cloud: what
# they may do is not under test.
USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kwok": ("kwok", "system:masters"),
    "karpenter": ("karpenter", "system:masters"),
}

Progress = Callable[[str], None]


class ControlPlane:
    """
    A running control plane; `start` makes one.

    Attributes:
        url: Of the API server, `https://127.0.0.1:<port>`.
        ca_pem: Certificate authority of that URL, PEM.
        admin_token: Bearer token of a user in `system:masters`, new at each start.
        kubeconfig: File of that user.
        audit_log: One JSON event a line (see `sandbox.cluster.audit`).
        folder: Everything of this control plane lies here, logs included.
        pki: Its certificates; the serving one is good for any server on 127.0.0.1.
        cluster_name: What Karpenter's Deployment says; nothing else uses it.
        kube: A client of the admin.
        karpenter_gates: FEATURE_GATES of the running Karpenter; None while none runs.
    """

    def __init__(self, folder: Path, layout: Layout, cluster_name: str, built: Binaries):
        self.folder = folder
        self.cluster_name = cluster_name
        self.url = layout.url
        self.ca_pem = layout.pki.ca.read_bytes()
        self.kubeconfig = layout.kubeconfig("admin")
        self.audit_log = layout.audit_log
        self.pki = layout.pki
        self._layout = layout
        self._built = built
        self._children = Children(folder)
        self._karpenter_lock = threading.RLock()  # a KarpenterFollower works from a thread of its own
        self.karpenter_gates: str | None = None
        self._tokens = {user: secrets.token_urlsafe(24) for user in USERS}
        self.admin_token = self._tokens["admin"]
        self.kube = KubeClient(self.url, self.ca_pem, self.admin_token)

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        karpenter: bool = True,
        node_overlay_gate: bool = True,
        token_webhook_url: str | None = None,
        webhook_ca: Path | None = None,
        webhook_cache_ttl: str = "0s",
        system_nodes: int = 2,
        cluster_name: str = "sandbox",
        large: bool = False,
        progress: Progress = print,
    ) -> ControlPlane:
        """
        Start everything and return when it is ready: 3 to 4 seconds on two idle cores.

        Args:
            folder: Emptied first, and ended what an earlier start left there. Must be new, empty
                or of an earlier start.
            karpenter: With Karpenter's CRDs, process and Deployment. Without, nothing of it exists.
            node_overlay_gate: Karpenter's feature gate.
            token_webhook_url: Where TokenReviews go (authentication.k8s.io/v1). Its server may
                start later.
            webhook_ca: PEM file that the webhook's certificate is checked with.
            webhook_cache_ttl: How long an answer of the webhook is remembered; "0s" is never.
            system_nodes: Nodes of a managed node group, without GPUs.
            large: It will hold gigabytes, so that memory is spared rather than processors.

        Raises:
            ChildDied: A part ended while starting; the message holds the end of its log.
            TimeoutError: A part did not become ready.
        """
        built = binaries.ensure(progress)
        folder = _emptied(folder)
        plane = cls(folder, _layout(folder), cluster_name, built)
        try:
            plane._write_files()
            webhook = plane._write_webhook(token_webhook_url, webhook_ca)
            plane._start_components(webhook, webhook_cache_ttl, components.LARGE if large else {})
            plane._furnish(system_nodes)
            if karpenter:
                plane.install_crds()
                plane.start_karpenter(components.feature_gates(node_overlay_gate))
                plane._apply_karpenter_deployment(node_overlay_gate)
        except BaseException:
            plane.stop()
            raise
        return plane

    def stop(self) -> None:
        """End every process of this control plane; a second call does nothing."""
        self.stop_controllers()
        # The API server drains for a minute, and etcd has nothing to save: no grace.
        for name in ("kube-apiserver", "etcd"):
            self._children.stop(name, grace_seconds=0)

    def stop_controllers(self) -> None:
        """End all but etcd and the API server: nothing changes any more but by its clients."""
        self.stop_karpenter()
        for name in reversed([*self._children.running]):
            if name not in ("kube-apiserver", "etcd"):
                self._children.stop(name)

    def __enter__(self) -> ControlPlane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_process(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        health_port: int,
        ready_path: str = "/readyz",
    ) -> None:
        """
        Run another program beside the control plane, with which it ends at the latest, and return when it is
        ready: when it answers at `health_port`, by HTTP.

        Raises:
            ChildDied: The program, or a part of the control plane, ended before.
            TimeoutError: It did not become ready.
        """
        self._children.start(name, command, {**components.SPARING, **environment})
        try:
            self._wait(name, lambda: _answers(health_port, path=ready_path))
        except BaseException:
            self.stop_process(name)
            raise

    def stop_process(self, name: str) -> None:
        """End what `start_process` has started; a second call does nothing."""
        self._children.stop(name)

    def write_kubeconfig(self, namespace: str, account: str) -> Path:
        """A file with which a program is this ServiceAccount, for as long as certificates here are good."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        spec = {"expirationSeconds": int(pki.LIFETIME.total_seconds())}
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        token = self.kube.request("POST", path, asked)["status"]["token"]
        file = self._layout.kubeconfig(f"{namespace}.{account}")
        _write_private(file, components.kubeconfig(self.url, self._layout.pki.ca, account, token))
        return file

    def install_crds(self) -> None:
        """Karpenter's CRDs (those of the AWS provider) and kwok's NodeClass; returns when they serve."""
        self._install([*self._built.crds.glob("*.yaml")])

    def install_kwok_crds(self) -> None:
        """Only what the kwok provider needs beyond Karpenter's own chart: its NodeClass."""
        self._install([*self._built.crds.glob("karpenter.kwok.sh_*.yaml")])

    def serve(self, definitions: Sequence[Mapping[str, Any]]) -> None:
        """Apply CustomResourceDefinitions, and return when objects of each version can be written."""
        kinds = []
        for crd in definitions:
            self.kube.apply(crd)
            spec = crd["spec"]
            kinds += [
                (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                for version in spec["versions"]
                if version["served"]
            ]
        for api_version, kind in kinds:
            self._wait(f"{kind} of {api_version}", lambda of=(api_version, kind): self.kube.serves(*of))

    def aggregate(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Apply APIServices, with the Services that they name, and return when their servers answer."""
        for item in items:
            self.kube.apply(dict(item))
        for path in [self.kube.path(dict(item)) for item in items if item["kind"] == "APIService"]:
            self._wait(path, lambda at=path: condition(self.kube.get(at), "Available") == "True")

    def start_karpenter(self, gates: str) -> None:
        """
        Have the process run with these FEATURE_GATES, and wait until it is ready.

        One that runs with the same gates is left alone. Karpenter's CRDs must be there.
        """
        with self._karpenter_lock:
            if self.karpenter_gates == gates:
                return
            self.stop_karpenter()
            types, labels = instance_types.write_files(self.folder)
            env = components.karpenter_environment(self._layout, gates, types, labels)
            self._children.start("karpenter", [self._built.karpenter], env)
            self._wait("Karpenter", lambda: _answers(self._layout.ports.karpenter_health))
            self.karpenter_gates = gates

    def stop_karpenter(self) -> None:
        """End the process, as if its pods were gone; Deployment and CRDs stay."""
        with self._karpenter_lock:
            self.karpenter_gates = None
            self._children.stop("karpenter")

    def restart_karpenter(self, node_overlay_gate: bool = True) -> None:
        """As an upgrade of its release would: the Deployment says the same gate as the process has."""
        self._apply_karpenter_deployment(node_overlay_gate)
        with self._karpenter_lock:
            self.stop_karpenter()
            self.start_karpenter(components.feature_gates(node_overlay_gate))

    def _write_files(self) -> None:
        rows = [f'{token},{USERS[key][0]},{key},"{USERS[key][1]}"' for key, token in self._tokens.items()]
        _write_private(self.folder / "tokens.csv", "\n".join(rows) + "\n")
        (self.folder / "kubeconfigs").mkdir()
        for user, token in self._tokens.items():
            content = components.kubeconfig(self.url, self._layout.pki.ca, user, token)
            _write_private(self._layout.kubeconfig(user), content)
        (self.folder / "audit-policy.json").write_text(components.audit_policy())
        stages = [*sorted(self._built.stages.glob("*.yaml")), *sorted(STAGES.glob("*.yaml"))]
        (self.folder / "stages.yaml").write_text("\n---\n".join(stage.read_text() for stage in stages))

    def _write_webhook(self, url: str | None, ca: Path | None) -> Path | None:
        if url is None:
            return None
        if ca is None:
            raise ValueError("token_webhook_url needs webhook_ca: the API server speaks TLS to it")
        path = self.folder / "token-webhook.json"
        path.write_text(components.webhook_config(url, ca.resolve()))
        return path

    def _start_components(
        self, webhook: Path | None, webhook_cache_ttl: str, settings: Mapping[str, str]
    ) -> None:
        def start(command: list[str]) -> None:
            settled = {**components.SPARING, **settings}
            self._children.start(command[0], [self._built.ctl, *command], settled)

        start(components.etcd(self._layout))
        start(components.apiserver(self._layout, webhook, webhook_cache_ttl))
        self._wait("the API server", self.kube.healthy)
        start(components.controller_manager(self._layout))
        start(components.scheduler(self._layout))
        start(components.kwok(self._layout))
        for port in (self._layout.ports.controller_manager, self._layout.ports.scheduler):
            self._wait(f"port {port}", lambda port=port: _answers(port, self._layout.pki.ca))
        # Pods cannot be created before it is there.
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait("the default service account", lambda: self.kube.find(account))

    def _furnish(self, system_nodes: int) -> None:
        self.kube.apply(eks_defaults.admin_policy_binding())
        for index in range(system_nodes):
            self.kube.create(eks_defaults.system_node(index))

    def _apply_karpenter_deployment(self, node_overlay_gate: bool) -> None:
        gates = components.feature_gates(node_overlay_gate)
        self.kube.apply(eks_defaults.karpenter_service_account())
        self.kube.apply(eks_defaults.karpenter_deployment(self.cluster_name, gates))

    def _install(self, files: list[Path]) -> None:
        self.serve([yaml.load(path.read_text(), LOADER) for path in files])

    def _wait(self, what: str, ready: Callable[[], object], timeout_seconds: float = 300) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not _quietly(ready):
            self._children.check()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{what} is not ready after {timeout_seconds:.0f} s: see {self.folder}/logs"
                )
            time.sleep(0.05)


def _quietly(ready: Callable[[], object]) -> bool:
    """Not there yet, not listening yet and not allowed yet are all the same while starting."""
    try:
        return bool(ready())
    except (OSError, KubeError):
        return False


def _emptied(folder: Path) -> Path:
    folder = folder.expanduser().resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise FileExistsError(f"{folder} holds something else: a sandbox wants a folder of its own")
    end_recorded(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).write_text(json.dumps({"what": "a Slicewise sandbox; emptied at each start"}))
    return folder


def _write_private(path: Path, content: str) -> None:
    path.touch(mode=0o600)
    path.write_text(content)


def _layout(folder: Path) -> Layout:
    free = Ports(*(free_ports.reserve() for _ in Ports.__dataclass_fields__))
    return Layout(folder, free, pki.create(folder / "pki"))


def _answers(port: int, ca: Path | None = None, path: str = "/readyz") -> bool:
    """Whether a health endpoint says yes; those of the control plane speak TLS, all others plain HTTP."""
    url = f"https://127.0.0.1:{port}/healthz" if ca else f"http://127.0.0.1:{port}{path}"
    context = ssl.create_default_context(cafile=ca) if ca else None
    with urllib.request.urlopen(url, context=context, timeout=2) as response:
        return response.status == 200
