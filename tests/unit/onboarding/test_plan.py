"""Each question of a pass, answered by one world: what is done, what is told, and when to look again."""

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise import layout
from slicewise.actions import Apply, Delete, Forget, Wake
from slicewise.errors import InvalidPolicy
from slicewise.installations import (
    AllowAccessEntries,
    DeleteAccessEntry,
    GrantAdmin,
    PutAccessEntry,
    RevokeAdmin,
    UpgradeRelease,
)
from slicewise.model import CLUSTER_ADMIN_POLICY, AccessEntry, Ref, ref_of
from slicewise.onboarding import manifests
from slicewise.onboarding.plan import acts, plan
from slicewise.onboarding.world import Chart, LookError, LookFailure, World
from slicewise.outcomes import Stage
from slicewise.policy import parse

from tests import builders
from tests.builders import INSTALLER, NOW, TUNER
from tests.simulated import SimulatedCluster

MINUTE = timedelta(minutes=1)


def entry(*, admin=False, age=timedelta(seconds=3), groups=("slicewise:installer",)):
    policies = (CLUSTER_ADMIN_POLICY,) if admin else ()
    return {INSTALLER: AccessEntry(INSTALLER, groups, policies, created_at=NOW - age)}


def world(**known):
    given = {"cluster": builders.cluster(), "policy": builders.policy(), "policy_name": "default"}
    return World(**(given | known))


def planned(**known):
    return plan(world(**known), builders.settings(), NOW)


def kinds(found):
    return [type(action) for action in found.actions]


def unauthorized():
    return LookError(LookFailure.UNAUTHORIZED, "401")


# Before any access


def test_a_cluster_that_is_gone_is_forgotten():
    found = planned(cluster=None)

    assert (found.outcome.stage, kinds(found)) == (Stage.GONE, [Wake, Forget])


def test_a_cluster_that_goes_is_looked_at_until_it_is_gone():
    found = planned(cluster=builders.cluster(status="DELETING"))

    assert (found.outcome.stage, found.outcome.wait, found.actions) == (Stage.GONE, MINUTE, ())


def test_a_paused_cluster_is_left_as_it_is():
    found = planned(paused="by anna: release day")

    assert (found.outcome.stage, found.actions) == (Stage.PAUSED, ())
    assert found.outcome.reason == "paused: by anna: release day"


def test_no_policy_means_left_alone():
    found = planned(policy=None, policy_name=None)

    assert (found.outcome.stage, found.actions, found.outcome.wait) == (Stage.LEFT_ALONE, (), None)


def test_a_cluster_that_was_looked_after_is_told_what_stays():
    found = planned(
        cluster=builders.cluster(tags={"slicewise.dev/policy": "none"}),
        policy=None,
        policy_name=None,
        entries=entry(),
    )

    assert found.outcome.reason == (
        "no policy asks for this cluster: its tag slicewise.dev/policy says 'none'"
    )
    assert [finding.code for finding in found.outcome.findings] == ["left-behind"]
    assert found.actions == ()


def test_a_cluster_made_anew_under_its_old_name_is_looked_into():
    refused = builders.record(Stage.REFUSED, looked_at=NOW - timedelta(hours=1))

    same = planned(record=refused)
    anew = planned(record=refused, cluster=builders.cluster(created_at=NOW - MINUTE))

    assert same.outcome.stage is Stage.REFUSED
    assert kinds(anew) == [PutAccessEntry, GrantAdmin]


def test_each_mistake_of_a_policy_is_a_finding():
    with pytest.raises(InvalidPolicy) as error:
        parse("pools: {a: {sharing: none, gpus: [a100], maxGpus: 0}}", "default")

    found = planned(policy=None, policy_error=error.value)

    assert (found.outcome.stage, found.actions) == (Stage.FAILED, ())
    assert found.outcome.reason == "policy default has 2 mistakes"
    assert [f.says for f in found.outcome.findings] == ["pools.a.gpus[0]: 'a100'.", "pools.a.maxGpus: 0."]


@pytest.mark.parametrize(
    "stopped", [{"paused": "x"}, {"policy": None}, {"cluster": builders.cluster(auto_mode=True)}]
)
def test_whatever_stops_an_installation_its_rights_are_given_back(stopped):
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

    assert (found.outcome.stage, found.outcome.wait, found.actions) == (stage, wait, ())


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

    assert (found.outcome.stage, found.actions, found.outcome.wait) == (Stage.REFUSED, (), None)
    (finding,) = found.outcome.findings
    assert (finding.code, finding.refuses) == (code, True)
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


