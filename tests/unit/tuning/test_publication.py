"""Which N each workload gets published, where it is removed, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from slicewise.kube.json_patch import after
from slicewise.kube.labels import CLASS_LABEL, POOL_LABEL, PUBLISHES, ROLLOUT_ANNOTATION, SLICES_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.planning.actions import Patch
from slicewise.pools import layout
from slicewise.tuning.publication import Publication, is_publisher, published, withdrawn
from slicewise.tuning.state.pool_state import pool_states
from slicewise.tuning.state.whole_gpus import of_a_template

from tests.support import builders

POLICY = builders.policy()
[POOL] = POLICY.pools
[GPU] = POOL.models()
NODE_POOL = layout.node_pool_name(POOL, GPU)
LLM = Ref("apps/v1", "Deployment", "llm", "ml")
OTHER = Ref("apps/v1", "StatefulSet", "other", "ml")


def pool(n: int = 4, marked: bool = True, policy=POLICY, **annotations: str) -> dict[str, Any]:
    [of] = policy.pools
    found = layout.node_pool(policy, of.parts()[-1], GPU, n)
    metadata = found["metadata"]
    annotations |= {PUBLISHES: "true"} if marked else {}
    return {**found, "metadata": {**metadata, "annotations": {**metadata["annotations"], **annotations}}}


def node(name: str, n: int, node_pool: str = NODE_POOL, gpus: int = 1) -> dict[str, Any]:
    labels = {
        POOL_LABEL: "shared",
        layout.NODE_POOL_LABEL: node_pool,
        layout.CONFIG_LABEL: layout.config_key(POOL.sharing, n),
        layout.GPU_COUNT_LABEL: str(gpus),
    }
    return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": n}}}


def pod(owner: Ref, node: str = "", number: int = 0) -> dict[str, Any]:
    above = {"kind": owner.kind, "name": owner.name, "apiVersion": "apps/v1", "controller": True}
    labels = {}
    if owner.kind == "Deployment":
        above, labels = {**above, "kind": "ReplicaSet", "name": f"{owner.name}-1"}, {"pod-template-hash": "1"}
    metadata = {"name": f"{owner.name}-{node}-{number}", "namespace": owner.namespace, "labels": labels}
    containers = [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]
    return {
        "metadata": {**metadata, "ownerReferences": [above]},
        "spec": {"containers": containers, **({"nodeName": node} if node else {})},
    }


def workload(ref: Ref, n: str | None = None, chooses: str = "shared", **fields: Any) -> dict[str, Any]:
    """As it is read: trimmed."""
    container = {
        "name": "main",
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "env": [{"name": "SECRET"}],
    }
    selector = {POOL_LABEL: chooses} if chooses else {"team": "theirs"}
    metadata = {"name": ref.name, "namespace": ref.namespace, "annotations": {"theirs": "secret"}, **fields}
    if n:
        metadata["annotations"] = {**metadata["annotations"], SLICES_ANNOTATION: n}
    spec = {"template": {"spec": {"containers": [container], "nodeSelector": selector}}}
    return of_a_template(
        {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata, "spec": spec}
    )


def contents(node_pools: Iterable[Any], publishers: Iterable[Any] | None, **more: Any):
    read = None if publishers is None else tuple(publishers)
    return builders.contents(node_pools=tuple(node_pools), publishers=read, **more)


def of(found, policy=POLICY, is_wanted: bool = True) -> Publication:
    return published(found, pool_states(found, policy), is_wanted)


def written(result: Publication) -> dict[Ref, Any]:
    return {
        one.ref: one.operations[-1].get("value")
        for one in result.actions
        if isinstance(one, Patch) and one.ref.kind != "NodePool"
    }


def test_a_workload_gets_the_n_of_the_node_that_its_pods_are_on():
    found = contents([pool()], [workload(LLM)], nodes=(node("a", 4),), pods=(pod(LLM, "a"),))

    assert written(of(found)) == {LLM: "4"}


def test_where_nodes_differ_it_gets_the_n_of_its_most_crowded_one():
    nodes = (node("a", 2), node("b", 4), node("c", 8))
    pods = (pod(LLM, "a"), pod(LLM, "b"), pod(OTHER, "c"))
    found = contents([pool(n=2)], [workload(LLM), workload(OTHER)], nodes=nodes, pods=pods)

    assert written(of(found)) == {LLM: "4", OTHER: "8"}


def test_where_n_has_fallen_but_pods_are_still_there_their_number_counts():
    pods = tuple(pod(LLM, "a", number) for number in range(7))
    found = contents([pool(n=2)], [workload(LLM)], nodes=(node("a", 2, gpus=2),), pods=pods)

    assert written(of(found)) == {LLM: "4"}


def test_without_pods_it_gets_the_n_that_its_next_pod_will_find():
    found = contents([pool(n=4)], [workload(LLM)], pods=(pod(LLM),))

    assert written(of(found)) == {LLM: "4"}


def test_without_pods_during_a_rollout_it_gets_the_larger_n():
    rollout = '{"from": 4, "to": 6, "since": "2026-11-24T11:00:00Z", "reason": "a test"}'
    found = contents([pool(n=4, **{ROLLOUT_ANNOTATION: rollout})], [workload(LLM)])

    assert written(of(found)) == {LLM: "6"}


def test_of_a_pool_that_is_split_the_class_that_it_selects_counts():
    split = builders.policy("{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 3]}}")
    chosen = workload(LLM)
    chosen["spec"]["nodeSelector"][CLASS_LABEL] = "3"
    found = contents([pool(n=3, policy=split)], [chosen])

    assert written(of(found, split)) == {LLM: "3"}


def test_what_has_its_n_already_is_not_written_again():
    found = contents([pool()], [workload(LLM, n="4")], nodes=(node("a", 4),), pods=(pod(LLM, "a"),))

    assert of(found) == Publication()


def test_the_patch_leaves_annotations_of_others_and_tests_what_was_there():
    live = {"metadata": {"annotations": {"theirs": "secret"}}}
    [action] = of(contents([pool()], [workload(LLM)])).actions

    assert after(live, action.operations)["metadata"]["annotations"] == {
        "theirs": "secret",
        SLICES_ANNOTATION: "4",
    }
    assert action.operations[0]["op"] == "test" and action.part == "slices of Deployment ml/llm"


def test_what_is_read_of_a_workload_has_no_annotation_of_others():
    read = workload(LLM, n="4")

    assert read["metadata"]["annotations"] == {SLICES_ANNOTATION: "4"} and "SECRET" not in str(read)


def test_one_that_is_being_deleted_is_left_unchanged():
    going = workload(LLM, deletionTimestamp="2026-11-24T11:00:00Z")

    assert of(contents([pool()], [going])) == Publication()


def test_one_that_has_left_its_pool_loses_it():
    found = contents([pool()], [workload(LLM, n="4", chooses="another")])

    [action] = of(found).actions
    assert str(action) == "remove N from Deployment ml/llm"
    assert action.operations[-1]["op"] == "remove"


def test_one_that_comes_to_an_adopted_pool_unnamed_keeps_it_while_it_has_no_pods():
    adopting = builders.policy("{shared: {sharing: time-slicing, gpus: [l4], adopt: gpu, maxGpus: 8}}")
    [of_policy] = adopting.pools
    live = layout.node_pool(adopting, of_policy, GPU, 2)
    live["metadata"]["annotations"] = {PUBLISHES: "true"}
    live["spec"]["template"]["metadata"] = {"labels": {"team": "theirs"}}
    stays = contents([live], [workload(LLM, n="2", chooses="")])
    elsewhere = contents([live], [workload(LLM, n="2", chooses="another")])

    assert written(of(stays, adopting)) == {}
    assert list(written(of(elsewhere, adopting))) == [LLM]


def test_the_mark_comes_first_and_workloads_are_read_once_it_is_there():
    result = of(contents([pool(marked=False)], None))

    [mark] = result.actions
    assert (mark.ref.kind, mark.operations[-1]["value"]) == ("NodePool", "true")
    assert result.requeue_after is not None and result.findings == ()


def test_where_workloads_cannot_be_read_nothing_is_written_and_it_is_reported():
    result = of(contents([pool()], None))

    assert result.actions == () and [one.code for one in result.findings] == ["workloads-unread"]


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_node_pool_whose_pods_do_not_share_is_never_marked(is_wanted):
    whole = builders.policy("{shared: {sharing: none, gpus: [l4], maxGpus: 16}}")

    assert of(contents([pool(n=1, marked=False)], None), whole, is_wanted) == Publication()


def test_where_the_policy_asks_for_it_no_longer_annotations_go_first_and_then_the_marks():
    found = contents([pool()], [workload(LLM, n="4"), workload(OTHER)])

    first = of(found, is_wanted=False)
    assert [str(one) for one in first.actions] == ["remove N from Deployment ml/llm"]
    assert first.requeue_after is not None

    last = of(replace(found, publishers=(workload(LLM), workload(OTHER))), is_wanted=False)
    assert [str(one) for one in last.actions] == [f"publish N no longer on workloads of NodePool {NODE_POOL}"]
    assert last.requeue_after is None


def test_a_mark_stays_while_what_it_is_for_cannot_be_read():
    result = withdrawn(contents([pool()], None), "a test")

    assert result.actions == () and result.requeue_after is not None
    assert [one.code for one in result.findings] == ["workloads-unread"]


@pytest.mark.parametrize(
    ("kind", "gpus", "n", "is_read"),
    [
        ("Deployment", "1", None, True),
        ("StatefulSet", "1", None, True),
        ("Deployment", "0", None, False),
        ("Deployment", "0", "4", True),
        ("Job", "1", None, False),
        ("CronJob", "1", "4", False),
    ],
)
def test_read_is_what_requests_gpus_or_has_n_already(kind, gpus, n, is_read):
    annotations = {SLICES_ANNOTATION: n} if n else {}
    spec = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": gpus}}}]}

    assert is_publisher({"kind": kind, "metadata": {"annotations": annotations}}, spec) is is_read
