"""Events that lead nowhere, come too often, or are not events at all: a clear log line, and nothing else."""

from __future__ import annotations

import json

import pytest

from sandbox.aws.cloudtrail import events as cloudtrail
from tests.sandbox.onboarding.struck_cluster import NAME
from tests.sandbox.system_fixtures import (
    NODE_OVERLAYS,
    NODE_POOLS,
    ONBOARD,
    POLICY_TAG,
    history,
    log_lines,
    onboard_now,
    operator_releases,
    ours,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox


@pytest.fixture
def said(system):
    """Waits for a line of the installer's log that a test's own message brings about."""
    before = len(log_lines(system))

    def line(message: str, **extra: str) -> dict:
        def found() -> dict | None:
            for one in log_lines(system)[before:]:
                if one.get("message") == message and all(
                    part in str(one.get(key)) for key, part in extra.items()
                ):
                    return one
            return None

        return eventually(found, lambda: log_lines(system)[before:])

    return line


@pytest.fixture(autouse=True)
def no_dead_letters(system):
    yield
    attribute = "ApproximateNumberOfMessages"
    found = system.aws.client("sqs").get_queue_attributes(
        QueueUrl=system.outputs["DeadLettersUrl"], AttributeNames=[attribute]
    )
    assert found["Attributes"][attribute] == "0"


def test_a_message_that_is_not_json_is_dropped_with_an_error_line(system, said):
    system.send_message("OnboardingQueueUrl", "{not json")

    assert said("dropped a malformed message", why="not JSON")["level"] == "ERROR"


def test_an_event_of_another_kind_is_ignored_by_name(system, said):
    system.send_message("OnboardingQueueUrl", {"detail-type": "EC2 Instance Launched", "detail": {}})

    said("ignored", reason="EC2 Instance Launched")


def test_a_creation_that_failed_never_reaches_a_reconcile_or_is_ignored(system, said):
    system.send_create_event("never-was", tags={POLICY_TAG: "one-pool"}, error_code="ResourceInUseException")
    record = cloudtrail.create_cluster(
        "never-was", account=system.aws.account, region=system.aws.region, error_code="ResourceInUseException"
    )
    # The rule may keep it away; a pass that gets it all the same knows what it is.
    system.send_message("OnboardingQueueUrl", {"detail-type": cloudtrail.DETAIL_TYPE, "detail": record})

    said("ignored", reason="CreateCluster failed with ResourceInUseException")
    assert system.record("never-was") is None


def test_a_cluster_that_is_deleted_already_leaves_no_record(system, said):
    system.send_create_event("short-lived", tags={POLICY_TAG: "one-pool"})

    assert said("decided", cluster="short-lived")["stage"] == "deleted"
    assert system.record("short-lived") is None


def test_a_cluster_of_another_region_is_ignored(system, said):
    arn = f"arn:aws:eks:us-west-2:{system.aws.account}:cluster/far-away"
    record = cloudtrail.tag_resource(
        arn, {POLICY_TAG: "one-pool"}, account=system.aws.account, region=system.aws.region
    )
    system.aws.events.send_record(record)

    said("ignored", reason="far-away is of account")


def test_duplicates_change_nothing_in_an_onboarded_cluster(system, struck):
    kube = struck.cluster.kube
    onboard_now(
        system, NAME
    )  # a pass that finds nothing to do right after one that did something is news, once
    eventually(system.is_quiet, "the queue is not empty")
    before, reconciles = _state(kube), history(system, NAME)
    for _ in range(10):
        system.send_create_event(NAME, tags={POLICY_TAG: "one-pool"})

    eventually(system.is_quiet, "the duplicates are not worked off", every=0.5)
    assert _state(kube) == before
    assert history(system, NAME) == reconciles
    assert system.record(NAME)["stage"] == "onboarded"


def _state(kube) -> str:
    """What any write would change: resourceVersions of what no controller writes, else generations."""
    found = {kind: ours(kube, kind) for kind in (NODE_POOLS, NODE_OVERLAYS)}
    generations = {
        name: item["metadata"]["generation"] for items in found.values() for name, item in items.items()
    }
    versions = {
        name: item["metadata"]["resourceVersion"]
        for kind in ("/api/v1/configmaps", "/apis/rbac.authorization.k8s.io/v1/clusterroles")
        for name, item in ours(kube, kind).items()
    }
    return json.dumps([generations, versions, operator_releases(kube)], sort_keys=True)


def test_the_log_of_all_this_holds_no_token(system, struck):
    assert "k8s-aws-v1." not in system.aws.functions.log(ONBOARD)
