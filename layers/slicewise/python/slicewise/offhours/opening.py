"""When a cluster that sleeps must be awake again, written down as the second way to its morning. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import unread
from slicewise.offhours.kinds import Registry
from slicewise.offhours.observation import Observation
from slicewise.offhours.sleep_fields import RETAIN, opens
from slicewise.planning.actions import Action, DeleteOpening, PutOpening, SaveSnapshot
from slicewise.planning.record import UNKNOWN_TIME


def opening_of(
    observation: Observation, planned: Iterable[Action], early: datetime | None, now: datetime
) -> Opening | None:
    """
    Args:
        planned: What this very reconcile does: what it puts to sleep needs a morning, too.
        early: When the waking for the next opening begins; None where none comes.

    Returns:
        None where nothing sleeps that we could wake, and where a person wants it asleep: for ever, or for as
        long as the pause lasts.
    """
    sleeping = _sleeping(observation, planned)
    if observation.cluster is None or (observation.paused and observation.keep_asleep):
        return None
    if not sleeping:
        return _while_hidden(observation, now)
    if observation.times is None or not observation.times.is_asleep(now):
        return _past(observation.opening, now)
    edge = observation.times.next_edge(now)
    if edge is None or early is None:
        return None
    opens = edge.at.replace(microsecond=0)
    # They are woken at the hour (plan.py): what must be woken before it is awake.
    if all(snapshot.ref.kind == "CronJob" for snapshot in sleeping):
        return Opening(opens, opens)
    return _ahead(observation, opens, early.replace(microsecond=0), now)


def noted(observation: Observation, opening: Opening | None) -> Iterator[Action]:
    """Nothing where it is written down already."""
    if opening == observation.opening:
        return
    if opening is None:
        yield DeleteOpening("nothing sleeps that is to be woken")
    else:
        yield PutOpening(opening, "the schedule wakes it, and a check every five minutes")


def _is_asleep(snapshot: Snapshot, kinds: Registry) -> bool:
    """Whether an object sleeps and we can wake it. That volumes are retained is no sleep."""
    is_ours = snapshot.intact and kinds.setting_of(snapshot) is not None and not opens(snapshot)
    return is_ours and not snapshot.woken and snapshot.field != RETAIN.field


def _sleeping(observation: Observation, planned: Iterable[Action]) -> tuple[Snapshot, ...]:
    saved = (one.snapshot for one in planned if isinstance(one, SaveSnapshot))
    return tuple(one for one in (*observation.slept, *saved) if _is_asleep(one, observation.kinds))


def _while_hidden(observation: Observation, now: datetime) -> Opening | None:
    """
    It stays until a reconcile has found nothing asleep; one that could not read where that may be has not.
    """
    if not observation.opening or not unread.hides_sleepers(observation):
        return None
    if observation.times and observation.times.is_asleep(now):
        return observation.opening
    return _past(observation.opening, now)


def _past(recorded: Opening | None, now: datetime) -> Opening:
    """The hour has come, or no one wants it asleep any longer: from when on it is overdue stays unchanged."""
    if recorded and UNKNOWN_TIME < recorded.due <= recorded.opens <= now:
        return recorded
    at = now.replace(microsecond=0)
    return Opening(at, at)


def _ahead(observation: Observation, opening: datetime, early: datetime, now: datetime) -> Opening:
    """
    Once it is due it stays, though nodes now start quicker, as it does where the cluster cannot be read.
    """
    recorded = observation.opening
    is_known = recorded is not None and recorded.opens == opening and recorded.due > UNKNOWN_TIME
    if recorded and is_known and (observation.found is None or recorded.due <= now):
        return recorded
    return Opening(min(early, opening), opening)
