"""
Karpenter's interruption handling: made, repaired, dropped with the policy, taken away, struck at every call.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.kube.labels import CLUSTER_TAG
from slicewise.kube.ref import Ref
from slicewise.model.interruptions import EventQueue, EventRule
from slicewise.onboarding.aws import interruptions
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import FARGATE_SETTINGS, HOME, INSTALLER, POLICY, SETTINGS, Account
from tests.fakes.calls import REFUSALS
from tests.support.onboarding_runs import (
    GPU_1,
    created,
    offboarded,
    onboarded,
    say_offboard,
    smooth_way,
    stage,
    struck_at,
    way_of,
)

NODES = replace(SETTINGS, may_handle_interruptions=True)
FARGATE = replace(FARGATE_SETTINGS, may_handle_interruptions=True)
PLAIN = POLICY + "karpenter: {install: true}\n"
ASKED = POLICY + "karpenter: {install: true, interruptions: true}\n"
ON_FARGATE = POLICY + "karpenter: {install: true, on: fargate, interruptions: true}\n"
WAYS = [(ASKED, NODES), (ON_FARGATE, FARGATE)]
NAME = "slicewise-interruptions-gpu-1"
QUEUE_ARN = f"arn:aws:sqs:{HOME.region}:{HOME.account}:{NAME}"
RULE_ARN = f"arn:aws:events:{HOME.region}:{HOME.account}:rule/{NAME}"
WRITES = ("create_queue", "set_queue", "delete_queue", "put_rule", "put_target", "delete_rule")


def with_interruptions(policy: str = ASKED, settings=NODES, **cluster) -> Account:
    return onboarded(policy, settings=settings, karpenter=False, **cluster)


def again(account: Account) -> Account:
    account.send_created()
    account.run_until_idle()
    return account


def uninstall_karpenter(account: Account) -> None:
    """As a person does, with helm."""
    releases, server = account.releases["gpu-1"], account.servers["gpu-1"]
    del releases.revisions["karpenter", "kube-system"]
    for ref, item in list(server.objects.items()):
        if (item["metadata"].get("annotations") or {}).get("meta.helm.sh/release-name") == "karpenter":
            server.delete(ref)


def in_aws(account: Account) -> tuple[list[str], list[str]]:
    return sorted(account.event_queues.queues), sorted(account.event_rules.rules)


def named_queue(account: Account) -> str | None:
    values = account.releases["gpu-1"].revisions["karpenter", "kube-system"][-1].values
    return values["settings"].get("interruptionQueue")


def codes(account: Account) -> list[str]:
    return [finding.code for finding in account.record().findings]


def writes_since(account: Account, number: int) -> list[str]:
    return [call for call in account.calls.made[number:] if any(word in call for word in WRITES)]


@pytest.mark.parametrize(("policy", "settings"), WAYS)
def test_karpenter_gets_a_queue_that_only_our_rule_sends_to(policy, settings):
    account = with_interruptions(policy, settings)

    assert stage(account) is Stage.ONBOARDED and named_queue(account) == NAME
    queue, rule = account.event_queues.queues[NAME], account.event_rules.rules[NAME]
    assert queue == EventQueue(
        NAME,
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "OurRuleSends",
                    "Effect": "Allow",
                    "Principal": {"Service": "events.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": QUEUE_ARN,
                    "Condition": {"ArnEquals": {"aws:SourceArn": RULE_ARN}},
                },
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "sqs:*",
                    "Resource": QUEUE_ARN,
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            ],
        },
        retention=300,
        is_encrypted=True,
        tags={CLUSTER_TAG: GPU_1, "eks-cluster-name": "gpu-1"},
    )
    assert rule.targets == (QUEUE_ARN,) and rule.is_enabled and rule.tags == queue.tags
    assert set(rule.pattern) == {"source", "detail-type"}


def test_the_chart_names_the_queue_once_it_takes_the_rules_events():
    made = with_interruptions().calls.made

    order = [
        made.index(f"sqs.create_queue {NAME}"),
        made.index(f"events.put_rule {NAME}"),
        made.index(f"events.put_target {NAME}"),
        made.index("helm.upgrade kube-system/karpenter: begin"),
    ]
    assert order == sorted(order)


def test_a_second_reconcile_writes_nothing():
    account = with_interruptions()
    done = len(account.calls.made)

    again(account)

    assert writes_since(account, done) == []


def test_without_it_in_the_policy_nothing_is_made_and_the_chart_names_none():
    account = with_interruptions(PLAIN)

    assert stage(account) is Stage.ONBOARDED
    assert in_aws(account) == ([], []) and named_queue(account) is None


def edited_queue(account: Account) -> None:
    queue = account.event_queues.queues[NAME]
    account.event_queues.queues[NAME] = replace(queue, retention=3600, policy={"Statement": []})


def without_encryption(account: Account) -> None:
    account.event_queues.queues[NAME] = replace(account.event_queues.queues[NAME], is_encrypted=False)


def disabled_rule(account: Account) -> None:
    account.event_rules.rules[NAME] = replace(account.event_rules.rules[NAME], is_enabled=False)


def widened_rule(account: Account) -> None:
    pattern = {"source": ["aws.s3"]}
    account.event_rules.rules[NAME] = replace(account.event_rules.rules[NAME], pattern=pattern)


def rule_without_target(account: Account) -> None:
    account.event_rules.rules[NAME] = replace(account.event_rules.rules[NAME], targets=())


def deleted_rule(account: Account) -> None:
    account.event_rules.rules.clear()


def deleted_queue(account: Account) -> None:
    account.event_queues.delete_queue(NAME)


def queue_without_karpenters_tag(account: Account) -> None:
    """By which Karpenter's policy lets it read the queue."""
    queue = account.event_queues.queues[NAME]
    account.event_queues.queues[NAME] = replace(queue, tags={CLUSTER_TAG: GPU_1})


