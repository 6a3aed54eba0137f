"""What is wrong with a NodePool's evidence, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from slicewise.kube.objects import created_at
from slicewise.kube.ref import Object
from slicewise.model.cluster import is_by_choice
from slicewise.planning.outcome import Finding
from slicewise.tuning.usage.readings import Device, Fault, Readings

# Exporter and agent come with the node; the first points take some minutes more.
FIRST_POINTS = timedelta(minutes=30)
_STALE = timedelta(hours=1)
# Codes of what leaves the evidence as good as it is.
FEWER_DAYS, SOURCE_GAP = "metrics-fewer-days", "metrics-gap"

_REMEDIES = {
    "container-insights": "See that the add-on amazon-cloudwatch-observability runs on the node with "
    "Container Insights switched on; its exporter knows only some instance families.",
    "container-insights-otel": "See that the add-on amazon-cloudwatch-observability, v6.0.1 or later, runs "
    "on the node with otelContainerInsights.enabled: true and its dcgmExporter not switched off; that knows "
    "only some instance types.",
    "prometheus": "See that dcgm-exporter runs on the node and is scraped, and that Hostname is the node's "
    "name (NODE_NAME). A label cluster or cluster_name must be the EKS cluster's name.",
}
_UNTIL_THEN = "until then N rises only where each workload once had a GPU to itself for a day."
_BY_POD = {
    "container-insights-otel": "The add-on's exporter has no setting for it. With `source: prometheus` each "
    f"pod is measured; {_UNTIL_THEN}",
    "prometheus": "Give dcgm-exporter 4.5.3 or later KUBERNETES_VIRTUAL_GPUS=true and hostPID, and its "
    f"scrape honorLabels: {_UNTIL_THEN}",
}
_BY_FAULT = {
    Fault.REPEATED: "dcgm-exporter repeats the value of the whole GPU for each of its pods.",
    Fault.UNATTRIBUTED: "dcgm-exporter does not see the pods' processes: their memory does not add up.",
    Fault.COLLAPSED: "dcgm-exporter names only one of the pods on a GPU.",
}


def findings_of(
    readings: Readings,
    source: str,
    devices: Collection[Device],
    nodes: Mapping[str, Object],
    node_pool: str,
    collapsed: bool,
    now: datetime,
) -> tuple[Finding, ...]:
    """
    Args:
        devices, nodes: Of the NodePool.
        collapsed: Some pods have no series of their own beside others that do.
    """
    if source not in _REMEDIES:
        if not nodes:
            return ()
        message = f"No source of metrics: N of {node_pool} stays as it is."
        return (Finding("metrics-off", message, "Name one in the policy's `metrics.source`."),)
    found = [*_unmeasured(devices, nodes, source, node_pool, now), *_stale(devices, source, node_pool, now)]
    faults = {device.fault for device in devices if device.fault} | (
        {Fault.COLLAPSED} if collapsed else set()
    )
    found += [Finding("pods-not-told-apart", _BY_FAULT[fault], _BY_POD[source]) for fault in sorted(faults)]
    if readings.impossible:
        message = f"{readings.impossible} values that no GPU can have were left out, and count as fully busy."
        found.append(Finding("metrics-impossible", message, "See what else writes series of these names."))
    found += [_incomplete(why) for why in readings.incomplete]
    found += _gaps(readings, now)
    return tuple(found)


def _gaps(readings: Readings, now: datetime) -> list[Finding]:
    """Of the last day: what is missing of every GPU at once is the source's own."""
    begin = int((now - timedelta(days=1)).timestamp())
    gaps = [(at, end) for at, end in readings.gaps if end > begin]
    if not gaps:
        return []
    spans = ", ".join(f"{_clock(at)} to {_clock(end)}" for at, end in gaps[:3])
    more = f" and {len(gaps) - 3} times more" if len(gaps) > 3 else ""
    message = f"No GPU of the cluster was measured from {spans}{more} (UTC): the source itself was away."
    remedy = "N is not lowered by it; it may rise again once a day without such a gap allows it."
    return [Finding(SOURCE_GAP, message, remedy)]


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M")


def _incomplete(why: str) -> Finding:
    if is_by_choice(why):
        return Finding(
            FEWER_DAYS,
            f"Not the whole week was read: {why}, and a reconcile has no time for more.",
            "No action is needed. What was read counts as it is, and what each reconcile reads is saved: "
            "after a day the week is whole. docs/metrics.md says how many GPUs fit.",
        )
    return Finding(
        "metrics-incomplete",
        f"The source says that points are missing: {why}",
        "No action is needed where it is temporary. Where it lasts, check the source itself.",
    )


def _unmeasured(
    devices: Collection[Device], nodes: Mapping[str, Object], source: str, node_pool: str, now: datetime
) -> list[Finding]:
    measured = {device.node for device in devices if device.busy and device.memory_mib}
    settled = {name for name, node in nodes.items() if now - (created_at(node) or now) > FIRST_POINTS}
    missing = sorted(settled - measured)
    if not missing:
        return []
    if len(missing) == len(settled):
        message = f"Nothing was measured of the GPUs of NodePool {node_pool}: its N stays as it is."
        return [Finding("no-gpu-metrics", message, _REMEDIES[source])]
    message = f"{_names(missing)} of NodePool {node_pool}: no GPU metrics; their pods count as whole GPUs."
    return [Finding("nodes-unmeasured", message, _REMEDIES[source])]


def _stale(devices: Collection[Device], source: str, node_pool: str, now: datetime) -> list[Finding]:
    old = sorted(
        {
            device.node
            for device in devices
            if device.busy and now.timestamp() - max(device.busy) > _STALE.total_seconds() + 600
        }
    )
    if not old:
        return []
    message = (
        f"{_names(old)} of NodePool {node_pool}: not measured for an hour; their pods count as whole GPUs."
    )
    return [Finding("metrics-stale", message, _REMEDIES[source])]


def _names(nodes: list[str]) -> str:
    shown = ", ".join(nodes[:3])
    return f"{shown} and {len(nodes) - 3} more" if len(nodes) > 3 else shown
