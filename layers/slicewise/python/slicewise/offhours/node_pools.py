"""The mark on NodePools that sleep, and their limit where no snapshot of it is left. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from slicewise.kube import json_patch
from slicewise.kube.labels import ASLEEP, FALLBACK_LABEL
from slicewise.kube.objects import MANAGER, annotations_of, labels
from slicewise.kube.ref import Object, ref_of
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.report import findings as sleep_findings
from slicewise.offhours.sleep_fields import NO_NODES, ONLY_EMPTY_NODES_GO
from slicewise.offhours.transitions import Step
from slicewise.planning.actions import Action, Patch

_MARK = ("metadata", "annotations", ASLEEP)


def mark(node_pools: Iterable[Object], window: str | None) -> Iterator[Action]:
    """Tuning leaves a NodePool alone while it carries this."""
    for pool in node_pools:
        if window is not None and annotations_of(pool).get(ASLEEP) != window:
            operations = json_patch.set_value(pool, _MARK, window)
            yield Patch(
                ref_of(pool), operations, f"mark {ref_of(pool)} as asleep", "no other writer changes it now"
            )
        elif window is None and ASLEEP in annotations_of(pool):
            operations = json_patch.remove(pool, _MARK)
            yield Patch(ref_of(pool), operations, f"mark {ref_of(pool)} as awake", "it is as it was")


def unmark(observation: Observation, found: Found) -> Step:
    """
    No NodePool is marked as asleep any longer; one without a snapshot loses its limit in the same patch.
    """
    reopened = _without_a_snapshot(observation, found)
    changed = {action.ref for action in reopened.actions if isinstance(action, Patch)}
    others = (pool for pool in found.node_pools if ref_of(pool) not in changed)
    return replace(reopened, actions=(*reopened.actions, *mark(others, None)))


def _without_a_snapshot(observation: Observation, found: Found) -> Step:
    """
    A NodePool that we closed and that has no snapshot: the table was emptied, or its items were lost. With
    its limit no GPU node could ever start again.
    """
    slept, actions, findings = {one.ref for one in observation.snapshots}, [], []
    for pool in found.node_pools:
        ref = ref_of(pool)
        value, writers = NO_NODES.value(pool), NO_NODES.managers(pool)
        closed = value == NO_NODES.asleep
        # Also where it has as many nodes as what stays awake needs: ours while all of the sleep is there.
        # Once its consolidation was restored, the limit that we wrote last is its own, which may be 0, too.
        asleep = ASLEEP in annotations_of(pool) and ONLY_EMPTY_NODES_GO.is_asleep(pool)
        ours = value is not None and asleep and writers == {MANAGER}
        if ref in slept or FALLBACK_LABEL in labels(pool) or not (closed or ours):
            continue
        if ours:
            # In one: without the mark it would not be known afterwards whose limit it is.
            operations = (*json_patch.remove(pool, NO_NODES.path), *json_patch.remove(pool, _MARK))
            why = "there is no snapshot of what it was, and no node could start"
            actions.append(Patch(ref, operations, f"take the limit of nodes from {ref}", why))
        findings.append(sleep_findings.closed_without_reason(ref, writers, ours))
    return Step(tuple(actions), tuple(findings))
