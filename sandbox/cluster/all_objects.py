"""Every object of a cluster as it was written, to be held against what it is later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.cluster.client import KubeClient

# What changes by itself, all the time.
_RESTLESS = frozenset(
    {"componentstatuses", "controllerrevisions", "endpoints", "endpointslices", "events", "leases", "pods"}
)
_HELM_RELEASE = "helm.sh/release.v1"  # one Secret a revision: a history
# The API server counts in it how often a DaemonSet's template was written, as `generation` does for all.
_COUNTED = "deprecated.daemonset.template.generation"


def written(kube: KubeClient) -> dict[str, Any]:
    """
    All but status and what the API server keeps account of, by "kind/namespace/name".

    Left out are kinds that change by themselves, and helm's history.
    """
    return {
        _name(plural, item): _as_written(item)
        for path, plural in _collections(kube)
        for item in kube.list(path)
        if item.get("type") != _HELM_RELEASE
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """Paths of what differs, by object; of one that came or went, just that."""
    found = {name: ["came"] for name in now.keys() - before.keys()}
    found |= {name: ["went"] for name in before.keys() - now.keys()}
    both = sorted(before.keys() & now.keys())
    return found | {name: list(_paths(before[name], now[name])) for name in both if before[name] != now[name]}


def _collections(kube: KubeClient) -> Iterator[tuple[str, str]]:
    """Path and plural of each kind that can be listed, in the version that its group prefers or else has."""
    groups = [["v1"]]
    for group in kube.get("/apis")["groups"]:
        preferred = group["preferredVersion"]["groupVersion"]
        served = [version["groupVersion"] for version in group["versions"]]
        groups.append(sorted(served, key=lambda version: version != preferred))
    for versions in groups:
        plurals: set[str] = set()
        for version in versions:
            path = f"/api/{version}" if version == "v1" else f"/apis/{version}"
            for plural in _listed(kube, path) - plurals:
                plurals.add(plural)
                yield f"{path}/{plural}", plural


def _listed(kube: KubeClient, path: str) -> set[str]:
    resources = kube.get(path)["resources"]
    found = {one["name"] for one in resources if "list" in one["verbs"]}
    return {plural for plural in found if "/" not in plural} - _RESTLESS


def _name(plural: str, item: Mapping[str, Any]) -> str:
    metadata = item["metadata"]
    return "/".join((plural, metadata.get("namespace", ""), metadata["name"]))


def _written_annotations(found: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in found.items() if key != _COUNTED}


def _as_written(item: Mapping[str, Any]) -> dict[str, Any]:
    metadata = item["metadata"]
    rest = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    return {
        "labels": metadata.get("labels") or {},
        "annotations": _written_annotations(metadata.get("annotations") or {}),
        **rest,
    }


def _paths(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        yield f"{path}: {one!r} became {other!r}"
        return
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            yield from _paths(one.get(key), other.get(key), f"{path}.{key}")