def test_a_new_cluster_gets_an_entry_and_admin_and_a_look_in_seconds():
    found = planned()

    assert kinds(found) == [PutAccessEntry, GrantAdmin]
    assert found.actions[0].groups == ("slicewise:installer",)
    assert (found.outcome.stage, found.outcome.wait) == (Stage.INSTALLING, timedelta(seconds=5))


def test_an_entry_with_other_groups_is_put_right():
    assert kinds(planned(entries=entry(groups=()), look_error=unauthorized())) == [PutAccessEntry, GrantAdmin]


def test_unauthorized_right_after_the_entry_is_no_failure():
    found = planned(entries=entry(admin=True), look_error=unauthorized())

    assert (found.outcome.stage, found.outcome.wait, found.actions) == (
        Stage.INSTALLING,
        timedelta(seconds=5),
        (),
    )


def test_an_entry_that_never_works_is_taken_away_after_ten_minutes():
    found = planned(
        entries=entry(admin=True, age=11 * MINUTE),
        look_error=unauthorized(),
        record=builders.record(Stage.INSTALLING, since=11 * MINUTE),
    )

    assert (found.outcome.stage, kinds(found)) == (Stage.FAILED, [RevokeAdmin, DeleteAccessEntry])


def test_a_pass_that_died_between_entry_and_admin_goes_on():
    assert kinds(planned(entries=entry(), look_error=LookError(LookFailure.FORBIDDEN, "403"))) == [GrantAdmin]


def test_a_private_endpoint_out_of_reach_is_refused_and_told_how_to_reach_it():
    found = planned(
        cluster=builders.cluster(public_endpoint=False),
        entries=entry(admin=True),
        look_error=LookError(LookFailure.UNREACHABLE, "timed out"),
    )

    assert (found.outcome.stage, kinds(found)) == (Stage.REFUSED, [RevokeAdmin])
    assert "into a VPC" in found.outcome.findings[0].remedy


def test_a_public_endpoint_that_does_not_answer_is_waited_for():
    error = LookError(LookFailure.UNREACHABLE, "timed out")

    soon = planned(look_error=error, record=builders.record(Stage.WAITING, 20 * MINUTE))
    late = planned(look_error=error, record=builders.record(Stage.WAITING, 61 * MINUTE))

    assert (soon.outcome.stage, soon.outcome.wait) == (Stage.WAITING, MINUTE)
    assert late.outcome.stage is Stage.REFUSED


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

    assert found.outcome.stage is Stage.REFUSED
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
def test_a_refused_cluster_is_looked_into_again_only_for_a_reason(change, looks):
    cluster, _ = refused(gate=False, karpenter=builders.karpenter(gates="NodeOverlay=false"))
    now = cluster.now + timedelta(hours=change.pop("hours", 1))

    found = plan(cluster.world(**change), cluster.settings, now)

    assert kinds(found) == ([PutAccessEntry, GrantAdmin] if looks else [])
    if not looks:
        assert found.outcome.stage is Stage.REFUSED
        assert [f.code for f in found.outcome.findings] == ["node-overlay-gate-off"]


def test_an_onboarded_cluster_that_must_be_refused_keeps_our_read_access():
    cluster = SimulatedCluster()
    cluster.run()
    cluster.karpenter = builders.karpenter(version="1.9.0")

    found = cluster.step()

    assert (found.outcome.stage, found.actions) == (Stage.REFUSED, ())
    assert INSTALLER in cluster.entries


def test_a_probe_that_a_killed_pass_left_is_taken_away_also_without_admin():
    cluster = SimulatedCluster()
    cluster.run()
    probe = Ref("karpenter.sh/v1alpha1", "NodeOverlay", "slicewise-gate-probe")
    cluster.objects[probe] = manifests.gate_probe()
    cluster.karpenter = builders.karpenter(version="1.9.0")

    assert cluster.run().outcome.stage is Stage.REFUSED
    assert probe not in cluster.objects
    assert CLUSTER_ADMIN_POLICY not in cluster.entries[INSTALLER].policies


# Modes


def test_in_mode_observe_nothing_is_done_and_what_is_unknown_is_said():
    cluster = SimulatedCluster(policy=builders.policy(builders.DEFAULT_POOLS, "mode: observe"))

    found = cluster.run()

    assert found.outcome.stage is Stage.LEFT_ALONE
    assert kinds(found) == [PutAccessEntry, GrantAdmin]
    assert "what stands in the cluster is not known" in found.outcome.reason
    assert cluster.done == []


