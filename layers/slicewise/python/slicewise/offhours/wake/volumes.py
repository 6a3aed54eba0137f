"""
StatefulSets that retain their volumes for a sleep: their own policy is restored last (marks.py has the
right to do so). Pure.
"""

from __future__ import annotations

from slicewise.kube.ref import Object
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.sleep_fields import REPLICAS, RETAIN


def held(observation: Observation, found: Found, near_the_opening: bool) -> tuple[Snapshot, ...]:
    """
    What says that volumes are retained is restored last: once a reconcile finds that the set has replicas
    again, or that it got none for a while.
    """
    if not near_the_opening:
        return ()
    retained = (one for one in observation.slept if one.field == RETAIN.field and not one.woken)
    return tuple(one for one in retained if _has_none(found.objects.get(one.ref)))


def _has_none(live: Object | None) -> bool:
    return live is not None and not REPLICAS.value(live)
