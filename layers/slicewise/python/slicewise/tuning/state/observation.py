"""What a reconcile of tuning observes, as values: one type for each state in which it can find a cluster."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from slicewise.errors import InvalidPolicy
from slicewise.kube.ref import Object
from slicewise.model.cluster import Alarm, ClusterContents, EksCluster
from slicewise.model.costs import CostDay
from slicewise.planning.retries import Retry
from slicewise.policy.model import Policy
from slicewise.tuning.state import whole_gpus
from slicewise.tuning.state.pool_state import by_node, by_node_pool
from slicewise.tuning.usage import pool_usage
from slicewise.tuning.usage.history import History
from slicewise.tuning.usage.pool_usage import read
from slicewise.tuning.usage.readings import Readings

Details = tuple[Mapping[str, Any], ...]


def measured_by(policy: Policy) -> str:
    """
    The name under which measurements are saved. A source with another name or endpoint has another one: it
    begins with the past that it has.
    """
    where = f"-{zlib.crc32(policy.metrics.endpoint.encode()):08x}" if policy.metrics.endpoint else ""
    return policy.metrics.source.value + where


# What was measured


@dataclass(frozen=True)
class Complete:
    """
    All NodePools can be decided on.

    Attributes:
        readings: All that is new since the previous reconcile.
        history: What the previous reconciles have saved.
        at: When it was read.
    """

    whole: ClassVar[bool] = True

    readings: Readings
    history: History
    at: datetime


@dataclass(frozen=True)
class Partial:
    """Of the time since the oldest change of N began: no NodePool is decided on but those that change."""

    whole: ClassVar[bool] = False

    readings: Readings


@dataclass(frozen=True)
class MetricsUnreadable:
    """
    Attributes:
        why: What the source of metrics answered.
        whole: Whether all was asked for: with nothing to go by, N of every NodePool stays.
    """

    why: str
    whole: bool = True


@dataclass(frozen=True)
class NotRead:
    """
    The policy names no source of metrics; or, where `whole` is false, N of some NodePool is lowered, which
    rests on no measurement, and the others are not due yet.
    """

    whole: bool = True


Measurement = Complete | Partial | MetricsUnreadable | NotRead


@dataclass(frozen=True)
class CountedCosts:
    """
    What was counted of what the cluster's GPUs cost, as this reconcile goes on from it.

    Attributes:
        at: When the cluster was read.
        newest: None where nothing is counted yet.
        nights: Details of the off-hours record about sleeps.
    """

    at: datetime
    newest: CostDay | None = None
    nights: Details = ()


# What a reconcile finds


@dataclass(frozen=True)
class Deleted:
    """
    EKS knows no such cluster.

    Attributes:
        alarms: All that are still named after it.
    """

    alarms: tuple[Alarm, ...] = ()


@dataclass(frozen=True)
class Paused:
    """
    Attributes:
        why: Who or what paused.
        recorded: Details of the previous record.
    """

    cluster: EksCluster
    why: str
    policy_name: str | None = None
    recorded: Details = ()


@dataclass(frozen=True)
class Offboarding:
    """
    Everything of ours is to leave the cluster.

    Attributes:
        policy: The one that was in force, by which adopted NodePools share their GPUs; None where it is not
            known any more, or cannot be read.
        contents: None where the cluster could not be read.
        was_tuned: A reconcile has been recorded before.
    """

    cluster: EksCluster
    policy_name: str | None
    policy: Policy | None
    alarms: tuple[Alarm, ...]
    was_tuned: bool
    policy_text: str = ""
    contents: ClusterContents | None = None


@dataclass(frozen=True)
class PolicyInvalid:
    """
    Attributes:
        contents: For what an interrupted rollout may still hold; None where the cluster could not be read.
        recorded: Details of the previous record.
    """

    cluster: EksCluster
    policy_name: str
    error: InvalidPolicy
    contents: ClusterContents | None = None
    recorded: Details = ()


@dataclass(frozen=True)
class Unmanaged:
    """
    No policy asks for the cluster.

    Attributes:
        contents: For what an interrupted rollout may still hold; None where nothing can be, or the cluster
            could not be read.
    """

    cluster: EksCluster
    alarms: tuple[Alarm, ...] = ()
    contents: ClusterContents | None = None


@dataclass(frozen=True)
class NotReady:
    """
    The cluster does not answer yet, or no longer.

    Attributes:
        recorded: Details of the previous record.
    """

    cluster: EksCluster
    policy_name: str
    policy: Policy
    policy_text: str = ""
    alarms: tuple[Alarm, ...] = ()
    recorded: Details = ()


@dataclass(frozen=True)
class Observed:
    """
    A policy asks for the cluster, and it was read.

    Attributes:
        policy_text: The YAML that `policy` was read from.
        alarms: All that are named after the cluster; none where `alarms_error` says why they are not known.
        recorded: Details of the previous record, for NodePools that are not decided on.
        failed: Writes that failed in previous reconciles, and when each is tried again.
        week_costs: The days of the last week, where a notice of them is due; else none.
        costs: None where not the whole was read, or `costs_error` says why they are not known.
    """

    cluster: EksCluster
    policy_name: str
    policy: Policy
    contents: ClusterContents
    measurement: Measurement = NotRead()
    policy_text: str = ""
    alarms: tuple[Alarm, ...] = ()
    alarms_error: str = ""
    recorded: Details = ()
    failed: tuple[Retry, ...] = ()
    costs: CountedCosts | None = None
    costs_error: str = ""
    week_costs: tuple[CostDay, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether NodePools are decided on whose N is not being changed."""
        return self.measurement.whole

    @property
    def metrics_error(self) -> str:
        return self.measurement.why if isinstance(self.measurement, MetricsUnreadable) else ""

    @cached_property
    def readings(self) -> Readings:
        """With the last day of each GPU where that is saved. Made once, since that may take seconds."""
        if self.measured:
            return self.measured.readings
        if isinstance(self.measurement, Partial):
            return self.measurement.readings
        return read((), self.policy.metrics.source.value, self.contents)

    @cached_property
    def measured(self) -> pool_usage.Measured | None:
        """What was saved and what is new; None where nothing could be read, or not the whole."""
        match self.measurement:
            case Complete(found, history, at):
                return pool_usage.measured(history, found, self.contents, at)
            case _:
                return None

    def recorded_of(self, node_pool: str) -> dict[str, Any]:
        """The decision on it as the record before has it, without what it reported of a change."""
        found = next((one for one in self.recorded if one.get("node_pool") == node_pool), {})
        of_a_change = ("rollout", "since", "failed", "canary")
        return {key: value for key, value in found.items() if key not in of_a_change}

    def contents_of(self, node_pool: str) -> ClusterContents:
        """With no nodes and pods but the NodePool's: to decide on one, those of all are not gone through."""
        nodes = tuple(self._nodes_of.get(node_pool, ()))
        pods = tuple(pod for node in nodes for pod in self.pods_on.get(node["metadata"]["name"], ()))
        return replace(self.contents, nodes=nodes, pods=pods)

    @cached_property
    def of_several_gpus(self) -> ClusterContents:
        """With no pods but those that ask for more than one GPU, which are few."""
        pods, failed = (
            tuple(pod for pod in found if whole_gpus.gpus_of(pod["spec"]) > 1)
            for found in (self.contents.pods, self.contents.failed_pods)
        )
        return replace(self.contents, pods=pods, failed_pods=failed)

    @cached_property
    def pods_on(self) -> Mapping[str, Sequence[Object]]:
        """Pods by the name of their node, those without one by ""."""
        return by_node(self.contents.pods)

    @cached_property
    def _nodes_of(self) -> Mapping[str, Sequence[Object]]:
        return by_node_pool(self.contents.nodes)


Observation = Deleted | Paused | Offboarding | PolicyInvalid | Unmanaged | NotReady | Observed


def cluster_of(found: Observation) -> EksCluster | None:
    """None where EKS knows no such cluster."""
    return None if isinstance(found, Deleted) else found.cluster
