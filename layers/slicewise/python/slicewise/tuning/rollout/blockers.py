"""What keeps Karpenter from replacing a node that is due: by name, and since when. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slicewise.kube.objects import annotations_of, condition, is_true, labels, name, since, spec, status
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.planning.outcome import Finding
from slicewise.pools import disruption_budgets
from slicewise.tuning.state.pool_state import DO_NOT_DISRUPT, NodeState, PoolState, by_node


def blocking(contents: ClusterContents, state: PoolState, now: datetime | None = None) -> tuple[Finding, ...]:
    """
    One finding for each drifted NodeClaim that something forbids to replace, and one for each budget of the
    NodePool that lets none of them be removed at `now`.

    Karpenter reports this only by Events, which are deleted within the hour; so it is read where it comes
    from: the pods, the node and the PodDisruptionBudgets. Only pods that request slices are read.
    """
    found: list[Finding] = []
    pods = by_node(contents.pods)
    for node in state.nodes:
        drifted = condition(node.claim_object, "Drifted") if node.claim_object else None
        if not drifted or drifted.get("status") != "True":
            continue
        causes = _causes(node, pods.get(node.name, ()), contents.disruption_budgets)
        at = since(drifted)
        if causes:
            found.append(
                Finding(
                    "roll-blocked",
                    f"Node {node.name} has been due for replacement since "
                    f"{at.isoformat(timespec='minutes') if at else 'a while'}: {'; '.join(causes)}.",
                    "Remove the annotation, or let the PodDisruptionBudget allow a disruption.",
                )
            )
    is_due = any(node.claim_object and is_true(node.claim_object, "Drifted") for node in state.nodes)
    return (*found, *(_by_budgets(state, now) if now and is_due else ()))


def _by_budgets(state: PoolState, now: datetime) -> Iterable[Finding]:
    budgets = (spec(state.node_pool).get("disruption") or {}).get("budgets") or ()
    for one in disruption_budgets.blocking(budgets, "Drifted", len(state.nodes), now):
        until = f" until {one.until:%Y-%m-%d %H:%M} UTC" if one.until else ""
        yield Finding(
            "roll-blocked",
            f"A disruption budget of NodePool {state.name} allows no drifted node to be replaced{until}: "
            f"{one.message}.",
            "Wait for its end. Or loosen that budget of the NodePool, or consolidation.businessHours in the "
            "policy, for as long as this takes: no node is replaced against it.",
        )


def _causes(node: NodeState, pods: Sequence[Object], budgets: Iterable[Object]) -> list[str]:
    causes = [f"the node says {DO_NOT_DISRUPT}"] if _forbids(node.node) else []
    causes += [f"pod {_full_name(pod)} says {DO_NOT_DISRUPT}" for pod in pods if _forbids(pod)]
    for budget in budgets:
        held = [pod for pod in pods if _covers(budget, pod)]
        if held and not status(budget).get("disruptionsAllowed"):
            causes.append(
                f"PodDisruptionBudget {_full_name(budget)} allows no disruption of {len(held)} pods"
            )
    return causes


def _forbids(item: Object) -> bool:
    return annotations_of(item).get(DO_NOT_DISRUPT) not in (None, "false")


def _full_name(item: Object) -> str:
    return f"{item['metadata'].get('namespace', 'default')}/{name(item)}"


def _covers(budget: Object, pod: Object) -> bool:
    same = budget["metadata"].get("namespace") == pod["metadata"].get("namespace")
    return same and _selects(spec(budget).get("selector"), labels(pod))


def _selects(selector: Mapping[str, Any] | None, found: Mapping[str, str]) -> bool:
    """A policy/v1 budget with an empty selector covers all pods of its namespace, without one none."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    return all(found.get(key) == value for key, value in wanted.items()) and all(
        _matches(expression, found) for expression in selector.get("matchExpressions") or ()
    )


def _matches(expression: Mapping[str, Any], found: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return found.get(key) in values
        case "NotIn":
            return found.get(key) not in values
        case "Exists":
            return key in found
        case _:
            return key not in found
