"""
moto's faults are still there, so the fixes are still needed.

Each fault is observed on plain moto, in a process of its own. When one of these tests fails, moto
has changed: look whether the fix named beside it can go. That the fixes work is shown
by the tests of what they make right (`test_aws_deployment`, `_events`, `_schedules`, `_metrics`, `_eks`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

import pytest
from moto import mock_aws

from sandbox.aws import limits, moto_fixes
from sandbox.aws.cloudformation import fixes as stack_fixes
from sandbox.aws.cloudformation import types as stack_types
from sandbox.aws.core import registry
from sandbox.aws.core.patching import Patches
from sandbox.aws.server import Aws
from tests.sandbox.aws import plain_moto

FAULTS = {
    # fault: (what plain moto does, the fix)
    "each_message_counts_the_queue": (True, "moto_fixes._do_not_count_a_queue_for_each_message"),
    "writers_that_find_a_condition_true": (2, "moto_fixes._write_one_item_at_a_time"),
    "services_are_looked_up_on_disk": (True, "moto_fixes._know_the_services"),
    "invoke_echoes": ({"sent": 1}, "moto_fixes._run_functions_on_invoke"),
    "mapped_queue_is_emptied": (["0", "0"], "moto_fixes._leave_mapped_queues_to_our_pollers"),
    "event_lacks_account": (False, "moto_fixes._shape_events_as_event_bridge_does"),
    "target_input_is_ignored": (None, "moto_fixes._shape_events_as_event_bridge_does"),
    "function_target_fails_put_events": ("NotImplementedError", "moto_fixes._refuse_targets_that_never_fire"),
    "function_properties_are_dropped": (["x86_64"], "stack_fixes._keep_all_properties_of_functions"),
    "layer_reference_is_an_object": (True, "stack_fixes._name_layer_versions_by_their_arn"),
    "layer_update_is_lost": (False, "stack_fixes._keep_what_has_no_update"),
    "topic_without_properties_is_replaced": (False, "stack_fixes._update_what_refers_to_a_replaced_resource"),
    "time_to_live_is_dropped": ("DISABLED", "stack_fixes._set_time_to_live"),
    "missing_change_set_fails": ("UnboundLocalError", "stack_fixes._answer_for_missing_change_sets"),
    "alarm_is_not_made": ([], "stack_types.Alarm"),
    "any_schedule_is_accepted": ("cron(nope)", "schedules.install"),
    "alarm_begins_as_ok": ("OK", "alarms._keeping_state"),
    "metric_is_listed_once_a_datapoint": (2, "metrics.Metrics"),
    "periods_begin_at_the_question": (2, "metrics.Metrics"),
    "cluster_is_active_at_once": (["ACTIVE", False], "eks.Clusters"),
    "node_groups_of_no_cluster_fail": ("KeyError", "moto_fixes._know_that_a_cluster_is_gone"),
    "access_entries_are_missing": ("ClientError", "access_entries.AccessEntries"),
    "profile_is_active_at_once_in_any_subnet": ("ACTIVE", "fargate.FargateProfiles"),
    "issuer_is_that_of_every_cluster": (True, "eks.Clusters"),
    "boundary_need_not_exist": (True, "moto_fixes._know_that_a_boundary_must_be_there"),
    **{probe.__name__: (True, "limits") for probe in plain_moto.LIMITS},
}


def asked(queries: int) -> dict[str, Any]:
    stat = {"Metric": {"Namespace": "N", "MetricName": "m"}, "Period": 600, "Stat": "Average"}
    return {
        "MetricDataQueries": [{"Id": f"m{number}", "MetricStat": stat} for number in range(queries)],
        "StartTime": 0,
        "EndTime": 1,
    }


def statistics(**length: float) -> dict[str, Any]:
    """In steps of ten minutes."""
    end = datetime(2026, 11, 1, tzinfo=UTC)
    return {"StartTime": end - timedelta(**length), "EndTime": end, "Period": 600, "Statistics": ["Average"]}


@pytest.fixture(scope="module")
def observed() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.sandbox.aws.plain_moto"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("fault", FAULTS)
def test_moto_still_has_the_fault(observed, fault):
    expected, fix = FAULTS[fault]
    assert observed[fault] == expected, f"moto has changed: look at {fix}"


def test_every_probe_is_checked():
    assert {probe.__name__ for probe in plain_moto.PROBES} == set(FAULTS)


def test_moto_is_the_version_that_the_fixes_know():
    assert metadata.version("moto") == "5.2.5"


def test_plain_mocks_see_plain_moto_again_once_the_last_one_stopped(tmp_path):
    with Aws.start(tmp_path, account="999999999999"):
        pass
    if registry.any_left():
        pytest.skip("another sandbox runs in this process, so the fixes stay")

    with mock_aws():
        assert plain_moto.alarm_begins_as_ok() == "OK"
        assert plain_moto.any_schedule_is_accepted() == "cron(nope)"


def test_fixes_can_be_taken_back():
    patches, before = Patches(), snapshot()
    for module in (moto_fixes, stack_fixes, stack_types, limits):
        module.install(patches)
    during = snapshot()
    patches.undo()

    assert during != before
    assert snapshot() == before


def test_a_condition_is_true_for_one_of_two_writers():
    patches = Patches()
    moto_fixes.install(patches)
    try:
        with mock_aws():
            assert plain_moto.writers_that_find_a_condition_true() == 1
    finally:
        patches.undo()


@pytest.mark.parametrize("probe", plain_moto.LIMITS)
def test_what_aws_refuses_is_refused(probe):
    patches = Patches()
    limits.install(patches)
    try:
        with mock_aws():
            assert probe() is False
    finally:
        patches.undo()


# Each with the largest that is taken, so that no limit is too strict either.
TARGET = {"Arn": "arn:aws:sqs:eu-west-1:111122223333:q", "RoleArn": "arn:aws:iam::111122223333:role/r"}
LATE = {"MessageBody": "x"}


def item(text: str) -> dict[str, Any]:
    return {"Item": {"pk": {"S": "p"}, "text": {"S": text}}}


@pytest.mark.parametrize(
    ("service", "operation", "fits", "is_too_much"),
    [
        ("sqs", "SendMessage", {"MessageBody": "x" * 1_048_576}, {"MessageBody": "x" * 1_048_577}),
        (
            "sqs",
            "SendMessage",
            {"MessageBody": "x", "DelaySeconds": 900},
            {"MessageBody": "x", "DelaySeconds": 901},
        ),
        (
            "sqs",
            "SendMessageBatch",
            {"Entries": [{"MessageBody": "x" * 104_857}] * 10},
            {"Entries": [{"MessageBody": "x" * 104_858}] * 10},
        ),
        ("sns", "Publish", {"Message": "x" * 262_144}, {"Message": "x" * 262_145}),
        ("sns", "Publish", {"Message": "x", "Subject": "é" * 99}, {"Message": "x", "Subject": "e" * 100}),
        ("scheduler", "CreateSchedule", {"Name": "A-b_c." * 10 + "1234"}, {"Name": "A" * 65}),
        ("scheduler", "UpdateSchedule", {"Description": "d" * 512}, {"Description": "d" * 513}),
        (
            "scheduler",
            "UpdateSchedule",
            {"Target": TARGET | {"Input": "é" * 131_072}},
            {"Target": TARGET | {"Input": "é" * 131_073}},
        ),
        ("ssm", "PutParameter", {"Name": "/a", "Value": "{a: {b: 1}}"}, {"Name": "/a", "Value": "{{a}}"}),
        (
            "ssm",
            "PutParameter",
            {"Name": "/a", "Value": "x" * 8192, "Tier": "Advanced"},
            {"Name": "/a", "Value": "x" * 8193, "Tier": "Advanced"},
        ),
        # "pk", "p", "text" and 204,796 times two bytes are 409,599.
        ("dynamodb", "PutItem", item("é" * 204_796 + "e"), item("é" * 204_797)),
        ("cloudwatch", "GetMetricData", asked(500), asked(501)),
        ("cloudwatch", "GetMetricStatistics", statistics(hours=240), statistics(hours=240, minutes=10)),
        ("eks", "CreateCluster", {"name": "a" * 100, "tags": {}}, {"name": "a" * 101}),
        ("eks", "CreateCluster", {"name": "1_a-B"}, {"name": "_1"}),
    ],
)
def test_a_limit_is_where_aws_has_it(service, operation, fits, is_too_much):
    assert limits.problems(service, operation, fits) == ()
    assert len(limits.problems(service, operation, is_too_much)) >= 1


def test_what_is_wrong_is_reported_with_its_place():
    alarm = {"AlarmName": "a", "Tags": [{"Key": "k", "Value": "v" * 257}], "ComparisonOperator": "Below"}

    assert limits.problems("cloudwatch", "PutMetricAlarm", alarm) == (
        "ComparisonOperator: 'Below' is none of GreaterThanOrEqualToThreshold, GreaterThanThreshold, "
        "LessThanThreshold, LessThanOrEqualToThreshold, LessThanLowerOrGreaterThanUpperThreshold, "
        "LessThanLowerThreshold, GreaterThanUpperThreshold",
        "Tags[0].Value: 257 characters, and the most is 256",
    )


def snapshot() -> list[Any]:
    from moto.awslambda.models import LambdaFunction, LayerVersion
    from moto.cloudformation import parsing
    from moto.cloudwatch.models import CloudWatchBackend
    from moto.core.responses import BaseResponse
    from moto.events.models import Rule

    return [
        vars(BaseResponse)["call_action"],
        vars(CloudWatchBackend)["delete_alarms"],
        vars(Rule)["send_to_targets"],
        vars(LambdaFunction)["create_from_cloudformation_json"],
        "physical_resource_id" in vars(LayerVersion),
        parsing.get_model_list,
    ]
