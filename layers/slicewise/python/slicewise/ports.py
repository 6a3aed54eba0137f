"""
What reconciles need from outside. Gateways implement these, and the fakes that the tests trust.

Every call is idempotent and raises only our own errors (errors.py): Unauthorized, Refused, Conflict,
Unavailable. All names of clusters here are EKS names; keys of the store are cluster ARNs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import AccessEntry, Alarm, EksCluster, Release, Series
from slicewise.model.costs import CostDay
from slicewise.model.fargate import FargateProfile, IamRole, OidcProvider
from slicewise.model.interruptions import EventQueue, EventRule
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.model.usage import Page
from slicewise.planning.record import Record
from slicewise.policy.model import Policy
from slicewise.policy.off_hours import Override


class Kubernetes(Protocol):
    """One cluster's API server."""

    def version(self) -> str:
        """Such as "v1.35.4"."""

    def get(self, ref: Ref) -> Object | None:
        """The live object; None where it, or its kind, does not exist."""

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        only: Callable[[Object], bool] | None = None,
        trim: Callable[[Object], Object] | None = None,
        managed_fields: bool = False,
    ) -> tuple[Object, ...]:
        """
        All objects of a kind, in all namespaces unless one is named; empty where the kind is unknown.

        What `only` says no to is dropped page by page, and what `trim` leaves of an object is all that is
        kept of it, so that the whole is never in memory at once. `metadata.managedFields` (who wrote what)
        are kept of NodePools and NodeOverlays, and of others only with `managed_fields`.
        """

    def may_do_everything(self) -> bool:
        """Whether the API server would let us do anything at all: cluster admin is in effect."""

    def crds(self) -> frozenset[str]:
        """Names of all CustomResourceDefinitions; their schemas (megabytes) are not fetched."""

    def apply(self, item: Object) -> None:
        """Server-side apply by our field manager. Conflict where the kind or namespace is not there yet."""

    def patch(self, ref: Ref, operations: Sequence[Mapping[str, Any]], subresource: str = "") -> None:
        """
        A JSON Patch. Conflict where one of its tests fails, or the object is not there. Through a subresource
        such as "status", only what belongs to it is changed.
        """

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster has objects of this kind at all, by its discovery, which everybody may read."""

    def preferred_version(self, group: str, kind: str) -> str | None:
        """Of those in which objects of a kind are served, such as "v1beta1"; None where none is."""

    def has_scale(self, api_version: str, kind: str) -> bool:
        """Whether objects of this kind have a `scale` subresource."""

    def replicas(self, ref: Ref) -> Object | None:
        """
        What the `scale` subresource has: metadata without owners, and spec.replicas; None where it is
        deleted. The kind is that of the object.
        """

    def scale(self, ref: Ref, seen: int, replicas: int) -> None:
        """
        Through the `scale` subresource. Conflict where it does not have the replicas seen, or is deleted.
        """

    def delete(self, ref: Ref) -> None:
        """Already deleted is fine."""


class Helm(Protocol):
    """helm, for one cluster."""

    def revisions(self, name: str, namespace: str) -> tuple[Release, ...]:
        """A release's revisions that helm still keeps, newest first."""

    def upgrade(
        self,
        name: str,
        namespace: str,
        chart: str,
        version: str,
        values: Mapping[str, Any],
        *,
        take_ownership: bool = False,
    ) -> None:
        """Install or upgrade; returns when the API server has the objects, not when pods run."""

    def try_upgrade(
        self, name: str, namespace: str, chart: str, version: str, values: Mapping[str, Any]
    ) -> None:
        """As `upgrade`, with each object shown to the API server and none written. Raises what that would."""

    def rollback(self, name: str, namespace: str, revision: int) -> None: ...

    def uninstall(self, name: str, namespace: str) -> None:
        """Already deleted is fine."""

    def chart_crds(self, chart: str, version: str) -> tuple[Object, ...]:
        """The objects of the chart's crds/ folder; needs no cluster."""

    def chart_values(self, chart: str, version: str) -> Mapping[str, Any]:
        """The chart's own values, which apply where they are not overridden; needs no cluster."""


