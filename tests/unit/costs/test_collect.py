"""What one reconcile adds to a day, and what it leaves for the next one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from slicewise.costs.count.collect import LONGEST_GAP, counted, counted_to
from slicewise.costs.count.holdings import Holding, holdings, machines_for
from slicewise.costs.count.lives import CostObservation, Measured
from slicewise.costs.day import (
    DAY_SECONDS,
    Change,
    Day,
    Hour,
    Machine,
    MachineType,
    NodeLife,
    PodLife,
    Replicas,
    Roster,
    Use,
    Workload,
)

DAY = 20_600 * DAY_SECONDS
HOUR, MINUTE = 3600, 60
NOON = DAY + 12 * HOUR
POOL = "slicewise-shared-l4"
MACHINE = Machine(POOL, "shared", "g6.xlarge", "on-demand", "l4", 1, 4)
LLM = Workload("apps", "Deployment", "team-a", "llm")
NODE = NodeLife("i-1", MACHINE, DAY - HOUR)
POD = PodLife("n1", LLM, 1, DAY - HOUR, None, 500, 1024)


NODES, PODS = {"n1": NODE}, {"team-a/llm-1": POD}
TYPE = MachineType(POOL, "g6.xlarge", "on-demand", "l4", 1)


def seen(at: int, nodes: Mapping = NODES, pods: Mapping = PODS, **more) -> CostObservation:
    more = {"until": at // 600 * 600 - 600} | more
    return CostObservation(at, nodes=nodes, pods=pods, **more)


def day_of(*observed: CostObservation) -> Day:
    """The newest day after reconciles that each see one of these."""
    newest = None
    for one in observed:
        newest = [newest, *counted(newest, one)][-1]
    assert newest
    return newest


def hours(day: Day, machine: Machine = MACHINE) -> dict[int, int]:
    return {hour: one.machine_seconds for hour, one in day.hours.get(machine, {}).items()}


def test_the_first_reconcile_counts_nothing_and_time_runs_from_its_step_on():
    [day] = counted(None, seen(NOON + 700))

    assert day == Day(DAY, NOON + 600, NOON + 600, roster=day.roster)
    assert day.roster and day.roster.nodes == {"n1": NODE}


def test_an_hour_is_counted_up_to_where_no_measurement_comes_any_more():
    day = day_of(seen(NOON), seen(NOON + HOUR + 700))

    assert day.through == NOON + HOUR
    use = Use(3_600_000, 0, 3_600_000, cpu=500 * HOUR, ram=1024 * HOUR)
    assert day.hours == {MACHINE: {12: Hour(HOUR, use)}}
    assert day.workloads == {MACHINE: {LLM: use}}
    assert day.instances == {"i-1": (TYPE, HOUR)}
    assert day.whole == {TYPE: {12: HOUR}}


def test_what_was_measured_is_used_up_to_what_was_held_and_the_rest_is_burst():
    measured = Measured({NOON: 0.1, NOON + 600: 0.75, NOON + 1200: 0.0}, {NOON: 1000.5}, 24_000)

    day = day_of(seen(NOON), seen(NOON + HOUR + 700, measured=lambda key, life: measured))

    [use] = day.workloads[MACHINE].values()
    # At N = 4 a tenth of a GPU is 0.4 slices; three quarters are three, of which it held one.
    assert (use.used, use.burst) == (240_000 + 600_000, 2 * 600_000)
    assert use.unmeasured == 3_600_000 - 3 * 600_000
    assert (use.memory, use.memory_held) == (600_300, 24_000 // 4 * 600)


def test_what_is_gone_ended_in_the_middle_and_may_be_counted_by_the_next_reconcile():
    gone = seen(NOON + 2 * HOUR, {}, {})
    day = day_of(seen(NOON), seen(NOON + HOUR), gone)
    assert hours(day) == {12: 3600, 13: 1800}
    assert day.roster and day.roster.nodes == {}

    late = day_of(seen(NOON), seen(NOON + 10), seen(NOON + 20, {}, {}))
    assert late.roster and list(late.roster.nodes) == [f"n1@{NOON + 15}"]
    assert hours(day_of(seen(NOON), seen(NOON + 10), seen(NOON + 20, {}, {}), gone)) == {12: 15}


def test_by_how_much_the_end_of_a_machine_may_be_wrong_is_kept_on_its_day():
    day = day_of(seen(NOON), seen(NOON + HOUR, {}, {}), seen(NOON + 2 * HOUR, {}, {}))
    assert day.uncertain == {TYPE: HOUR // 2}

    first, second = counted(
        day_of(seen(DAY + DAY_SECONDS - HOUR)), seen(DAY + DAY_SECONDS + 3 * HOUR, {}, {})
    )
    assert (first.uncertain, second.uncertain) == ({}, {TYPE: 2 * HOUR})


def test_no_end_is_uncertain_where_a_machine_has_another_n_or_name():
    more, claim = NODE._replace(machine=MACHINE._replace(n=5)), {"claim-1": NODE}
    there = ({"n1": NODE}, {"n1": more}, {"n1": more}, claim)

    day = day_of(*(seen(NOON + number * HOUR, nodes, {}) for number, nodes in enumerate(there)))

    assert day.uncertain == {}


def test_a_relabelled_machine_counts_with_its_new_n_from_the_middle_on():
    more = MACHINE._replace(n=5)
    day = day_of(seen(NOON), seen(NOON + HOUR, {"n1": NODE._replace(machine=more)}), seen(NOON + 3 * HOUR))

    assert hours(day) == {12: 1800, 14: 3000}
    assert hours(day, more) == {12: 1800, 13: 3600}


def test_a_machine_keeps_its_life_when_its_claim_gets_a_node_and_when_the_node_is_deleted_first():
    born = NODE._replace(begin=NOON)
    claim, node = {"claim-1": born}, {"n1": born}

    day = day_of(*(seen(NOON + number * HOUR, one, {}) for number, one in enumerate((claim, node, claim), 1)))

    assert hours(day) == {13: 3600, 14: 3000}


def test_another_machine_of_the_same_name_ends_the_first_at_its_creation_at_the_latest():
    other = NodeLife("i-2", MACHINE, NOON + 300)
    day = day_of(seen(NOON), seen(NOON + HOUR, {"n1": other}, {}), seen(NOON + 2 * HOUR, {"n1": other}, {}))

    assert {one: seconds for one, (_, seconds) in day.instances.items()} == {"i-1": 300, "i-2": 6300}


def test_where_the_new_pod_has_the_slice_of_the_one_that_went_no_slice_is_held_twice():
    old = {f"team-a/llm-{number}": POD for number in range(4)}
    new = PodLife("n1", Workload("batch", "Job", "team-b", "train"), 1, NOON + 600)
    rest = {key: old[key] for key in list(old)[1:]} | {"team-b/train-0": new}

    day = day_of(seen(NOON, pods=old), seen(NOON + HOUR, pods=rest), seen(NOON + 2 * HOUR, pods=rest))

    assert day.hours[MACHINE][12].use.held == 4 * 3_600_000
    assert day.workloads[MACHINE][new.workload].held == (HOUR - 600 + 3000) * 1000
    # Seen last at noon and missing at one: it is taken to have been there until half past, but its slice
    # was given away at ten past.
    assert day.workloads[MACHINE][LLM].cpu == 500 * (4 * 1800 + 3 * 1800 + 3 * 3000)


def test_a_stateful_pod_that_came_again_is_two_lives():
    again = POD._replace(begin=NOON + 600)
    day = day_of(seen(NOON), seen(NOON + HOUR, pods={"team-a/llm-1": again}), seen(NOON + 3 * HOUR))

    assert day.hours[MACHINE][12].use.held == 3_600_000


def test_past_midnight_the_day_is_finished_and_the_next_begins():
    evening = day_of(seen(DAY + DAY_SECONDS - HOUR))

    first, second = counted(evening, seen(DAY + DAY_SECONDS + HOUR))

    assert (first.through, second.begin, second.since) == (DAY + DAY_SECONDS,) * 3
    assert hours(first) == {23: 3600} and hours(second) == {0: 3000}


def test_killed_between_the_writes_of_two_days_the_next_reconcile_goes_on():
    evening, morning = day_of(seen(DAY + DAY_SECONDS - 2 * HOUR)), seen(DAY + DAY_SECONDS + HOUR)
    first, second = counted(evening, morning)

    again, following = counted(first, replace(morning, at=morning.at + 1))

    assert again.hours == first.hours != {}
    assert following.hours == second.hours != {}


def test_after_a_pause_its_time_is_counted_by_who_was_there_before_and_after():
    days = counted(day_of(seen(NOON)), seen(NOON + 3 * DAY_SECONDS))

    sums = [sum(hours(day).values()) for day in days]
    assert sums == [12 * HOUR, DAY_SECONDS, DAY_SECONDS, 12 * HOUR - 600]


def test_after_a_month_counting_begins_again():
    [day] = counted(day_of(seen(NOON)), seen(NOON + LONGEST_GAP + 1))

    assert day.since == day.through and not day.hours


@pytest.mark.parametrize("back", [0, 1, HOUR, DAY_SECONDS])
def test_a_clock_that_was_ahead_is_waited_for(back):
    ahead = NOON + DAY_SECONDS

    assert counted(day_of(seen(ahead - 10), seen(ahead)), seen(ahead - back)) == ()


def test_a_clock_that_was_ahead_by_more_than_a_day_is_not():
    [day] = counted(day_of(seen(NOON + 2 * DAY_SECONDS)), seen(NOON))

    assert day.through == NOON


def test_without_its_roster_a_day_goes_on_with_who_is_there():
    day = replace(day_of(seen(NOON), seen(NOON + HOUR)), roster=None)

    [found] = counted(day, seen(NOON + 2 * HOUR))

    assert hours(found) == {12: 3600, 13: 3000}


def test_while_measurements_are_waited_for_only_the_roster_goes_on():
    new = {"n1": NODE, "n2": NODE._replace(instance="i-2", begin=NOON + 600)}
    waited = seen(NOON + HOUR, new, until=NOON - 5 * HOUR)
    day = day_of(seen(NOON), waited, seen(NOON + 2 * HOUR))

    assert day_of(seen(NOON), waited).through == NOON
    assert {one: seconds for one, (_, seconds) in day.instances.items()} == {"i-1": 6600, "i-2": 4800}


def test_a_report_knows_who_was_there_until_the_newest_reconcile():
    day = day_of(seen(NOON), seen(NOON + 700))

    [found] = counted_to(day, NOON + 5000)

    assert found.through == NOON + 700
    assert found.hours == {MACHINE: {12: Hour(700, Use(700_000, 0, 700_000, cpu=350_000, ram=1024 * 700))}}
    assert counted_to(replace(day, roster=None), NOON + 5000) == (replace(day, roster=None),)


def test_labels_are_those_of_workloads_that_held_something():
    labels = {LLM: {"team": "a"}, Workload("", "Pod", "x", "y"): {"team": "x"}}
    day = day_of(seen(NOON), seen(NOON + HOUR, labels=labels))

    assert day.labels == {LLM: {"team": "a"}}


# What changed


def test_n_that_moved_is_a_change_with_the_reason_of_the_rollout_before():
    n = {POOL: Replicas(4, "five fit")}, {POOL: Replicas(4)}, {POOL: Replicas(5)}, {POOL: Replicas(5)}
    day = day_of(*(seen(NOON + number * HOUR, pools=pools) for number, pools in enumerate(n)))

    assert day.changes == [Change(NOON + 2 * HOUR, "n", POOL, "4", "5", "five fit")]
    assert day.roster and day.roster.pools == {POOL: Replicas(5)}


def test_sleep_is_counted_from_middle_to_middle_and_is_two_changes():
    nights = {}, {POOL: "it is night"}, {POOL: "it is night"}, {}, {}
    day = day_of(*(seen(NOON + number * HOUR, asleep=asleep) for number, asleep in enumerate(nights)))

    assert day.asleep == {POOL: {12: 1800, 13: 3600, 14: 1800}}
    assert [(one.at, one.kind, one.why) for one in day.changes] == [
        (NOON + HOUR, "asleep", "it is night"),
        (NOON + 3 * HOUR, "awake", ""),
    ]


def test_a_workload_whose_newest_pod_is_in_another_class_was_moved():
    nodes = {f"n{n}": NodeLife(f"i-{n}", MACHINE._replace(node_pool=f"{POOL}-{n}", n=n), DAY) for n in (1, 3)}
    old = {"team-a/llm-1": PodLife("n1", LLM, 1, DAY)}
    new = old | {"team-a/llm-2": PodLife("n3", LLM, 1, NOON + 60)}
    of_classes = {"classes": {f"{POOL}-1", f"{POOL}-3"}, "class_reasons": {"team-a/Deployment/llm": "idle"}}

    there = (NOON, old), (NOON + HOUR, new), (NOON + 2 * HOUR, new)
    day = day_of(*(seen(at, nodes, pods, **of_classes) for at, pods in there))

    assert day.changes == [Change(NOON + HOUR, "class", "team-a/Deployment/llm", "1", "3", "idle")]


def test_nights_are_kept_by_when_they_began_and_the_newest_count_wins():
    began, ended = "2026-05-27T20:00:00+00:00", "2026-05-28T06:00:00+00:00"
    night = {"began": began, "usd": 1.0}
    day = day_of(seen(NOON, nights={began: night}), seen(NOON + HOUR, nights={began: night | {"usd": 2.0}}))
    assert day.nights == {began: {"began": began, "usd": 2.0}}

    later, before = NOON + 9 * DAY_SECONDS, {began: night | {"ended": ended}}
    assert day_of(seen(later), seen(later + HOUR, nights=before)).nights == {}


# Slices and whole GPUs


def test_of_pods_that_hold_more_than_a_machine_offers_the_first_that_came_hold_less():
    pods = [
        ("a", POD._replace(begin=0, slices=2)),
        ("b", POD._replace(begin=5)),
        ("c", POD._replace(begin=9, end=20)),
    ]

    found = holdings(2, pods, 10, 30)

    assert sorted((one.key, one.begin, one.end, one.slices) for one in found) == [
        ("a", 10, 20, 0),
        ("a", 20, 30, 1),
        ("b", 10, 30, 1),
        ("c", 10, 20, 1),
    ]


def test_pods_for_which_there_is_room_hold_what_they_asked_for():
    assert holdings(4, [("a", POD._replace(begin=15, end=20))], 10, 30) == [
        Holding("a", POD._replace(begin=15, end=20), 15, 20, 1)
    ]


@pytest.mark.parametrize(
    ("held", "gpus", "machines"),
    [
        ({}, 1, 0),
        ({1: 5}, 1, 5),
        ({1: 5}, 4, 2),
        ({1: 4}, 4, 1),
        ({2: 3}, 4, 2),
        ({3: 2, 1: 3}, 4, 3),
        ({3: 2, 1: 2}, 4, 2),
        ({3: 1, 2: 2, 1: 1}, 4, 2),
        ({4: 1, 2: 1}, 4, 2),
        ({8: 1}, 4, 2),
        ({9: 1}, 4, 3),
        ({2: 0, 1: 1}, 4, 1),
    ],
)
def test_whole_gpus_are_packed_as_a_scheduler_would(held, gpus, machines):
    assert machines_for(held, gpus) == machines


def test_a_roster_of_another_time_changes_nothing_of_what_is_counted():
    day = day_of(seen(NOON), seen(NOON + HOUR))

    before = replace(day, hours={k: dict(v) for k, v in day.hours.items()})
    counted(day, seen(NOON + 2 * HOUR, {}, {}))

    assert day == before and isinstance(day.roster, Roster)


def test_machines_of_a_cluster_that_was_deleted_end_where_one_of_its_name_was_created_since():
    before = {"nodes": {"n1": NODE, "n2": NodeLife("i-2", MACHINE, DAY - HOUR)}, "pools": {POOL: Replicas(4)}}
    kept = day_of(seen(NOON, **before), seen(NOON + HOUR, asleep={"p": "night"}, **before))
    created = NOON + 6 * HOUR
    again = NodeLife("i-9", MACHINE, created + 600)
    pod = POD._replace(begin=created + 1200)

    [day] = counted(
        kept,
        seen(
            created + 2 * HOUR,
            {"n1": again},
            {"team-a/llm-1": pod},
            pools={POOL: Replicas(2)},
            cluster_since=created,
        ),
    )

    assert day.instances == {"i-1": (TYPE, HOUR), "i-2": (TYPE, HOUR), "i-9": (TYPE, 2 * HOUR - 1200)}
    assert (day.since, day.through, day.uncertain) == (NOON, created + 2 * HOUR - 600, {})
    assert sum(one.use.held for one in day.hours[MACHINE].values()) == 1000 * (HOUR + 2 * HOUR - 1800)
    assert [one for one in day.changes if one.kind == "n"] == []
    assert day.roster and list(day.roster.nodes) == ["n1"] and list(day.roster.pods) == ["team-a/llm-1"]
