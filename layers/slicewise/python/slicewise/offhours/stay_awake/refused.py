"""
What a policy, a webhook or a schema keeps awake: it is left for that night, and retried at the next. Pure.

Only on the way to sleep. What is refused on the way back is retried for as long as it takes, a quarter of an
hour apart at most: what stays at 0 is an outage, and who allows it again need not know that we wait for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from slicewise.kube.ref import Object, Ref
from slicewise.offhours import queues
from slicewise.offhours.observation import Found, Observation
from slicewise.planning.actions import Action, Patch, Scale
from slicewise.planning.outcome import Left

# Of a sleep without an end.
A_DAY = timedelta(days=1)


def left(
    actions: Iterable[Action], part: Callable[[Action], str], live: Mapping[Ref, Object], until: datetime
) -> dict[str, Left]:
    """
    Workloads, and what makes them. Not NodePools and queues, which concern many: they are retried.

    Args:
        actions: That put to sleep.
        live: Objects as they were read.
    """
    writes = (one for one in actions if isinstance(one, Patch | Scale) and _is_of_one_workload(one.ref))
    return {part(one): Left(until, _version(live.get(one.ref))) for one in writes}


def staying(observation: Observation, found: Found) -> frozenset[str]:
    """What runs on since its sleep was refused; also what KEDA scales, where its ScaledObject's was."""
    by_keda = found.scaled_by_keda.items()
    return observation.left | {str(target) for target, scaler in by_keda if str(scaler) in observation.left}


def _is_of_one_workload(ref: Ref) -> bool:
    return bool(ref.namespace) and ref[:2] != queues.QUEUED


def _version(item: Object | None) -> str:
    return str(item["metadata"].get("resourceVersion") or "") if item else ""
