"""Which class a workload belongs in, day by day, and how that is told."""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.kube.ref import Ref
from slicewise.tuning import explain
from slicewise.tuning.classes.decision import ClassDecision, decided, dumped, loaded
from slicewise.tuning.classes.evidence import ClassEvidence
from slicewise.tuning.usage.evidence import Grade, Interval, PodUse, measure
from slicewise.tuning.usage.workloads import Workload, workload_of

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import pod

DAY = timedelta(days=1)
POOL = builders.policy(
    "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2, 3]}}"
).pools[0]
NEW = ClassDecision("shared", ())


def ref(name, kind="Deployment"):
    return Ref("apps/v1", kind, name, "team")


def used(name, busy=0.05, memory=3000.0, days=4, grade=Grade.POD):
    return measure(name, [busy] * (144 * days), [memory], grade=grade)


UNMEASURED = Interval(0.0, 1.0)


def measured(share):
    return Interval(share, share)


def evidence(*members, contended=0.0, gpus=None):
    """Workloads as (name, size, its pods' use); each pod has a GPU to itself unless `gpus` says otherwise."""
    uses = {use.name: use for _, _, pods in members for use in pods}
    return ClassEvidence(
        uses,
        tuple(Workload(ref(name), size, tuple(use.name for use in pods)) for name, size, pods in members),
        tuple((name,) for name in uses) if gpus is None else gpus,
        contended if isinstance(contended, Interval) else measured(contended),
    )


def wanted(decision):
    return {one.workload.name: one.after for one in decision.recommendations}


def reasons(decision):
    return {one.workload.name: one.reason for one in decision.recommendations}


QUIET = ("quiet", 1, [used("team/quiet-0", busy=0.01), used("team/quiet-1", busy=0.01)])
LARGE = ("large", 1, [used("team/large-0", memory=12_000)])


def test_each_workload_belongs_where_its_memory_and_busy_time_fit():
    half = ("half", 1, [used("team/half-0", busy=0.01, memory=9000)])

    found = decided(POOL, NEW, evidence(QUIET, LARGE, half), NOW)

    assert wanted(found) == {"quiet": 3, "large": 1, "half": 2}
    assert found.decided_at == NOW and found.happened == ()


def test_the_pod_that_needs_most_decides_for_its_workload():
    mixed = ("mixed", 1, [used("team/mixed-0", busy=0.01), used("team/mixed-1", busy=0.01, memory=15_000)])

    assert wanted(decided(POOL, NEW, evidence(mixed), NOW)) == {"mixed": 1}


def test_memory_that_may_grow_tightens_a_workload_with_the_reason():
    days = used("team/half-0", busy=0.01, memory=9000)
    leaks = replace(days, name="team/leaks-0", day_peaks_mib=(6000.0, 7000.0, 8000.0, 9000.0))
    calm = replace(days, day_peaks_mib=(9000.0,) * 4)
    found = decided(
        POOL, NEW, evidence(("half", 2, [calm]), ("leaks", 2, [leaks]), gpus=[(calm.name, leaks.name)]), NOW
    )

    assert wanted(found)["leaks"] == 1
    assert reasons(found)["leaks"].startswith("peak 8.8 GiB, may grow to ")


def test_memory_that_may_grow_keeps_a_workload_from_loosening_with_the_reason():
    half = used("team/half-0", busy=0.01, memory=9000)
    half = replace(half, day_peaks_mib=(9000.0,) * 4)
    grown = [
        replace(
            used(f"team/grown-{i}", busy=0.01, memory=4000), day_peaks_mib=(2000.0, 2000.0, 2000.0, 4000.0)
        )
        for i in range(4)
    ]
    others = [(f"grown-{i}", 1, [one]) for i, one in enumerate(grown)]
    found = decided(POOL, NEW, evidence(("half", 1, [half]), *others), NOW)

    assert wanted(found)["half"] == 1
    line = next(line for line in explain.lines(dumped(found, 15)) if "team/half" in line)
    assert (
        "2 pods like it fit on a GPU only while its memory stays as it is: peak 8.8 GiB, may grow to " in line
    )
    assert re.search(r"grow to 1[0-9.]+: [0-4] of 5 pods like it grew more in a day$", line)
    # Nothing of the kind is said of who is kept by something else, or known by its GPU alone.
    busy = replace(used("team/half-0", busy=0.9, memory=9000), day_peaks_mib=(9000.0,) * 4)
    by_gpu = replace(half, grade=Grade.DEVICE)
    for other in (busy, by_gpu):
        reported = decided(POOL, NEW, evidence(("half", 1, [other]), *others), NOW)
        assert "only while" not in reasons(reported)["half"]
    two = [half, replace(half, name="team/half-1")]
    assert reasons(decided(POOL, NEW, evidence(("half", 1, two), *others), NOW))["half"].startswith(
        "pod half-0: 2 pods like it fit"
    )


