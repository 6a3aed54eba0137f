"""A GPU node is what its labels promise, or a person is told why it probably is not."""

from datetime import timedelta

import pytest
from slicewise.tuning.capacity_check import check_capacity

from tests.support import builders
from tests.support.builders import NOW, contents, node, node_claim

OLD, YOUNG = timedelta(minutes=20), timedelta(minutes=2)


def codes(**seen):
    return [finding.code for finding in check_capacity(contents(**seen), NOW).findings]


@pytest.mark.parametrize(
    "key, gpus, gpu, mig, allocatable",
    [
        pytest.param("ts-4", 1, "l4", None, {"nvidia.com/gpu": "4"}, id="time-slicing"),
        pytest.param("ts-4", 4, "l4", None, {"nvidia.com/gpu": "16"}, id="time-slicing on four"),
        pytest.param("mps-8", 1, "a10g", None, {"nvidia.com/gpu": "8"}, id="mps"),
        pytest.param("exclusive", 8, "h100", None, {"nvidia.com/gpu": "8"}, id="whole"),
        pytest.param(
            "exclusive",
            8,
            "h100",
            "1g.10gb",
            {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "56"},
            id="mig",
        ),
        pytest.param(
            "exclusive", 1, "h100", "1g.10gb", {"nvidia.com/mig-1g.10gb": "7"}, id="mig, no gpu left"
        ),
    ],
)
def test_a_node_as_promised_is_no_finding(key, gpus, gpu, mig, allocatable):
    seen = node(key, gpus=gpus, gpu=gpu, mig=mig, allocatable=allocatable, age=OLD)

    proof = check_capacity(contents(nodes=(seen,)), NOW)

    assert proof.findings == ()
    total = sum(int(count) for count in allocatable.values())
    assert proof.summary == f"1 GPU node, {total} of {total} slices"


def test_a_quantity_in_another_spelling_is_the_same():
    assert codes(nodes=(node("ts-4", allocatable={"nvidia.com/gpu": "4000m"}, age=OLD),)) == []


def test_a_node_without_slices_after_five_minutes_is_reported_with_causes_and_waiting_pods():
    pods = tuple(builders.pod(f"p{i}", pool="shared") for i in range(3))
    (finding,) = check_capacity(contents(nodes=(node("ts-4", age=OLD),), pods=pods), NOW).findings

    assert finding.code == "never-initialised"
    assert finding.message == (
        "Node node-1 offers no slices of nvidia.com/gpu 4 promised, 5 minutes and more after it joined. "
        "3 pods of pool shared wait, and Karpenter starts nothing else for them."
    )
    assert "tolerate" in finding.remedy and "gpu-operator/slicewise-device-plugin" in finding.remedy


def test_a_node_that_is_starting_is_given_time():
    proof = check_capacity(contents(nodes=(node("ts-4", age=YOUNG),)), NOW)

    assert proof.findings == ()
    assert proof.summary == "1 GPU node, 0 of 4 slices, 1 still starting"


def test_the_time_of_a_node_runs_from_its_registration():
    claim = node_claim("slicewise-shared-l4") | {
        "status": {
            "nodeName": "node-1",
            "conditions": [
                {"type": "Registered", "status": "True", "lastTransitionTime": "2026-11-24T11:58:00Z"}
            ],
        }
    }

    assert codes(nodes=(node("ts-4", age=OLD),), node_claims=(claim,)) == []


@pytest.mark.parametrize("slices", ["1", "3", "8"])
def test_another_number_of_slices_is_reported(slices):
    seen = node("ts-4", allocatable={"nvidia.com/gpu": slices}, age=OLD)
    (finding,) = check_capacity(contents(nodes=(seen,)), NOW).findings

    assert (
        finding.message
        == f"Node node-1 offers nvidia.com/gpu {slices}; its key ts-4 promises nvidia.com/gpu 4."
    )


@pytest.mark.parametrize("key", ["ts-64", "", "custom"])
def test_a_key_that_is_not_ours_is_reported(key):
    assert codes(nodes=(node(key, age=OLD),)) == ["node-key-unknown"]


def test_a_node_that_hides_its_gpus_is_reported():
    assert codes(nodes=(node("ts-4", gpus=0, age=OLD),)) == ["node-gpus-unknown"]


def test_nodes_of_others_are_not_judged():
    assert codes(nodes=(node("ts-4", pool=None, age=OLD),)) == []


@pytest.mark.parametrize(
    "capacity, found",
    [
        pytest.param({"nvidia.com/gpu": "4"}, [], id="as the overlay says"),
        pytest.param({"nvidia.com/gpu": "1"}, ["overlay-without-effect"], id="as the cloud says"),
        pytest.param({"cpu": "4"}, ["overlay-without-effect"], id="none"),
        pytest.param({}, [], id="not launched"),
    ],
)
def test_a_claim_shows_whether_its_overlay_had_an_effect(capacity, found):
    assert codes(node_claims=(node_claim("slicewise-shared-l4", capacity=capacity),)) == found


def test_a_claim_is_held_against_the_n_of_its_birth():
    """Tuning relabels it, and never touches its spec and capacity."""
    grown = node_claim(
        "slicewise-shared-l4",
        "ts-4",
        capacity={"nvidia.com/gpu": "4"},
        labels={"nvidia.com/device-plugin.config": "ts-8"},
    )

    assert codes(node_claims=(grown,)) == []


def test_a_node_pool_without_effect_is_reported_once():
    claims = tuple(
        node_claim("slicewise-shared-l4", capacity={"nvidia.com/gpu": "1"}, name=f"c{i}") for i in range(9)
    )

    assert codes(node_claims=claims) == ["overlay-without-effect"]


@pytest.mark.parametrize(
    "ready, found",
    [
        ({"status": "True", "observedGeneration": 1}, []),
        ({"status": "False", "observedGeneration": 1}, ["overlay-not-ready"]),
        ({"status": "True", "observedGeneration": 0}, ["overlay-not-ready"]),
        (None, ["overlay-not-ready"]),
    ],
    ids=["ready", "refused", "older generation", "gate off"],
)
def test_an_overlay_of_ours_must_be_ready(ready, found):
    overlay = {
        "metadata": {"name": "o", "generation": 1, "labels": {"app.kubernetes.io/managed-by": "slicewise"}},
        "status": {"conditions": [{"type": "Ready", **ready}]} if ready else {},
    }

    assert codes(node_overlays=(overlay,)) == found


def test_an_empty_cluster_is_proved_in_few_words():
    assert check_capacity(contents(), NOW).summary == "no GPU node yet"
