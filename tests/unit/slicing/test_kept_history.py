"""What is kept from pass to pass: nights, rollouts and new nodes lose nothing, and nothing counts twice."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.model import Object, Series
from slicewise.slicing.evidence import Grade
from slicewise.slicing.usage.history import (
    NOTHING,
    STEP_SECONDS,
    History,
    WorkloadDay,
    WorkloadKey,
    key_of,
    pruned,
    settled,
    use_of,
)
from slicewise.slicing.usage.pages import history_of, pages
from slicewise.slicing.use import WINDOW, measured, read
from slicewise.usage import Page

from tests import builders
from tests import measured as world
from tests.builders import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEB = WorkloadKey("Deployment", "team", "web", "l4")
Value = Callable[[datetime], float]


def node(name: str, age: timedelta = 9 * DAY) -> Object:
    return builders.node(name=name, age=age)


def web(name: str, on: str, began: datetime, template: str = "7f5d8c9b7") -> Object:
    owner, labels = ("ReplicaSet", f"web-{template}"), {"pod-template-hash": template}
    return world.pod(f"web-{template}-{name}", on, NOW - began, owner=owner, labels=labels)


def dcgm(pods: Sequence[Object], busy: Value, mib: float, begin: datetime, end: datetime) -> list[Series]:
    """What a Prometheus has of pods between two times, each from its beginning on; NaN has no point."""
    found = []
    for pod in pods:
        name, on = pod["metadata"]["name"], pod["spec"]["nodeName"]
        first = max(begin, datetime.fromisoformat(pod["status"]["startTime"]))
        times = range(-(-int(first.timestamp()) // 600) * 600, int(end.timestamp()), 600)
        every = {at: busy(datetime.fromtimestamp(at, NOW.tzinfo)) for at in times}
        used = {at: value for at, value in every.items() if not math.isnan(value)}
        percent = tuple(100 * value for value in used.values())
        labels = {"Hostname": on, "gpu": "0", "modelName": "NVIDIA L4"}
        of_pod = {**labels, "pod": name, "namespace": "team"}
        for its in (labels, of_pod):
            found.append(Series("DCGM_FI_DEV_GPU_UTIL", its, tuple(used), percent))
            found.append(Series("DCGM_FI_DEV_FB_USED", its, tuple(used), (mib,) * len(used)))
    return found


class Passes:
    """Hour by hour, each reading what is new as the product does, and keeping it in a table."""

    def __init__(self, source: str = "prometheus") -> None:
        self.source = source
        self.kept: dict[tuple[int, int], Page] = {}
        self.seen = NOTHING

    def look(
        self, pods, nodes, now: datetime, series: Callable[[datetime, datetime], list[Series]]
    ) -> History:
        before = history_of(self.kept.values())
        begin = now - WINDOW
        if before.through is not None:
            begin = datetime.fromtimestamp(before.through + STEP_SECONDS, NOW.tzinfo)
        contents = builders.contents(nodes=tuple(nodes), pods=tuple(pods))
        readings = read(series(min(begin, now - HOUR), now), self.source, contents)
        found = measured(before, readings, contents, now)
        for page in pages(found.kept, before.through or 0):
            self.kept[page.day, page.number] = page
        self.seen = found.history
        return found.history


def steady(share: float) -> Value:
    return lambda at: share


def hours(first: datetime, last: datetime) -> list[datetime]:
    return [first + HOUR * n for n in range(int((last - first) / HOUR) + 1)]


# The same, however it is read


@pytest.mark.parametrize("minutes", [7, 60, 187, 1440, 3 * 1440])
def test_what_is_added_pass_by_pass_is_what_is_read_at_once(minutes):
    pods = [web("bcdfg", "n-1", NOW - 6 * DAY), web("fghjk", "n-2", NOW - 2 * DAY)]
    nodes = [node("n-1"), node("n-2")]

    def busy(at: datetime) -> float:
        return math.nan if at.hour == 3 else at.hour / 40 + at.minute / 600

    def series(begin, end):
        return dcgm(pods, busy, 2000.0, begin, end)

    step_by_step, now = Passes(), NOW - 5 * DAY
    while now < NOW:
        step_by_step.look(pods, nodes, now, series)
        now += timedelta(minutes=minutes)
    step_by_step.look(pods, nodes, NOW, series)
    at_once = Passes().look(pods, nodes, NOW, series)

    assert step_by_step.seen.workloads[WEB] == at_once.workloads[WEB]
    assert use_of(step_by_step.seen, WEB, NOW, WINDOW) == use_of(at_once, WEB, NOW, WINDOW)
    for key, device in at_once.devices.items():
        assert dict(step_by_step.seen.devices[key].busy) == pytest.approx(dict(device.busy), abs=1e-5)
        assert dict(step_by_step.seen.devices[key].memory_mib) == dict(device.memory_mib)


def test_a_point_that_comes_a_step_late_is_counted():
    pods, nodes = [web("bcdfg", "n-1", NOW - 3 * DAY)], [node("n-1")]
    passes, late = Passes(), 0

    def series(begin, end):
        return dcgm(pods, steady(0.2), 2000.0, begin, end - timedelta(minutes=late))

    for now in hours(NOW - 2 * DAY, NOW):
        late = 10 if now.hour % 2 else 0
        passes.look(pods, nodes, now, series)

    found = use_of(passes.seen, WEB, NOW, WINDOW)
    assert found and found.missing == 0 and found.expected_busy == pytest.approx(0.2, abs=0.001)


# What changes nothing


def evidence(passes: Passes, now: datetime = NOW):
    found = use_of(passes.seen, WEB, now, WINDOW)
    assert found
    return found.grade, len(found.days), found.memory_mib, round(found.expected_busy, 3), found.missing


def run(pods_at: Callable[[datetime], list[Object]], days: int = 4) -> Passes:
    passes = Passes()
    for now in hours(NOW - days * DAY, NOW):
        pods = pods_at(now)
        nodes = [node(name) for name in sorted({pod["spec"]["nodeName"] for pod in pods})]
        passes.look(
            pods, nodes, now, lambda begin, end, pods=pods: dcgm(pods, steady(0.2), 3000.0, begin, end)
        )
    return passes


def always(now: datetime) -> list[Object]:
    return [web("bcdfg", "n-1", NOW - 9 * DAY)]


@pytest.mark.parametrize(
    "pods_at",
    [
        pytest.param(lambda now: [web("bcdfg", f"n-{now.day}", NOW - 9 * DAY)], id="nodes with other names"),
        pytest.param(
            lambda now: [web("bcdfg", "n-1", NOW - 9 * DAY), web("fghjk", "n-2", NOW - 9 * DAY)],
            id="more pods",
        ),
    ],
)
def test_where_its_pods_are_changes_nothing_of_a_workloads_past(pods_at):
    assert evidence(run(pods_at)) == evidence(run(always))


def test_a_rollout_each_day_leaves_a_workload_its_past():
    def rolled(now: datetime) -> list[Object]:
        midnight = now.replace(hour=0, minute=0)
        return [web("bcdfg", "n-1", midnight, template=f"7f5d8c9b{now.day % 7 + 2}")]

    grade, days, memory, busy, missing = evidence(run(rolled))

    assert (grade, memory, busy, missing) == (Grade.POD, 3000.0, 0.2, 0)
    assert days >= 3


def test_a_night_leaves_a_workload_its_past_and_is_neither_idle_nor_missing():
    """Each day other nodes and other pods, for twelve hours: no pod is ever a day old."""

    def by_day(now: datetime) -> list[Object]:
        morning = now.replace(hour=6, minute=0)
        return (
            [web("bcdfg", f"n-{now.day}", morning, f"7f5d8c9b{now.day % 7 + 2}")] if 6 < now.hour < 18 else []
        )

    found = evidence(run(by_day, days=5))

    assert found == (Grade.POD, 2, 3000.0, 0.2, 0)


def test_nights_leave_whole_gpus_their_past_though_their_nodes_are_gone():
    """With the default source no pod ever had a full day: it was never decided on."""
    passes = Passes("container-insights")
    for now in hours(NOW - 5 * DAY, NOW):
        awake = 6 < now.hour < 18
        on = f"n-{now.day}"
        pods = (
            [web("bcdfg", on, now.replace(hour=6, minute=0), f"7f5d8c9b{now.day % 7 + 2}")] if awake else []
        )

        def series(begin, end, on=on, awake=awake, now=now):
            first = max(begin, now.replace(hour=6, minute=0))
            days = (end - first) / DAY
            return (
                world.one_gpu(busy=20.0, memory_mib=3000.0, slots=1, node=on, days=days, until=end)
                if awake
                else []
            )

        passes.look(pods, [node(on, 12 * HOUR)] if awake else [], now, series)

    grade, days, memory, busy, missing = evidence(passes)
    assert (grade, days, memory, busy, missing) == (Grade.POD, 2, 3000.0, 0.2, 0)


def test_the_next_job_of_a_cronjob_goes_on_where_the_last_one_ended():
    first = world.pod("nightly-29384700-bcdfg", owner=("Job", "nightly-29384700"))
    second = world.pod("nightly-29386140-fghjk", owner=("Job", "nightly-29386140"))

    assert key_of(first, "l4") == key_of(second, "l4") == ("CronJob", "team", "nightly", "l4")
    assert key_of(world.pod("train-b", owner=("Job", "train-2026")), "l4").name == "train-2026"


def test_a_workload_on_another_model_of_gpu_has_a_past_of_its_own():
    pod = web("bcdfg", "n-1", NOW - DAY)

    assert key_of(pod, "l4") != key_of(pod, "a10g")


# What was not measured


def test_an_outage_costs_its_own_minutes_and_keeps_how_pods_were_measured():
    pods, nodes, passes = always(NOW), [node("n-1")], Passes()
    begin, end = NOW - DAY, NOW - DAY + 3 * HOUR

    def busy(at: datetime) -> float:
        return math.nan if begin <= at < end else 0.2

    for now in hours(NOW - 4 * DAY, NOW):
        passes.look(pods, nodes, now, lambda first, last: dcgm(pods, busy, 3000.0, first, last))

    grade, days, memory, _, missing = evidence(passes)
    assert (grade, days, memory, missing) == (Grade.POD, 7, 3000.0, 18)


def test_a_pod_that_was_never_measured_has_no_past():
    passes = Passes()
    passes.look(always(NOW), [node("n-1")], NOW, lambda begin, end: [])

    assert use_of(passes.seen, WEB, NOW, WINDOW) is None


def test_a_workload_that_has_not_been_measured_for_an_hour_is_no_evidence():
    passes = run(always)

    assert use_of(passes.seen, WEB, NOW + timedelta(minutes=50), WINDOW).grade is Grade.POD
    assert use_of(passes.seen, WEB, NOW + timedelta(minutes=80), WINDOW).grade is Grade.NONE


def test_all_pods_of_a_workload_weigh_the_same_and_a_gap_of_one_is_a_whole_gpu():
    pods = [web("bcdfg", "n-1", NOW - 3 * DAY), web("fghjk", "n-2", NOW - 3 * DAY)]
    passes = Passes()

    def series(begin, end):
        return [
            *dcgm(pods[:1], steady(0.1), 3000.0, begin, end),
            *dcgm(pods[1:], lambda at: math.nan if at.hour == 3 else 0.5, 3000.0, begin, end),
        ]

    passes.look(pods, [node("n-1"), node("n-2")], NOW, series)

    found = use_of(passes.seen, WEB, NOW, WINDOW)
    assert found
    shares = dict(found.pooled)
    assert shares[100] == pytest.approx(0.5, abs=0.01)
    assert shares[1000] == pytest.approx(0.5 / 24, abs=0.003)
    assert found.missing == 0  # of the workload there was always one that was measured


# In the table


def test_days_that_no_pass_needs_any_more_are_left_out():
    passes = run(always)

    assert len(passes.seen.workloads[WEB]) == 8  # the first pass read a week
    assert len(pruned(passes.seen, int((NOW - DAY).timestamp())).workloads[WEB]) == 2


def test_a_pass_writes_the_day_that_changed_and_the_gpus():
    passes = run(always)
    before = history_of(passes.kept.values())

    written = {page.day for page in pages(before, before.through or 0)}

    assert written == {0, int(NOW.timestamp()) // 86_400 * 86_400}


def test_a_table_whose_last_pages_were_not_written_has_nothing_counted_twice():
    whole, cut_short = Passes(), Passes()
    pods, nodes = always(NOW), [node("n-1")]

    def series(begin, end):
        return dcgm(pods, steady(0.2), 3000.0, begin, end)

    for number, now in enumerate(hours(NOW - 3 * DAY, NOW)):
        whole.look(pods, nodes, now, series)
        gpus = cut_short.kept.get((0, 0))
        cut_short.look(pods, nodes, now, series)
        if number % 3 == 0 and gpus:
            cut_short.kept[0, 0] = gpus
    assert cut_short.seen.workloads == whole.seen.workloads


def test_pages_of_another_release_or_of_nonsense_cost_history_only():
    passes = run(always)
    some = list(passes.kept.values())

    found = history_of([*some[:-1], replace(some[-1], content=b"nonsense")])

    assert isinstance(found, History)


def test_many_workloads_are_spread_over_pages_that_an_item_holds():
    rng, midnight = random.Random(1), settled(NOW) // 86_400 * 86_400
    workloads = {
        WorkloadKey("Deployment", "team", f"w{number}", "l4"): {
            midnight: WorkloadDay(
                array("H", (rng.randrange(1000) for _ in range(144))),
                array("H", (rng.randrange(1000) for _ in range(144))),
                memory_mib=4000.0,
                floor_mib=3000.0,
                through=settled(NOW),
            )
        }
        for number in range(1500)
    }
    history = History(workloads, {}, settled(NOW))

    written = list(pages(history, settled(NOW)))

    assert len(written) > 3 and max(len(page.content) for page in written) <= 250_000
    assert history_of(written) == history


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=300), st.floats(1, 140_000))
def test_a_history_comes_back_from_its_pages_as_it_was(values, mib):
    pods = [web("bcdfg", "n-1", NOW - 7 * DAY)]
    first = int((NOW - timedelta(minutes=10 * len(values))).timestamp())

    def busy(at: datetime) -> float:
        place = (int(at.timestamp()) - first) // 600
        return values[place] if 0 <= place < len(values) else math.nan

    found = Passes().look(pods, [node("n-1")], NOW, lambda b, e: dcgm(pods, busy, mib, b, e))
    again = history_of(pages(found, 0))

    assert again.workloads == found.workloads and again.through == found.through
    for key, device in found.devices.items():
        assert dict(again.devices[key].busy) == pytest.approx(dict(device.busy), abs=1e-5)
        assert dict(again.devices[key].memory_mib) == pytest.approx(dict(device.memory_mib), abs=0.1)