class Eks(Protocol):
    """
    The EKS API of one account and Region. Of a deleted cluster nothing is known and nothing is left to
    remove; what puts something into it is a Conflict.
    """

    def cluster_names(self) -> tuple[str, ...]: ...

    def describe(self, name: str) -> EksCluster | None:
        """None where there is no such cluster. Node groups are not read."""

    def bottlerocket_gpu_node_groups(self, name: str) -> tuple[str, ...]: ...

    def access_entry(self, name: str, principal: str) -> AccessEntry | None: ...

    def allow_access_entries(self, name: str) -> None: ...

    def put_access_entry(self, name: str, principal: str, groups: tuple[str, ...], type: str) -> None: ...

    def delete_access_entry(self, name: str, principal: str) -> None: ...

    def grant_admin(self, name: str, principal: str) -> None: ...

    def revoke_admin(self, name: str, principal: str) -> None: ...

    def addons(self, name: str) -> frozenset[str]: ...

    def pod_identity(self, name: str, namespace: str, service_account: str) -> str | None:
        """The role that a service account has by pod identity."""

    def put_addon(self, name: str, addon: str) -> None: ...

    def put_pod_identity(self, name: str, namespace: str, service_account: str, role_arn: str) -> None: ...

    def fargate_profiles(self, name: str) -> tuple[FargateProfile, ...]:
        """All of the cluster, those of others included."""

    def create_fargate_profile(self, name: str, profile: FargateProfile) -> None:
        """
        Returns while it is CREATING. One of that name is fine; while another one of the cluster changes, a
        Conflict.
        """

    def delete_fargate_profile(self, name: str, profile: str) -> None:
        """With the pods that run on it. Returns while it is DELETING; already deleted is fine."""

    def tag(self, name: str, key: str, value: str) -> None:
        """Of the cluster, in place of the value that is there. None of our roles may: a person's right."""


class Iam(Protocol):
    """IAM of one account: roles by their names, which no two share, and OIDC providers by their ARNs."""

    def role(self, name: str) -> IamRole | None:
        """Its policies sorted."""

    def create_role(self, role: IamRole) -> None:
        """But for its policies. Conflict where one of that name is there, in whatever path."""

    def attach_policy(self, name: str, policy: str) -> None:
        """To a role, by the policy's ARN; attached already is fine. Conflict where there is no such role."""

    def delete_role(self, name: str) -> None:
        """Its managed policies are detached first; already deleted is fine."""

    def oidc_provider(self, arn: str) -> OidcProvider | None: ...

    def create_oidc_provider(self, issuer: str, audience: str, tags: Mapping[str, str]) -> None:
        """Of an issuer's URL. Conflict where it is there."""

    def delete_oidc_provider(self, arn: str) -> None:
        """Already deleted is fine."""

    def roles_trusting(self, provider: str) -> tuple[str, ...]:
        """Names of all roles whose trust policies name a provider, by its ARN; sorted."""


class Subnets(Protocol):
    """Subnets of one account and Region."""

    def public(self, vpc: str, subnets: Iterable[str]) -> frozenset[str]:
        """Of these, which have a route to an internet gateway, of their own or by the VPC's main table."""


class EventQueues(Protocol):
    """Standard SQS queues of one account and Region, by their names."""

    def queue(self, name: str) -> EventQueue | None: ...

    def create_queue(self, queue: EventQueue) -> None:
        """
        One of that name with the same attributes is fine. Conflict where they differ, or where one of that
        name was deleted less than a minute ago.
        """

    def set_queue(self, queue: EventQueue) -> None:
        """Tags that it does not name stay. Conflict where there is no such queue."""

    def delete_queue(self, name: str) -> None:
        """With the messages in it; already deleted is fine."""


class EventRules(Protocol):
    """EventBridge rules on the default bus of one account and Region, by their names."""

    def rule(self, name: str) -> EventRule | None: ...

    def put_rule(self, rule: EventRule) -> None:
        """
        Its pattern and state, in place of what is there; the targets of one that is there stay, and its tags.
        """

    def put_target(self, name: str, target: str) -> None:
        """To a rule, by the target's ARN. Conflict where there is no such rule."""

    def delete_rule(self, name: str) -> None:
        """With its targets; already deleted is fine."""


