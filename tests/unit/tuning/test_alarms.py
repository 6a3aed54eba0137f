"""Which alarms a cluster has, and when one is put or taken away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slicewise.kube.labels import CLUSTER_TAG
from slicewise.planning.actions import DeleteAlarm, PutAlarm
from slicewise.tuning import alarms

from tests.support import builders

CLUSTER = builders.cluster()
POLICY = builders.policy()
WANTED = alarms.wanted(CLUSTER, POLICY)


def test_a_cluster_gets_two_alarms_that_name_it():
    actions = alarms.actions(CLUSTER, POLICY, ())

    assert [str(action) for action in actions] == [
        "put alarm slicewise/gpu-1/idle",
        "put alarm slicewise/gpu-1/full",
    ]
    assert {action.alarm.tags[CLUSTER_TAG] for action in actions} == {CLUSTER.arn}


def test_each_alarm_asks_one_question_of_this_clusters_metrics():
    for alarm in WANTED:
        queries = alarm.settings["Metrics"]
        assert [query["ReturnData"] for query in queries].count(True) == 1
        for stat in (query["MetricStat"] for query in queries if "MetricStat" in query):
            assert stat["Metric"]["Dimensions"] == [{"Name": "ClusterName", "Value": "gpu-1"}]
            # CloudWatch: period × periods is at most a day.
            assert stat["Period"] * alarm.settings["EvaluationPeriods"] <= 86_400


def test_no_data_raises_no_alarm():
    assert {alarm.settings["TreatMissingData"] for alarm in WANTED} == {"notBreaching"}


def test_alarms_that_are_as_wanted_are_left_unchanged():
    live = [replace(alarm, state="ALARM", tags={}) for alarm in WANTED]

    assert alarms.actions(CLUSTER, POLICY, live) == ()


def test_what_a_release_before_kept_goes():
    """Each of its metrics costs, and nobody reads them."""
    before = tuple(replace(WANTED[0], name=f"slicewise/gpu-1/{kind}") for kind in ("crowded", "saturated"))

    assert alarms.actions(CLUSTER, POLICY, (*WANTED, *before)) == tuple(
        DeleteAlarm(alarm.name, "this release does without it", f"alarm {alarm.name}") for alarm in before
    )


def test_only_the_alarm_that_differs_is_put():
    edited = replace(WANTED[0], settings={**WANTED[0].settings, "EvaluationPeriods": 1})

    (action,) = alarms.actions(CLUSTER, POLICY, (edited, *WANTED[1:]))

    part = f"alarm {WANTED[0].name}"
    assert action == PutAlarm(WANTED[0], "its EvaluationPeriods is not what we want", part)


@pytest.mark.parametrize(
    ("cluster", "policy", "why"),
    [
        pytest.param(None, None, "its cluster is deleted", id="the cluster is deleted"),
        pytest.param(CLUSTER, None, "no policy asks for it", id="the policy is gone"),
        pytest.param(
            CLUSTER,
            builders.policy(builders.DEFAULT_POOLS, "metrics: {source: none}"),
            "no policy asks for it",
            id="metrics are not in CloudWatch",
        ),
        pytest.param(
            CLUSTER,
            builders.policy(builders.DEFAULT_POOLS, "metrics: {source: container-insights-otel}"),
            "no policy asks for it",
            id="its metrics have other names by OpenTelemetry",
        ),
    ],
)
def test_alarms_that_nobody_wants_go(cluster, policy, why):
    found = alarms.actions(cluster, policy, WANTED)

    assert {(type(one), one.name, one.why) for one in found} == {(DeleteAlarm, a.name, why) for a in WANTED}


def test_the_idle_alarm_counts_only_while_it_is_raised():
    idle = next(alarm for alarm in WANTED if alarm.name.endswith("idle"))
    crowded = replace(idle, name="slicewise/gpu-1/crowded")

    assert alarms.idle_now((replace(idle, state="ALARM"),))
    assert not alarms.idle_now((replace(idle, state="OK"), replace(crowded, state="ALARM")))
