"""What is kept from pass to pass: nights, rollouts and new nodes lose nothing, and nothing counts twice."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.kube.ref import Object
from slicewise.model.cluster import Series
from slicewise.model.usage import Page
from slicewise.tuning.classes.evidence import contended
from slicewise.tuning.rule.promises import violations
from slicewise.tuning.usage.evidence import DAY_SECONDS, Grade
from slicewise.tuning.usage.history import (
    STEP_SECONDS,
    History,
    WorkloadDay,
    WorkloadKey,
    alone_mib,
    key_of,
    pruned,
    settled,
    use_of,
)
from slicewise.tuning.usage.pages import history_of, pages
from slicewise.tuning.usage.pool_usage import WINDOW, Window, pool_use

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning import dcgm_samples as world
from tests.support.tuning.measured_reconciles import (
    DAY,
    HOUR,
    WEB,
    Ran,
    Reconciler,
    counted,
    dcgm,
    hours,
    node,
    scraped,
    steady,
    web,
)

BY = "prometheus"


# The same, however it is read


@pytest.mark.parametrize("minutes", [7, 60, 187, 1440, 3 * 1440])
def test_what_is_added_reconcile_by_reconcile_is_what_is_read_at_once(minutes):
    pods = [web("bcdfg", "n-1", NOW - 6 * DAY), web("fghjk", "n-2", NOW - 2 * DAY)]
    nodes = [node("n-1"), node("n-2")]

    def busy(at: datetime) -> float:
        return math.nan if at.hour == 3 else at.hour / 40 + at.minute / 600

    def series(begin, end):
        return dcgm(pods, busy, 2000.0, begin, end)

    step_by_step, now = Reconciler(), NOW - 5 * DAY
    while now < NOW:
        step_by_step.observe(pods, nodes, now, series)
        now += timedelta(minutes=minutes)
    step_by_step.observe(pods, nodes, NOW, series)
    batch_size = Reconciler().observe(pods, nodes, NOW, series)

    assert step_by_step.seen.workloads[WEB] == batch_size.workloads[WEB]
    assert use_of(step_by_step.seen, WEB, NOW, WINDOW) == use_of(batch_size, WEB, NOW, WINDOW)
    for key, device in batch_size.devices.items():
        assert dict(step_by_step.seen.devices[key].busy) == pytest.approx(dict(device.busy), abs=1e-5)
        assert dict(step_by_step.seen.devices[key].memory_mib) == dict(device.memory_mib)


def test_a_point_that_comes_a_step_late_is_counted():
    pods, nodes = [web("bcdfg", "n-1", NOW - 3 * DAY)], [node("n-1")]
    reconciles, late = Reconciler(), 0

    def series(begin, end):
        return dcgm(pods, steady(0.2), 2000.0, begin, end - timedelta(minutes=late))

    for now in hours(NOW - 2 * DAY, NOW):
        late = 10 if now.hour % 2 else 0
        reconciles.observe(pods, nodes, now, series)

    found = use_of(reconciles.seen, WEB, NOW, WINDOW)
    assert found and found.missing == 0 and found.expected_busy == pytest.approx(0.2, abs=0.001)


# What changes nothing


def evidence(reconciles: Reconciler, now: datetime = NOW):
    found = use_of(reconciles.seen, WEB, now, WINDOW)
    assert found
    return found.grade, len(found.days), found.memory_mib, round(found.expected_busy, 3), found.missing


def run(pods_at: Callable[[datetime], list[Object]], days: int = 4) -> Reconciler:
    reconciles = Reconciler()
    for now in hours(NOW - days * DAY, NOW):
        pods = pods_at(now)
        nodes = [node(name) for name in sorted({pod["spec"]["nodeName"] for pod in pods})]
        reconciles.observe(
            pods, nodes, now, lambda begin, end, pods=pods: dcgm(pods, steady(0.2), 3000.0, begin, end)
        )
    return reconciles


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


def test_nights_leave_whole_gpus_their_past_though_their_nodes_are_deleted():
    """With the default source no pod ever had a full day: it was never decided on."""
    reconciles = Reconciler("container-insights")
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

        reconciles.observe(pods, [node(on, 12 * HOUR)] if awake else [], now, series)

    grade, days, memory, busy, missing = evidence(reconciles)
    assert (grade, days, memory, busy, missing) == (Grade.POD, 2, 3000.0, 0.2, 0)


def test_the_next_job_of_a_cronjob_goes_on_where_the_last_one_ended():
    first = world.pod("nightly-29384700-bcdfg", owner=("Job", "nightly-29384700", "batch/v1"))
    second = world.pod("nightly-29386140-fghjk", owner=("Job", "nightly-29386140", "batch/v1"))

    assert key_of(first, "l4") == key_of(second, "l4") == ("batch", "CronJob", "team", "nightly", "l4")
    dated = world.pod("train-b", owner=("Job", "train-20261101", "batch/v1"))
    assert key_of(dated, "l4") == ("batch", "Job", "team", "train-20261101", "l4")
    volcano = world.pod("train-b", owner=("Job", "train", "batch.volcano.sh/v1alpha1"))
    assert key_of(volcano, "l4").group == "batch.volcano.sh"


def test_a_workload_on_another_model_of_gpu_has_a_past_of_its_own():
    pod = web("bcdfg", "n-1", NOW - DAY)

    assert key_of(pod, "l4") != key_of(pod, "a10g")


# What was not measured


def test_an_outage_costs_its_own_minutes_and_keeps_how_pods_were_measured():
    pods, nodes, reconciles = always(NOW), [node("n-1")], Reconciler()
    begin, end = NOW - DAY, NOW - DAY + 3 * HOUR

    def busy(at: datetime) -> float:
        return math.nan if begin <= at < end else 0.2

    for now in hours(NOW - 4 * DAY, NOW):
        reconciles.observe(pods, nodes, now, lambda first, last: dcgm(pods, busy, 3000.0, first, last))

    grade, days, memory, _, missing = evidence(reconciles)
    assert (grade, days, memory, missing) == (Grade.POD, 7, 3000.0, 18)


def test_a_pod_that_was_never_measured_has_no_past():
    reconciles = Reconciler()
    reconciles.observe(always(NOW), [node("n-1")], NOW, lambda begin, end: [])

    assert use_of(reconciles.seen, WEB, NOW, WINDOW) is None


def test_a_source_that_comes_later_than_we_brings_its_past():
    pods, nodes, reconciles = always(NOW), [node("n-1")], Reconciler()
    reconciles.observe([], [], NOW - 5 * HOUR, lambda begin, end: [])
    reconciles.observe(pods, nodes, NOW - 2 * HOUR, lambda begin, end: [])

    reconciles.observe(pods, nodes, NOW, lambda begin, end: dcgm(pods, steady(0.2), 3000.0, begin, end))

    assert evidence(reconciles) == (Grade.POD, 7, 3000.0, 0.2, 0)
    # And the pass after it finds that past in the table.
    reconciles.observe(
        pods, nodes, NOW + HOUR, lambda begin, end: dcgm(pods, steady(0.2), 3000.0, begin, end)
    )
    assert evidence(reconciles, NOW + HOUR) == (Grade.POD, 7, 3000.0, 0.2, 0)


def test_a_workload_that_has_not_been_measured_for_an_hour_is_no_evidence():
    reconciles = run(always)

    assert use_of(reconciles.seen, WEB, NOW + timedelta(minutes=50), WINDOW).grade is Grade.POD
    assert use_of(reconciles.seen, WEB, NOW + timedelta(minutes=80), WINDOW).grade is Grade.NONE


def test_all_pods_of_a_workload_weigh_the_same_and_a_gap_of_one_is_a_whole_gpu():
    pods = [web("bcdfg", "n-1", NOW - 3 * DAY), web("fghjk", "n-2", NOW - 3 * DAY)]
    reconciles = Reconciler()

    def series(begin, end):
        return [
            *dcgm(pods[:1], steady(0.1), 3000.0, begin, end),
            *dcgm(pods[1:], lambda at: math.nan if at.hour == 3 else 0.5, 3000.0, begin, end),
        ]

    reconciles.observe(pods, [node("n-1"), node("n-2")], NOW, series)

    found = use_of(reconciles.seen, WEB, NOW, WINDOW)
    assert found
    shares = dict(found.pooled)
    assert shares[100] == pytest.approx(0.5, abs=0.01)
    assert shares[1000] == pytest.approx(0.5 / 24, abs=0.003)
    assert found.missing == 0  # of the workload there was always one that was measured


# In the table


def test_days_that_no_reconcile_needs_any_more_are_left_out():
    reconciles = run(always)

    assert len(reconciles.seen.workloads[WEB]) == 8  # the first pass read a week
    assert len(pruned(reconciles.seen, NOW, DAY, ()).workloads[WEB]) == 2


def test_a_reconcile_writes_the_day_that_changed_and_the_gpus():
    reconciles = run(always)
    before = history_of(reconciles.kept.values())

    written = {page.day for page in pages(before, before.through or 0, BY)}

    assert written == {0, 1, int(NOW.timestamp()) // 86_400 * 86_400}


def test_a_table_whose_last_pages_were_not_written_has_nothing_counted_twice():
    whole, cut_short = Reconciler(), Reconciler()
    pods, nodes = always(NOW), [node("n-1")]

    def series(begin, end):
        return dcgm(pods, steady(0.2), 3000.0, begin, end)

    for number, now in enumerate(hours(NOW - 3 * DAY, NOW)):
        whole.observe(pods, nodes, now, series)
        gpus = cut_short.kept.get((0, 1, 0))
        cut_short.observe(pods, nodes, now, series)
        if number % 3 == 0 and gpus:
            cut_short.kept[0, 1, 0] = gpus
    assert cut_short.seen.workloads == whole.seen.workloads


def test_pages_of_another_release_or_of_nonsense_cost_history_only():
    reconciles = run(always)
    some = list(reconciles.kept.values())

    found = history_of([*some[:-1], replace(some[-1], content=b"nonsense")])

    assert isinstance(found, History)


def test_many_workloads_are_spread_over_pages_that_an_item_holds():
    rng, midnight = random.Random(1), settled(NOW) // 86_400 * 86_400
    workloads = {
        WorkloadKey("apps", "Deployment", "team", f"w{number}", "l4"): {
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
    history = History(workloads, through=settled(NOW))

    written = list(pages(history, settled(NOW), BY))

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

    found = Reconciler().observe(pods, [node("n-1")], NOW, lambda b, e: dcgm(pods, busy, mib, b, e))
    again = history_of(pages(found, 0, BY))

    assert again.workloads == found.workloads and again.through == found.through
    for key, device in found.devices.items():
        # Half a unit of a page, and what four bytes leave off.
        assert dict(again.devices[key].busy) == pytest.approx(dict(device.busy), abs=1.01e-5)
        assert dict(again.devices[key].memory_mib) == pytest.approx(dict(device.memory_mib), abs=0.1)


# Clocks


@pytest.mark.parametrize("hours_ahead", [2, 30, 75])
@pytest.mark.parametrize("jumps_at", ["14:05", "23:35"])
def test_a_clock_that_jumped_ahead_for_one_reconcile_leaves_nothing_behind(hours_ahead, jumps_at):
    """What that pass took for gaps was still to come."""
    pods, nodes = always(NOW), [node("n-1")]
    hour, minute = map(int, jumps_at.split(":"))
    jump = (NOW - 2 * DAY).replace(hour=hour, minute=minute)

    def busy(at: datetime) -> float:
        return at.hour / 40 + at.minute / 600

    def reconciles(*, jumps: bool) -> Reconciler:
        found = Reconciler()
        for now in hours(NOW - 4 * DAY, NOW):
            true = now + timedelta(minutes=5)
            found.observe(pods, nodes, true, lambda begin, end: dcgm(pods, busy, 3000.0, begin, end))
            if jumps and true <= jump < true + HOUR:
                found.observe(
                    pods,
                    nodes,
                    jump + hours_ahead * HOUR,
                    lambda begin, end: dcgm(pods, busy, 3000.0, begin, min(end, jump)),
                )
        return found

    jumped, steady_clock = reconciles(jumps=True), reconciles(jumps=False)

    assert jumped.last.saved.through == steady_clock.last.saved.through
    assert jumped.last.saved.workloads == steady_clock.last.saved.workloads
    assert evidence(jumped) == evidence(steady_clock)


# What once was lost, or counted where it was not


def run_through(
    reconciles: Reconciler, pods_at, lives, *, days: float = 3, every: int = 60, at: int = 3
) -> Reconciler:
    """Hour by hour, some minutes past, with pods that are there then and lives that are scraped."""
    now = NOW - days * DAY + timedelta(minutes=at)
    while now <= NOW + timedelta(minutes=at):
        pods = pods_at(now)
        nodes = [node(name) for name in sorted({pod["spec"]["nodeName"] for pod in pods})]
        reconciles.observe(pods, nodes, now, lambda begin, end: scraped(lives, begin, end))
        now += timedelta(minutes=every)
    return reconciles


def peak(reconciles: Reconciler, key: WorkloadKey = WEB) -> float:
    found = use_of(reconciles.seen, key, NOW, WINDOW)
    return found.memory_mib if found else math.nan


def test_what_a_pod_did_between_the_last_reconcile_and_its_end_is_kept():
    """Each evening a peak of forty minutes, and then a night in which nobody is there."""
    days = [NOW.replace(hour=0, minute=0) - n * DAY for n in range(4)]

    def evening(at: datetime) -> bool:
        return (at.hour, at.minute) >= (19, 20)

    lives = [
        Ran(
            f"web-7f5d8c9b7-bcd{letter}f",
            "n-1",
            day + 8 * HOUR,
            day + 20 * HOUR,
            lambda at: 0.6 if evening(at) else 0.1,
            lambda at: 11_000.0 if evening(at) else 2000.0,
        )
        for day, letter in zip(days, "fghj", strict=True)
    ]

    def pods_at(now: datetime) -> list[Object]:
        return [
            web(f"bcd{life.name[-2]}f", "n-1", life.first) for life in lives if life.first <= now < life.last
        ]

    assert peak(run_through(Reconciler(), pods_at, lives)) == 11_000.0


def test_a_pod_that_is_made_again_under_its_name_leaves_its_past():
    again = NOW - DAY
    peaks = Ran(
        "db-0",
        "n-1",
        NOW - 5 * DAY,
        again,
        steady(0.1),
        lambda at: 20_000.0 if again - at < HOUR / 2 else 2000.0,
    )
    lives = [peaks, Ran("db-0", "n-2", again, NOW + DAY, steady(0.1), steady(2000.0))]

    def pods_at(now: datetime) -> list[Object]:
        life = lives[now >= again]
        return [world.pod("db-0", life.node, NOW - life.first, owner=("StatefulSet", "db"))]

    reconciles = run_through(Reconciler(), pods_at, lives)

    assert peak(reconciles, WorkloadKey("apps", "StatefulSet", "team", "db", "l4")) == 20_000.0


def test_a_pod_that_has_ended_counts_on_its_own_model_of_gpu():
    large = builders.node(name="h", gpu="h100", age=9 * DAY)
    gone = NOW - 7 * HOUR
    lives = [
        Ran("web-7f5d8c9b7-bcdfg", "n-1", NOW - 5 * DAY, NOW + DAY, steady(0.1), steady(2000.0)),
        Ran("web-7f5d8c9b7-fghjk", "h", NOW - 5 * DAY, gone, steady(0.1), steady(72_000.0), "NVIDIA H100"),
        Ran("web-7f5d8c9b7-ghjkl", "h", gone, NOW + DAY, steady(0.1), steady(60_000.0), "NVIDIA H100"),
    ]
    reconciles = Reconciler()
    for now in hours(NOW - 2 * DAY, NOW):
        which = "fghjk" if now < gone else "ghjkl"
        began = lives[1].first if now < gone else gone
        pods = [web("bcdfg", "n-1", NOW - 5 * DAY), web(which, "h", began)]
        reconciles.observe(pods, [node("n-1"), large], now, lambda begin, end: scraped(lives, begin, end))

    assert peak(reconciles) == 2000.0
    assert peak(reconciles, WEB._replace(model="h100")) == 72_000.0


def test_a_job_that_came_and_went_between_two_reconciles_is_its_cronjobs():
    lives, first = [], int((NOW - 3 * DAY).timestamp()) // 60
    for number in range(72):
        began = NOW - 3 * DAY + number * HOUR + timedelta(minutes=10)
        mib = 9000.0 if number == 50 else 2000.0
        lives.append(
            Ran(
                f"nightly-{first + 60 * number}-bcdfg",
                "n-1",
                began,
                began + HOUR / 3,
                steady(0.5),
                steady(mib),
            )
        )
    seen = lives[0]

    def pods_at(now: datetime) -> list[Object]:
        """One of them is there when a pass looks, by whose owner the others are known."""
        if not seen.first <= now < seen.last + HOUR:
            return []
        job = seen.name.rpartition("-")[0]
        return [world.pod(seen.name, "n-1", NOW - seen.first, owner=("Job", job, "batch/v1"))]

    reconciles, keeper = Reconciler(), world.pod("keeper", "n-1", 9 * DAY)
    lives.append(Ran("keeper", "n-1", NOW - 9 * DAY, NOW + DAY, steady(0.1), steady(100.0)))
    run_through(reconciles, lambda now: [keeper, *pods_at(now)], lives, at=20)

    assert peak(reconciles, WorkloadKey("batch", "CronJob", "team", "nightly", "l4")) == 9000.0


def test_an_xid_of_days_ago_is_no_news_in_any_later_reconcile():
    pods = [web("bcdfg", "n-1", NOW - 9 * DAY)]
    lives = [Ran(pods[0]["metadata"]["name"], "n-1", NOW - 9 * DAY, NOW + DAY, steady(0.1), steady(2000.0))]
    failed = NOW - 2 * DAY - HOUR / 2
    reported = []

    def series(begin: datetime, end: datetime) -> list[Series]:
        found = scraped(lives, begin, end)
        times = found[0].times
        codes = tuple(79.0 if at >= failed.timestamp() else 0.0 for at in times)
        labels = {"Hostname": "n-1", "gpu": "0", "modelName": "NVIDIA L4"}
        return [*found, Series("DCGM_FI_DEV_XID_ERRORS", labels, times, codes)]

    reconciles = Reconciler()
    for now in hours(NOW - 4 * DAY, NOW):
        now += timedelta(minutes=3)
        reconciles.observe(pods, [node("n-1")], now, series)
        since = now - DAY
        if violations(reconciles.contents, reconciles.last.readings, world.POOL, since, now):
            reported.append(now)

    assert reported and max(reported) - failed < timedelta(hours=25)


@pytest.mark.parametrize("alone_first", [True, False])
def test_a_day_alone_on_a_gpu_is_counted_hour_by_hour(alone_first):
    change = NOW - 2 * DAY
    first, second = web("bcdfg", "n-1", NOW - 6 * DAY), web("fghjk", "n-1", change)

    def pods_then(at: datetime) -> float:
        return 2.0 if (at >= change) == alone_first else 1.0

    def series(begin, end):
        memory = {"mib": lambda at: 2000.0 * pods_then(at)}
        return counted("n-1", begin, end, busy=steady(0.1), slots=pods_then, **memory)

    reconciles = Reconciler("container-insights")
    for now in hours(NOW - 5 * DAY, NOW):
        pods = [first, second] if alone_first and now >= change else [first]
        reconciles.observe(pods, [node("n-1")], now, series)

    assert alone_mib(reconciles.seen, WEB, NOW, WINDOW) == 2000.0
    window = Window(
        reconciles.last.readings, reconciles.contents, frozenset({world.POOL}), NOW, reconciles.seen
    )
    assert {use.grade for use in window.uses()} == {Grade.POD}


def test_a_day_alone_and_idle_says_nothing_where_gpus_show_that_pods_need_more():
    """One that was quiet while it was alone: by the mean of both, more than two would seem to fit."""
    change = NOW - 2 * DAY
    first, second = web("bcdfg", "n-1", NOW - 6 * DAY), web("fghjk", "n-1", change)

    def series(begin, end):
        return counted(
            "n-1",
            begin,
            end,
            busy=steady(0.1),
            slots=lambda at: 1.0 + (at >= change),
            mib=lambda at: 12_500.0 if at >= change else 3000.0,
        )

    reconciles = Reconciler("container-insights")
    for now in hours(NOW - 5 * DAY, NOW):
        reconciles.observe([first, second] if now >= change else [first], [node("n-1")], now, series)

    window = Window(
        reconciles.last.readings, reconciles.contents, frozenset({world.POOL}), NOW, reconciles.seen
    )
    assert {use.grade for use in window.uses()} == {Grade.DEVICE}


@pytest.mark.parametrize("late", [1, 2])
def test_pods_that_are_counted_late_make_nothing_certain(late):
    came = NOW - DAY

    def series(begin, end):
        seen = came + late * timedelta(minutes=10)
        return counted(
            "n-1",
            begin,
            end,
            busy=steady(0.1),
            slots=lambda at: 2.0 if at >= seen else 1.0,
            mib=lambda at: 20_000.0 if at >= came else 10_000.0,
        )

    reconciles = Reconciler("container-insights")
    for now in hours(NOW - 3 * DAY, NOW):
        reconciles.observe([web("bcdfg", "n-1", NOW - 6 * DAY)], [node("n-1")], now, series)

    found = use_of(reconciles.seen, WEB, NOW, WINDOW)
    assert found and found.lower.memory_mib == 10_000.0


def test_steps_in_which_nobody_counted_pods_make_nothing_certain():
    went = NOW - DAY

    def series(begin, end):
        return counted(
            "n-1",
            begin,
            end,
            busy=steady(0.1),
            slots=lambda at: 1.0 if at >= went else math.nan if went - at <= HOUR else 2.0,
            mib=lambda at: 10_000.0 if at >= went else 20_000.0,
        )

    reconciles = Reconciler("container-insights")
    for now in hours(NOW - 3 * DAY, NOW):
        reconciles.observe([web("bcdfg", "n-1", NOW - 6 * DAY)], [node("n-1")], now, series)

    found = use_of(reconciles.seen, WEB, NOW, WINDOW)
    assert found and found.lower.memory_mib <= 10_000.0


def test_a_rollout_leaves_what_was_contended_before_it():
    rolled = NOW - 2 * HOUR
    old = [web(name, "n-1", NOW - 6 * DAY) for name in ("bcdfg", "fghjk")]
    new = [web(name, "n-1", rolled, "6d5f8c9b7") for name in ("ghjkl", "hjklm")]

    def series(begin, end):
        return counted("n-1", begin, end, busy=steady(0.99), slots=steady(2.0), mib=steady(8000.0))

    reconciles = Reconciler("container-insights")
    for now in hours(NOW - 2 * DAY, NOW):
        reconciles.observe(new if now >= rolled else old, [node("n-1")], now, series)

    window = Window(
        reconciles.last.readings, reconciles.contents, frozenset({world.POOL}), NOW, reconciles.seen
    )
    assert contended(window, NOW - DAY) == pytest.approx((1.0, 1.0), abs=0.03)


@pytest.mark.parametrize("minutes", [30, 60, 180, 600])
def test_an_outage_leaves_the_last_day_of_each_gpu_and_is_reported(minutes):
    back = NOW - 2 * HOUR
    gone = back - timedelta(minutes=minutes)
    pods, nodes = [web("bcdfg", "n-1", NOW - 9 * DAY)], [node("n-1")]

    def series(begin, end):
        found = dcgm(pods, lambda at: math.nan if gone <= at < back else 0.2, 4000.0, begin, end)
        return [replace(one, values=tuple(map(peaked, one.times, one.values))) for one in found]

    def peaked(at: int, value: float) -> float:
        return 18_000.0 if at == high and value == 4000.0 else value

    high = int((gone - HOUR).timestamp())
    reconciles = Reconciler()
    for now in hours(NOW - 2 * DAY, NOW):
        reconciles.observe(pods, nodes, now, series)

    use = pool_use(
        reconciles.last.readings, "prometheus", reconciles.contents, NOW, world.POOL, reconciles.seen
    )
    assert use.device_peaks == {"n-1/0": 18_000.0}
    assert "metrics-gap" in [problem.code for problem in use.problems]


def test_memory_that_was_measured_for_an_hour_a_day_lets_nothing_rise():
    pods, nodes = [web("bcdfg", "n-1", NOW - 9 * DAY)], [node("n-1")]

    def series(begin, end):
        found = []
        for one in dcgm(pods, steady(0.1), 2000.0, begin, end):
            kept = [
                (at, value)
                for at, value in zip(one.times, one.values, strict=True)
                if "GPU_UTIL" in one.name or at // 3600 % 24 == 5
            ]
            times, values = zip(*kept, strict=True) if kept else ((), ())
            found.append(replace(one, times=times, values=values))
        return [one for one in found if one.times]

    reconciles = Reconciler()
    reconciles.observe(pods, nodes, NOW, series)

    found = use_of(reconciles.seen, WEB, NOW, WINDOW)
    assert found and not found.can_share and found.lower.memory_mib == 2000.0


def test_a_day_of_which_a_page_is_missing_is_read_again():
    reconciles = run(always)
    middle = sorted({page.day for page in reconciles.kept.values()})[-3]
    some = [page for page in reconciles.kept.values() if page.day != middle]

    half = Page(BY, middle, 0, 2, middle + DAY_SECONDS, next(iter(reconciles.kept.values())).content)
    found = history_of([*some, half])

    assert found.through == middle - STEP_SECONDS


def test_pages_of_an_older_number_give_way_to_whole_newer_ones_and_else_stand():
    history = run(always).seen
    (old,) = [page for page in pages(history, settled(NOW), BY) if page.day > 1]
    halves = [replace(old, number=number, of=2, through=old.through + 600) for number in (0, 1)]
    gpus = [page for page in pages(history, settled(NOW), BY) if page.day == 0]

    assert history_of([*gpus, old, halves[0]]).workloads == history_of([*gpus, old]).workloads
    assert history_of([*gpus, old, *halves]).workloads
