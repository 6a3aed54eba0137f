"""Kubernetes' RBAC: what the roles that stand in a cluster let the members of groups do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from slicewise.kube.ref import Ref

from tests.fakes.kube.objects_by_kind import ObjectsByKind

_RBAC = "rbac.authorization.k8s.io/v1"


def allows(
    objects: ObjectsByKind,
    groups: Collection[str],
    verb: str,
    api_group: str,
    resource: str,
    name: str = "",
    namespace: str = "",
) -> bool:
    """
    Args:
        resource: In plural, with its subresource: "pods", "deployments/scale".
        name: Empty where the request names none, as a list.
        namespace: Empty for a request over all namespaces, or of what has none.
    """
    any_with_it = f"*/{resource.partition('/')[2]}"
    for rule in _rules(objects, groups, namespace):
        resources = rule.get("resources") or ()
        if (
            _matches(rule.get("apiGroups") or (), api_group)
            and (_matches(resources, resource) or any_with_it in resources)
            and _matches(rule.get("verbs") or (), verb)
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
        ):
            return True
    return False


def _matches(allowed: Collection[str], wanted: str) -> bool:
    return wanted in allowed or "*" in allowed


def _rules(objects: ObjectsByKind, groups: Collection[str], namespace: str) -> Iterator[dict[str, Any]]:
    for ref in (*objects.refs("ClusterRoleBinding"), *objects.refs("RoleBinding")):
        binding = objects[ref]
        if ref.namespace not in ("", namespace):
            continue
        if not any(one["name"] in groups for one in binding.get("subjects", ())):
            continue
        role = binding["roleRef"]
        where = ref.namespace if role["kind"] == "Role" else ""
        yield from objects.get(Ref(_RBAC, role["kind"], role["name"], where), {}).get("rules", ())
