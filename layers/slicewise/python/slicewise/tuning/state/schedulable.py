"""
Whether a pod, or a template of pods, may come to a node of a NodePool: by what it chooses and tolerates.
Pure.

It is asked about pods that a shared GPU cannot serve, so in doubt the answer is yes: a label that is not
known here, such as one that a node gets after it has registered, may be on a node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import labels, name, spec
from slicewise.kube.ref import Object
from slicewise.policy.model import Pool
from slicewise.pools import layout

# Of these a NodePool need not say anything: Karpenter, the kubelet and NVIDIA's feature discovery set them.
_SET_BY_OTHERS = ("kubernetes.io", "k8s.io", "karpenter.sh", "k8s.aws", "nvidia.com", "amazonaws.com")
_REPELS = ("NoSchedule", "NoExecute")
_CHOICE = ("nodeSelector", "tolerations")


def of_a_pod_spec(pod_spec: Mapping[str, Any]) -> dict[str, Any]:
    """What is read of it here, and nothing else."""
    kept = {key: pod_spec[key] for key in _CHOICE if key in pod_spec}
    nodes = (pod_spec.get("affinity") or {}).get("nodeAffinity")
    return {**kept, "affinity": {"nodeAffinity": nodes}} if nodes else kept


def may_land(
    pod_spec: Mapping[str, Any], pool: Pool, node_pool: Object, nodes: Iterable[Object] = ()
) -> bool:
    """
    Args:
        node_pool: A live one, of `pool`.
        nodes: Its nodes, whose labels may say more than it does.
    """
    template = spec(node_pool).get("template") or {}
    known = {
        **((template.get("metadata") or {}).get("labels") or {}),
        layout.NODE_POOL_LABEL: name(node_pool),
        POOL_LABEL: pool.name,
    }
    body = template.get("spec") or {}
    offers = _Offers(known, body.get("requirements") or (), [labels(node) for node in nodes])
    return _tolerates(pod_spec, body.get("taints") or ()) and _is_chosen(pod_spec, offers)


class _Offers:
    """Labels that nodes of a NodePool may have: one value, some values, or any."""

    def __init__(
        self,
        known: Mapping[str, str],
        requirements: Sequence[Mapping[str, Any]],
        nodes: Sequence[Mapping[str, str]],
    ):
        self._known, self._nodes = known, nodes
        self._required = {one["key"]: one for one in requirements if "key" in one}

    def values(self, key: str) -> set[str] | None:
        """Those that a label may have; None for any."""
        found = {node[key] for node in self._nodes if key in node}
        if key in self._known:
            return found | {self._known[key]}
        required = self._required.get(key)
        if required is not None:
            is_list = required.get("operator") == "In"
            return found | set(required.get("values") or ()) if is_list else None
        return None if _is_set_by_others(key) else found


def _is_set_by_others(key: str) -> bool:
    domain = key.partition("/")[0] if "/" in key else ""
    return any(domain == known or domain.endswith(f".{known}") for known in _SET_BY_OTHERS)


def _is_chosen(pod_spec: Mapping[str, Any], offers: _Offers) -> bool:
    for key, value in (pod_spec.get("nodeSelector") or {}).items():
        allowed = offers.values(key)
        if allowed is not None and value not in allowed:
            return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
    return not terms or any(_fits(term, offers) for term in terms)


def _fits(term: Mapping[str, Any], offers: _Offers) -> bool:
    return all(_agrees(one, offers) for one in term.get("matchExpressions") or ())


def _agrees(expression: Mapping[str, Any], offers: _Offers) -> bool:
    allowed, values = offers.values(expression["key"]), set(expression.get("values") or ())
    if allowed is None:
        return True
    match expression["operator"]:
        case "In":
            return bool(allowed & values)
        case "NotIn":
            return not allowed or bool(allowed - values)
        case "Exists":
            return bool(allowed)
        case _:  # DoesNotExist is seldom written of a GPU; Gt and Lt compare numbers that few labels are.
            return True


def _tolerates(pod_spec: Mapping[str, Any], taints: Iterable[Mapping[str, Any]]) -> bool:
    tolerations = pod_spec.get("tolerations") or ()
    # API servers with the admission plugin ExtendedResourceToleration add the one of the GPU's own name.
    repelling = [
        one for one in taints if one.get("effect") in _REPELS and one.get("key") != layout.GPU_RESOURCE
    ]
    return all(any(_covers(toleration, taint) for toleration in tolerations) for taint in repelling)


def _covers(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    key = toleration.get("key")
    if toleration.get("operator") == "Exists":
        return key in (None, "", taint.get("key"))
    return key == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")
