"""
What could not be read, and what may sleep there unseen. Pure.

What sleeps is known by the table, and where that has lost it by the objects themselves. So while a list of
such objects cannot be read, it cannot be said that everything is awake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from slicewise.kube.ref import Ref
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.kinds import is_job
from slicewise.offhours.observation import Found, Observation
from slicewise.planning.actions import Action, Notify
from slicewise.planning.outcome import Finding


def findings(observation: Observation) -> Iterator[Finding]:
    for ref, answer in sorted(observation.found.unread.items()) if observation.found else ():
        yield Finding(
            "cannot-be-read",
            f"{ref if ref.name else _every(ref)} could not be read: {answer}",
            "It is left unchanged, and so is everything below it; everything else continued. Restore what "
            "does not answer, or allow what is refused.",
        )


def lists(found: Found) -> tuple[Ref, ...]:
    """
    Kinds that could not be listed, and whose objects say themselves what they were before a sleep. Not those
    whose rights have not come yet: without them none was put to sleep.
    """
    kinds = (ref for ref in found.unread if not ref.name and found.kinds.noted_fields(ref))
    if not found.suspending:
        kinds = (ref for ref in kinds if not is_job(ref))
    return tuple(sorted(ref for ref in kinds if ref not in found.ungranted))


def hides_sleepers(observation: Observation) -> bool:
    """
    Whether what sleeps could not be read, or not all of it. By day that matters only where something slept:
    the opening stays until a reconcile has read all of it.
    """
    if observation.found is None:
        return observation.off_hours is not None and observation.opening is not None
    return bool(lists(observation.found)) and bool(observation.opening or observation.slept)


def message(observation: Observation, found: Found, snapshots: Iterable[Snapshot]) -> str:
    """What sleeps, or may, and could not be read, in words; empty where all could."""
    refs = sorted(
        {snapshot.ref for snapshot in snapshots if not snapshot.woken and found.why_unread(snapshot.ref)}
    )
    names = [
        *map(str, refs),
        *(map(_every, lists(found)) if not refs and hides_sleepers(observation) else ()),
    ]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} could not be read" if names else ""


def notice(observation: Observation, found: Found, name: str) -> Iterator[Action]:
    """Once a sleep, from the second reconcile on: that one fails is no news."""
    unread = lists(found)
    if not (unread and observation.opening):
        return
    kinds = ", ".join(map(_every, unread))
    yield Notify(
        f"Slicewise: {name} may not be awake",
        f"{kinds} could not be read: {found.unread[unread[0]]}. What sleeps there is not woken until it can "
        "be read. It is retried each minute. Restore what does not answer, or allow what is refused.",
        "people are there",
        f"unread since {observation.opening.opens.isoformat()}",
    )


def _every(kind: Ref) -> str:
    return f"every {kind.kind} ({kind.api_version})"
