"""
The alarms that wake a cluster's tuner, and what differs from them. Pure.

Three, since each costs more a month than the passes that it saves. An alarm never sets N: it makes a pass
look sooner, and that pass reads the window itself. So the thresholds need not be exact. Names, dimensions and
units of the metrics: Container Insights, enhanced observability (awsemf, kubernetes.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from slicewise.actions import DeleteAlarm, PutAlarm
from slicewise.model import CLUSTER_TAG, Alarm, AlarmName, EksCluster
from slicewise.objects import first_difference
from slicewise.policy import MetricsSource, Policy

NAMESPACE = "ContainerInsights"
IDLE, CROWDED, SATURATED = "idle", "crowded", "saturated"
_PERIOD_SECONDS = 300


def prefix(cluster: EksCluster | str) -> str:
    """Of the names of a cluster's alarms, and of no other cluster's."""
    return str(AlarmName(cluster if isinstance(cluster, str) else cluster.name, ""))


def wanted(cluster: EksCluster, policy: Policy | None) -> tuple[Alarm, ...]:
    """
    None for a cluster without a policy, nor where its metrics are not the classic Container Insights' own: by
    OpenTelemetry they have other names, and only alarms over PromQL see them.
    """
    if policy is None or policy.metrics.source is not MetricsSource.CONTAINER_INSIGHTS:
        return ()
    busy, memory = "node_gpu_utilization", "node_gpu_memory_utilization"
    return (
        _alarm(
            cluster,
            IDLE,
            "GPUs of this cluster were idle for half an hour. Slicewise looks whether nodes can go.",
            [_query(cluster, "busy", busy, "Maximum", returned=True)],
            ("LessThanThreshold", 5.0, 6),
        ),
        _alarm(
            cluster,
            CROWDED,
            "Nearly all slices are taken while GPUs are not busy. Slicewise looks whether N can grow.",
            [
                _query(cluster, "reserved", "node_gpu_reserved_capacity", "Average"),
                _query(cluster, "busy", busy, "Average"),
                _expression("IF(reserved >= 90 AND busy < 60, 1, 0)"),
            ],
            ("GreaterThanOrEqualToThreshold", 1.0, 3),
        ),
        _alarm(
            cluster,
            SATURATED,
            "GPUs are busy and their memory is nearly full. Slicewise looks whether N must shrink.",
            [
                _query(cluster, "busy", busy, "p90"),
                _query(cluster, "memory", memory, "Maximum"),
                _expression("IF(busy > 90 AND memory > 85, 1, 0)"),
            ],
            ("GreaterThanOrEqualToThreshold", 1.0, 3),
        ),
    )


def actions(
    cluster: EksCluster | None, policy: Policy | None, found: Iterable[Alarm]
) -> tuple[PutAlarm | DeleteAlarm, ...]:
    """
    What makes a cluster's alarms as they should be.

    Args:
        cluster: None where it is gone, and its alarms with it.
        found: All that are named after the cluster.
    """
    live = {alarm.name: alarm for alarm in found}
    asked = wanted(cluster, policy) if cluster else ()
    puts = [PutAlarm(alarm, why) for alarm in asked if (why := _why(live.get(alarm.name), alarm))]
    left = sorted(live.keys() - {alarm.name for alarm in asked})
    reason = "no policy asks for it" if cluster else "its cluster is gone"
    done = (*puts, *(DeleteAlarm(name, reason) for name in left))
    # Of a cluster that is gone nothing else is to be done, and nobody comes again.
    return tuple(replace(one, part=_part(one)) for one in done) if cluster else done


def _part(action: PutAlarm | DeleteAlarm) -> str:
    return f"alarm {action.name if isinstance(action, DeleteAlarm) else action.alarm.name}"


def _why(live: Alarm | None, alarm: Alarm) -> str:
    if live is None:
        return "it wakes the tuner"
    path = first_difference(live.settings, alarm.settings)
    return f"its {path} is not what we want" if path else ""


def idle_now(found: Iterable[Alarm]) -> bool:
    """Whether the idle alarm is raised."""
    names = (AlarmName.read(alarm.name) for alarm in found if alarm.state == "ALARM")
    return any(name and name.kind == IDLE for name in names)


def _alarm(
    cluster: EksCluster,
    kind: str,
    description: str,
    queries: list[dict[str, Any]],
    condition: tuple[str, float, int],
) -> Alarm:
    comparison, threshold, periods = condition
    return Alarm(
        str(AlarmName(cluster.name, kind)),
        {
            "AlarmDescription": description,
            "Metrics": sorted(queries, key=lambda query: query["Id"]),
            "ComparisonOperator": comparison,
            "Threshold": threshold,
            "EvaluationPeriods": periods,
            "DatapointsToAlarm": periods,
            # No nodes, no metrics: nothing to look at.
            "TreatMissingData": "notBreaching",
        },
        {CLUSTER_TAG: cluster.arn},
    )


def _query(
    cluster: EksCluster, id: str, metric: str, statistic: str, returned: bool = False
) -> dict[str, Any]:
    name: Mapping[str, Any] = {
        "Namespace": NAMESPACE,
        "MetricName": metric,
        "Dimensions": [{"Name": "ClusterName", "Value": cluster.name}],
    }
    stat = {"Metric": name, "Period": _PERIOD_SECONDS, "Stat": statistic}
    return {"Id": id, "MetricStat": stat, "ReturnData": returned}


def _expression(text: str) -> dict[str, Any]:
    return {"Id": "asked", "Expression": text, "ReturnData": True}