def test_who_would_fill_its_card_before_the_next_reconcile_does_not_wait_for_the_next_day():
    calm, grown = used("team/calm-0", busy=0.01, memory=9000), used("team/grown-0", busy=0.01, memory=9000)
    members = ("calm", 2, [calm]), ("grown", 2, [grown])
    first = decided(POOL, NEW, evidence(*members, gpus=[(calm.name, grown.name)]), NOW)
    risen = replace(grown, memory_mib=10_200.0, day_peaks_mib=(5000.0, 9000.0, 9000.0, 10_200.0))
    later = evidence(members[0], ("grown", 2, [risen]), gpus=[(calm.name, grown.name)])

    found = decided(POOL, first, later, NOW + DAY / 4)

    assert found.decided_at == NOW
    assert wanted(found) == {"calm": 2, "grown": 1}
    assert "may need 18.8 of 22.4 GiB, and 3.9 came within a day before" in reasons(found)["grown"]


def test_of_a_gpu_without_rest_one_workload_tightens_at_once_and_the_others_wait_till_it_has_ended():
    members = [(name, 2, [used(f"team/{name}-0", busy=0.1, memory=9000)]) for name in "ab"]
    shared = [("team/a-0", "team/b-0")]
    first = decided(POOL, NEW, evidence(*members, gpus=shared), NOW)
    full = {"team/a-0": 0.4, "team/b-0": 0.6}

    found = decided(POOL, first, replace(evidence(*members, gpus=shared), full=(full,)), NOW + DAY / 4)

    assert wanted(found) == {"a": 2, "b": 1}
    assert reasons(found)["b"].startswith("its GPU had no rest for an hour, 60% of which")
    # An hour later it has not moved yet, and the other one is the busier.
    full = {"team/a-0": 0.6, "team/b-0": 0.4}
    later = decided(POOL, found, replace(evidence(*members, gpus=shared), full=(full,)), NOW + DAY / 3)
    assert wanted(later) == {"a": 2, "b": 1}


def test_it_is_decided_once_a_day_and_kept_in_between():
    first = decided(POOL, NEW, evidence(QUIET), NOW)
    busy = ("quiet", 1, [used("team/quiet-0", busy=0.9), used("team/quiet-1", busy=0.9)])

    later = decided(POOL, first, evidence(busy), NOW + timedelta(hours=20))
    next_day = decided(POOL, later, evidence(busy, contended=0.004), NOW + DAY)

    assert (wanted(later), later.decided_at) == ({"quiet": 3}, NOW)
    assert (wanted(next_day), next_day.decided_at) == ({"quiet": 1}, NOW + DAY)
    assert next_day.happened == ((NOW + DAY, measured(0.004)),)


def test_an_overspent_day_makes_the_next_one_more_careful():
    first = replace(NEW, decided_at=NOW - DAY, sizes=(1, 2, 3))
    rng = random.Random(1)
    pods = [
        measure(f"team/a-{i}", [rng.random() ** 3 * i / 60 for _ in range(144 * 5)], [500.0])
        for i in range(60)
    ]
    seen = evidence(("a", 1, pods))

    calm = decided(POOL, first, replace(seen, contended=measured(0.0)), NOW).threshold
    overspent = decided(POOL, first, replace(seen, contended=measured(0.05)), NOW).threshold
    unmeasured = decided(POOL, first, replace(seen, contended=UNMEASURED), NOW).threshold

    assert calm > overspent >= unmeasured


def test_memory_that_was_outgrown_does_not_wait_for_the_next_day():
    first = decided(POOL, NEW, evidence(QUIET), NOW)
    grown = ("quiet", 3, [used("team/quiet-0", memory=3000), used("team/quiet-1", memory=9000)])

    found = decided(POOL, first, evidence(grown), NOW + timedelta(hours=1))

    assert (wanted(found), found.decided_at) == ({"quiet": 2}, NOW)
    assert reasons(found) == {"quiet": "pod quiet-1: 3 pods like it do not fit in memory"}


