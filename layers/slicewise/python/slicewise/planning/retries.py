"""
One object's failure is that object's: what failed, how often, and when it is tried again. Pure.

A plan's actions belong to parts (`part` of an action), such as one object. Where an action of a part fails,
the rest of that part is left for a later reconcile, and every other part goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from slicewise.errors import Conflict, SlicewiseError, Unavailable
from slicewise.kube.labels import KEEP_AWAKE
from slicewise.planning import refusals
from slicewise.planning.outcome import Finding, Left
from slicewise.sizes import cut

# A conflict ends once the object was read again; a policy, a webhook or a server takes longer to change.
_FIRST_AFTER_CONFLICT = timedelta(seconds=2)
_FIRST = timedelta(seconds=5)
# 5 + 10 + 20 + 40 s: what lasts longer than the restart of a webhook needs a person.
_TIMES_BEFORE_A_NOTICE = 5
# Few objects change under a reconcile so often in a row: then something refuses, by any name.
_CONFLICTS_UNREPORTED = 3
# 2 + 4 + … + 64 s: SQS keeps the name of a deleted queue for 60 s.
_CONFLICTS_BEFORE_A_NOTICE = 7
_LONGEST_TEXT = 400


@dataclass(frozen=True)
class Retry:
    """
    An action that failed, in a reconcile that went on with the others.

    Attributes:
        part: Of what the action is a step, such as "Deployment ml/chat".
        action: What was tried, in words. Another action of the part is tried at once.
        times: How often in a row it failed.
        at: When it is tried again, not before.
        message: The answer's own words.
        conflict: The object had changed since it was read.
        notified: The operators have been notified.
        refused_by: Who refuses it permanently, so that it is left until `at`; empty where it is retried.
        version: Of the object that was refused: once it has another one, it is tried at once.
    """

    part: str
    action: str
    times: int
    at: datetime
    message: str
    conflict: bool = False
    notified: bool = False
    refused_by: str = ""
    version: str = ""

    @property
    def is_reported(self) -> bool:
        return not self.conflict or self.times >= _CONFLICTS_UNREPORTED

    @property
    def needs_a_notice(self) -> bool:
        most = _CONFLICTS_BEFORE_A_NOTICE if self.conflict else _TIMES_BEFORE_A_NOTICE
        return bool(self.refused_by or self.times >= most) and not self.notified

    def is_due(self, action: str, version: str, now: datetime) -> bool:
        """Whether this action is tried now, of an object that has this version."""
        is_other = self.action != named(action)
        return is_other or self.at <= now or bool(self.refused_by and self.version != version)


def failed(
    part: str,
    action: str,
    error: SlicewiseError,
    before: Retry | None,
    now: datetime,
    longest: timedelta,
    left: Left | None = None,
) -> Retry:
    """
    Args:
        before: What the record of the previous reconcile says of the part.
        longest: The backoff doubles up to this.
        left: Of a part that is left where it is refused for good.
    """
    action = named(action)
    again = before if before and before.action == action else None
    times = 1 + (again.times if again else 0)
    conflict = isinstance(error, Conflict)
    first = _FIRST_AFTER_CONFLICT if conflict else _FIRST
    # Ten doublings are far beyond the longest already.
    wait = min(first * 2 ** min(times - 1, 10), longest)
    message = cut(str(error), _LONGEST_TEXT)
    retry = Retry(part, action, times, now + wait, message, conflict, bool(again and again.notified))
    by = refusals.refused_by(error) if left else ""
    if not (by and left):
        return retry
    return replace(retry, at=max(retry.at, left.until), refused_by=by, version=left.version)


def named(action: str) -> str:
    """How a retry names an action, in words."""
    return cut(action, _LONGEST_TEXT)


def asked_again(retries: Iterable[Retry], now: datetime) -> tuple[Retry, ...]:
    """Where a person asks, what is left is tried at once: they may have changed what refuses."""
    return tuple(replace(retry, at=now) if retry.refused_by else retry for retry in retries)


def wait(retries: Iterable[Retry], now: datetime) -> timedelta | None:
    """Until the first is tried again; None where nothing failed."""
    waits = [max(retry.at - now, timedelta(seconds=1)) for retry in retries]
    return min(waits, default=None)


def findings(retries: Iterable[Retry]) -> tuple[Finding, ...]:
    return tuple(_finding(retry) for retry in retries if retry.is_reported)


def _finding(retry: Retry) -> Finding:
    if retry.refused_by:
        return _refused(retry)
    often = "once" if retry.times == 1 else f"{retry.times} times"
    return Finding(
        "cannot-be-changed",
        f"Failed {often} to {retry.action}: {retry.message.rstrip('.')}.",
        "Allow what the answer refuses, or restore what does not answer. It is retried automatically, next "
        f"at {retry.at:%H:%M:%S} UTC; everything else went on.",
    )


def _refused(retry: Retry) -> Finding:
    return Finding(
        "change-refused",
        f"{retry.refused_by[:1].upper()}{retry.refused_by[1:]} refuses to let us {retry.action}: "
        f"{retry.message.rstrip('.')}.",
        f"It is left unchanged until {retry.at:%a %d %b %H:%M} UTC, or until it changes; everything else "
        f"continued. Exempt it there, and ask again with the slicewise command; or mark it {KEEP_AWAKE}.",
    )


def summary(retries: Collection[Retry]) -> str:
    """For the reason of a reconcile in which something failed."""
    reported = [retry for retry in retries if retry.is_reported]
    if not reported:
        return f"an object changed during the reconcile, retrying: {next(iter(retries)).message}"
    retried = [retry for retry in reported if not retry.refused_by]
    if not retried:
        return f"{_named(reported)} stays unchanged: {reported[0].refused_by} refuses the change"
    return f"{_named(retried)} could not be changed yet"


def _named(retries: Collection[Retry]) -> str:
    more = f" and {len(retries) - 1} more" if len(retries) > 1 else ""
    return f"{next(iter(retries)).part}{more}"


def notice(retries: Iterable[Retry], cluster: str) -> tuple[str, str]:
    """Subject and text for the operators, of those that need one."""
    found = [retry for retry in retries if retry.needs_a_notice]
    lines = [str(_finding(retry)) for retry in found[:10]]
    if len(found) > len(lines):
        lines.append(f"And {len(found) - len(lines)} more: slicewise status {cluster}")
    objects = "1 object" if len(found) == 1 else f"{len(found)} objects"
    return f"Slicewise: {objects} of {cluster} cannot be changed", "\n".join(lines)


def is_unanswered(error: SlicewiseError) -> bool:
    return isinstance(error, Unavailable)


def as_json(retry: Retry) -> dict[str, object]:
    """The names are the table's: they stay when an attribute is renamed."""
    return {
        "part": retry.part,
        "action": retry.action,
        "times": retry.times,
        "at": retry.at.isoformat(),
        "says": retry.message,
        "conflict": retry.conflict,
        "notified": retry.notified,
        "refused_by": retry.refused_by,
        "version": retry.version,
    }


def from_json(value: Mapping[str, object]) -> Retry:
    """
    What another release adds is left out.

    Raises:
        ValueError, TypeError, KeyError: Something is missing, or of another kind. Then it is tried at once.
    """
    part, action, message = (str(value[name]) for name in ("part", "action", "says"))
    refused_by, version = (str(value.get(name) or "") for name in ("refused_by", "version"))
    conflict, notified = (value.get(name) is True for name in ("conflict", "notified"))
    at, times = datetime.fromisoformat(str(value["at"])), value["times"]
    if at.tzinfo is None or not isinstance(times, int) or times < 1:
        raise ValueError(f"{at}, {times!r}")
    return Retry(part, action, times, at, message, conflict, notified, refused_by, version)