def test_in_mode_recommend_the_same_plan_is_told_where_we_can_look():
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


def test_rights_left_by_a_pass_are_given_back_in_every_mode():
    left = world(policy=builders.policy(builders.DEFAULT_POOLS, "mode: observe"), entries=entry(admin=True))

    assert kinds(plan(left, builders.settings(), NOW)) == [RevokeAdmin]
    assert acts(left, builders.settings())


def test_a_tuner_that_somebody_made_admin_does_not_make_us_act():
    tuner = AccessEntry(TUNER, ("slicewise:tuner",), (CLUSTER_ADMIN_POLICY,))
    left = world(policy=builders.policy(builders.DEFAULT_POOLS, "mode: recommend"), entries={TUNER: tuner})

    assert not acts(left, builders.settings())


def test_admin_in_another_partition_is_admin():
    in_china = "arn:aws-cn:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

    assert kinds(planned(paused="x", entries={INSTALLER: AccessEntry(INSTALLER, policies=(in_china,))})) == [
        RevokeAdmin
    ]


# N and nodes that run


def onboarded(pools=builders.DEFAULT_POOLS):
    cluster = SimulatedCluster(policy=builders.policy(pools))
    cluster.run()
    cluster.done.clear()
    return cluster


def set_keys(cluster, *keys):
    (ref,) = [ref for ref in cluster.objects if ref.kind == "NodePool"]
    found = cluster.objects[ref]
    requirements = [
        {**r, "values": list(keys)} if r["key"] == "nvidia.com/device-plugin.config" else r
        for r in found["spec"]["template"]["spec"]["requirements"]
    ]
    template = found["spec"]["template"]
    template = {**template, "spec": {**template["spec"], "requirements": requirements}}
    cluster.objects[ref] = {**found, "spec": {**found["spec"], "template": template}}


def test_n_comes_from_the_live_node_pool_never_from_the_policy():
    cluster = onboarded()
    set_keys(cluster, "ts-6")

    cluster.run()

    overlays = {r.name: o["spec"]["capacity"] for r, o in cluster.objects.items() if r.kind == "NodeOverlay"}
    assert overlays["slicewise-shared-l4-4"] == {"nvidia.com/gpu": "24"}
    (pool,) = [o for r, o in cluster.objects.items() if r.kind == "NodePool"]
    assert pool["spec"]["limits"] == {"nvidia.com/gpu": str(16 * 6)}


def test_admin_that_was_just_granted_is_waited_for_before_writing():
    cluster = onboarded()
    cluster.slow = timedelta(seconds=7)
    cluster.policy = builders.policy(builders.DEFAULT_POOLS.replace("maxGpus: 16", "maxGpus: 32"))

    assert (
        cluster.run().outcome.stage is Stage.ONBOARDED
    )  # the simulated cluster refuses what comes too early
    assert [type(action) for action in cluster.done][:2] == [GrantAdmin, Apply]


def test_a_node_pool_that_is_being_deleted_is_left_and_made_anew_once_it_is_gone():
    cluster = onboarded()
    (ref,) = [ref for ref in cluster.objects if ref.kind == "NodePool"]
    going = cluster.objects[ref]
    cluster.objects[ref] = {
        **going,
        "metadata": {**going["metadata"], "deletionTimestamp": "2026-11-24T12:00:00Z"},
    }

    assert [f.code for f in cluster.run().outcome.findings] == ["node-pool-going"]
    assert cluster.done == []

    del cluster.objects[ref]
    assert cluster.run().outcome.findings == ()
    assert ref in cluster.objects


def test_a_start_that_changed_in_the_policy_changes_no_pool_that_stands():
    cluster = onboarded()
    cluster.policy = builders.policy(builders.DEFAULT_POOLS.replace("start: 4", "start: 2"))

    assert cluster.step().actions == ()


def test_a_pool_and_its_overlays_at_another_n_are_no_difference():
    cluster = onboarded()
    pool = cluster.policy.pools[0]
    (gpu,) = pool.models()
    weights = layout.overlay_weights(cluster.policy)
    for tuned in (layout.node_pool(cluster.policy, pool, gpu, 8), *layout.overlays(pool, gpu, 8, weights)):
        live = cluster.objects[ref_of(tuned)]
        cluster.objects[ref_of(tuned)] = {**live, "spec": tuned["spec"]}

    assert cluster.step().actions == ()


