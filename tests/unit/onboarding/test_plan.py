"""Each question of a pass, answered by one world: what is done, what is told, and when to look again."""

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.errors import InvalidPolicy
from slicewise.kube.ref import Ref
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry
from slicewise.onboarding import manifests
from slicewise.onboarding.observation import ObserveError, ObserveFailure
from slicewise.onboarding.plan import enforced, plan
from slicewise.planning.actions import Apply, Delete, DeleteState, Wake
from slicewise.planning.eks_actions import (
    AllowAccessEntries,
    DeleteAccessEntry,
    GrantAdmin,
    PutAccessEntry,
    RevokeAdmin,
    UpgradeRelease,
)
from slicewise.planning.outcome import Stage
from slicewise.policy.model import parse

from tests.support import builders
from tests.support.builders import INSTALLER, NOW, TUNER
from tests.support.simulated_cluster import SimulatedCluster
from tests.unit.onboarding.planned import entry, kinds, onboarded, planned, unauthorized, world

MINUTE = timedelta(minutes=1)


# Before any access


def test_a_cluster_that_is_deleted_is_forgotten():
    found = planned(cluster=None)

    assert (found.outcome.stage, kinds(found)) == (Stage.DELETED, [Wake, DeleteState])


def test_a_cluster_that_goes_is_checked_until_it_is_deleted():
    found = planned(cluster=builders.cluster(status="DELETING"))

    assert (found.outcome.stage, found.outcome.requeue_after, found.actions) == (Stage.DELETED, MINUTE, ())


def test_a_paused_cluster_is_left_as_it_is():
    found = planned(paused="by anna: release day")

    assert (found.outcome.stage, found.actions) == (Stage.PAUSED, ())
    assert found.outcome.reason == "paused: by anna: release day"


def test_no_policy_means_left_unchanged():
    found = planned(policy=None, policy_name=None)

    assert (found.outcome.stage, found.actions, found.outcome.requeue_after) == (Stage.UNMANAGED, (), None)


def test_a_cluster_that_was_managed_is_reported_what_stays():
    found = planned(
        cluster=builders.cluster(tags={"slicewise.dev/policy": "none"}),
        policy=None,
        policy_name=None,
        entries=entry(),
    )

    assert found.outcome.reason == (
        "no policy applies to this cluster: its tag slicewise.dev/policy says 'none'"
    )
    assert [finding.code for finding in found.outcome.findings] == ["left-behind"]
    assert found.actions == ()


def test_a_cluster_recreated_under_its_old_name_is_read():
    refused = builders.record(Stage.BLOCKED, observed_at=NOW - timedelta(hours=1))

    same = planned(record=refused)
    recreated = planned(record=refused, cluster=builders.cluster(created_at=NOW - MINUTE))

    assert same.outcome.stage is Stage.BLOCKED
    assert kinds(recreated) == [PutAccessEntry, GrantAdmin]


def test_each_mistake_of_a_policy_is_a_finding():
    with pytest.raises(InvalidPolicy) as error:
        parse("pools: {a: {sharing: none, gpus: [a100], maxGpus: 0}}", "default")

    found = planned(policy=None, policy_error=error.value)

    assert (found.outcome.stage, found.actions) == (Stage.FAILED, ())
    assert found.outcome.reason == "policy default has 2 mistakes"
    assert [f.message for f in found.outcome.findings] == ["pools.a.gpus[0]: 'a100'.", "pools.a.maxGpus: 0."]


@pytest.mark.parametrize(
    "stopped", [{"paused": "x"}, {"policy": None}, {"cluster": builders.cluster(auto_mode=True)}]
)
def test_whatever_stops_an_installation_its_rights_are_returned(stopped):
    found = planned(**stopped, entries=entry(admin=True))

    assert kinds(found) == [RevokeAdmin]