@pytest.mark.parametrize(
    "edit",
    [
        *(edited_queue, without_encryption, queue_without_karpenters_tag),
        *(disabled_rule, widened_rule, rule_without_target),
        *(deleted_rule, deleted_queue),
    ],
)
def test_what_is_edited_or_deleted_is_put_back(edit):
    account = with_interruptions()
    before = account.event_queues.queues[NAME], account.event_rules.rules[NAME]

    edit(account)
    assert (account.event_queues.queues.get(NAME), account.event_rules.rules.get(NAME)) != before
    again(account)

    assert (account.event_queues.queues[NAME], account.event_rules.rules[NAME]) == before
    assert stage(account) is Stage.ONBOARDED


def test_a_policy_in_another_form_of_the_same_is_left_unchanged():
    account = with_interruptions()
    queue = account.event_queues.queues[NAME]
    statements = [one | {"Action": [one["Action"]]} for one in queue.policy["Statement"]]
    account.event_queues.queues[NAME] = replace(queue, policy={**queue.policy, "Statement": statements})
    done = len(account.calls.made)

    again(account)

    assert writes_since(account, done) == []


def test_a_target_that_others_added_stays():
    account = with_interruptions()
    theirs = "arn:aws:sqs:eu-west-1:111122223333:theirs"
    account.event_rules.put_target(NAME, theirs)
    done = len(account.calls.made)

    again(account)

    assert writes_since(account, done) == []
    assert theirs in account.event_rules.rules[NAME].targets


# Refusals


def test_a_deployment_without_the_rights_says_which_ones():
    account = with_interruptions(settings=SETTINGS)

    assert stage(account) is Stage.BLOCKED and codes(account) == ["interruption-rights-missing"]
    assert "karpenter_interruptions=true" in account.record().findings[0].remedy
    assert not [call for call in account.calls.made if call.startswith(("sqs.", "events."))]


def with_a_queue_of_another(account: Account) -> None:
    account.event_queues.queues[NAME] = EventQueue(NAME, {}, 300, tags={CLUSTER_TAG: "another"})


