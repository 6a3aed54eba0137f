"""Every shape in which a message may name a cluster, and all that must come to nothing."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from slicewise.errors import InvalidEvent
from slicewise.trigger import DeploymentScope, Ignored, Trigger, read

from tests.support.mutations import mutated

HOME = DeploymentScope(account="111122223333", region="eu-central-1")
GPU_1 = "arn:aws:eks:eu-central-1:111122223333:cluster/gpu-1"


def cloudtrail(call: str, request: Any = None, response: Any = None, **detail: Any) -> str:
    body = {
        "eventSource": "eks.amazonaws.com",
        "eventName": call,
        "requestParameters": request,
        "responseElements": response,
    }
    return json.dumps(
        {"source": "aws.eks", "detail-type": "AWS API Call via CloudTrail", "detail": body | detail}
    )


def cluster_of(body: str) -> str:
    trigger = read(body, HOME)
    assert isinstance(trigger, Trigger), trigger
    return trigger.cluster


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            cloudtrail("CreateCluster", {"name": "gpu-1"}, {"cluster": {"name": "gpu-1", "arn": GPU_1}}),
            id="created, as the API names it",
        ),
        pytest.param(
            cloudtrail("CreateCluster", {"clusterName": "gpu-1"}, {"cluster": {"clusterName": "gpu-1"}}),
            id="created, as AWS's sample of 2018 names it",
        ),
        pytest.param(cloudtrail("CreateCluster", {"name": "gpu-1"}), id="created, no response"),
        pytest.param(
            cloudtrail("CreateCluster", None, {"cluster": {"arn": quote(GPU_1, safe="")}}),
            id="created, ARN URL-encoded",
        ),
        pytest.param(cloudtrail("DeleteCluster", {"name": "gpu-1"}), id="deleted"),
        pytest.param(
            cloudtrail("DeleteCluster", None, {"cluster": {"name": "gpu-1"}}), id="deleted, response only"
        ),
        pytest.param(
            cloudtrail("TagResource", {"resourceArn": GPU_1, "tags": {"slicewise.dev/policy": "default"}}),
            id="policy tag set",
        ),
        pytest.param(
            cloudtrail(
                "TagResource",
                {
                    "resourceArn": quote(GPU_1, safe=""),
                    "tags": {"slicewise.dev/allow-access-entries": "true"},
                },
            ),
            id="access tag set, ARN URL-encoded",
        ),
        pytest.param(
            cloudtrail("UntagResource", {"resourceArn": GPU_1, "tagKeys": ["slicewise.dev/policy", "team"]}),
            id="policy tag removed",
        ),
        pytest.param(json.dumps({"slicewise": 1, "cluster": "gpu-1"}), id="by hand, by name"),
        pytest.param(json.dumps({"slicewise": 1, "cluster": GPU_1}), id="by hand, by ARN"),
    ],
)
def test_every_known_shape_names_its_cluster(body):
    assert cluster_of(body) == GPU_1


@pytest.mark.parametrize(
    ("body", "because"),
    [
        pytest.param(
            cloudtrail("CreateCluster", {"name": "gpu-1"}, errorCode="ResourceLimitExceeded"),
            "CreateCluster failed with ResourceLimitExceeded",
            id="a failed creation",
        ),
        pytest.param(
            cloudtrail("TagResource", {"resourceArn": GPU_1.replace("cluster/", "nodegroup/"), "tags": {}}),
            "which is not a cluster",
            id="a node group's tags",
        ),
        pytest.param(
            cloudtrail("TagResource", {"resourceArn": GPU_1, "tags": {"team": "ml"}}),
            "not ours",
            id="somebody else's tag",
        ),
        pytest.param(
            cloudtrail(
                "CreateCluster", None, {"cluster": {"arn": GPU_1.replace("eu-central-1", "us-east-1")}}
            ),
            "us-east-1",
            id="another Region",
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": GPU_1.replace("111122223333", "999999999999")}),
            "999999999999",
            id="another account",
        ),
        pytest.param(cloudtrail("CreateNodegroup", {"name": "x"}), "CreateNodegroup", id="another call"),
        pytest.param(
            cloudtrail("CreateCluster", {"name": "x"}, eventSource="emr.amazonaws.com"),
            "not of EKS",
            id="another service's call of the same name",
        ),
        pytest.param(
            json.dumps({"detail-type": "EC2 Instance State-change Notification", "detail": {}}),
            "EC2 Instance",
            id="an unknown detail-type",
        ),
    ],
)
def test_what_asks_nothing_of_us_is_ignored_with_a_reason(body, because):
    ignored = read(body, HOME)

    assert isinstance(ignored, Ignored)
    assert because in ignored.reason


@pytest.mark.parametrize(
    ("body", "because"),
    [
        pytest.param("{", "not JSON", id="cut off"),
        pytest.param("[]", "list", id="a list"),
        pytest.param("null", "NoneType", id="null"),
        pytest.param("{}", "neither", id="an unknown shape"),
        pytest.param(json.dumps({"slicewise": "2", "cluster": "a"}), "the version", id="version is a text"),
        pytest.param(json.dumps({"slicewise": True, "cluster": "a"}), "the version", id="version is a flag"),
        pytest.param(
            json.dumps({"slicewise": 2, "of": "a"}), "no cluster", id="a later version's, of nothing"
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "a", "tries": -1}), "'tries'", id="tries is negative"
        ),
        pytest.param("[" * 100_000, "not JSON", id="nested without end"),
        pytest.param(json.dumps({"slicewise": 1}), "no cluster", id="by hand, without a cluster"),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "a", "forced": "yes"}), "'forced'", id="forced is a text"
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "a", "waits": None}), "'waits'", id="waits is nothing"
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "a", "due": "soon"}), "'due'", id="due is no time"
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "a", "comes": 5}), "'comes'", id="comes is no time"
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "a", "due": "2026-11-02T08:00:00"}),
            "zone",
            id="due lacks a zone",
        ),
        pytest.param(json.dumps({"slicewise": 1, "cluster": "a", "due": 5}), "'due'", id="due is a number"),
        pytest.param(json.dumps({"slicewise": 1, "cluster": ["a"]}), "no cluster", id="cluster is a list"),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "arn:aws:s3:::x"}), "not the ARN", id="a bucket's ARN"
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": "a/../b"}), "not a name", id="a name that EKS never gives"
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": GPU_1.replace("cluster/", "nodegroup/a/")}),
            "not the ARN",
            id="a node group's ARN by hand",
        ),
        pytest.param(cloudtrail("CreateCluster"), "no cluster", id="a creation that names nothing"),
        pytest.param(
            json.dumps({"detail-type": "AWS API Call via CloudTrail", "detail": "{}"}),
            "not an object",
            id="detail is a text",
        ),
    ],
)
def test_what_no_retry_can_fix_is_an_invalid_event(body, because):
    with pytest.raises(InvalidEvent, match=because):
        read(body, HOME)


def test_a_trigger_survives_its_journey_through_the_queue():
    due = datetime(2026, 11, 2, 8, 0, 0, 5, UTC)
    trigger = Trigger(
        GPU_1, "requested by hand", forced=True, due=due, waits=True, comes=due + timedelta(seconds=7)
    )

    assert read(trigger.message(), HOME) == trigger


def test_only_a_message_by_hand_can_force_a_reconcile():
    created = read(cloudtrail("CreateCluster", {"name": "gpu-1"}), HOME)

    assert isinstance(created, Trigger)
    assert not created.forced


def test_the_partition_of_the_home_is_kept():
    assert (
        DeploymentScope("111122223333", "cn-north-1", "aws-cn")
        .arn("a")
        .startswith("arn:aws-cn:eks:cn-north-1:")
    )


# Alarms


def alarm(kind: str = "crowded", state: str = "ALARM", before: str = "OK", **detail: Any) -> str:
    body = {
        "alarmName": f"slicewise/gpu-1/{kind}",
        "state": {"value": state, "reason": "Threshold Crossed"},
        "previousState": {"value": before},
    }
    return json.dumps(
        {
            "source": "aws.cloudwatch",
            "detail-type": "CloudWatch Alarm State Change",
            "detail": body | detail,
        }
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(alarm(), id="by its name"),
        pytest.param(alarm(alarmTags={"slicewise.dev/cluster": GPU_1}), id="by its tag"),
        pytest.param(alarm(alarmTags={"slicewise.dev/cluster": [GPU_1]}), id="by its tag, in a list"),
        pytest.param(alarm(alarmTags={"slicewise.dev/cluster": []}), id="by its name, the tag being empty"),
        pytest.param(alarm(before="INSUFFICIENT_DATA"), id="raised when data came"),
        pytest.param(alarm("idle", "OK", "ALARM"), id="no longer idle"),
    ],
)
def test_an_alarm_is_a_trigger_for_its_cluster(body):
    assert cluster_of(body) == GPU_1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(alarm(state="OK", before="ALARM"), id="no longer crowded"),
        pytest.param(alarm("idle", "OK", "INSUFFICIENT_DATA"), id="idle never was"),
        pytest.param(alarm(state="INSUFFICIENT_DATA", before="ALARM"), id="data stopped"),
        pytest.param(alarm(before="ALARM"), id="edited while raised"),
        pytest.param(alarm(alarmName="somebody/gpu-1/idle"), id="somebody else's"),
        pytest.param(alarm(alarmName="slicewise-tuning-waits"), id="of the deployment itself"),
        pytest.param(alarm(alarmName=None), id="without a name"),
        pytest.param(
            json.dumps({"detail-type": "CloudWatch Alarm Configuration Change", "detail": {}}), id="a setting"
        ),
    ],
)
def test_an_alarm_that_asks_nothing_is_ignored(body):
    assert isinstance(read(body, HOME), Ignored)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            json.dumps({"detail-type": "CloudWatch Alarm State Change", "detail": "ALARM"}), id="no detail"
        ),
        pytest.param(alarm(alarmTags={"slicewise.dev/cluster": "arn:aws:s3:::bucket"}), id="tag of a bucket"),
    ],
)
def test_an_alarm_in_no_known_shape_is_an_invalid_event(body):
    with pytest.raises(InvalidEvent):
        read(body, HOME)


# What another release sends


def test_a_later_versions_message_is_a_reconcile_of_its_cluster():
    body = {
        "slicewise": 2,
        "cluster": "gpu-1",
        "reason": {"text": "x"},
        "due": 5,
        "waits": "y",
        "tries": "x",
        "comes": [],
    }

    assert read(json.dumps(body), HOME) == Trigger(GPU_1, "a message of version 2")
    assert read(json.dumps(body | {"forced": True}), HOME).forced
    assert not read(json.dumps(body | {"forced": "no"}), HOME).forced


def test_what_a_later_release_adds_to_our_version_is_left_out():
    assert read(
        json.dumps({"slicewise": 1, "cluster": "gpu-1", "reason": "x", "trace": "y"}), HOME
    ) == Trigger(GPU_1, "x")


def test_how_often_a_trigger_was_sent_again_travels_with_it():
    trigger = Trigger(GPU_1, "a sweep", waits=True, tries=7)

    assert read(trigger.message(), HOME) == trigger
    assert "tries" not in json.loads(Trigger(GPU_1, "a sweep").message())


@pytest.mark.parametrize("tags", [5, "slicewise.dev/policy", True], ids=str)
def test_tags_of_a_shape_that_nobody_knows_cost_a_reconcile(tags):
    found = read(cloudtrail("TagResource", {"resourceArn": GPU_1, "tags": tags}), HOME)

    assert found == Trigger(GPU_1, "TagResource seen by CloudTrail")


_OURS = json.loads(Trigger(GPU_1, "a sweep", True, datetime(2026, 3, 2, tzinfo=UTC), True, 3).message())
_SEEN = json.loads(cloudtrail("TagResource", {"resourceArn": GPU_1, "tags": {"slicewise.dev/policy": "x"}}))


@settings(max_examples=300)
@given(mutated(_OURS) | mutated(_SEEN) | mutated(json.loads(alarm())))
def test_any_message_is_a_trigger_or_ignored_or_named_as_malformed(event):
    with contextlib.suppress(InvalidEvent):
        found = read(json.dumps(event), HOME)
        assert isinstance(found, Ignored) or read(found.message(), HOME) == found
