"""
Reads Enhanced Container Insights (classic) of the CloudWatch Observability add-on. Pure.

Only the values of whole GPUs and of nodes are taken. Under time-slicing its values by pod are the GPU's own,
given to one of the pods (dcgm-exporter #307, #582). `*_gpu_usage_total`, `_limit` and `_reserved_capacity`
come from Kubernetes' `nvidia.com/gpu` and so count slices, not GPUs. There are no Xid errors.

Names and dimensions: amazon-cloudwatch-agent, translator/…/awsemf/kubernetes.go; memory is in bytes
(…/metricstransformprocessor: DCGM's MiB × 1024²), utilization in percent.
"""

from __future__ import annotations

from collections.abc import Iterable

from slicewise.model.cluster import Series
from slicewise.tuning.usage.readings import MIB, Cleaner, Device, Points, Readings, note_incomplete

UTILIZATION, MEMORY_USED = "node_gpu_utilization", "node_gpu_memory_used"
# Of the same metric the fewest of a step, and, by another name since names distinguish statistics, the most.
SLOTS_IN_USE, MOST_SLOTS = "node_gpu_usage_total", "node_gpu_usage_total/most"


def read(series: Iterable[Series]) -> Readings:
    cleaner, incomplete = Cleaner(), dict[str, None]()
    busy: dict[tuple[str, str], Points] = {}
    memory: dict[tuple[str, str], Points] = {}
    fewest: dict[str, Points] = {}
    most: dict[str, Points] = {}
    for one in note_incomplete(series, incomplete):
        node, gpu = one.labels.get("NodeName", ""), one.labels.get("GpuDevice", "")
        if one.name == UTILIZATION and gpu:
            busy[node, gpu] = cleaner.busy(one, 100)
        elif one.name == MEMORY_USED and gpu:
            memory[node, gpu] = cleaner.memory_mib(one, MIB)
        elif one.name == SLOTS_IN_USE:
            fewest[node] = cleaner.counts(one)
        elif one.name == MOST_SLOTS:
            most[node] = cleaner.counts(one)
    devices = tuple(
        Device(node, gpu, busy.get((node, gpu), {}), memory.get((node, gpu), {}))
        for node, gpu in sorted(busy.keys() | memory.keys())
        if node
    )
    return Readings(
        devices,
        slots_in_use=fewest,
        most_slots=most,
        impossible=cleaner.impossible,
        incomplete=tuple(incomplete),
    )