class NoEventQueues:
    """Implements EventQueues where nothing asks for it: nothing is there, and nothing is made."""

    def queue(self, name: str) -> EventQueue | None:
        return None

    def create_queue(self, queue: EventQueue) -> None:
        pass

    def set_queue(self, queue: EventQueue) -> None:
        pass

    def delete_queue(self, name: str) -> None:
        pass


class NoEventRules:
    """Implements EventRules likewise."""

    def rule(self, name: str) -> EventRule | None:
        return None

    def put_rule(self, rule: EventRule) -> None:
        pass

    def put_target(self, name: str, target: str) -> None:
        pass

    def delete_rule(self, name: str) -> None:
        pass


class NoIam:
    """Implements Iam where nothing asks for it: nothing is there, and nothing is made."""

    def role(self, name: str) -> IamRole | None:
        return None

    def create_role(self, role: IamRole) -> None:
        pass

    def attach_policy(self, name: str, policy: str) -> None:
        pass

    def delete_role(self, name: str) -> None:
        pass

    def oidc_provider(self, arn: str) -> OidcProvider | None:
        return None

    def create_oidc_provider(self, issuer: str, audience: str, tags: Mapping[str, str]) -> None:
        pass

    def delete_oidc_provider(self, arn: str) -> None:
        pass

    def roles_trusting(self, provider: str) -> tuple[str, ...]:
        return ()


class NoSubnets:
    """Implements Subnets likewise."""

    def public(self, vpc: str, subnets: Iterable[str]) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Lease:
    """
    The right to work on one cluster until `until`. `token` grows with every holder: the fence.

    Attributes:
        capability: Of the reconcile that has it; empty for one that is not to be seen among `begun`.
    """

    cluster: str
    holder: str
    token: int
    until: datetime
    capability: str = ""


@dataclass(frozen=True)
class Begun:
    """
    A reconcile that has begun and not ended: it is at work, or was stopped by time or memory.

    Attributes:
        until: Later than this it is not at work any more.
        holder: Who it was: a function's log stream.
    """

    capability: str
    at: datetime
    until: datetime
    holder: str


class Store(Protocol):
    """What we keep about clusters outside them."""

    def acquire(
        self, cluster: str, holder: str, now: datetime, length: timedelta, capability: str = ""
    ) -> Lease:
        """
        A trigger of this capability that was pending for it need not be any longer. Until it is released, the
        reconcile is among `begun`.

        The token is greater than all before, also where the lease was lost since (tokens begin at the
        milliseconds since 1970).

        Raises LeaseHeld while another holder's lease has not expired.
        """

    def begun(self, cluster: str) -> tuple[Begun, ...]:
        """The newest reconcile of each capability that has begun and not ended, by capability."""

    def waiting(self, cluster: str, capability: str) -> datetime | None:
        """
        When the trigger comes back that waits on this capability's queue for the lease, by the note of it;
        None where none is noted, or the note cannot be read. The trigger itself may have been lost since.
        """

    def note_waiting(self, cluster: str, capability: str, comes: datetime) -> None:
        """In place of what was noted before. Does nothing where the cluster never had a lease."""

    def renew(self, lease: Lease, now: datetime, length: timedelta) -> Lease:
        """Raises LeaseHeld where another reconcile has taken the lease since."""

    def release(self, lease: Lease) -> None:
        """Does nothing where the lease is no longer ours."""

    def paused(self, cluster: str) -> str | None:
        """Who or what paused this cluster or the whole fleet, for people; None where it is not paused."""

    def keeps_asleep(self, cluster: str) -> bool:
        """Whether a pause asks that what sleeps stays asleep; the morning comes otherwise, paused or not."""

    def pause(self, cluster: str | None, reason: str, keep_asleep: bool = False) -> None:
        """Pause one cluster, or the fleet (None)."""

    def resume(self, cluster: str | None) -> None: ...

    def record(self, cluster: str, capability: str) -> Record | None: ...

    def save(self, record: Record, lease: Lease, *, history: bool) -> None:
        """
        Keep the record in place of the one before; with `history`, also as a line that stays for 90 days.

        Each of its details may be of any length; all else together must fit into one item, 400 KB, or it is
        Refused.

        Raises LeaseHeld where a reconcile with a later lease has written since.
        """

    def delete_state(self, cluster: str) -> None:
        """
        Delete all that is stored about a cluster, what a SleepStore has included, but for its lease and what
        a CostStore has, which expire: a report of last quarter includes clusters that are deleted now.
        """

    def records(self) -> tuple[Record, ...]:
        """
        The newest record of every cluster and capability, without details; also of a capability that this
        release does not know.

        There is one also where its item cannot be read, as far as it goes: see Record.unreadable.
        """

    def note_sweep(self, at: datetime, clusters: int) -> None:
        """The fleet was swept, and EKS listed so many clusters."""

    def fleet_size(self) -> int:
        """How many clusters EKS listed at the newest sweep; 0 where none is noted."""

    def sweeps(self) -> tuple[datetime, ...]:
        """When the fleet was swept, oldest first; the newest sweeps.KEPT."""