@pytest.mark.parametrize("hours", [1, 24], ids=["in between", "at the next decision"])
def test_a_pod_that_is_not_known_yet_neither_loosens_nor_tightens(hours):
    """Each move makes new pods, which nobody has measured for a day."""
    first = decided(POOL, NEW, evidence(QUIET), NOW)
    moved = ("quiet", 3, [PodUse("team/quiet-2", math.nan, grade=Grade.NONE)])
    fresh = ("fresh", 1, [used("team/fresh-0", days=0)])

    seen = evidence(moved, fresh, contended=0.5)
    found = decided(POOL, first, seen, NOW + timedelta(hours=hours))

    assert wanted(found) == {"quiet": 3, "fresh": 1}


def test_a_pod_that_shares_a_gpu_which_alone_is_measured_may_not_share_with_more():
    shared = ("shared", 2, [used(f"team/shared-{i}", busy=0.01, grade=Grade.DEVICE) for i in (0, 1)])

    found = decided(POOL, NEW, evidence(shared), NOW)

    assert wanted(found) == {"shared": 2}
    assert "only its GPU is measured" in reasons(found)["shared"]


def test_pods_of_a_hot_gpu_are_parted():
    pods = [used("team/a-0", busy=0.7), used("team/b-0", busy=0.6)]
    seen = evidence(("a", 2, pods[:1]), ("b", 2, pods[1:]), gpus=(("team/a-0", "team/b-0"),))

    found = decided(POOL, NEW, seen, NOW)

    assert wanted(found) == {"a": 1, "b": 2}
    assert "its GPU would have been contended 100.0% of the time" in reasons(found)["a"]


def test_a_class_that_the_policy_no_longer_has_is_left_at_once_for_the_next_smaller():
    first = decided(POOL, NEW, evidence(QUIET), NOW)
    left = ("left", 4, [used("team/left-0")])

    found = decided(POOL, first, evidence(left), NOW + timedelta(hours=1))

    assert wanted(found) == {"left": 3} and reasons(found) == {"left": "the pool has no class 4"}


def test_other_classes_in_the_policy_are_decided_on_at_once():
    first = decided(POOL, NEW, evidence(QUIET), NOW)
    fewer = builders.policy(
        "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2]}}"
    ).pools[0]

    found = decided(fewer, first, evidence(QUIET), NOW + timedelta(hours=1))

    assert (wanted(found), found.sizes) == ({"quiet": 2}, (1, 2))


def test_who_must_tighten_comes_first_and_then_what_saves_most():
    few = ("few", 1, [used("team/few-0", busy=0.01)])
    many = ("many", 1, [used(f"team/many-{i}", busy=0.01) for i in range(5)])
    full = ("full", 2, [used("team/full-0", memory=15_000)])

    found = decided(POOL, NEW, evidence(few, LARGE, full, many), NOW)

    assert [one.workload.name for one in found.recommendations] == ["full", "many", "few", "large"]


def test_the_smallest_card_that_a_pod_may_get_is_what_it_must_fit_on():
    mixed = builders.policy(
        "{shared: {sharing: time-slicing, gpus: [l40s, t4], maxGpus: 16, classes: [1, 2, 3]}}"
    ).pools[0]

    # Of 16 GiB.
    assert wanted(decided(mixed, NEW, evidence(("a", 1, [used("team/a-0", 0.01, 6000)])), NOW)) == {"a": 2}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_class_is_recommended_in_which_the_memory_of_its_pods_would_not_fit(data):
    number, days = st.floats(0, 1), st.integers(0, 4)
    members = [
        (f"w{i}", data.draw(st.sampled_from([1, 2, 3])),
         [used(f"team/w{i}-{j}", data.draw(number), data.draw(st.floats(1, 22_000)), data.draw(days))
          for j in range(data.draw(st.integers(1, 3)))])
        for i in range(data.draw(st.integers(1, 6)))
    ]  # fmt: skip
    seen = evidence(*members, contended=data.draw(number))
    shuffled = replace(seen, workloads=seen.workloads[::-1], gpus=seen.gpus[::-1])

    found = decided(POOL, replace(NEW, decided_at=NOW - DAY, sizes=(1, 2, 3)), seen, NOW)

    for one in found.recommendations:
        uses = [seen.pods[pod] for pod in next(w for w in seen.workloads if w.ref == one.workload).pods]
        assert one.after == 1 or all(one.after * use.memory_mib <= 0.9 * 22_888 for use in uses)
        assert not one.after > one.before or all(use.has_history for use in uses)
    assert found == decided(POOL, replace(NEW, decided_at=NOW - DAY, sizes=(1, 2, 3)), shuffled, NOW)


# The record


