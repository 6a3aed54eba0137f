"""What SQS and EventBridge say and refuse of interruptions: fakes and gateways give one answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slicewise.errors import Conflict, Refused
from slicewise.gateways.karpenter.eventbridge import EventBridgeRules
from slicewise.gateways.karpenter.sqs import SqsEventQueues
from slicewise.model.interruptions import EventQueue, EventRule
from slicewise.onboarding.aws import interruptions

from sandbox.aws.server import Aws
from tests.fakes.aws.interruptions import FakeEventQueues, FakeEventRules
from tests.fakes.calls import Calls
from tests.support import functions_aws
from tests.support.builders import cluster as a_cluster

ACCOUNT, REGION = "111122223333", "eu-west-1"
CLUSTER = a_cluster(arn=f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/gpu-1", region=REGION, account=ACCOUNT)
QUEUE, RULE = interruptions.queue(CLUSTER), interruptions.rule(CLUSTER)
NAME, (TARGET,) = QUEUE.name, RULE.targets


class InMemory:
    def __init__(self):
        calls = Calls()
        self.queues, self.rules = FakeEventQueues(calls), FakeEventRules(calls)


class Sandboxed:
    def __init__(self, aws: Aws):
        environment = aws.environment()
        session = functions_aws.session(
            environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region=aws.region
        )
        self.queues = SqsEventQueues(session, aws.region)
        self.rules = EventBridgeRules(session, aws.region)


@pytest.fixture(params=["fake", "gateway"])
def far_side(request, monkeypatch, tmp_path):
    if request.param == "fake":
        yield InMemory()
        return
    with Aws.start(tmp_path / "aws", account=ACCOUNT, region=REGION) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        yield Sandboxed(aws)


# Queues


def test_a_queue_is_made_as_it_was_asked_for_and_once(far_side):
    assert far_side.queues.queue(NAME) is None

    for _ in range(2):
        far_side.queues.create_queue(QUEUE)

    assert far_side.queues.queue(NAME) == QUEUE


def test_a_queue_of_that_name_with_other_attributes_is_a_conflict(far_side):
    far_side.queues.create_queue(replace(QUEUE, retention=3600))

    with pytest.raises(Conflict):
        far_side.queues.create_queue(QUEUE)
    assert far_side.queues.queue(NAME).retention == 3600


def test_what_is_set_of_a_queue_takes_the_place_of_what_was(far_side):
    far_side.queues.create_queue(replace(QUEUE, retention=3600, is_encrypted=False))

    far_side.queues.set_queue(QUEUE)

    assert far_side.queues.queue(NAME) == QUEUE


def test_what_is_set_of_a_queue_has_its_tags_again_beside_those_of_others(far_side):
    far_side.queues.create_queue(replace(QUEUE, tags={"team": "ml"}))

    far_side.queues.set_queue(QUEUE)

    assert far_side.queues.queue(NAME) == replace(QUEUE, tags={**QUEUE.tags, "team": "ml"})


def test_of_a_queue_that_is_not_there_nothing_can_be_set(far_side):
    with pytest.raises(Conflict):
        far_side.queues.set_queue(QUEUE)


def test_a_queue_is_deleted_and_deleted_already_is_fine(far_side):
    far_side.queues.create_queue(QUEUE)

    for _ in range(2):
        far_side.queues.delete_queue(NAME)

    assert far_side.queues.queue(NAME) is None


@pytest.mark.parametrize("name", ["x" * 81, "a.b", ""])
def test_a_name_that_sqs_does_not_take_is_refused(far_side, name):
    with pytest.raises(Refused):
        far_side.queues.create_queue(EventQueue(name, {}, 300))


def test_a_retention_that_sqs_does_not_take_is_refused(far_side):
    with pytest.raises(Refused):
        far_side.queues.create_queue(EventQueue(NAME, {}, 59))


# Rules


def test_a_rule_is_made_as_it_was_asked_for_and_gets_its_target_after(far_side):
    assert far_side.rules.rule(NAME) is None

    far_side.rules.put_rule(RULE)
    bare = far_side.rules.rule(NAME)
    far_side.queues.create_queue(QUEUE)
    for _ in range(2):
        far_side.rules.put_target(NAME, TARGET)

    assert bare == replace(RULE, targets=())
    assert far_side.rules.rule(NAME) == RULE


def test_a_rule_that_is_put_again_keeps_its_targets_and_its_tags(far_side):
    far_side.queues.create_queue(QUEUE)
    far_side.rules.put_rule(replace(RULE, pattern={"source": ["aws.health"]}, is_enabled=False))
    far_side.rules.put_target(NAME, TARGET)
    other = far_side.rules.rule(NAME)

    far_side.rules.put_rule(RULE)

    assert (other.pattern, other.is_enabled) == ({"source": ["aws.health"]}, False)
    assert far_side.rules.rule(NAME) == RULE


def test_a_target_needs_its_rule(far_side):
    with pytest.raises(Conflict):
        far_side.rules.put_target(NAME, TARGET)


def test_a_rule_is_deleted_with_its_targets_and_deleted_already_is_fine(far_side):
    far_side.queues.create_queue(QUEUE)
    far_side.rules.put_rule(RULE)
    far_side.rules.put_target(NAME, TARGET)

    for _ in range(2):
        far_side.rules.delete_rule(NAME)

    assert far_side.rules.rule(NAME) is None


@pytest.mark.parametrize("changes", [{"name": "x" * 65}, {"name": "a b"}])
def test_a_rule_that_eventbridge_does_not_take_is_refused(far_side, changes):
    with pytest.raises(Refused):
        far_side.rules.put_rule(EventRule(**{"name": NAME, "pattern": RULE.pattern, **changes}))