def with_a_rule_of_another(account: Account) -> None:
    account.event_rules.rules[NAME] = EventRule(NAME, {"source": ["aws.s3"]})


@pytest.mark.parametrize("contradicts", [with_a_queue_of_another, with_a_rule_of_another])
def test_a_name_that_is_taken_is_refused_and_left(contradicts):
    account = created(ASKED, NODES, karpenter=False)
    contradicts(account)
    before = account.state()

    account.run_until_idle()

    assert stage(account) is Stage.BLOCKED and codes(account) == ["interruption-name-taken"]
    assert {**account.state(), "stages": None} == {**before, "stages": None}

    account.policies["default"] = PLAIN
    again(account)
    assert stage(account) is Stage.ONBOARDED
    assert {**account.event_queues.queues, **account.event_rules.rules}.keys() == {NAME}


def test_a_karpenter_of_another_owner_is_left_to_them():
    account = onboarded(ASKED, settings=NODES)  # with a Karpenter in it

    assert stage(account) is Stage.ONBOARDED and "interruptions-not-ours" in codes(account)
    assert in_aws(account) == ([], [])


def test_of_another_role_it_is_said_what_it_needs():
    account = created(ASKED, NODES, karpenter=False)
    theirs = f"arn:aws:iam::{HOME.account}:role/theirs"
    account.eks.pod_identities["gpu-1", "kube-system", "karpenter"] = theirs
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    [finding] = [one for one in account.record().findings if one.code == "interruption-rights-elsewhere"]
    assert "theirs" in finding.message and QUEUE_ARN in finding.remedy


def test_a_bus_without_room_for_a_rule_keeps_the_rest_from_nothing():
    account = created(ASKED, NODES, karpenter=False)
    account.event_rules.most = 0
    account.run_until(account.clock.now + timedelta(minutes=20))

    assert "cannot-be-changed" in codes(account)
    assert any("LimitExceededException" in finding.message for finding in account.record().findings)
    assert named_queue(account) == NAME and not account.eks.entries["gpu-1", INSTALLER].is_admin

    account.event_rules.most = 300
    again(account)
    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED and in_aws(account) == ([NAME], [NAME])


def test_a_rule_that_stays_refused_begins_no_installation_anew():
    """Each of them would trigger tuning, which pays for the metrics that it reads."""
    account = created(ASKED, NODES, karpenter=False)
    account.event_rules.most = 0
    account.run_until(account.clock.now + timedelta(minutes=20))
    assert stage(account) is Stage.ONBOARDED
    done, since = len(account.calls.made), account.record().since

    account.run_until(account.clock.now + timedelta(hours=2))

    made = account.calls.made[done:]
    assert [call for call in made if call.startswith("events.put_rule")]
    assert not [call for call in made if call == "queues.send tuning"]
    assert (stage(account), account.record().since) == (Stage.ONBOARDED, since)


ERRORS = [Refused("403 by a service control policy"), Unavailable("no answer: events:DescribeRule")]


@pytest.mark.parametrize("error", ERRORS, ids=["refused", "no answer"])
@pytest.mark.parametrize("call", ["sqs.queue", "events.rule"])
def test_what_cannot_be_read_keeps_a_cluster_that_does_not_ask_for_it_from_nothing(call, error):
    account = created(PLAIN, NODES, karpenter=False)
    account.calls.fails = lambda what: error if what.startswith(call) else None

    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED and not account.lost and codes(account) == []


@pytest.mark.parametrize("error", ERRORS, ids=["refused", "no answer"])
def test_what_cannot_be_read_is_said_and_read_again_where_the_policy_asks_for_it(error):
    account = created(ASKED, NODES, karpenter=False)
    account.calls.fails = lambda what: error if what.startswith("sqs.queue") else None

    account.run_until(account.clock.now + timedelta(minutes=20))
    assert stage(account) is Stage.ONBOARDED and not account.lost
    [finding] = [one for one in account.record().findings if one.code == "interruptions-unread"]
    assert str(error) in finding.message and in_aws(account) == ([], [])

    account.calls.fails = lambda what: None
    account.run_until(account.clock.now + timedelta(minutes=6))
    assert in_aws(account) == ([NAME], [NAME]) and "interruptions-unread" not in codes(account)


