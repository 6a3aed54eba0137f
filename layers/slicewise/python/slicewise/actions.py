"""
What a plan may ask for: values that say what to do and why. `apply` in passes.py turns each into one call.

Every action is idempotent: done twice, it leaves what it leaves when done once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from slicewise.model import Alarm, Object, Ref, ref_of
from slicewise.snapshots import Snapshot


@dataclass(frozen=True)
class Apply:
    """Server-side apply with our field manager. Conflicting owners are overruled: these objects are ours."""

    object: Object
    why: str

    def __str__(self) -> str:
        return f"apply {ref_of(self.object)}"


@dataclass(frozen=True)
class Delete:
    """Delete one object; that it is gone already is fine."""

    ref: Ref
    why: str

    def __str__(self) -> str:
        return f"delete {self.ref}"


@dataclass(frozen=True)
class SlotsFit:
    """Guard: the unfinished pods on a node, read again now, ask for at most `most` of a resource."""

    node: str
    resource: str
    most: int


@dataclass(frozen=True)
class ClaimsCarry:
    """Guard: every NodeClaim of a NodePool, listed again now and also before it registers, carries `key`."""

    node_pool: str
    key: str


@dataclass(frozen=True)
class Patch:
    """
    A JSON Patch (RFC 6902) of one live object. Its `test` operations hold what the plan saw, so that somebody
    else's edit of that very field is a Conflict, and a heartbeat is none.

    Attributes:
        says: What it does, in words for people.
        guard: What must still be so at the moment of writing; otherwise Conflict.
        part: Of what it is one step, such as a NodePool's change: a Conflict ends the steps of this part and
            no others. Empty where all that follows rests on it.
    """

    ref: Ref
    operations: tuple[Mapping[str, Any], ...]
    says: str
    why: str
    guard: SlotsFit | ClaimsCarry | None = None
    part: str = ""

    def __str__(self) -> str:
        return self.says


@dataclass(frozen=True)
class SetClass:
    """
    Server-side apply of a class to the template of what makes pods: they are replaced by a rolling update.

    Attributes:
        object: Our fields, with the uid and resourceVersion that the plan saw: a Conflict where either has
            changed.
        part: As in Patch.
    """

    object: Object
    says: str
    why: str
    part: str = ""

    def __str__(self) -> str:
        return self.says


@dataclass(frozen=True)
class Scale:
    """
    Set the replicas of whatever has a `scale` subresource, through it.

    Attributes:
        seen: The replicas that the plan saw; others by now are a Conflict.
    """

    ref: Ref
    seen: int
    replicas: int
    why: str

    def __str__(self) -> str:
        return f"scale {self.ref} from {self.seen} to {self.replicas}"


@dataclass(frozen=True)
class KeepSnapshot:
    """Write down what an object is before it is changed. Conflict where another pass has, since."""

    snapshot: Snapshot
    why: str

    def __str__(self) -> str:
        if self.snapshot.woken:
            return f"note that {self.snapshot.ref} is awake"
        if self.snapshot.done:
            return f"note that {self.snapshot.ref} sleeps"
        return f"keep {self.snapshot.field} of {self.snapshot.ref}"


@dataclass(frozen=True)
class ForgetSnapshot:
    """It was given back, or nothing is left to give back; that it is gone already is fine."""

    snapshot: Snapshot
    why: str

    def __str__(self) -> str:
        return f"forget {self.snapshot.field} of {self.snapshot.ref}"


@dataclass(frozen=True)
class PutSchedule:
    """Have the capability look at the cluster again at this moment, once."""

    capability: str
    at: datetime
    why: str

    def __str__(self) -> str:
        return f"schedule a look at {self.at:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class DeleteSchedule:
    """That it is gone already is fine."""

    why: str

    def __str__(self) -> str:
        return "delete the schedule"


@dataclass(frozen=True)
class Notify:
    """Tell the operators now, on the topic that alarms go to. Sent twice, it is read twice."""

    subject: str
    text: str
    why: str

    def __str__(self) -> str:
        return f"tell the operators: {self.subject}"


@dataclass(frozen=True)
class ApplyChartCrds:
    """Server-side apply the CRDs of a chart's crds/ folder: helm never upgrades those itself."""

    chart: str
    version: str
    why: str

    def __str__(self) -> str:
        return f"apply the CRDs of chart {self.chart} {self.version}"


@dataclass(frozen=True)
class UpgradeRelease:
    """`helm upgrade --install` without waiting. `take_ownership` adopts objects that helm did not make."""

    name: str
    namespace: str
    chart: str
    version: str
    values: Mapping[str, Any]
    why: str
    take_ownership: bool = False

    def __str__(self) -> str:
        return f"install {self.name} {self.version} in {self.namespace}"


@dataclass(frozen=True)
class RollbackRelease:
    """Heal a release left `pending-*` by a killed helm: to its last deployed revision, or uninstall."""

    name: str
    namespace: str
    why: str

    def __str__(self) -> str:
        return f"roll back the unfinished release {self.name} in {self.namespace}"


