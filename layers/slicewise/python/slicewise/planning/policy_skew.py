"""
A policy that other rules have checked, and ours refuse: functions and policies are of two releases, as while
a deployment is under way. It cannot be read now, which is no reason to wake what sleeps or to end a rollout.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from slicewise.errors import PolicySkew
from slicewise.planning.outcome import Finding, Outcome, Stage
from slicewise.planning.record import Record

# A deployment takes some ten minutes, and as long again where it is rolled back. After that the policy counts
# as wrong: no other deployment is coming.
LONGEST = timedelta(hours=1)
_RETRY = timedelta(minutes=1)
# How soon it is seen that a wrong policy was repaired: the sweep would be an hour later.
_REPAIRED = timedelta(minutes=5)
# The code of the finding that a policy is wrong.
WRONG = "policy"


def may_wait(before: Record | None, now: datetime) -> bool:
    """Whether such a policy is pending, or is wrong."""
    return before is None or before.skew_since is None or now - before.skew_since < LONGEST


def outcome(skew: PolicySkew, before: Record | None, now: datetime) -> Outcome:
    """Nothing is changed, so the cluster stays in the stage in which it was."""
    ends = (_began(before, now) + LONGEST).strftime("%H:%M UTC")
    finding = Finding(
        "policy-skew",
        f"policy {skew.name!r} cannot be read now, and nothing is changed: {skew}.",
        "Wait for the deployment that is under way, or deploy once more. "
        f"From {ends} the policy counts as wrong.",
    )
    reason = f"waiting until policy {skew.name!r} and the functions are of one release"
    stage = before.stage if before and isinstance(before.stage, Stage) else Stage.WAITING
    return Outcome(stage, reason, (finding,), _RETRY)


def since(ended: Outcome, before: Record | None, now: datetime) -> datetime | None:
    """When the wait began, also where it was too long; None once the policy is read."""
    codes = {one.code for one in ended.findings}
    if "policy-skew" in codes:
        return _began(before, now)
    return before.skew_since if before and WRONG in codes else None


def with_requeue(ended: Outcome) -> timedelta | None:
    """After how long the next reconcile is due: sooner where the policy is wrong."""
    if not any(one.code == WRONG for one in ended.findings):
        return ended.requeue_after
    return min(ended.requeue_after or _REPAIRED, _REPAIRED)


def _began(before: Record | None, now: datetime) -> datetime:
    return before.skew_since if before and before.skew_since else now
