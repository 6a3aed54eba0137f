"""
The alarms that wake a cluster's tuner, and what differs from them. Pure.

Two, of one metric each, since each metric of an alarm costs as much a month as 10,000 reads of one. They are
for what should not wait for the hourly sweep: idle GPUs cost more in an hour than everything here in a month,
and where a GPU's memory is full, the next pod to grow is killed. Whether N can grow takes a day to measure,
so no alarm is for that. An alarm never sets N: it triggers a reconcile sooner, and that reconcile reads what
was measured itself. So thresholds need not be exact. Names, dimensions and units of the metrics: Container
Insights, enhanced observability (awsemf, kubernetes.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from slicewise.kube.labels import CLUSTER_TAG
from slicewise.kube.objects import first_difference
from slicewise.model.cluster import Alarm, AlarmName, EksCluster
from slicewise.planning.actions import DeleteAlarm, PutAlarm
from slicewise.policy.model import MetricsSource, Policy

NAMESPACE = "ContainerInsights"
IDLE, FULL = "idle", "full"
_PERIOD_SECONDS = 300
_UNWANTED = "this release does without it"


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
    return (
        _alarm(
            cluster,
            IDLE,
            "GPUs were idle for half an hour. Slicewise checks whether nodes can be removed.",
            "node_gpu_utilization",
            ("LessThanThreshold", 5.0, 6),
        ),
        _alarm(
            cluster,
            FULL,
            "A GPU's memory was nearly full for a quarter of an hour. Slicewise checks whether N must be "
            "lowered.",
            "node_gpu_memory_utilization",
            ("GreaterThanThreshold", 85.0, 3),
        ),
    )


def _alarm(
    cluster: EksCluster, kind: str, message: str, metric: str, condition: tuple[str, float, int]
) -> Alarm:
    """Over the largest value of all GPUs; `condition` is how it compares, with what, in how many periods."""
    comparison, threshold, periods = condition
    of_cluster = [{"Name": "ClusterName", "Value": cluster.name}]
    asked = {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": of_cluster}
    stat = {"Metric": asked, "Period": _PERIOD_SECONDS, "Stat": "Maximum"}
    settings = {
        "AlarmDescription": message,
        "Metrics": [{"Id": "asked", "MetricStat": stat, "ReturnData": True}],
        "ComparisonOperator": comparison,
        "Threshold": threshold,
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": periods,
        # No nodes, no metrics: nothing to alarm on.
        "TreatMissingData": "notBreaching",
    }
    return Alarm(str(AlarmName(cluster.name, kind)), settings, {CLUSTER_TAG: cluster.arn})


def actions(
    cluster: EksCluster | None, policy: Policy | None, found: Iterable[Alarm]
) -> tuple[PutAlarm | DeleteAlarm, ...]:
    """
    What makes a cluster's alarms as they should be.

    Args:
        cluster: None where it is deleted, and its alarms are to be.
        found: All that are named after the cluster, also those of releases that had more.
    """
    live = {alarm.name: alarm for alarm in found}
    asked = wanted(cluster, policy) if cluster else ()
    puts = [PutAlarm(alarm, why) for alarm in asked if (why := _why(live.get(alarm.name), alarm))]
    left = sorted(live.keys() - {alarm.name for alarm in asked})
    reason = "its cluster is deleted" if cluster is None else _UNWANTED if asked else "no policy asks for it"
    done: tuple[PutAlarm | DeleteAlarm, ...] = (*puts, *(DeleteAlarm(name, reason) for name in left))
    # Of a deleted cluster nothing else is to be done, and no reconcile comes after this one.
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
