"""helm in memory: releases in three steps, so that one can be killed half-way and stay pending."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slicewise.errors import Refused, Unavailable
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import Release

from tests.fakes.aws.refusals import as_kept
from tests.fakes.calls import Calls
from tests.fakes.kube.kubernetes import CRD, KARPENTER_CRDS, FakeApiServer, FakeKubernetes

Rendered = list[dict[str, Any]]
# Of each chart's own values those that our plans decide by; tests/unit holds them against the vendor's chart.
DEFAULTS: Mapping[str, Any] = {
    "gpu-operator": {
        "cdi": {"enabled": True},
        "clusterPolicy": {"deployCR": True},
        "daemonsets": {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        },
        "dcgmExporter": {
            "enabled": True,
            "env": [],
            "hostPID": False,
            "serviceMonitor": {"enabled": True, "honorLabels": False, "relabelings": []},
        },
        "devicePlugin": {
            "args": [],
            "config": {"create": False, "data": {}, "default": "", "name": ""},
            "enabled": True,
            "env": [],
        },
        "driver": {
            "enabled": True,
            "upgradePolicy": {"autoUpgrade": True},
            "version": "595.91.07",
        },
        "gfd": {"enabled": True},
        "gpuCluster": {"deployCR": False},
        "mig": {"strategy": "single"},
        "migManager": {"enabled": True},
        "nfd": {"enabled": True},
        "node-feature-discovery": {
            "worker": {
                "tolerations": [
                    {
                        "key": "node-role.kubernetes.io/control-plane",
                        "operator": "Equal",
                        "value": "",
                        "effect": "NoSchedule",
                    },
                    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                ]
            }
        },
        "operator": {"upgradeCRD": True},
        "sandboxWorkloads": {"enabled": False},
        "toolkit": {"enabled": True},
    }
}
# As the gateway has helm keep them.
_HISTORY = 5
_NAME = re.compile(r"(?=.{1,53}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class FakeReleases:
    """What helm keeps in one cluster; FakeHelm is a caller's view of it."""

    def __init__(self, server: FakeApiServer) -> None:
        self.server = server
        self.revisions: dict[tuple[str, str], list[Release]] = {}


class FakeHelm:
    """
    Implements ports.Helm. A chart is known by the last part of its reference, without a version.

    Args:
        kubernetes: As whom it works: releases are secrets, read and written with the caller's rights.
    """

    def __init__(self, releases: FakeReleases, calls: Calls, kubernetes: FakeKubernetes) -> None:
        self._releases, self._calls, self._kubernetes = releases, calls, kubernetes

    def revisions(self, name: str, namespace: str) -> tuple[Release, ...]:
        with self._calls.call(f"helm.revisions {namespace}/{name}"):
            self._kubernetes.may_list_secrets(namespace)
            return tuple(reversed(self._releases.revisions.get((name, namespace), [])))

    def upgrade(
        self,
        name: str,
        namespace: str,
        chart: str,
        version: str,
        values: Mapping[str, Any],
        *,
        take_ownership: bool = False,
    ) -> None:
        _is_of(chart, version)
        kept = self._releases.revisions.setdefault((name, namespace), [])
        server = self._releases.server
        with self._calls.call(f"helm.upgrade {namespace}/{name}: begin"):
            self._kubernetes.may_write_anything()
            if not _NAME.fullmatch(name):
                raise Unavailable(f"invalid release name: {name}")
            if kept and kept[-1].pending:
                raise Unavailable("another operation (install/upgrade/rollback) is in progress")
            items = rendered(chart_name(chart), name, namespace, version, values)
            if not kept and not take_ownership:
                self._refuse_what_is_not_ours(items, name, namespace)
            server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            status = "pending-upgrade" if kept else "pending-install"
            kept.append(
                Release(
                    *(name, namespace, _next(kept), status, chart_name(chart), version, as_kept(values)),
                    defaults=as_kept(DEFAULTS.get(chart_name(chart), {})),
                    changed_at=server.now,
                )
            )
            del kept[:-_HISTORY]
        with self._calls.call(f"helm.upgrade {namespace}/{name}: objects"):
            for item in items:
                server.create(item)
        with self._calls.call(f"helm.upgrade {namespace}/{name}: end"):
            self._deployed(kept)

    def try_upgrade(
        self, name: str, namespace: str, chart: str, version: str, values: Mapping[str, Any]
    ) -> None:
        _is_of(chart, version)
        kept = self._releases.revisions.get((name, namespace), [])
        with self._calls.call(f"helm.try_upgrade {namespace}/{name}"):
            self._kubernetes.may_write_anything()
            if not _NAME.fullmatch(name):
                raise Unavailable(f"invalid release name: {name}")
            if kept and kept[-1].pending:
                raise Unavailable("another operation (install/upgrade/rollback) is in progress")
            items = rendered(chart_name(chart), name, namespace, version, values)
            if not kept:
                self._refuse_what_is_not_ours(items, name, namespace)

    def rollback(self, name: str, namespace: str, revision: int) -> None:
        with self._calls.call(f"helm.rollback {namespace}/{name}"):
            self._kubernetes.may_write_anything()
            kept = self._releases.revisions.get((name, namespace), [])
            back = next((release for release in kept if release.revision == revision), None)
            if back is None:
                raise Unavailable(f"release {name} has no revision {revision}")
            kept[-1] = replace(kept[-1], status="failed")
            kept.append(replace(back, revision=_next(kept), changed_at=self._releases.server.now))
            self._deployed(kept)

    def uninstall(self, name: str, namespace: str) -> None:
        with self._calls.call(f"helm.uninstall {namespace}/{name}: begin"):
            self._kubernetes.may_write_anything()
            if kept := self._releases.revisions.get((name, namespace)):
                now = self._releases.server.now
                kept[-1] = replace(kept[-1], status="uninstalling", changed_at=now)
        with self._calls.call(f"helm.uninstall {namespace}/{name}"):
            self._releases.revisions.pop((name, namespace), None)
            for ref, item in list(self._releases.server.objects.items()):
                annotations = item["metadata"].get("annotations") or {}
                if annotations.get("meta.helm.sh/release-name") == name:
                    self._releases.server.delete(ref)

    def chart_crds(self, chart: str, version: str) -> tuple[Object, ...]:
        with self._calls.call(f"helm.chart_crds {chart_name(chart)}"):
            _is_of(chart, version)
            names = {"gpu-operator": ("clusterpolicies.nvidia.com",)}.get(chart_name(chart), ())
            head = dict(zip(("apiVersion", "kind"), CRD, strict=True))
            return tuple(head | {"metadata": {"name": name}} for name in names)

    def chart_values(self, chart: str, version: str) -> Mapping[str, Any]:
        with self._calls.call(f"helm.chart_values {chart_name(chart)}"):
            _is_of(chart, version)
            return as_kept(DEFAULTS.get(chart_name(chart), {}))

    def _refuse_what_is_not_ours(self, items: Rendered, name: str, namespace: str) -> None:
        for item in items:
            found = self._releases.server.objects.get(ref_of(item))
            marks = (found or {}).get("metadata", {}).get("annotations") or {}
            owner = marks.get("meta.helm.sh/release-name"), marks.get("meta.helm.sh/release-namespace")
            if found and owner != (name, namespace):
                raise Unavailable(f"invalid ownership metadata: {ref_of(item)} exists")

    @staticmethod
    def _deployed(kept: list[Release]) -> None:
        kept[:] = [
            replace(release, status="superseded") if release.status == "deployed" else release
            for release in kept
        ]
        kept[-1] = replace(kept[-1], status="deployed")