# Dropped, and taken away


def test_where_the_policy_drops_it_the_chart_is_changed_before_the_queue_goes():
    account = with_interruptions()
    account.policies["default"] = PLAIN
    done = len(account.calls.made)

    again(account)

    assert stage(account) is Stage.ONBOARDED and in_aws(account) == ([], [])
    assert named_queue(account) is None
    made = account.calls.made[done:]
    order = [
        made.index("helm.upgrade kube-system/karpenter: begin"),
        made.index(f"events.delete_rule {NAME}"),
        made.index(f"sqs.delete_queue {NAME}"),
    ]
    assert order == sorted(order)


def test_while_a_helm_of_others_is_at_work_on_the_chart_its_queue_stays():
    account = with_interruptions()
    kept = account.releases["gpu-1"].revisions["karpenter", "kube-system"]
    theirs = replace(
        kept[-1], status="pending-upgrade", revision=kept[-1].revision + 1, changed_at=account.clock.now
    )
    kept.append(theirs)
    account.policies["default"] = PLAIN

    account.send_created()
    account.run_until(account.clock.now + timedelta(minutes=5))
    assert in_aws(account) == ([NAME], [NAME]) and "helm" in account.record().reason

    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED and in_aws(account) == ([], [])
    assert named_queue(account) is None


def test_asked_for_again_at_once_it_waits_for_the_queues_name():
    account = with_interruptions()
    account.policies["default"] = PLAIN
    again(account)
    account.policies["default"] = ASKED

    again(account)

    assert stage(account) is Stage.ONBOARDED and in_aws(account) == ([NAME], [NAME])
    assert not account.notices.sent, "a minute is no reason to call a person"


def test_an_offboarding_that_cannot_read_them_goes_on_once_it_can():
    account = with_interruptions(ON_FARGATE, FARGATE)
    account.calls.fails = lambda what: ERRORS[1] if what.startswith("sqs.queue") else None
    say_offboard(account)
    account.run_until(account.clock.now + timedelta(minutes=2))
    assert in_aws(account) == ([NAME], [NAME]) and "gpu-1" in account.eks.profiles

    account.calls.fails = lambda what: None
    again(account)

    assert in_aws(account) == ([], []) and account.eks.profiles.get("gpu-1", {}) == {}


def test_offboarding_takes_them_away_with_a_karpenter_on_fargate():
    account = offboarded(with_interruptions(ON_FARGATE, FARGATE))

    assert in_aws(account) == ([], []) and not account.iam.roles
    made = account.calls.made
    order = [
        made.index("helm.uninstall kube-system/karpenter"),
        made.index(f"events.delete_rule {NAME}"),
        made.index(f"sqs.delete_queue {NAME}"),
    ]
    assert order == sorted(order)
    assert account.record() is None and not account.queues.dead


def test_a_karpenter_that_stays_on_nodes_keeps_its_queue_until_it_is_uninstalled():
    account = offboarded(with_interruptions())

    assert in_aws(account) == ([NAME], [NAME]) and account.record() is None
    [notice] = [text for subject, text in account.notices.sent if "is offboarded" in subject]
    assert NAME in notice and "slicewise offboard gpu-1" in notice

    account.send(Trigger(GPU_1, "by hand", forced=True))
    account.run_until_idle()
    assert in_aws(account) == ([NAME], [NAME])

    uninstall_karpenter(account)
    account.send(Trigger(GPU_1, "by hand", forced=True))
    account.run_until_idle()
    assert in_aws(account) == ([], []) and account.record() is None
    assert not account.eks.entries.keys() & {("gpu-1", INSTALLER)}