def test_while_a_change_of_n_is_told_the_pool_is_left_whatever_it_looks_like():
    cluster = onboarded()
    ref = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
    live = cluster.objects[ref]
    metadata = live["metadata"]
    annotations = {**metadata["annotations"], layout.ROLLOUT_ANNOTATION: "{}"}
    held = {**live["spec"], "limits": {"nvidia.com/gpu": "1"}}
    cluster.objects[ref] = {**live, "metadata": {**metadata, "annotations": annotations}, "spec": held}

    found = cluster.step()

    assert found.actions == ()
    assert [f.code for f in found.outcome.findings] == ["n-being-changed"]


def test_while_n_is_being_changed_the_pool_is_left():
    cluster = onboarded()
    set_keys(cluster, "ts-4", "ts-8")

    found = cluster.step()

    assert found.actions == ()
    assert [f.code for f in found.outcome.findings] == ["n-being-changed"]


CHANGES = {
    "requirement": builders.DEFAULT_POOLS.replace("maxGpus: 16", "maxGpus: 16, capacityTypes: [spot]"),
    "sharing": "{shared: {sharing: mps, gpus: [l4], maxGpus: 16}}",
    "whole": "{shared: {sharing: none, gpus: [l4], maxGpus: 16}}",
    "counts": builders.DEFAULT_POOLS.replace("maxGpus: 16", "maxGpus: 16, gpuCounts: [4]"),
}


def edited(cluster, **template_spec):
    """The live NodePool as somebody else's edit would leave it: as if our policy had changed back."""
    (ref,) = [ref for ref in cluster.objects if ref.kind == "NodePool"]
    found = cluster.objects[ref]
    template = found["spec"]["template"]
    template = {**template, "spec": {**template["spec"], **template_spec}}
    cluster.objects[ref] = {**found, "spec": {**found["spec"], "template": template}}


@pytest.mark.parametrize(
    "edit",
    [
        {"taints": []},
        {"nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "other"}},
    ],
    ids=["taints", "node class"],
)
def test_what_karpenter_hashes_is_not_put_right_while_nodes_run(edit):
    cluster = onboarded()
    edited(cluster, **edit)
    cluster.claims = [builders.node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "4"})]

    assert [f.code for f in cluster.run().outcome.findings] == ["would-replace-nodes"]
    assert cluster.done == []


@pytest.mark.parametrize("pools", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_that_would_replace_nodes_is_told_and_made_once_they_are_gone(pools):
    cluster = onboarded()
    cluster.policy = builders.policy(pools)
    cluster.claims = [builders.node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "4"})]

    found = cluster.run()
    assert [f.code for f in found.outcome.findings] == ["would-replace-nodes"]
    assert cluster.done == []

    cluster.claims = []
    assert cluster.run().outcome.findings == ()
    assert cluster.done


@pytest.mark.parametrize(
    "pools, more",
    [
        (builders.DEFAULT_POOLS.replace("maxGpus: 16", "maxGpus: 32"), ()),
        (builders.DEFAULT_POOLS.replace("maxGpus: 16", "maxGpus: 16, capacityTypes: [on-demand, spot]"), ()),
        (builders.DEFAULT_POOLS, ("consolidation: {after: 1h}",)),
    ],
    ids=["limits", "a wider requirement", "consolidation"],
)
def test_what_replaces_no_node_is_applied_while_nodes_run(pools, more):
    cluster = onboarded()
    cluster.policy = builders.policy(pools, *more)
    cluster.claims = [builders.node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "4"})]

    found = cluster.run()

    assert found.outcome.findings == ()
    assert [str(a) for a in cluster.done if isinstance(a, Apply)] == ["apply NodePool slicewise-shared-l4"]


@pytest.mark.parametrize("field, value", [("role", "another"), ("blockDeviceMappings", [])])
def test_a_node_class_that_differs_is_put_right_only_while_no_node_runs(field, value):
    cluster = onboarded()
    (ref,) = [ref for ref in cluster.objects if ref.kind == "EC2NodeClass"]
    found = cluster.objects[ref]
    cluster.objects[ref] = {**found, "spec": {**found["spec"], field: value}}
    cluster.claims = [builders.node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "4"})]

    (finding,) = cluster.run().outcome.findings
    assert (finding.code, field in finding.says) == ("would-replace-nodes", True)
    assert cluster.done == []

    cluster.claims = []
    assert cluster.run().outcome.findings == ()
    assert [str(action) for action in cluster.done if isinstance(action, Apply)] == [
        "apply EC2NodeClass slicewise"
    ]


