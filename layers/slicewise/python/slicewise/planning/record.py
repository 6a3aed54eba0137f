"""
What a reconcile leaves behind outside the cluster, for people; what rests on it is in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from slicewise.planning.outcome import Finding, Stage
from slicewise.planning.retries import Retry

# In place of a time that cannot be read.
UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Record:
    """
    The newest state of one capability on one cluster.

    Attributes:
        at: When the reconcile ended; `since` is when this stage was first recorded.
        changed: What the reconcile did, one sentence an action; empty where it changed nothing.
        policy: Name of the policy, empty where none applied; `fingerprint` is of its meaning.
        cluster_fingerprint: Of what EKS reported, so that a blocked cluster is read again when it changed.
        observed_at: When a reconcile last read the inside of the cluster.
        requeue_at: When the reconcile that was requeued is due; so a hundred duplicate events do not queue a
            hundred reconciles each.
        conflicts: How many reconciles in a row ended because something had changed under them.
        retries: Actions on single objects that failed, and when each is tried again.
        details: Plan.details: decisions with their inputs, one a NodePool.
        notified: Keys of the notices that were sent (Notify.key). Lost, each is sent once more.
        next_try: What becomes of a reconcile that failed: how many tries its message has left, or when the
            next attempt is. Empty after one that ended well.
        skew_since: Since when a policy of another release has been pending, or has been wrong after such
            a wait (planning/policy_skew.py); else None.
        unreadable: Names of the fields that another release, or a person, wrote otherwise than we do. They
            count as absent, and are not saved again.
    """

    cluster: str
    capability: str
    stage: Stage | str
    reason: str
    at: datetime
    since: datetime
    findings: tuple[Finding, ...] = ()
    changed: tuple[str, ...] = ()
    policy: str = ""
    fingerprint: str = ""
    cluster_fingerprint: str = ""
    observed_at: datetime | None = None
    requeue_at: datetime | None = None
    conflicts: int = 0
    details: tuple[Mapping[str, Any], ...] = ()
    notified: tuple[str, ...] = ()
    retries: tuple[Retry, ...] = ()
    next_try: str = ""
    skew_since: datetime | None = None
    unreadable: tuple[str, ...] = ()
