"""N and nodes that run: what a policy changes in NodePools that stand, and what it leaves and tells."""

from datetime import timedelta

import pytest
from slicewise.kube.labels import ROLLOUT_ANNOTATION
from slicewise.kube.ref import Ref, ref_of
from slicewise.onboarding.observation import Chart
from slicewise.planning.actions import Apply, Delete
from slicewise.planning.eks_actions import GrantAdmin
from slicewise.planning.outcome import Stage
from slicewise.pools import layout

from tests.support import builders
from tests.unit.onboarding.planned import onboarded


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


def test_a_node_pool_that_is_being_deleted_is_left_and_recreated_once_it_is_deleted():
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


def test_while_a_change_of_n_is_reported_the_pool_is_left_whatever_it_looks_like():
    cluster = onboarded()
    ref = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
    live = cluster.objects[ref]
    metadata = live["metadata"]
    annotations = {**metadata["annotations"], ROLLOUT_ANNOTATION: "{}"}
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
def test_a_change_that_would_replace_nodes_is_reported_and_made_once_they_are_deleted(pools):
    cluster = onboarded()
    cluster.policy = builders.policy(pools)
    cluster.claims = [builders.node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "4"})]

    found = cluster.run()
    assert [f.code for f in found.outcome.findings] == ["would-replace-nodes"]
    # Where nothing is shared any more, the tuner needs to read no templates of pods.
    assert {a.object["kind"] for a in cluster.done if isinstance(a, Apply)} <= {"ClusterRole"}

    cluster.done.clear()
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
    assert (finding.code, field in finding.message) == ("would-replace-nodes", True)
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


def test_what_a_person_edited_on_our_objects_is_put_back_and_reported_by_its_path():
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


@pytest.mark.parametrize("reported", ["26.7.0", "v26.7.0"])
def test_a_version_with_and_without_its_v_is_one_version(reported):
    cluster = onboarded()
    cluster.settings = builders.settings(gpu_operator=Chart("charts/gpu-operator.tgz", reported))

    assert cluster.step().actions == ()


def test_another_kind_of_node_class_needs_a_person():
    cluster = onboarded()
    cluster.policy = builders.policy(
        builders.DEFAULT_POOLS, "nodeClass: {group: example.com, kind: OtherClass, name: x}"
    )

    assert "node-class-fixed" in [f.code for f in cluster.run().outcome.findings]


def test_a_pool_that_the_policy_drops_is_reported_not_deleted():
    cluster = onboarded(
        "{a: {sharing: none, gpus: [l4], maxGpus: 1}, b: {sharing: none, gpus: [l4], maxGpus: 1}}"
    )
    cluster.policy = builders.policy("{a: {sharing: none, gpus: [l4], maxGpus: 1}}")

    found = cluster.run()

    assert [f.code for f in found.outcome.findings] == ["pool-left-over"]
    assert not [action for action in cluster.done if isinstance(action, Delete)]


def test_a_key_that_a_user_edited_is_reported_and_left():
    cluster = onboarded()
    (ref,) = [ref for ref in cluster.objects if ref.kind == "ConfigMap"]
    edited = cluster.objects[ref]
    cluster.objects[ref] = {**edited, "data": {**edited["data"], "ts-4": "version: v1", "mine": "x"}}

    found = cluster.run()

    assert [f.code for f in found.outcome.findings] == ["device-plugin-key-edited"]
    assert cluster.objects[ref]["data"]["ts-4"] == "version: v1"
    assert cluster.objects[ref]["data"]["mine"] == "x"


def images(cluster) -> list[str]:
    """Of the NodeClasses that were applied since `done` was cleared."""
    applied = [one.object for one in cluster.done if isinstance(one, Apply)]
    return [
        item["spec"]["amiSelectorTerms"][0]["alias"] for item in applied if item["kind"] == "EC2NodeClass"
    ]


def with_nodes(policy):
    cluster = onboarded()
    cluster.claims = [builders.node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "4"})]
    cluster.policy = policy
    cluster.done.clear()
    return cluster


def test_a_release_that_the_policy_pins_is_applied_while_nodes_run():
    """Whoever writes another day asks for just that; Karpenter hashes no image (its EC2NodeClass, v1)."""
    cluster = with_nodes(builders.policy(builders.DEFAULT_POOLS, "nodeClass: {image: al2023@v20261101}"))

    found = cluster.run()

    assert images(cluster) == ["al2023@v20261101"]
    assert "would-replace-nodes" not in [finding.code for finding in found.outcome.findings]


def test_a_policy_that_pins_nothing_leaves_an_image_unchanged_that_was_edited_while_nodes_run():
    cluster = with_nodes(builders.policy())
    (ref,) = [ref for ref in cluster.objects if ref.kind == "EC2NodeClass"]
    found = cluster.objects[ref]
    pinned = {**found["spec"], "amiSelectorTerms": [{"alias": "al2023@v20261001"}]}
    cluster.objects[ref] = {**found, "spec": pinned}

    said = cluster.run()

    assert images(cluster) == []
    assert [finding.code for finding in said.outcome.findings] == ["would-replace-nodes"]
