"""What a reconcile of off-hours sees of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any

from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import EksCluster
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.kinds import BUILT_IN, Registry
from slicewise.offhours.originals import Originals
from slicewise.offhours.queues import NO_QUEUES, Queues
from slicewise.offhours.sleep_fields import opens
from slicewise.offhours.sleep_times import Times
from slicewise.offhours.targets import scaled_by_keda, unread_of
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Pool
from slicewise.policy.off_hours import OffHours


@dataclass(frozen=True)
class Found:
    """
    Attributes:
        pods: Unfinished ones that are in scope, or on a node of ours.
        owners: By uid, what is above them; see workloads.workloads.
        objects: By name: what can sleep beside workloads (CronJobs, KEDA's), in scope; and every object that
            has a snapshot.
        node_pools, nodes: Ours.
        refused: By NodePool, when EC2 last refused Karpenter a machine for want of capacity.
        unread: What could not be read, with the answer's words: an object, or by a Ref without a name a kind.
        ungranted: Kinds among `unread` whose rights come with the kind, and have not come yet.
        originals: What annotations of these objects say that they were, and the table does not.
        targets: By name, what ScaledObjects scale that are to resume at a count; not those that are deleted.
        queues: Kueue's, and what waits in them; empty where the cluster has no Kueue.
        kinds: By which these were read: ours, and the policy's own that the cluster serves.
        suspending: Whether jobs may be suspended: then kinds of jobs were read that otherwise are not.
    """

    pods: tuple[Object, ...] = ()
    owners: Mapping[str, Object] = field(default_factory=dict)
    objects: Mapping[Ref, Object] = field(default_factory=dict)
    node_pools: tuple[Object, ...] = ()
    nodes: tuple[Object, ...] = ()
    refused: Mapping[str, datetime] = field(default_factory=dict)
    unread: Mapping[Ref, str] = field(default_factory=dict)
    ungranted: frozenset[Ref] = frozenset()
    originals: Originals = field(default_factory=Originals)
    targets: Mapping[Ref, Object] = field(default_factory=dict)
    queues: Queues = NO_QUEUES
    kinds: Registry = BUILT_IN
    suspending: bool = False

    @cached_property
    def scaled_by_keda(self) -> Mapping[Ref, Ref]:
        """What KEDA scales, by name, and the ScaledObject that says so."""
        return scaled_by_keda(self.objects.values())

    def why_unread(self, ref: Ref) -> str:
        """Empty where it was read, or is known to be deleted."""
        return unread_of(ref, self.unread)


@dataclass(frozen=True)
class Observation:
    """
    Attributes:
        cluster: None where EKS knows no such cluster.
        off_hours: None where no policy applies, or it never sleeps.
        times: Of off_hours, with a person's override.
        found: None where nothing was read: there is nothing to do.
        lead: How long before the end of a sleep it is ended, so that pods run when people come.
        share: How much earlier this cluster begins, so that not all of a fleet begin at once.
        enforced: Whether the policy's mode lets us put to sleep. What sleeps is restored in every mode.
        paused: Why a person paused the cluster; what sleeps is restored then as well, unless keep_asleep.
        findings: What was wrong with what was read.
        known: Details of the record before: what the last sleep saved.
        refused: Why we may not read the cluster, so far: onboarding may be about to let us.
        unreachable: Why reading the cluster failed, where the next try must come soon.
        waiting_since: Since when the cluster has been pending for the previous reconciles; None where it was
            not for the last.
        pools: Of the policy; empty where none can be read.
        failing: Parts of the plan, such as objects, that failed in the previous reconciles
            (planning/retries.py).
        left: Those of them whose sleep was refused permanently: they stay awake.
        schedule: When the cluster's schedule will ask for a reconcile; None where it has none.
        opening: What is recorded of when it must be awake; None where nothing is.
        snapshots: Those of the table, and once the cluster was read, those of annotations that the table
            lacks.
        kinds: As of `found`; before the cluster is read, in versions that may be others.
    """

    cluster: EksCluster | None
    off_hours: OffHours | None = None
    times: Times | None = None
    paused: str | None = None
    found: Found | None = None
    snapshots: tuple[Snapshot, ...] = ()
    lead: timedelta = timedelta(minutes=10)
    share: timedelta = timedelta(0)
    enforced: bool = True
    keep_asleep: bool = False
    findings: tuple[Finding, ...] = ()
    schedule: datetime | None = None
    opening: Opening | None = None
    policy_name: str = ""
    known: tuple[Mapping[str, Any], ...] = ()
    refused: str = ""
    unreachable: str = ""
    waiting_since: datetime | None = None
    pools: tuple[Pool, ...] = ()
    failing: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    kinds: Registry = BUILT_IN

    @property
    def cluster_name(self) -> str:
        """Empty where EKS knows no such cluster."""
        return self.cluster.name if self.cluster else ""

    @property
    def zone(self) -> tzinfo:
        """The policy's; UTC where none applies."""
        return self.times.calendar.zone if self.times else UTC

    @property
    def may_sleep(self) -> bool:
        return self.enforced and not self.paused

    @property
    def slept(self) -> tuple[Snapshot, ...]:
        return tuple(snapshot for snapshot in self.snapshots if not opens(snapshot))

    @property
    def opened(self) -> tuple[Snapshot, ...]:
        return tuple(snapshot for snapshot in self.snapshots if opens(snapshot))
