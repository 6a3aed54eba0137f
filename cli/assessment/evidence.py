"""
What was measured of a cluster's GPUs, by the readers of tuning. Pure.

They find the pods of a NodePool by Karpenter's labels. Here the nodes of one model of GPU are taken for a
NodePool of that name, no matter what made them: so any cluster is read as our own are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents, Series
from slicewise.planning.outcome import Finding
from slicewise.pools import layout
from slicewise.tuning.usage.history import NOTHING
from slicewise.tuning.usage.pool_usage import PoolUse, measured, pool_use, read
from slicewise.tuning.usage.readings import Readings

from cli.assessment.inventory import GpuNode

NO_SOURCE = "none"


@dataclass(frozen=True)
class Evidence:
    """
    Attributes:
        source: As a policy names it; "none" where nothing was read.
        endpoint: Of a Prometheus, to be written into the policy.
        uses: What the pods of each model of GPU use, by `GpuNode.group`.
        readings: Of the whole window, by node and GPU.
        trouble: Why nothing could be read of a source that was named; "" where it could.
    """

    source: str = NO_SOURCE
    endpoint: str = ""
    uses: Mapping[str, PoolUse] = field(default_factory=lambda: MappingProxyType({}))
    readings: Readings = field(default_factory=Readings)
    trouble: str = ""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Each once, though every model of GPU has it."""
        found = {problem.message: problem for use in self.uses.values() for problem in use.problems}
        return tuple(found.values())


NOTHING_MEASURED = Evidence()


def as_pools(nodes: Sequence[GpuNode], objects: Iterable[Object], pods: Iterable[Object]) -> ClusterContents:
    """The cluster as the readers of metrics take it: each model of GPU a NodePool."""
    live = {item["metadata"]["name"]: item for item in objects}
    on = {node.name for node in nodes}
    return ClusterContents(
        version="",
        nodes=tuple(_of_a_pool(live[node.name], node) for node in nodes),
        pods=tuple(pod for pod in pods if (pod.get("spec") or {}).get("nodeName", "") in on),
    )


def _of_a_pool(item: Object, node: GpuNode) -> Object:
    model = node.model
    labels = {
        **(item["metadata"].get("labels") or {}),
        layout.NODE_POOL_LABEL: node.group,
        layout.GPU_NAME_LABEL: model.karpenter_name if model else node.product,
        **({layout.GPU_MEMORY_LABEL: str(model.memory_mib)} if model else {}),
    }
    return {**item, "metadata": {**item["metadata"], "labels": labels}}


def evidence(
    series: Iterable[Series],
    source: str,
    contents: ClusterContents,
    groups: Iterable[str],
    now: datetime,
    endpoint: str = "",
) -> Evidence:
    """
    Args:
        series: Of the last seven days, as the gateway of that source gives them.
        contents: Of `as_pools`.
        groups: Models of GPU, as the nodes are grouped.
    """
    readings = read(series, source, contents, with_gone=True)
    known = measured(NOTHING, readings, contents, now)
    uses = {one: pool_use(known.readings, source, contents, now, one, known.history) for one in groups}
    return Evidence(source, endpoint, uses, readings)
