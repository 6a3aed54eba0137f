"""What was measured of all NodePools of a pool that is split."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from slicewise.tuning import explain
from slicewise.tuning.classes.decision import ClassDecision, decided, dumped, loaded
from slicewise.tuning.classes.evidence import class_evidence
from slicewise.tuning.usage.pool_usage import read

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import one_gpu, pod

POOL = builders.policy(
    "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2, 3]}}"
).pools[0]


def node(name, size, gpus=1):
    made = builders.node(
        f"ts-{size}" if size > 1 else "exclusive", name=name, gpus=gpus, age=timedelta(days=9)
    )
    made["metadata"]["labels"] |= {
        "slicewise.dev/class": str(size),
        "karpenter.sh/nodepool": f"slicewise-shared-l4-{size}",
    }
    return made


def seen(series, *pods, nodes):
    contents = builders.contents(nodes=tuple(nodes), pods=pods)
    return class_evidence(
        read(series, "container-insights", contents), "container-insights", contents, POOL, NOW
    )


def test_pods_of_all_classes_and_of_the_time_before_are_checked_together():
    old = builders.node("ts-4", name="old", age=timedelta(days=9))
    found = seen(
        (), pod("a", "n-1"), pod("b", "n-2"), pod("c", "old"), nodes=[node("n-1", 1), node("n-2", 2), old]
    )

    assert set(found.pods) == {"team/a", "team/b", "team/c"}
    assert found.gpus == (("team/a",), ("team/b",), ("team/c",))
    assert [workload.size for workload in found.workloads] == [1, 1, 1]


def test_the_newest_pod_reports_the_class_of_a_workload():
    two = pod("llm-7d9c-new", "n-2", owner=("ReplicaSet", "llm-7d9c"), labels={"pod-template-hash": "7d9c"})
    one = pod("llm-11aa-old", "n-1", owner=("ReplicaSet", "llm-11aa"), labels={"pod-template-hash": "11aa"})
    two["spec"]["nodeSelector"]["slicewise.dev/class"] = "2"
    for item, day in ((one, "23"), (two, "24")):
        item["metadata"]["creationTimestamp"] = f"2026-11-{day}T06:00:00Z"

    (workload,) = seen((), one, two, nodes=[node("n-1", 1), node("n-2", 2)]).workloads

    assert (workload.ref.name, workload.size, len(workload.pods)) == ("llm", 2, 2)


def test_explain_names_what_a_person_made():
    """People know their InferenceService, and not the Deployment that KServe makes of it."""
    labels = {"pod-template-hash": "7d9c", "serving.kserve.io/inferenceservice": "llm"}
    one = pod("llm-predictor-7d9c-x", "n-1", owner=("ReplicaSet", "llm-predictor-7d9c"), labels=labels)
    found = seen((), one, pod("db-0", "n-1", owner=("StatefulSet", "db")), nodes=[node("n-1", 1)])

    decision = decided(POOL, ClassDecision("shared", POOL.classes.sizes), found, NOW)
    kept = dumped(decision, 15)
    reported = explain.lines(kept)

    assert any(
        "Deployment team/llm-predictor of InferenceService llm, 1 pod: class 1" in line for line in reported
    )
    assert any("StatefulSet team/db, 1 pod: class 1" in line for line in reported)
    assert {one.owner for one in loaded([kept], "shared").recommendations} == {"InferenceService llm", ""}


def test_on_a_machine_of_several_gpus_the_busiest_are_taken_to_be_together():
    series = [one for gpu in range(4) for one in one_gpu(busy=10.0, slots=None, gpu=gpu, node="quad")]
    pods = [pod(f"p{i}", "quad", age=timedelta(days=9 if i < 3 else 0)) for i in range(5)]

    found = seen(series, *pods, nodes=[node("quad", 2, gpus=4)])

    assert [len(group) for group in found.gpus] == [2, 2, 1]
    # Of the two that have just come nothing is known: they count as busy all the time.
    assert found.gpus[0] == ("team/p3", "team/p4")


@pytest.mark.parametrize(
    "busy, slots, share",
    [
        (99.0, 2, 1.0),
        (90.0, 2, 0.0),
        (99.0, 1, 0.0),
        (lambda step: 99.0 if step % 4 == 0 else 10.0, 2, 0.25),
    ],
    ids=["never rests", "rests", "alone", "a quarter of the time"],
)
def test_a_shared_gpu_that_never_rests_is_contended(busy, slots, share):
    found = seen(one_gpu(busy=busy, slots=slots), pod("a"), pod("b"), nodes=[node("n-1", 2)])

    assert found.contended == pytest.approx((share, share), abs=0.01)


def test_a_day_that_nobody_measured_is_not_a_calm_day():
    assert seen((), pod("a"), nodes=[node("n-1", 2)]).contended == (0.0, 1.0)
    assert seen((), nodes=[]).contended == (0.0, 0.0)


def test_half_a_day_that_nobody_measured_may_have_been_contended_and_was_not_for_certain():
    gap = one_gpu(busy=lambda step: math.nan if 150 <= step < 222 else 50.0, slots=2)

    found = seen(gap, pod("a"), pod("b"), nodes=[node("n-1", 2)])

    assert found.contended == pytest.approx((0.0, 0.5), abs=0.01)