@pytest.mark.parametrize(
    "status, age, stage, wait",
    [
        ("CREATING", 15 * MINUTE, Stage.WAITING, MINUTE),
        ("PENDING", 15 * MINUTE, Stage.WAITING, MINUTE),
        ("CREATING", 46 * MINUTE, Stage.FAILED, None),
        ("FAILED", MINUTE, Stage.FAILED, None),
        ("UPDATING", timedelta(days=90), Stage.WAITING, MINUTE),
    ],
)
def test_a_cluster_that_is_not_active_is_waited_for_with_a_deadline(status, age, stage, wait):
    found = planned(cluster=builders.cluster(status=status, created_at=NOW - age))

    assert (found.outcome.stage, found.outcome.requeue_after, found.actions) == (stage, wait, ())


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"authentication_mode": "CONFIG_MAP"}, "access-entries-off"),
        ({"auto_mode": True}, "auto-mode"),
        ({"bottlerocket_node_groups": ("gpu",)}, "bottlerocket"),
        ({"version": "1.28"}, "kubernetes-version"),
    ],
)
def test_what_eks_already_rules_out_is_refused_before_any_access(fields, code):
    found = planned(cluster=builders.cluster(**fields))

    assert (found.outcome.stage, found.actions, found.outcome.requeue_after) == (Stage.BLOCKED, (), None)
    (finding,) = found.outcome.findings
    assert (finding.code, finding.blocking) == (code, True)
    assert finding.remedy


def test_all_that_rules_a_cluster_out_is_one_report():
    found = planned(
        cluster=builders.cluster(auto_mode=True, authentication_mode="CONFIG_MAP", version="1.20")
    )

    assert [f.code for f in found.outcome.findings] == [
        "access-entries-off",
        "auto-mode",
        "kubernetes-version",
    ]


def test_the_one_way_switch_is_made_only_where_a_tag_allows_it():
    tags = {"slicewise.dev/policy": "default", "slicewise.dev/allow-access-entries": "true"}

    found = planned(cluster=builders.cluster(authentication_mode="CONFIG_MAP", tags=tags))

    assert (found.outcome.stage, kinds(found)) == (Stage.WAITING, [AllowAccessEntries])


# Being let in


def test_a_new_cluster_gets_an_entry_and_admin_and_a_reconcile_in_seconds():
    found = planned()

    assert kinds(found) == [PutAccessEntry, GrantAdmin]
    assert found.actions[0].groups == ("slicewise:installer",)
    assert (found.outcome.stage, found.outcome.requeue_after) == (Stage.INSTALLING, timedelta(seconds=5))


def test_an_entry_with_other_groups_is_put_right():
    assert kinds(planned(entries=entry(groups=()), observe_error=unauthorized())) == [
        PutAccessEntry,
        GrantAdmin,
    ]


def test_unauthorized_right_after_the_entry_is_no_failure():
    found = planned(entries=entry(admin=True), observe_error=unauthorized())

    assert (found.outcome.stage, found.outcome.requeue_after, found.actions) == (
        Stage.INSTALLING,
        timedelta(seconds=5),
        (),
    )


def test_an_entry_that_never_works_is_taken_away_after_ten_minutes():
    found = planned(
        entries=entry(admin=True, age=11 * MINUTE),
        observe_error=unauthorized(),
        record=builders.record(Stage.INSTALLING, since=11 * MINUTE),
    )

    assert (found.outcome.stage, kinds(found)) == (Stage.FAILED, [RevokeAdmin, DeleteAccessEntry])


def test_a_reconcile_that_died_between_entry_and_admin_goes_on():
    assert kinds(planned(entries=entry(), observe_error=ObserveError(ObserveFailure.FORBIDDEN, "403"))) == [
        GrantAdmin
    ]


def test_a_private_endpoint_out_of_reach_is_refused_and_reported_how_to_reach_it():
    found = planned(
        cluster=builders.cluster(public_endpoint=False),
        entries=entry(admin=True),
        observe_error=ObserveError(ObserveFailure.UNREACHABLE, "timed out"),
    )

    assert (found.outcome.stage, kinds(found)) == (Stage.BLOCKED, [RevokeAdmin])
    assert "into a VPC" in found.outcome.findings[0].remedy


