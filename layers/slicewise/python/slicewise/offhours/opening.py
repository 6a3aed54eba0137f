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
    world: Observation, planned: Iterable[Action], early: datetime | None, now: datetime
) -> Opening | None:
    """
    Args:
        planned: What this very reconcile does: what it puts to sleep needs a morning, too.
        early: When the waking for the next opening begins; None where none comes.

    Returns:
        None where nothing sleeps that we could wake, and where a person wants it asleep: for ever, or for as
        long as the pause lasts.
    """
    sleeping = _sleeping(world, planned)
    if world.cluster is None or (world.paused and world.keep_asleep):
        return None
    if not sleeping:
        return _while_hidden(world, now)
    if world.times is None or not world.times.is_asleep(now):
        return _past(world.opening, now)
    edge = world.times.next_edge(now)
    if edge is None or early is None:
        return None
    opens = edge.at.replace(microsecond=0)
    # They are woken at the hour (plan.py): what must be woken before it is awake.
    if all(kept.ref.kind == "CronJob" for kept in sleeping):
        return Opening(opens, opens)
    return _ahead(world, opens, early.replace(microsecond=0), now)


def noted(world: Observation, opening: Opening | None) -> Iterator[Action]:
    """Nothing where it is written down already."""
    if opening == world.opening:
        return
    if opening is None:
        yield DeleteOpening("nothing sleeps that is to be woken")
    else:
        yield PutOpening(opening, "it is kept by the schedule, and by a check every five minutes")


def _is_asleep(kept: Snapshot, kinds: Registry) -> bool:
    """Whether an object sleeps and we can wake it. That volumes are retained is no sleep."""
    is_ours = kept.intact and kinds.setting_of(kept) is not None and not opens(kept)
    return is_ours and not kept.woken and kept.field != RETAIN.field


def _sleeping(world: Observation, planned: Iterable[Action]) -> tuple[Snapshot, ...]:
    kept = (one.snapshot for one in planned if isinstance(one, SaveSnapshot))
    return tuple(one for one in (*world.slept, *kept) if _is_asleep(one, world.kinds))


def _while_hidden(world: Observation, now: datetime) -> Opening | None:
    """
    It stays until a reconcile has found nothing asleep; one that could not read where that may be has not.
    """
    if not world.opening or not unread.hides_sleepers(world):
        return None
    if world.times and world.times.is_asleep(now):
        return world.opening
    return _past(world.opening, now)


def _past(stands: Opening | None, now: datetime) -> Opening:
    """The hour has come, or no one wants it asleep any longer: from when on it is overdue stays unchanged."""
    if stands and UNKNOWN_TIME < stands.due <= stands.opens <= now:
        return stands
    at = now.replace(microsecond=0)
    return Opening(at, at)


def _ahead(world: Observation, opening: datetime, early: datetime, now: datetime) -> Opening:
    """
    Once it is due it stays, though nodes now start quicker, as it does where the cluster cannot be read.
    """
    stands = world.opening
    is_known = stands is not None and stands.opens == opening and stands.due > UNKNOWN_TIME
    if stands and is_known and (world.found is None or stands.due <= now):
        return stands
    return Opening(min(early, opening), opening)
