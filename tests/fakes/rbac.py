"""Kubernetes' RBAC: what the roles that stand in a cluster let the members of groups do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from slicewise.model import Object, Ref

_RBAC = "rbac.authorization.k8s.io/v1"


def allows(
    objects: Mapping[Ref, Object],
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
    return any(
        _matches(rule.get("verbs"), verb)
        and _matches(rule.get("apiGroups"), api_group)
        and _matches(rule.get("resources"), resource, f"*/{resource.partition('/')[2]}")
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for rule in _rules(objects, groups, namespace)
    )


def _matches(allowed: Iterable[str] | None, *wanted: str) -> bool:
    return bool({"*", *wanted}.intersection(allowed or ()))


def _rules(
    objects: Mapping[Ref, Object], groups: Collection[str], namespace: str
) -> Iterator[dict[str, Any]]:
    for ref, binding in objects.items():
        if ref.kind not in ("ClusterRoleBinding", "RoleBinding") or ref.namespace not in ("", namespace):
            continue
        if not any(one["name"] in groups for one in binding.get("subjects", ())):
            continue
        role = binding["roleRef"]
        where = ref.namespace if role["kind"] == "Role" else ""
        yield from objects.get(Ref(_RBAC, role["kind"], role["name"], where), {}).get("rules", ())