def test_a_public_endpoint_that_does_not_answer_is_waited_for():
    error = ObserveError(ObserveFailure.UNREACHABLE, "timed out")

    soon = planned(observe_error=error, record=builders.record(Stage.WAITING, 20 * MINUTE))
    late = planned(observe_error=error, record=builders.record(Stage.WAITING, 61 * MINUTE))

    assert (soon.outcome.stage, soon.outcome.requeue_after) == (Stage.WAITING, MINUTE)
    assert late.outcome.stage is Stage.BLOCKED


def test_what_a_person_sees_inside_is_planned_before_our_own_entry_is_there():
    """`slicewise plan` looks with the rights of whoever runs it."""
    asked = {"type": "Ready", "status": "True"}
    theirs = {**manifests.gate_probe(), "metadata": {"name": "theirs"}, "status": {"conditions": [asked]}}

    found = planned(contents=builders.contents(node_overlays=(theirs,)))

    assert kinds(found) == [PutAccessEntry, GrantAdmin]
    assert found.outcome.reason.startswith("we need to write: ")
    assert "changes: apply Namespace gpu-operator" in found.outcome.reason


# Refused inside


def refused(**fields):
    cluster = SimulatedCluster(**fields)
    return cluster, cluster.run()


def test_a_refused_cluster_keeps_nothing_of_ours():
    cluster, found = refused(gate=False, karpenter=builders.karpenter(gates=None))

    assert [f.code for f in found.outcome.findings] == ["node-overlay-gate-off"]
    assert (cluster.entries, cluster.objects, cluster.releases) == ({}, {}, {})


def test_a_gate_that_karpenter_says_is_off_needs_no_probe():
    cluster, found = refused(gate=False, karpenter=builders.karpenter(gates="NodeOverlay=false"))

    assert found.outcome.stage is Stage.BLOCKED
    assert not [action for action in cluster.done if isinstance(action, Apply | Delete)]


def test_the_probe_is_given_thirty_seconds():
    cluster, _ = refused(gate=False, karpenter=builders.karpenter(gates=None))

    probe = [a for a in cluster.done if isinstance(a, Apply | Delete)]
    assert [type(a) for a in probe] == [Apply, Delete]
    assert timedelta(seconds=30) <= cluster.now - NOW <= timedelta(seconds=60)


@pytest.mark.parametrize(
    "change, looks",
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"hours": 25}, True, id="a day"),
        pytest.param({"forced": True}, True, id="by hand"),
        pytest.param(
            {"policy": builders.policy(builders.DEFAULT_POOLS, "karpenter: {install: true}")},
            True,
            id="policy",
        ),
        pytest.param({"cluster": builders.cluster(version="1.36")}, True, id="cluster"),
    ],
)
def test_a_refused_cluster_is_read_again_only_for_a_reason(change, looks):
    cluster, _ = refused(gate=False, karpenter=builders.karpenter(gates="NodeOverlay=false"))
    now = cluster.now + timedelta(hours=change.pop("hours", 1))

    found = plan(cluster.world(**change), cluster.settings, now)

    assert kinds(found) == ([PutAccessEntry, GrantAdmin] if looks else [])
    if not looks:
        assert found.outcome.stage is Stage.BLOCKED
        assert [f.code for f in found.outcome.findings] == ["node-overlay-gate-off"]


def test_an_onboarded_cluster_that_must_be_refused_keeps_our_read_access():
    cluster = SimulatedCluster()
    cluster.run()
    cluster.karpenter = builders.karpenter(version="1.9.0")

    found = cluster.step()

    assert (found.outcome.stage, found.actions) == (Stage.BLOCKED, ())
    assert INSTALLER in cluster.entries


def test_a_probe_that_a_killed_reconcile_left_is_taken_away_also_without_admin():
    cluster = SimulatedCluster()
    cluster.run()
    probe = Ref("karpenter.sh/v1alpha1", "NodeOverlay", "slicewise-gate-probe")
    cluster.objects[probe] = manifests.gate_probe()
    cluster.karpenter = builders.karpenter(version="1.9.0")

    assert cluster.run().outcome.stage is Stage.BLOCKED
    assert probe not in cluster.objects
    assert CLUSTER_ADMIN_POLICY not in cluster.entries[INSTALLER].policies


