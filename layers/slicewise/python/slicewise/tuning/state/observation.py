"""What a tuning pass observes, as values."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from slicewise.errors import InvalidPolicy
from slicewise.kube.ref import Object
from slicewise.model.cluster import Alarm, ClusterContents, EksCluster, Series
from slicewise.planning.retries import Retry
from slicewise.policy.model import Policy
from slicewise.tuning.state import whole_gpus
from slicewise.tuning.state.pool_state import by_node, by_node_pool
from slicewise.tuning.usage.history import History
from slicewise.tuning.usage.pool_usage import Measured, measured, read
from slicewise.tuning.usage.readings import Readings

_NEVER = datetime.fromtimestamp(0, UTC)


def measured_by(policy: Policy) -> str:
    """Of a source that is named anew, another: it begins with the past that it has."""
    where = f"-{zlib.crc32(policy.metrics.endpoint.encode()):08x}" if policy.metrics.endpoint else ""
    return policy.metrics.source.value + where


@dataclass(frozen=True)
class TuningWorld:
    """
    Attributes:
        cluster: None where EKS knows no such cluster.
        policy_name: None where no policy asks for the cluster.
        policy_text: The YAML that `policy` was read from.
        offboards: Everything of ours is to leave the cluster; `policy` is then the one that was in force.
        was_tuned: A pass has been recorded before.
        contents: None where the cluster is not looked into: it is paused, not active, or nobody's.
        found: What was measured: all that is new, or, where `whole` is false, of the time since the oldest
            change of N began. Then no NodePool is decided on that is not being changed.
        series: The same as its source said it, where `found` is None.
        history: What the passes before have kept of what was measured; None where `whole` is false.
        series_error: Why nothing could be read of the source of metrics.
        alarms: All that are named after the cluster; empty where `alarms_error` says why they are not known.
        known: Details of the record before, for NodePools that are not decided on.
        failed: Writes that failed in passes before, and when each is tried again.
        now: When it was looked at, as far as metrics are concerned.
    """

    cluster: EksCluster | None
    policy_name: str | None = None
    policy: Policy | None = None
    policy_text: str = ""
    policy_error: InvalidPolicy | None = None
    paused: str | None = None
    offboards: bool = False
    was_tuned: bool = False
    contents: ClusterContents | None = None
    series: tuple[Series, ...] = ()
    found: Readings | None = None
    whole: bool = True
    history: History | None = None
    series_error: str = ""
    alarms: tuple[Alarm, ...] = ()
    alarms_error: str = ""
    known: tuple[Mapping[str, Any], ...] = ()
    failed: tuple[Retry, ...] = ()
    now: datetime = _NEVER

    @cached_property
    def readings(self) -> Readings:
        """The series in one shape, with the last day of each GPU where that is kept."""
        return self.measured.readings if self.measured else self._read

    @cached_property
    def measured(self) -> Measured | None:
        """What was kept and what is new; None where nothing could be read, or not the whole."""
        if self.history is None or self.series_error:
            return None
        assert self.contents
        return measured(self.history, self._read, self.contents, self.now)

    @cached_property
    def _read(self) -> Readings:
        """Made once, since a week of a large cluster takes seconds."""
        if self.found is not None:
            return self.found
        assert self.policy and self.contents
        return read(self.series, self.policy.metrics.source.value, self.contents)

    def contents_of(self, node_pool: str) -> ClusterContents:
        """With no nodes and pods but the NodePool's: who looks at one does not go through those of all."""
        assert self.contents
        nodes = tuple(self._nodes_of.get(node_pool, ()))
        pods = tuple(pod for node in nodes for pod in self.pods_on.get(node["metadata"]["name"], ()))
        return replace(self.contents, nodes=nodes, pods=pods)

    @cached_property
    def of_several_gpus(self) -> ClusterContents:
        """With no pods but those that ask for more than one GPU, which are few."""
        assert self.contents
        pods, failed = (
            tuple(pod for pod in found if whole_gpus.gpus_of(pod["spec"]) > 1)
            for found in (self.contents.pods, self.contents.failed_pods)
        )
        return replace(self.contents, pods=pods, failed_pods=failed)

    @cached_property
    def pods_on(self) -> Mapping[str, Sequence[Object]]:
        """Pods by the name of their node, those without one by ""."""
        assert self.contents
        return by_node(self.contents.pods)

    @cached_property
    def _nodes_of(self) -> Mapping[str, Sequence[Object]]:
        assert self.contents
        return by_node_pool(self.contents.nodes)