def test_a_karpenter_on_fargate_that_serves_others_keeps_its_queue():
    account = with_interruptions(ON_FARGATE, FARGATE)
    theirs = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "web"}, "spec": {}}
    account.servers["gpu-1"].create(theirs)

    offboarded(account)
    assert in_aws(account) == ([NAME], [NAME])

    account.servers["gpu-1"].delete(Ref("karpenter.sh/v1", "NodePool", "web"))
    account.send(Trigger(GPU_1, "by hand", forced=True))
    account.run_until_idle()
    assert in_aws(account) == ([], [])


@pytest.mark.parametrize(("policy", "settings"), WAYS)
def test_of_a_deleted_cluster_they_go(policy, settings):
    account = with_interruptions(policy, settings)
    del account.eks.clusters["gpu-1"]
    account.eks.profiles.clear()

    account.send(Trigger(GPU_1, "deleted"))
    account.run_until_idle()

    assert in_aws(account) == ([], []) and account.record() is None


def test_what_others_have_under_that_name_outlives_a_deleted_cluster():
    account = with_interruptions(PLAIN)
    with_a_queue_of_another(account)
    with_a_rule_of_another(account)
    del account.eks.clusters["gpu-1"]

    account.send(Trigger(GPU_1, "deleted"))
    account.run_until_idle()

    assert in_aws(account) == ([NAME], [NAME]) and account.record() is None


# Struck at any call


KINDS = ["killed", *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in ("answer lost", *REFUSALS))]


def ours_in(made: list[str], begun: int = 0) -> list[int]:
    """Of these calls those of interruption handling, and the ones on either side of each."""
    found = [number for number, call in enumerate(made) if call.startswith(("sqs.", "events."))]
    beside = {number + step for number in found for step in (-1, 0, 1)}
    return sorted(number for number in beside if begun <= number < len(made))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("policy", "settings"), WAYS)
def test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end(kind, policy, settings):
    way = smooth_way(policy, settings, karpenter=False)
    end = way[-1].state()
    assert stage(way[-1]) is Stage.ONBOARDED

    for number in ours_in(way[-1].calls.made):
        struck = struck_at(number, kind, way)

        assert struck.state() == end, f"{kind} at call {number}, {way[-1].calls.made[number]}"
        assert not struck.queues.dead


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_that_drops_it_and_is_struck_leaves_as_little(kind):
    account = with_interruptions()
    account.policies["default"] = PLAIN
    account.send_created()
    begun, way = len(account.calls.made), way_of(account)
    end = way[-1].state()
    assert not end["event queues"] and not end["event rules"]

    for number in ours_in(way[-1].calls.made, begun):
        struck = struck_at(number, kind, way)

        assert struck.state() == end, f"{kind} at call {number}, {way[-1].calls.made[number]}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_offboarding_that_is_struck_leaves_as_little(kind):
    account = with_interruptions(ON_FARGATE, FARGATE)
    say_offboard(account)
    begun, way = len(account.calls.made), way_of(account)
    end = way[-1].state()
    assert not end["event queues"] and not end["event rules"] and not end["roles"]

    for number in ours_in(way[-1].calls.made, begun):
        struck = struck_at(number, kind, way)

        assert struck.state() == end, f"{kind} at call {number}, {way[-1].calls.made[number]}"
        assert not struck.queues.dead


def test_a_deleted_cluster_whose_end_is_struck_leaves_as_little():
    account = with_interruptions()
    del account.eks.clusters["gpu-1"]
    account.send(Trigger(GPU_1, "deleted"))
    begun, way = len(account.calls.made), way_of(account)

    for kind in ("killed", "403"):
        for number in range(begun, len(way[-1].calls.made)):
            struck = struck_at(number, kind, way)

            assert in_aws(struck) == ([], []), f"{kind} at call {number}, {way[-1].calls.made[number]}"


def test_names_too_long_for_a_rule_are_cut_and_still_differ():
    names = {interruptions.name_of("c" * 98 + end) for end in ("-1", "-2")}

    assert len(names) == 2 and all(len(name) == 64 for name in names)