# Modes


def test_in_mode_observe_nothing_is_done_and_what_is_unknown_is_said():
    cluster = SimulatedCluster(policy=builders.policy(builders.DEFAULT_POOLS, "mode: observe"))

    found = cluster.run()

    assert found.outcome.stage is Stage.UNMANAGED
    assert kinds(found) == [PutAccessEntry, GrantAdmin]
    assert "what is in the cluster is not known" in found.outcome.reason
    assert cluster.done == []


def test_in_mode_recommend_the_same_plan_is_reported_where_we_can_look():
    cluster = SimulatedCluster()
    cluster.run()
    wider = "{shared: {sharing: time-slicing, gpus: [l4, a10g], maxGpus: 16}}"
    cluster.policy = builders.policy(wider, "mode: recommend")
    cluster.done.clear()

    found = cluster.run()

    assert [str(a) for a in found.actions if isinstance(a, Apply)] == [
        "apply ClusterRole slicewise-tuner",  # which names the NodePools that it may change
        "apply NodeOverlay slicewise-shared-a10g-1",
        "apply NodeOverlay slicewise-shared-a10g-4",
        "apply NodeOverlay slicewise-shared-a10g-8",
        "apply NodePool slicewise-shared-a10g",
    ]
    assert cluster.done == []


def test_rights_left_by_a_reconcile_are_returned_in_every_mode():
    left = world(policy=builders.policy(builders.DEFAULT_POOLS, "mode: observe"), entries=entry(admin=True))

    assert kinds(plan(left, builders.settings(), NOW)) == [RevokeAdmin]
    assert enforced(left, builders.settings())


def test_a_tuner_that_a_user_made_admin_does_not_make_us_act():
    tuner = AccessEntry(TUNER, ("slicewise:tuner",), (CLUSTER_ADMIN_POLICY,))
    left = world(policy=builders.policy(builders.DEFAULT_POOLS, "mode: recommend"), entries={TUNER: tuner})

    assert not enforced(left, builders.settings())


def test_admin_in_another_partition_is_admin():
    in_china = "arn:aws-cn:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

    assert kinds(planned(paused="x", entries={INSTALLER: AccessEntry(INSTALLER, policies=(in_china,))})) == [
        RevokeAdmin
    ]


# Verifying


def test_overlays_that_karpenter_has_not_taken_up_are_awaited():
    cluster = onboarded()
    ref = next(ref for ref in sorted(cluster.objects) if ref.kind == "NodeOverlay")
    cluster.objects[ref] = {k: v for k, v in cluster.objects[ref].items() if k != "status"}

    soon = cluster.step()
    cluster.now += 11 * MINUTE
    late = cluster.step()

    assert (soon.outcome.stage, soon.outcome.requeue_after) == (Stage.VERIFYING, timedelta(seconds=15))
    assert (late.outcome.stage, late.outcome.requeue_after) == (Stage.VERIFYING, None)
    assert [f.code for f in late.outcome.findings] == ["overlay-not-ready"]


def test_an_overlay_without_effect_is_reported_on_the_first_claim():
    cluster = onboarded()
    cluster.claims = [builders.node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "1"})]

    found = cluster.step()

    assert [f.code for f in found.outcome.findings] == ["overlay-without-effect"]
    assert found.outcome.reason.endswith("with 1 finding to read")


def test_an_installation_without_end_gives_its_rights_back():
    cluster = SimulatedCluster()
    cluster.step()
    cluster.do = lambda action: None  # whatever is applied never stands
    cluster.record = replace(builders.record(Stage.INSTALLING, 31 * MINUTE))

    found = plan(cluster.world(), cluster.settings, cluster.now)

    assert found.outcome.stage is Stage.FAILED
    assert [type(a) for a in found.actions][:1] == [RevokeAdmin]
    assert not [a for a in found.actions if isinstance(a, UpgradeRelease)]
