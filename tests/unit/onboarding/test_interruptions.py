"""Names, values and ARNs of Karpenter's interruption handling."""

from __future__ import annotations

import pytest
from slicewise.errors import InvalidPolicy
from slicewise.model.interruptions import InterruptionEvents
from slicewise.onboarding import manifests
from slicewise.onboarding.aws import interruptions
from slicewise.planning.eks_actions import CreateEventQueue, PutEventRule, PutEventTarget
from slicewise.policy.model import parse

from tests.support import builders

POOLS = f"pools: {builders.DEFAULT_POOLS}\n"


def test_queue_and_rule_have_one_name_that_both_services_take():
    cluster = builders.cluster()

    assert interruptions.queue(cluster).name == interruptions.rule(cluster).name
    assert interruptions.name_of("gpu-1") == "slicewise-interruptions-gpu-1"
    assert len(interruptions.name_of("c" * 100)) == 64


def test_in_other_partitions_arns_are_of_them():
    cluster = builders.cluster(
        arn="arn:aws-cn:eks:cn-north-1:111122223333:cluster/gpu-1", region="cn-north-1"
    )

    sends, _ = interruptions.queue(cluster).policy["Statement"]
    (target,) = interruptions.rule(cluster).targets
    assert target == sends["Resource"] == f"arn:aws-cn:sqs:cn-north-1:111122223333:{target.split(':')[-1]}"
    source = sends["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert source.startswith("arn:aws-cn:events:cn-north-1:111122223333:rule/")


def test_what_is_missing_is_made_in_an_order_in_which_no_event_is_refused():
    actions = tuple(interruptions.made(builders.cluster(), InterruptionEvents()))

    assert [type(action) for action in actions] == [CreateEventQueue, PutEventRule, PutEventTarget]


def test_what_is_there_is_left_unchanged():
    cluster = builders.cluster()
    found = InterruptionEvents(interruptions.queue(cluster), interruptions.rule(cluster))

    assert tuple(interruptions.made(cluster, found)) == ()


@pytest.mark.parametrize("on", ["nodes", "fargate"])
def test_the_chart_names_the_queue_and_nothing_else_differs(on):
    def values(queue: str) -> dict:
        cluster = builders.cluster()
        if on == "nodes":
            return manifests.karpenter_values(cluster, queue)
        return manifests.karpenter_on_fargate_values(cluster, "arn:aws:iam::1:role/a", queue)

    with_it, without = values("a-queue"), values("")
    assert with_it["settings"].pop("interruptionQueue") == "a-queue"
    assert with_it == without


def test_only_a_karpenter_that_we_install_can_have_it():
    with pytest.raises(InvalidPolicy) as refused:
        parse(POOLS + "karpenter: {interruptions: true}", "default")

    [problem] = refused.value.problems
    assert (problem.path, problem.value) == ("karpenter.interruptions", True)
    assert "settings.interruptionQueue" in problem.remedy


def test_of_a_policy_that_does_not_ask_nothing_is_said():
    policy = parse(POOLS + "karpenter: {install: true}", "default")

    said = interruptions.findings(
        builders.cluster(), policy, InterruptionEvents(), builders.settings(), "arn:aws:iam::1:role/theirs"
    )
    assert said == () and interruptions.of_another_karpenter(policy) == ()