def _next(kept: list[Release]) -> int:
    return kept[-1].revision + 1 if kept else 1


def chart_name(reference: str) -> str:
    """ "oci://registry/charts/karpenter" and "charts/karpenter-1.14.1.tgz" are both "karpenter"."""
    last = reference.rpartition("/")[2]
    return "-".join(part for part in last.split("-") if not part.lstrip("v")[:1].isdigit())


def _is_of(reference: str, version: str) -> None:
    """A packed chart says which version it is; here its file's name says so."""
    found = re.search(r"-(v?[0-9][^/]*)\.tgz$", reference)
    if found and found[1].removeprefix("v") != version.removeprefix("v"):
        raise Refused(f"chart {reference} says that it is version {found[1]}, not {version}")


def rendered(chart: str, name: str, namespace: str, version: str, values: Mapping[str, Any]) -> Rendered:
    """The few objects of each chart that our plans look at."""
    labels = {
        "app.kubernetes.io/name": chart,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/version": version,
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": f"{chart}-{version}",
    }
    annotations = {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace}
    head = {"labels": labels, "annotations": annotations}
    if chart == "gpu-operator":
        return [_deployment(head, "gpu-operator", namespace), _cluster_policy(head, values)]
    if chart == "karpenter":
        gates = (values.get("settings") or {}).get("featureGates") or {}
        text = ",".join(f"{gate[:1].upper()}{gate[1:]}={str(on).lower()}" for gate, on in gates.items())
        return [_deployment(head, "karpenter", namespace, env=[{"name": "FEATURE_GATES", "value": text}])]
    if chart == "karpenter-crd":
        return [
            dict(zip(("apiVersion", "kind"), CRD, strict=True), metadata=head | {"name": name})
            for name in KARPENTER_CRDS
        ]
    raise AssertionError(f"the fake knows no chart {chart}")


def _deployment(head: Object, name: str, namespace: str, env: list[Object] | None = None) -> dict[str, Any]:
    container = {
        "name": "controller",
        "image": f"registry.example/{name}:{head['labels']['app.kubernetes.io/version']}",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, **head},
        "spec": {"template": {"spec": {"containers": [container | ({"env": env} if env else {})]}}},
    }


_IN_CLUSTER_POLICY = ("daemonsets", "devicePlugin", "driver", "mig", "migManager", "toolkit")


def _cluster_policy(head: Object, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "nvidia.com/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "cluster-policy", **head},
        "spec": {key: value for key, value in values.items() if key in _IN_CLUSTER_POLICY},
    }
