"""A helm release as the objects that it made show it, and who keeps them as they are. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from slicewise.kube.ref import Object
from slicewise.model.cluster import Keeper, Release
from slicewise.onboarding import manifests
from slicewise.pools import layout

# Of a ClusterPolicy; what it does not say is not judged.
_SHOWN = (
    *("cdi", "daemonsets", "dcgmExporter", "devicePlugin", "driver", "gfd", "mig", "migManager"),
    *("sandboxWorkloads", "toolkit"),
)
# `helm template`, and Argo CD where it tracks by the label that the chart sets itself.
_RENDERED = Keeper("A tool that renders the chart", "what it renders", "the chart's values")
_CHART = re.compile(r"(?P<name>.+?)-(?P<version>v?[0-9]+\..+)")


def release_shown_by(
    item: Object, deployments: Iterable[Object] = (), cluster_policy: Object | None = None
) -> Release | None:
    """Without helm's own record: revision 0, enough to know that it is there, how old, and who keeps it."""
    annotations, labels = item["metadata"].get("annotations") or {}, item["metadata"].get("labels") or {}
    chart = _CHART.fullmatch(labels.get("helm.sh/chart", ""))
    if not chart:
        return None
    name = annotations.get("meta.helm.sh/release-name")
    keeper = keeper_of(item)
    namespace = annotations.get("meta.helm.sh/release-namespace") or item["metadata"].get("namespace")
    if name:
        return Release(
            *(name, namespace or "", 0, "deployed", chart["name"], chart["version"]), keeper=keeper
        )
    name = labels.get("app.kubernetes.io/instance")
    if chart["name"] != manifests.OPERATOR or not name:
        return None  # of others we need not know
    namespace = namespace or _namespace_of(chart["name"], name, deployments) or layout.OPERATOR_NAMESPACE
    values = _values_shown_by(cluster_policy)
    version = chart["version"]
    return Release(
        *(name, namespace, 0, "deployed", chart["name"], version, values), keeper=keeper or _RENDERED
    )


def _namespace_of(chart: str, release: str, deployments: Iterable[Object]) -> str | None:
    for item in deployments:
        labels = item["metadata"].get("labels") or {}
        ours = labels.get("app.kubernetes.io/instance") == release
        if ours and labels.get("helm.sh/chart", "").startswith(f"{chart}-"):
            namespace: str | None = item["metadata"].get("namespace")
            return namespace
    return None


def _values_shown_by(cluster_policy: Object | None) -> Mapping[str, Any]:
    """Most of a ClusterPolicy is a value of the chart, under the same name."""
    spec = (cluster_policy or {}).get("spec") or {}
    return {key: spec[key] for key in _SHOWN if key in spec}


def keeper_of(item: Object) -> Keeper | None:
    """
    Who puts an object back, by the marks of Flux's helm-controller and kustomize-controller and of Argo CD.
    """
    labels, annotations = item["metadata"].get("labels") or {}, item["metadata"].get("annotations") or {}
    for kind, values in (("helm", "spec.values"), ("kustomize", "the manifests")):
        if name := labels.get(f"{kind}.toolkit.fluxcd.io/name"):
            of = {"helm": "HelmRelease", "kustomize": "Kustomization"}[kind]
            namespace = labels.get(f"{kind}.toolkit.fluxcd.io/namespace", "")
            return Keeper("Flux", f"{of} {namespace}/{name}", values)
    tracked = annotations.get("argocd.argoproj.io/tracking-id", "").partition(":")[0]
    if application := tracked or labels.get("argocd.argoproj.io/instance"):
        return Keeper("Argo CD", f"Application {application}", "the helm values of the source")
    return None