class SleepStore(Protocol):
    """What we keep about clusters that sleep off-hours."""

    def snapshots(self, cluster: str) -> tuple[Snapshot, ...]:
        """Of an item that cannot be read, one that is not `intact`."""

    def keep(self, cluster: str, snapshot: Snapshot) -> None:
        """Conflict unless what is stored is the version just before, or nothing for version 1."""

    def delete_snapshot(self, cluster: str, snapshot: Snapshot) -> None:
        """Conflict where another version is stored; none at all is fine."""

    def override(self, cluster: str) -> Override | None:
        """A person's last one, also where that has ended; see Override.unreadable."""

    def put_override(self, cluster: str, override: Override) -> None: ...

    def delete_override(self, cluster: str) -> None: ...

    def opening(self, cluster: str) -> Opening | None:
        """
        When it must be awake again; None where nothing sleeps. Of what cannot be read, `due` is UNKNOWN_TIME,
        and `opens` is `due`.
        """

    def put_opening(self, cluster: str, opening: Opening) -> None:
        """In place of the one before."""

    def delete_opening(self, cluster: str) -> None:
        """Already deleted is fine."""

    def openings(self, until: datetime) -> Mapping[str, Opening]:
        """
        By cluster, every opening that is due at `until` or before. One query; its answer may be a second old.
        """


class Schedules(Protocol):
    """One a cluster, by its EKS name: off-hours is asked for a reconcile at a moment that is known ahead."""

    def next(self, cluster: str) -> datetime | None:
        """When it is due, also where that is past; None where there is none."""

    def put(self, cluster: str, at: datetime, message: str) -> None:
        """In place of the one before. It is sent to off-hours' queue once."""

    def delete(self, cluster: str) -> None:
        """Already deleted is fine."""


class Notices(Protocol):
    """The operators' topic."""

    def publish(self, subject: str, text: str) -> None:
        """
        Both are cut to what SNS takes: subjects to a line of 99 characters, and then the whole is above the
        text; texts to 256 KiB. A long text is no reason for a reconcile to fail.
        """


class Queues(Protocol):
    def send(self, capability: str, message: str, delay: timedelta = timedelta(0)) -> None:
        """Delays beyond SQS's 900 s are cut to that."""

    def send_all(self, capability: str, messages: Iterable[tuple[str, timedelta]]) -> None: ...

    def retry_in(self, capability: str, receipt: str, delay: timedelta) -> None:
        """Bring a message that we failed to handle back after `delay`, not after its visibility timeout."""


class Policies(Protocol):
    def text(self, name: str) -> str | None:
        """
        The policy's text as its parameter has it (policy/checked.py, or YAML), or of "holidays/<name>" a
        file of holidays; None where there is none of that name.
        """


