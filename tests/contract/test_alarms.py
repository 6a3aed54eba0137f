"""What passes rest on when they keep a cluster's alarms: the fake and CloudWatch's gateway alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slicewise.errors import Refused
from slicewise.gateways.cloudwatch_alarms import CloudWatchAlarms
from slicewise.model.cluster import EksCluster
from slicewise.ports import Alarms
from slicewise.tuning import alarms as planned

from tests.fakes.aws.alarms import FakeAlarms
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.support import builders

CLUSTER = builders.cluster()
PREFIX = planned.prefix(CLUSTER)


@pytest.fixture(params=["fake", "gateway"])
def alarms(request) -> Alarms:
    if request.param == "fake":
        return FakeAlarms(Calls(), Clock())
    return CloudWatchAlarms(request.getfixturevalue("session"), "eu-west-1")


def put_all(alarms: Alarms, cluster: EksCluster = CLUSTER) -> None:
    for alarm in planned.wanted(cluster, builders.policy()):
        alarms.put(alarm)


def test_alarms_of_a_cluster_with_the_longest_name_are_kept(alarms):
    name = "A" + "_" * 98 + "-"
    longest = replace(CLUSTER, name=name, arn=f"arn:aws-us-gov:eks:us-gov-west-1:111122223333:cluster/{name}")
    put_all(alarms, longest)

    assert planned.actions(longest, builders.policy(), alarms.named(planned.prefix(longest))) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"name": "slicewise/" + "a" * 250}, id="a long name"),
        pytest.param({"settings": {"AlarmDescription": "x" * 1025}}, id="a long description"),
        pytest.param({"settings": {"EvaluationPeriods": 300}}, id="more than a day"),
        pytest.param({"settings": {"ComparisonOperator": "Below"}}, id="a word of no meaning"),
        pytest.param({"tags": {"slicewise.dev/cluster": "a" * 257}}, id="a long tag"),
    ],
)
def test_an_alarm_that_cloudwatch_does_not_take_is_refused(alarms, wrong):
    alarm = planned.wanted(CLUSTER, builders.policy())[0]
    changes = wrong | ({"settings": {**alarm.settings, **wrong["settings"]}} if "settings" in wrong else {})

    with pytest.raises(Refused):
        alarms.put(replace(alarm, **changes))
    assert alarms.named("slicewise/") == ()


def test_what_was_put_is_found_with_the_same_settings(alarms):
    put_all(alarms)

    found = alarms.named(PREFIX)

    assert [alarm.name for alarm in found] == [f"{PREFIX}full", f"{PREFIX}idle"]
    assert planned.actions(CLUSTER, builders.policy(), found) == ()
    assert all(alarm.state for alarm in found)


def test_another_clusters_alarms_are_not_found(alarms):
    put_all(alarms)

    assert alarms.named(planned.prefix("gpu-10")) == ()
    assert alarms.named(planned.prefix("gpu")) == ()


def test_a_changed_setting_is_seen_and_put_back(alarms):
    put_all(alarms)
    edited = next(
        alarm for alarm in planned.wanted(CLUSTER, builders.policy()) if alarm.name.endswith("idle")
    )
    alarms.put(type(edited)(edited.name, {**edited.settings, "Threshold": 50.0}, edited.tags))

    (action,) = planned.actions(CLUSTER, builders.policy(), alarms.named(PREFIX))
    alarms.put(action.alarm)

    assert action.why == "its Threshold is not what we want"
    assert planned.actions(CLUSTER, builders.policy(), alarms.named(PREFIX)) == ()


def test_deleting_twice_is_fine(alarms):
    put_all(alarms)

    for _ in range(2):
        alarms.delete(f"{PREFIX}idle")

    assert [alarm.name for alarm in alarms.named(PREFIX)] == [f"{PREFIX}full"]
