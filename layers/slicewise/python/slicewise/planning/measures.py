"""
What a reconcile reports as CloudWatch metrics, where a deployment wants them: gauges of NodePools, and counts
of a cluster. Pure; reconcile/metric_log.py writes them.

Each combination of name and dimensions is a custom metric that CloudWatch charges for, so there are few
(docs/dashboards.md has what they cost).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from slicewise.model.measures import Measure, PoolMeasures
from slicewise.planning.outcome import Finding, Stage

# Of changes that are only reported, see Record.changed.
_WOULD = "would "


def measures(
    cluster: str,
    capability: str,
    stage: Stage | str,
    changed: Iterable[str],
    findings: Iterable[Finding],
    pools: Iterable[PoolMeasures],
) -> tuple[Measure, ...]:
    """
    Those of one reconcile.

    Args:
        cluster: Its name.
        changed: As in a Record, in full.
    """
    if stage in (Stage.UNMANAGED, Stage.DELETED):
        return ()
    return (*_of_cluster(cluster, capability, changed, findings), *_of_pools(cluster, pools))


def _of_cluster(
    cluster: str, capability: str, changed: Iterable[str], findings: Iterable[Finding]
) -> Iterator[Measure]:
    of_cluster, found = (("Cluster", cluster),), tuple(findings)
    of_capability = (*of_cluster, ("Capability", capability))
    blocking = sum(one.blocking for one in found)
    done = sum(not one.startswith(_WOULD) for one in changed)
    yield Measure("Changes", "Count", done, of_cluster)
    yield Measure("Findings", "Count", len(found) - blocking, of_capability)
    yield Measure("BlockingFindings", "Count", blocking, of_capability)


def _of_pools(cluster: str, pools: Iterable[PoolMeasures]) -> Iterator[Measure]:
    for pool in pools:
        of_pool = (("Cluster", cluster), ("NodePool", pool.node_pool))
        yield Measure("SlicesPerGPU", "Count", pool.n, of_pool)
        yield Measure("SlicesInUse", "Count", pool.slices_in_use, of_pool)
        yield Measure("GPUs", "Count", pool.gpus, of_pool)
        yield Measure("GPUsSaved", "Count", pool.gpus_saved, of_pool)
        yield Measure("Asleep", "Count", int(pool.asleep), of_pool)
        if pool.busy is not None:
            yield Measure("GPUBusy", "Percent", round(100 * pool.busy, 2), of_pool)