class Metrics(Protocol):
    """Where a cluster's GPUs are measured."""

    def read(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> Iterable[Series]:
        """
        What is known of the cluster's GPUs, a point each `step` that has data; empty where nothing is. Series
        arrive while they are taken, since all of a large cluster do not fit into memory: errors come then,
        too. One may come in parts, each with points of another time.
        Steps begin on the clock, the first is the one in which `start` lies. The one that is in progress at
        `end` CloudWatch returns with what it has so far, a Prometheus not at all.

        Series keep the source's names and units, and the labels that distinguish GPUs and pods. Points that a
        source reports as missing are in `Series.incomplete`, also by a series that has no points.
        """


class UsageStore(Protocol):
    """What was measured of clusters, as pages of bytes: lost, it costs history and nothing else."""

    def pages(self, cluster: str, source: str, since: int) -> tuple[Page, ...]:
        """A source's, of all days that begin at `since`, in seconds, or later, and of no day: 35 days."""
        ...

    def keep(self, cluster: str, pages: Iterable[Page], now: datetime) -> None:
        """
        One after another, each in place of that of the same day, number and number of pages.

        Raises:
            Conflict: One that goes on longer is stored, and does not end after `now`.
        """
        ...


class CostStore(Protocol):
    """What GPUs of clusters cost, a day each, for 400 days: lost, it costs history and nothing else."""

    def clusters(self) -> tuple[str, ...]:
        """ARNs of those that have a day, in order; also of deleted ones."""
        ...

    def days(self, cluster: str, first: int, last: int) -> tuple[CostDay, ...]:
        """Those that begin at `first` or later, and at `last` or before, in seconds; the oldest first."""
        ...

    def newest(self, cluster: str, now: datetime) -> CostDay | None:
        """Of those that begin at `now` or before; None where there is none that this release can read."""
        ...

    def keep(self, cluster: str, day: CostDay, now: datetime) -> None:
        """
        In place of what is stored of that day.

        Raises:
            Conflict: What is stored is counted further, and not beyond `now`; or a later release wrote it.
        """
        ...


class NoCosts:
    """Where nothing is counted, nothing is stored."""

    def clusters(self) -> tuple[str, ...]:
        return ()

    def days(self, cluster: str, first: int, last: int) -> tuple[CostDay, ...]:
        return ()

    def newest(self, cluster: str, now: datetime) -> CostDay | None:
        return None

    def keep(self, cluster: str, day: CostDay, now: datetime) -> None:
        pass


class NoUsage:
    """Where nothing is measured, nothing is stored."""

    def pages(self, cluster: str, source: str, since: int) -> tuple[Page, ...]:
        return ()

    def keep(self, cluster: str, pages: Iterable[Page], now: datetime) -> None:
        pass


class NoMetrics:
    """Implements Metrics for a policy that names no source: nothing was measured."""

    def read(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> tuple[Series, ...]:
        return ()


class Alarms(Protocol):
    """CloudWatch's alarms of one account and Region."""

    def named(self, prefix: str) -> tuple[Alarm, ...]:
        """Those whose names begin so, by name; their tags are not read."""

    def put(self, alarm: Alarm) -> None:
        """Create it, or replace the settings of the one that is there; that one's state stays."""

    def delete(self, name: str) -> None:
        """Already deleted is fine."""


class NoAlarms:
    """Implements Alarms where there are none to be had."""

    def named(self, prefix: str) -> tuple[Alarm, ...]:
        return ()

    def put(self, alarm: Alarm) -> None:
        return

    def delete(self, name: str) -> None:
        return


@dataclass(frozen=True)
class Ports:
    """
    All of the above, as one reconcile needs them. Two callables connect to a cluster, `metrics` to the source
    that a policy names.
    """

    eks: Eks
    store: Store
    queues: Queues
    policies: Policies
    kubernetes: Callable[[EksCluster], Kubernetes]
    helm: Callable[[EksCluster], Helm]
    metrics: Callable[[Policy], Metrics] = lambda policy: NoMetrics()
    usage: UsageStore = field(default_factory=NoUsage, kw_only=True)
    costs: CostStore = field(default_factory=NoCosts, kw_only=True)
    alarms: Alarms = field(default_factory=NoAlarms)
    sleep: SleepStore = field(kw_only=True)
    schedules: Schedules = field(kw_only=True)
    notices: Notices = field(kw_only=True)
    iam: Iam = field(default_factory=NoIam, kw_only=True)
    subnets: Subnets = field(default_factory=NoSubnets, kw_only=True)
    event_queues: EventQueues = field(default_factory=NoEventQueues, kw_only=True)
    event_rules: EventRules = field(default_factory=NoEventRules, kw_only=True)