@dataclass(frozen=True)
class AllowAccessEntries:
    """Switch CONFIG_MAP to API_AND_CONFIG_MAP. One-way: only ever planned where a tag allows it."""

    why: str

    def __str__(self) -> str:
        return "switch the authentication mode to API_AND_CONFIG_MAP"


@dataclass(frozen=True)
class PutAccessEntry:
    """Create the entry, or give an existing one these groups."""

    principal: str
    groups: tuple[str, ...]
    why: str
    type: str = "STANDARD"

    def __str__(self) -> str:
        role, who = self.principal.rsplit("/", 1)[-1], ", ".join(self.groups) or self.type
        return f"put an access entry for role {role} as {who}"


@dataclass(frozen=True)
class DeleteAccessEntry:
    """Take an identity's access to the cluster away; that it is gone already is fine."""

    principal: str
    why: str

    def __str__(self) -> str:
        return f"delete the access entry of {self.principal.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class GrantAdmin:
    """Associate AmazonEKSClusterAdminPolicy with an entry, cluster-wide."""

    principal: str
    why: str

    def __str__(self) -> str:
        return f"make {self.principal.rsplit('/', 1)[-1]} cluster admin for the installation"


@dataclass(frozen=True)
class RevokeAdmin:
    """Disassociate AmazonEKSClusterAdminPolicy; that it is gone already is fine."""

    principal: str
    why: str

    def __str__(self) -> str:
        return f"revoke cluster admin from {self.principal.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class PutAddon:
    """Install an EKS add-on in its default version; that it is there already is fine."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"install the EKS add-on {self.name}"


@dataclass(frozen=True)
class PutPodIdentity:
    """Give a service account an IAM role; that it has one already is fine."""

    namespace: str
    service_account: str
    role_arn: str
    why: str

    def __str__(self) -> str:
        return f"give {self.namespace}/{self.service_account} the role {self.role_arn.rsplit('/', 1)[-1]}"


@dataclass(frozen=True)
class PutAlarm:
    """Create an alarm, or give the one of its name these settings."""

    alarm: Alarm
    why: str

    def __str__(self) -> str:
        return f"put alarm {self.alarm.name}"


@dataclass(frozen=True)
class DeleteAlarm:
    """That it is gone already is fine."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"delete alarm {self.name}"


@dataclass(frozen=True)
class Forget:
    """Delete what we keep about a cluster outside it."""

    why: str

    def __str__(self) -> str:
        return "forget the cluster"


@dataclass(frozen=True)
class Wake:
    """Put a hint on another capability's queue."""

    capability: str
    why: str
    after: timedelta = timedelta(0)

    def __str__(self) -> str:
        return f"wake {self.capability}"


Action = (
    Apply
    | Delete
    | Patch
    | SetClass
    | Scale
    | KeepSnapshot
    | ForgetSnapshot
    | PutSchedule
    | DeleteSchedule
    | Notify
    | ApplyChartCrds
    | UpgradeRelease
    | RollbackRelease
    | AllowAccessEntries
    | PutAccessEntry
    | DeleteAccessEntry
    | GrantAdmin
    | RevokeAdmin
    | PutAddon
    | PutPodIdentity
    | PutAlarm
    | DeleteAlarm
    | Forget
    | Wake
)


class Stage(StrEnum):
    """Where a cluster stands. Recorded by every pass, never read to choose the next action."""

    LEFT_ALONE = "left-alone"  # no policy asks for it
    WAITING = "waiting"  # for AWS: the cluster, its endpoint, access
    REFUSED = "refused"  # preflight found what must be mended by a person
    INSTALLING = "installing"
    VERIFYING = "verifying"
    ONBOARDED = "onboarded"
    TUNING = "tuning"  # N is being changed
    AWAKE = "awake"
    GOING_TO_SLEEP = "going-to-sleep"
    ASLEEP = "asleep"
    WAKING = "waking"
    FAILED = "failed"  # a deadline passed, or a policy is wrong
    GONE = "gone"
    PAUSED = "paused"


@dataclass(frozen=True)
class Finding:
    """Something a person should know: a stable code, what was found, and what to do about it."""

    code: str
    says: str
    remedy: str
    refuses: bool = False

    def __str__(self) -> str:
        return f"{self.says} {self.remedy}"


@dataclass(frozen=True)
class Outcome:
    """
    How a pass ended.

    Attributes:
        wait: When to look again; None leaves it to the sweep. The queue caps it at 900 s.
    """

    stage: Stage
    reason: str
    findings: tuple[Finding, ...] = ()
    wait: timedelta | None = None


@dataclass(frozen=True)
class Plan:
    """
    Actions in the order in which they must happen, and the outcome once they have.

    `details` are kept in the record, as JSON values: what led to each decision, one mapping a NodePool.
    """

    outcome: Outcome
    actions: tuple[Action, ...] = field(default=())
    details: tuple[Mapping[str, Any], ...] = ()
