"""What a pod is taken to use, from what its source says: never less than it may have been."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.model.cluster import Series, only_the_last
from slicewise.policy.bounds import bounds_of
from slicewise.policy.model import Tuning
from slicewise.tuning.rule.replicas import choose_replicas
from slicewise.tuning.usage.evidence import Grade
from slicewise.tuning.usage.pool_usage import STEP, pool_use, read

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import POOL, contents, insights, one_gpu, pod, scraped

DAYS = timedelta(days=1)
TWO = contents(pod("a-0"), pod("b-0"))
REAL = ("4.5.3-virtual-gpus", "after-4.5.3-virtual-gpus")


def use(series, source="prometheus", seen=TWO, pool=POOL):
    return pool_use(read(series, source, seen), source, seen, NOW, pool)


def insights_use(series, seen=TWO):
    return use(series, "container-insights", seen)


def codes(found):
    return [problem.code for problem in found.problems]


def of(found, name):
    return next(one for one in found.pods if one.name == f"team/{name}")


# DCGM


@pytest.mark.parametrize("exposition", REAL)
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"honor_labels": True}, id="honorLabels"),
        pytest.param(
            {
                "honor_labels": False,
                "target": {"pod": "nvidia-dcgm-exporter-x", "namespace": "gpu-operator", "container": "e"},
            },
            id="renamed to exported_pod",
        ),
    ],
)
def test_pods_that_are_measured_each_by_itself_are_taken_as_they_are(exposition, how):
    found = use(scraped(exposition, **how))

    assert found.grade is Grade.POD
    assert (of(found, "a-0").memory_mib, of(found, "b-0").memory_mib) == (2000, 6000)
    assert of(found, "a-0").days[-1].mean == pytest.approx(0.1)
    assert of(found, "b-0").days[-1].mean == pytest.approx(0.3)
    assert not found.problems


def test_the_gpus_own_series_beside_those_of_its_pods_is_not_counted_twice():
    found = use(scraped("4.5.3-virtual-gpus"))

    assert found.device_peaks == {"n-1/0": 8400}
    assert found.busy_now == pytest.approx(0.5)
    assert found.memory_now_share == pytest.approx(8400 / 22888, rel=0.05)


@pytest.mark.parametrize(
    ("exposition", "values"),
    [
        pytest.param("4.4.2-virtual-gpus", {}, id="the GPU's value repeated for each pod"),
        pytest.param("4.4.2-one-pod-named", {}, id="only the last pod named"),
        pytest.param(
            "4.5.3-virtual-gpus",
            {"a_util": 0.0, "b_util": 0.0, "a_memory": 0.0, "b_memory": 0.0},
            id="no hostPID, so no processes",
        ),
    ],
)
def test_values_by_pod_that_are_none_give_way_to_the_gpus_shared_out(exposition, values):
    found = use(scraped(exposition, **values))

    assert found.grade is Grade.DEVICE
    assert [one.memory_mib for one in found.pods] == [4200, 4200]
    assert of(found, "a-0").days[-1].mean == pytest.approx(0.25)
    assert codes(found) == ["pods-not-told-apart"]


def test_a_pod_alone_on_its_gpu_is_measured_by_it_whatever_the_exporter_can():
    found = use(scraped("4.4.2-one-pod-named"), seen=contents(pod("b-0")))

    assert found.grade is Grade.POD
    assert found.pods[0].memory_mib == 8400


def test_time_with_a_running_kernel_is_not_taken_for_busy_where_the_engine_is_measured():
    found = use(scraped("4.4.2-virtual-gpus", gpu_util=100.0, engine=0.2))

    assert of(found, "a-0").days[-1].mean == pytest.approx(0.1)


def test_an_exporter_that_does_not_know_its_node_is_found_by_its_scrapes_label():
    series = scraped("4.5.3-virtual-gpus", node="nvidia-dcgm-exporter-x", target={"node": "n-1"})

    assert use(series).device_peaks == {"n-1/0": 8400}


def test_two_exporters_of_one_gpu_count_once():
    series = scraped("4.5.3-virtual-gpus")
    twice = [replace(one, labels={**one.labels, "job": "second"}) for one in series]

    assert use([*series, *twice]) == use(series)


# Container Insights


def test_a_gpu_that_pods_share_is_shared_out_over_those_that_were_on_it():
    found = insights_use(one_gpu(busy=40, memory_mib=8000, slots=2))

    assert found.grade is Grade.DEVICE
    assert [one.memory_mib for one in found.pods] == [4000, 4000]
    assert [one.days[-1].mean for one in found.pods] == pytest.approx([0.2, 0.2])


def test_a_pod_counts_by_the_fewest_that_shared_its_gpu():
    """8000 MiB of two pods, and of one at night."""
    found = insights_use(one_gpu(memory_mib=8000, slots=lambda step: 1 if step % 144 < 60 else 2))

    assert [one.memory_mib for one in found.pods] == [8000, 8000]


def test_a_pod_that_had_its_gpu_to_itself_is_measured_by_it():
    found = insights_use(one_gpu(busy=40, slots=1), contents(pod("a-0")))

    assert found.grade is Grade.POD
    assert found.pods[0].days[-1].mean == pytest.approx(0.4)


def test_slots_that_are_in_use_without_a_count_are_those_of_the_pods_there():
    found = insights_use(one_gpu(memory_mib=8000, slots=None), contents(pod("a-0"), pod("b-0", age=DAYS)))

    # b-0 came a day ago: before, all of it was a-0's.
    assert of(found, "a-0").memory_mib == 8000
    assert of(found, "b-0").memory_mib == 4000


def test_on_a_machine_of_several_gpus_the_fullest_and_the_busiest_count():
    node = builders.node(name="n-1", gpus=2, age=9 * DAYS)
    series = [
        *(insights("node_gpu_utilization", busy, gpu=gpu) for gpu, busy in ((0, 10), (1, 80))),
        *(insights("node_gpu_memory_used", mib * 1024**2, gpu=gpu) for gpu, mib in ((0, 6000), (1, 2000))),
        insights("node_gpu_usage_total", 2),
    ]
    found = insights_use(series, contents(pod("a-0"), pod("b-0"), nodes=[node]))

    assert [one.memory_mib for one in found.pods] == [6000, 6000]
    assert [one.days[-1].mean for one in found.pods] == pytest.approx([0.8, 0.8])
    assert found.grade is Grade.DEVICE


# A pod's time


def test_the_first_ten_minutes_of_a_pod_do_not_count():
    started = NOW - 2 * DAYS
    series = scraped("4.5.3-virtual-gpus", days=2, a_util=lambda step: 100.0 if step == 0 else 10.0)
    found = use(series, seen=contents(pod("a-0", age=NOW - started), pod("b-0")))

    assert of(found, "a-0").days[0].peak == pytest.approx(0.1)


def test_a_pod_younger_than_a_day_has_no_history():
    found = use(scraped("4.5.3-virtual-gpus", days=0.9), seen=contents(pod("a-0", age=0.9 * DAYS)))

    assert found.grade is Grade.NONE
    assert not found.pods[0].has_history


def test_a_sample_that_is_missing_counts_as_fully_busy():
    series = one_gpu(busy=lambda step: float("nan") if step == 200 else 10, slots=1)
    found = insights_use(series, contents(pod("a-0", age=2 * DAYS)))

    assert found.pods[0].days[-1].peak == 1.0
    assert found.pods[0].missing == 1


def test_a_source_that_began_two_days_ago_has_two_days_of_an_older_pod():
    for series, source in ((one_gpu(days=2), "container-insights"), (scraped(REAL[0], days=2), "prometheus")):
        found = use(series, source)

        assert [len(one.days) for one in found.pods] == [2, 2]
        assert [one.missing for one in found.pods] == [0, 0]


def test_a_pod_that_was_not_measured_when_others_were_counts_as_fully_busy_then():
    nodes = [builders.node(name=name, age=9 * DAYS) for name in ("n-1", "n-2")]
    series = [*one_gpu(busy=10, slots=1, days=2), *one_gpu(busy=10, slots=1, days=4, node="n-2")]
    found = insights_use(series, contents(pod("a-0"), pod("c-0", "n-2"), nodes=nodes))

    assert [day.mean for day in of(found, "a-0").days] == pytest.approx([1, 1, 0.1, 0.1])
    assert [day.mean for day in of(found, "c-0").days] == pytest.approx([0.1] * 4)


def test_series_that_ended_over_an_hour_ago_are_no_evidence():
    found = insights_use(one_gpu(until=NOW - timedelta(hours=2)))

    assert found.grade is Grade.NONE
    assert found.busy_now is None and found.memory_now_share is None
    assert codes(found) == ["metrics-stale"]


def test_a_pod_on_a_node_that_is_not_measured_counts_as_a_whole_gpu():
    nodes = [builders.node(name=name, age=9 * DAYS) for name in ("n-1", "n-2")]
    found = insights_use(one_gpu(), contents(pod("a-0"), pod("c-0", "n-2"), nodes=nodes))

    assert of(found, "a-0").has_history and not of(found, "c-0").has_history
    assert codes(found) == ["nodes-unmeasured"]
    assert "n-2" in found.problems[0].message


# A workload's time

DEPLOYMENT = {"owner": ("ReplicaSet", "web-7f5d8c9b7"), "labels": {"pod-template-hash": "7f5d8c9b7"}}


def renamed(series, **names):
    """The series with pods under other names; those of b-0 left out."""
    kept = []
    for one in series:
        called = one.labels.get("pod")
        if called in names:
            kept.append(replace(one, labels={**one.labels, "pod": names[called]}))
        elif called is None:
            kept.append(one)
    return kept


def test_a_new_pod_of_a_deployment_goes_on_where_those_before_it_ended():
    series = scraped("4.5.3-virtual-gpus", days=3, gpu_memory=2400.0, until=NOW - timedelta(hours=5))
    before = [one for one in renamed(series, **{"a-0": "web-6d5f8c9b7-xbcdf"}) if one.labels.get("pod")]
    now = renamed(
        scraped("4.5.3-virtual-gpus", days=0.2, gpu_memory=2400.0), **{"a-0": "web-7f5d8c9b7-fghjk"}
    )
    young = pod("web-7f5d8c9b7-fghjk", age=timedelta(hours=5), **DEPLOYMENT)
    found = use([*before, *now], seen=contents(young))

    assert found.pods[0].has_history
    assert len(found.pods[0].days) == 3
    assert found.pods[0].days[-1].mean == pytest.approx(0.1)


def test_memory_is_known_by_day_and_whose_pod_it_is():
    steps = 2 * 144
    memory = {"a_memory": lambda step: 2000.0 if step < steps - 30 else 2600.0}
    seen = contents(pod("a-0", owner=("StatefulSet", "a")), pod("b-0"))

    found = use(scraped("4.5.3-virtual-gpus", days=2, **memory), seen=seen)
    grown, calm = of(found, "a-0"), of(found, "b-0")

    assert (grown.day_peaks_mib[0], grown.day_peaks_mib[-1]) == (2000.0, 2600.0)
    assert set(calm.day_peaks_mib) == {6000.0}
    assert (grown.workload, calm.workload) == ("team/StatefulSet/a", "")


def test_a_part_of_a_gpu_that_grows_since_another_pod_ended_is_no_growth():
    assert of(insights_use(one_gpu(slots=2)), "a-0").day_peaks_mib == ()


def test_a_night_without_any_pod_is_neither_idle_nor_missing():
    def rename(series):
        return [one for one in renamed(series, **{"a-0": "web-6d5f8c9b7-xbcdf"}) if one.labels.get("pod")]

    evening = NOW - timedelta(hours=14)
    before = rename(scraped("4.5.3-virtual-gpus", days=2, gpu_memory=2400.0, until=evening))
    now = renamed(
        scraped("4.5.3-virtual-gpus", days=0.2, gpu_memory=2400.0), **{"a-0": "web-7f5d8c9b7-fghjk"}
    )
    young = pod("web-7f5d8c9b7-fghjk", age=timedelta(hours=5), **DEPLOYMENT)
    found = use([*before, *now], seen=contents(young))

    assert found.pods[0].missing == 0
    assert found.pods[0].days[-1].mean == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("called", "model"),
    [
        pytest.param("website-6d5f8c9b7-xbcdf", "NVIDIA L4", id="of another workload"),
        pytest.param("web-6d5f8c9b7-xbcdf", "NVIDIA A10G", id="on another model of GPU"),
    ],
)
def test_what_others_did_is_no_history(called, model):
    before = [
        replace(one, labels={**one.labels, "Hostname": "gone", "modelName": model})
        for one in renamed(scraped("4.5.3-virtual-gpus", days=3), **{"a-0": called})
        if one.labels.get("pod")
    ]
    now = renamed(
        scraped("4.5.3-virtual-gpus", days=0.2, gpu_memory=2400.0), **{"a-0": "web-7f5d8c9b7-fghjk"}
    )
    young = pod("web-7f5d8c9b7-fghjk", age=timedelta(hours=5), **DEPLOYMENT)

    assert not use([*before, *now], seen=contents(young)).pods[0].has_history


def test_a_young_pod_on_a_shared_gpu_goes_on_from_its_elders_elsewhere():
    nodes = [builders.node(name=name, age=9 * DAYS) for name in ("n-1", "n-2")]
    elder, young = (
        pod("web-7f5d8c9b7-bcdfg", **DEPLOYMENT),
        pod("web-7f5d8c9b7-fghjk", "n-2", timedelta(hours=3), **DEPLOYMENT),
    )
    series = [*one_gpu(memory_mib=8000, slots=2), *one_gpu(node="n-2", days=0.1, memory_mib=2000, slots=2)]
    found = insights_use(series, contents(elder, young, nodes=nodes))

    assert of(found, "web-7f5d8c9b7-fghjk").has_history
    assert of(found, "web-7f5d8c9b7-fghjk").memory_mib == 4000


def test_pods_with_one_past_are_measured_once():
    """Ten thousand pods of a week would else take a minute and two gigabytes."""
    old = [pod(f"web-7f5d8c9b7-bcd{letter}f", **DEPLOYMENT) for letter in "abcdef"]
    found = insights_use(one_gpu(memory_mib=8000, slots=6), contents(*old))

    assert all(one.days is found.pods[0].days for one in found.pods)


# What is wrong is told


def test_nothing_measured_is_reported_with_what_to_do():
    found = insights_use(())

    assert found.grade is Grade.NONE
    assert codes(found) == ["no-gpu-metrics"]
    assert "amazon-cloudwatch-observability" in found.problems[0].remedy


def test_a_policy_without_a_source_is_reported():
    assert codes(use((), "none")) == ["metrics-off"]


def test_a_node_that_is_still_starting_is_not_missed():
    node = builders.node(name="n-1", age=timedelta(minutes=10))

    assert not insights_use((), contents(nodes=[node])).problems


def test_containers_of_a_pod_each_show_what_the_whole_pod_uses():
    times = tuple(int((NOW - (step + 1) * STEP).timestamp()) for step in reversed(range(288)))

    def shown(name, value, **labels):
        its = {"Hostname": "n-1", "gpu": "0", "modelName": "NVIDIA L4", **labels}
        return Series(name, its, times, (value,) * 288)

    pods = {"a-0": 3000.0, "b-0": 5000.0}
    series = [
        *(shown("DCGM_FI_DEV_FB_USED", sum(pods.values())), shown("DCGM_FI_DEV_GPU_UTIL", 50.0)),
        *(
            shown(metric, value, namespace="team", pod=name, container=container)
            for name, memory in pods.items()
            for container in ("main", "helper")
            for metric, value in (("DCGM_FI_DEV_FB_USED", memory), ("DCGM_FI_DEV_GPU_UTIL", 20.0))
        ),
    ]

    found = use(series)

    assert [(one.name, one.memory_mib, one.days[-1].peak) for one in found.pods] == [
        ("team/a-0", 3000.0, 0.2),
        ("team/b-0", 5000.0, 0.2),
    ]
    assert found.grade is Grade.POD


@pytest.mark.parametrize("value", [-1.0, 250.0, float("inf")])
def test_a_value_that_cannot_be_is_left_out_and_reported(value):
    series = one_gpu(busy=lambda step: value if step == 200 else 10, slots=1)
    found = insights_use(series, contents(pod("a-0", age=2 * DAYS)))

    assert found.pods[0].missing == 1
    assert codes(found) == ["metrics-impossible"]


def test_what_the_source_says_of_missing_points_is_reported_once():
    series = [replace(one, incomplete="a store is down") for one in one_gpu()]

    found = insights_use(series)
    assert codes(found) == ["metrics-incomplete"]
    assert "The source says that points are missing: a store is down" in found.problems[0].message


def test_a_week_holds_as_many_whole_days_as_a_policy_may_ask_for_though_its_newest_step_is_not_there_yet():
    """A source is always a step behind, so that the seventh day is not whole."""
    most = bounds_of(Tuning, "minimum_history").most
    series = [replace(one, times=one.times[:-1], values=one.values[:-1]) for one in one_gpu(days=7)]

    found = insights_use(series, contents(pod("a-0", age=9 * DAYS)))

    assert len(found.pods[0].days) * DAYS == most


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (1, "the last day was read"),
        (3, "the last 3 days were read"),
        (0.25, "the last 6 hours were read"),
        (0.01, "the last hour was read"),
    ],
)
def test_days_that_we_left_out_are_not_called_the_sources_fault_nor_said_to_come_back(days, words):
    series = [replace(one, incomplete=only_the_last(days * DAYS, 4000)) for one in one_gpu()]

    (finding,) = insights_use(series).problems

    assert finding.code == "metrics-fewer-days"
    assert f"only {words}, for there are 4000 series" in finding.message and "source" not in finding.message
    assert "counts as it is" in finding.remedy


def test_pools_do_not_see_each_others_pods_and_gpus():
    other = builders.node(name="n-2", gpu="a10g", age=9 * DAYS)
    seen = contents(pod("a-0"), pod("c-0", "n-2"), nodes=[*TWO.nodes, other])
    found = insights_use([*one_gpu(), *one_gpu(node="n-2", memory_mib=20_000)], seen)

    assert [one.name for one in found.pods] == ["team/a-0"]
    assert list(found.device_peaks) == ["n-1/nvidia0"]


@pytest.mark.parametrize("seed", range(20))
def test_less_evidence_never_raises_n(seed):
    draw = random.Random(seed)
    busy = [draw.uniform(0, 60) for _ in range(288)]
    seen = contents(pod("a-0", age=2 * DAYS), pod("b-0", age=2 * DAYS))
    gaps = {step for step in range(280) if draw.random() < draw.choice((0.001, 0.05, 0.5))}

    def n(value):
        pods = insights_use(one_gpu(busy=value, memory_mib=3000), seen).pods
        return choose_replicas(POOL, pods, 22_888).target

    assert n(lambda step: float("nan") if step in gaps else busy[step]) <= n(lambda step: busy[step])


def test_memory_that_the_card_does_not_have_is_no_measurement():
    spike = insights("node_gpu_memory_used", lambda step: (900_000 if step == 100 else 4000) * 1024 * 1024)
    series = (insights("node_gpu_utilization", 40.0), spike, insights("node_gpu_usage_total", 2))

    use = insights_use(series, contents(pod("a"), pod("b")))

    assert max(use.device_peaks.values()) == 4000
    assert "metrics-impossible" in {problem.code for problem in use.problems}