def test_a_pool_that_begins_to_share_gets_the_policys_n():
    cluster = onboarded("{shared: {sharing: none, gpus: [l4], maxGpus: 16}}")
    cluster.policy = builders.policy()

    cluster.run()

    (pool,) = [item for ref, item in cluster.objects.items() if ref.kind == "NodePool"]
    assert pool["spec"]["limits"] == {"nvidia.com/gpu": str(16 * 4)}


def test_a_pool_that_was_tuned_to_one_slice_stays_there():
    cluster = onboarded()
    set_keys(cluster, "exclusive")

    cluster.run()

    (pool,) = [item for ref, item in cluster.objects.items() if ref.kind == "NodePool"]
    assert pool["spec"]["limits"] == {"nvidia.com/gpu": "16"}


def test_what_a_person_edited_on_our_objects_is_put_back_and_told_by_its_path():
    cluster = onboarded()
    edit(cluster, "NodePool", limits={"nvidia.com/gpu": "1"})

    cluster.run()

    (apply,) = [action for action in cluster.done if isinstance(action, Apply)]
    assert apply.why == "its spec.limits is not what we want"


def test_disruption_of_a_node_pool_that_exists_is_left_to_tuning():
    cluster = onboarded()
    learned = {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "7m", "budgets": [{"nodes": "0"}]}
    edit(cluster, "NodePool", disruption=learned)

    assert cluster.step().actions == ()

    edit(cluster, "NodePool", limits={"nvidia.com/gpu": "1"})
    cluster.run()
    (pool,) = [item for ref, item in cluster.objects.items() if ref.kind == "NodePool"]
    assert pool["spec"]["disruption"] == learned


def edit(cluster, kind, **spec):
    (ref,) = [ref for ref in cluster.objects if ref.kind == kind]
    found = cluster.objects[ref]
    cluster.objects[ref] = {**found, "spec": {**found["spec"], **spec}}


@pytest.mark.parametrize("told", ["26.7.0", "v26.7.0"])
def test_a_version_with_and_without_its_v_is_one_version(told):
    cluster = onboarded()
    cluster.settings = builders.settings(gpu_operator=Chart("charts/gpu-operator.tgz", told))

    assert cluster.step().actions == ()


def test_another_kind_of_node_class_needs_a_person():
    cluster = onboarded()
    cluster.policy = builders.policy(
        builders.DEFAULT_POOLS, "nodeClass: {group: example.com, kind: OtherClass, name: x}"
    )

    assert "node-class-fixed" in [f.code for f in cluster.run().outcome.findings]


def test_a_pool_that_the_policy_drops_is_told_not_deleted():
    cluster = onboarded(
        "{a: {sharing: none, gpus: [l4], maxGpus: 1}, b: {sharing: none, gpus: [l4], maxGpus: 1}}"
    )
    cluster.policy = builders.policy("{a: {sharing: none, gpus: [l4], maxGpus: 1}}")

    found = cluster.run()

    assert [f.code for f in found.outcome.findings] == ["pool-left-over"]
    assert not [action for action in cluster.done if isinstance(action, Delete)]


def test_a_key_that_somebody_edited_is_told_and_left():
    cluster = onboarded()
    (ref,) = [ref for ref in cluster.objects if ref.kind == "ConfigMap"]
    edited = cluster.objects[ref]
    cluster.objects[ref] = {**edited, "data": {**edited["data"], "ts-4": "version: v1", "mine": "x"}}

    found = cluster.run()

    assert [f.code for f in found.outcome.findings] == ["device-plugin-key-edited"]
    assert cluster.objects[ref]["data"]["ts-4"] == "version: v1"
    assert cluster.objects[ref]["data"]["mine"] == "x"


# Verifying


def test_overlays_that_karpenter_has_not_taken_up_are_awaited():
    cluster = onboarded()
    ref = next(ref for ref in sorted(cluster.objects) if ref.kind == "NodeOverlay")
    cluster.objects[ref] = {k: v for k, v in cluster.objects[ref].items() if k != "status"}

    soon = cluster.step()
    cluster.now += 11 * MINUTE
    late = cluster.step()

    assert (soon.outcome.stage, soon.outcome.wait) == (Stage.VERIFYING, timedelta(seconds=15))
    assert (late.outcome.stage, late.outcome.wait) == (Stage.VERIFYING, None)
    assert [f.code for f in late.outcome.findings] == ["overlay-not-ready"]


def test_an_overlay_without_effect_is_told_on_the_first_claim():
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