def test_what_is_kept_is_json_and_comes_back_as_it_was():
    first = decided(POOL, NEW, evidence(QUIET, LARGE), NOW)
    found = decided(POOL, first, evidence(QUIET, LARGE, contended=UNMEASURED), NOW + DAY)

    text = json.dumps(dumped(found, 15), allow_nan=False)
    again = loaded([{"node_pool": "x"}, json.loads(text)], "shared")

    assert dumped(again, 15) == json.loads(text)
    assert again.recommendations == found.recommendations


@pytest.mark.parametrize(
    "details",
    [(), ({"pool": "shared", "classes": [1, 2]},), ({"pool": "other", "classes": [1], "decided_at": None},)],
    ids=["lost", "of another shape", "of another pool"],
)
def test_without_a_record_it_is_decided_again(details):
    assert loaded(details, "shared").is_due(NOW)


def test_a_clock_that_ran_ahead_keeps_nothing_from_being_decided():
    assert replace(NEW, decided_at=NOW + 3 * DAY).is_due(NOW)


def test_all_changes_are_kept_however_many_workloads_there_are():
    many = [(f"w{i:04}", 1, [used(f"team/w{i:04}-0")]) for i in range(400)]
    found = decided(POOL, NEW, evidence(*many), NOW)
    assert len(found.changes) == 400

    again = loaded([json.loads(json.dumps(dumped(found, 15)))], "shared")

    assert again.recommendations == found.recommendations


def test_of_two_thousand_workloads_that_stay_some_are_kept_behind_the_changes():
    many = [(f"w{i:04}", 1, [used(f"team/w{i:04}-0", memory=12_000)]) for i in range(2000)]
    kept = dumped(decided(POOL, NEW, evidence(*many, QUIET), NOW), 15)

    assert len(json.dumps(kept)) < 60_000
    assert kept["workloads"][0]["ref"][2] == "quiet" and kept["count"] == 2001


# Words


def test_a_decision_is_reported_as_a_person_would_want_it():
    first = decided(POOL, NEW, evidence(QUIET, LARGE), NOW)
    found = decided(POOL, first, evidence(QUIET, LARGE, contended=0.002), NOW + DAY)

    assert explain.lines(dumped(found, 15)) == [
        "pool shared: split into classes of 1, 2, 3 pods a GPU",
        "  Decided each day, last at 2026-11-25T12:00:00Z: see docs/tuning.md",
        "  A GPU may have 2.90 of expected busy time, learnt from past days",
        "  At the classes that its workloads have they need 3 GPUs; where they belong, 1.7",
        "  Contended on the last days, where 1 % is promised: 0.2% of GPU time",
        "  Deployment team/quiet, 2 pods: class 1→3: pod quiet-0: 3 pods 8% busier than it fit on a GPU",
        "  Deployment team/large, 1 pod: class 1: it belongs where it is",
        "  Moved automatically, 15 a day at most, are workloads with the label slicewise.dev/class: auto",
        '  To move one by hand: nodeSelector slicewise.dev/class: "N" beside the pool\'s, and the toleration '
        '{key: slicewise.dev/class, value: "N"}; for class 1, neither',
    ]


def test_what_becomes_of_one_that_opted_in_is_reported_with_it():
    found = decided(POOL, NEW, evidence(QUIET, LARGE), NOW)
    notes = {ref("quiet"): "it is moved", ref("large"): ""}

    reported = explain.lines(dumped(found, 15, notes=notes))

    assert (
        "  Deployment team/quiet, 2 pods: class 1→3 (auto: it is moved): pod quiet-0: 3 pods 8%"
        in reported[-2]
    )
    assert reported[-1] == "  Deployment team/large, 1 pod: class 1 (auto): it belongs where it is"


# From pods to workloads


@pytest.mark.parametrize(
    "made_by, marks, workload",
    [
        (("ReplicaSet", "llm-7d9c"), {"pod-template-hash": "7d9c"}, ref("llm")),
        (
            ("ReplicaSet", "llm-7d9c"),
            {"rollouts-pod-template-hash": "7d9c"},
            Ref("argoproj.io/v1alpha1", "Rollout", "llm", "team"),
        ),
        (("ReplicaSet", "own"), {}, Ref("apps/v1", "ReplicaSet", "own", "team")),
        (("StatefulSet", "db"), {}, Ref("apps/v1", "StatefulSet", "db", "team")),
        (None, {}, Ref("v1", "Pod", "p", "team")),
    ],
)
def test_a_pod_names_what_makes_it(made_by, marks, workload):
    assert workload_of(pod("p", owner=made_by, labels=marks)) == workload
