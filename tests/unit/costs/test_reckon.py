"""What a report says of days: figures by hand, and that its parts add up whatever the days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slicewise.costs import aws_split
from slicewise.costs.cents import cents, rounded
from slicewise.costs.day import Change, Day, Hour, Machine, Use
from slicewise.costs.prices import Prices
from slicewise.costs.reckon import reckon
from slicewise.costs.report import Cost, Interval, Parts, Report, Row
from slicewise.costs.tally import ClusterDays, slice_cost

from tests.support.costs.days import (
    BEGIN,
    CHAT,
    HOUR_MS,
    L4,
    NIGHT,
    SINCE,
    UNTIL,
    WHOLE_L4,
    example,
    random_days,
)

PRICE = Fraction("0.8048")
TABLES = ("by_cluster", "by_pool", "by_machine", "by_namespace", "by_team", "by_workload")


def report(*clusters: ClusterDays, **options: object) -> Report:
    return reckon(clusters or (example(),), options.pop("prices", Prices()), SINCE, UNTIL, **options)


def changed(**fields: object) -> ClusterDays:
    """The example, with other fields of its day."""
    known = example()
    return replace(known, days=(replace(known.days[0], **fields),))


def row(rows: tuple[Row, ...], *key: str) -> Row:
    [found] = [one for one in rows if one.key == key]
    return found


@pytest.fixture(scope="module")
def found() -> Report:
    return report()


def test_machine_hours_are_cut_into_used_idle_unmeasured_and_free(found):
    hours = {name: getattr(found.total, name).gpu_hours for name in ("used", "idle", "unmeasured", "free")}

    assert hours == {"used": 2.5, "idle": 10, "unmeasured": 1.25, "free": 6.25}
    assert found.total.total == Cost(Fraction(20), 20 * PRICE)
    assert found.machine_seconds == {"gpu-1": 72_000}
    assert (found.busy, round(found.memory, 4)) == (0.2, 0.1399)


def test_whole_gpus_and_nights_make_what_was_saved(found):
    assert found.whole == Cost(Fraction(55), 55 * PRICE)
    assert (found.sharing.value, found.nights_usd) == (35 * PRICE, Fraction("5.5") * PRICE)
    assert found.headline.value == Fraction("40.5") * PRICE
    assert found.headline_share.value == Fraction("40.5") / Fraction("60.5")


def test_no_placement_goes_below_busy_time_and_what_was_not_measured(found):
    assert found.bound == Cost(Fraction("3.75"), Fraction("3.75") * PRICE)


def test_used_memory_bounds_where_it_is_more_than_busy_time():
    day = example().days[0]
    hours = day.hours[L4]
    for hour in hours.values():
        hour.use.memory = 22_888 * 3600  # one whole L4
    found = report(changed(hours={L4: hours}))

    assert found.bound.gpu_hours == 10 + Fraction("1.25")


def test_the_bound_is_never_more_than_what_was_there():
    day = example().days[0]
    for hour in day.hours[L4].values():
        hour.use.memory = 10**12
    assert report(changed(hours=day.hours)).bound == report().total.total


def test_who_held_what_is_shown_with_a_row_for_what_no_pod_held(found):
    chat, batch = row(found.by_namespace, "serving"), row(found.by_namespace, "research")

    assert (chat.parts.allocated.gpu_hours, chat.busy) == (12.5, 0.2)
    assert (batch.parts.unmeasured.gpu_hours, batch.busy) == (1.25, None)
    assert row(found.by_namespace, "").parts == Parts(free=found.total.free)
    assert [one.key for one in found.by_team] == [("assistants",), ("(no team)",), ("",)]
    assert [one.key[2] for one in found.by_workload] == ["Deployment/chat", "Job/embed", ""]
    assert row(found.by_machine, "gpu-1", L4.node_pool, "g6.xlarge", "4").parts == found.total


def test_aws_s_split_counts_a_slice_as_a_gpu_and_leaves_nothing_free(found):
    """A g6.xlarge has 9 x 1 GPU, 0.9 x 4 vCPUs and 0.1 x 16 GiB: its GPU is 9 / 14.2 of it."""
    usd, gpu = 20 * PRICE, Fraction(9 * 10, 142)
    cpu, memory = Fraction(36, 142), Fraction(16, 142)

    chat = row(found.by_namespace, "serving").aws_split
    assert chat == usd * (gpu * Fraction(50, 55) + cpu * Fraction(90, 108) + memory * Fraction(120, 144))
    assert sum(one.aws_split for one in found.by_namespace) == usd
    assert row(found.by_namespace, "").aws_split == 0


def test_aws_s_weights_are_those_of_its_example():
    """A p3.16xlarge at $10: 8 GPUs, 64 vCPUs, 488 GB. AWS rounds to $0.504 a GPU, $0.05 and $0.00506."""
    gpu, cpu, memory = aws_split.weights(8, 64, 488)

    assert round(float(10 * gpu / 8), 3) == 0.504
    assert round(float(10 * cpu / 64), 2) == 0.05
    assert round(float(10 * memory / 488), 4) == 0.0056
    assert gpu + cpu + memory == 1


def test_aws_s_split_of_machines_of_unknown_size_is_not_shown():
    machine = L4._replace(instance_type="g99.xlarge")
    day = example().days[0]
    found = report(changed(hours={machine: day.hours[L4]}, workloads={machine: day.workloads[L4]}))

    assert {one.aws_split for one in found.by_workload} == {None}
    assert any("g99.xlarge are not known" in note for note in found.notes)
    assert found.unpriced == ("g99.xlarge",) and found.total.total.usd == 0
    assert any("--price g99.xlarge=DOLLARS" in note for note in found.notes)


def test_machines_of_no_known_type_have_no_price_to_pass():
    machine = L4._replace(instance_type="")
    found = report(changed(hours={machine: example().days[0].hours[L4]}))

    assert "No price is known of machines of no known type, so dollars are sums without them." in found.notes


def test_a_change_of_n_brought_what_the_pods_would_have_needed_before(found):
    """From 13:00 chat alone holds five slices: three GPUs at two each, two at four, for five hours."""
    [effect] = found.changes

    assert effect.saved == Cost(Fraction(5), 5 * PRICE)
    assert (effect.kind, effect.before, effect.after, effect.why) == ("n", "2", "4", "memory allows 4")
    assert effect.seen_by == datetime(2026, 11, 2, 13, tzinfo=UTC)


def n(at: float, before: str, after: str) -> Change:
    return Change(BEGIN + int(at * 3600), "n", L4.node_pool, before, after, "")


@pytest.mark.parametrize(
    ("changes", "gpu_hours"),
    [
        ([n(13.5, "2", "4")], [Fraction(9, 2)]),  # part of an hour
        ([n(8, "1", "4"), n(13, "4", "5")], [20, 5]),  # until the next: 6 pods less 2, then 2 less 1
        ([n(13, "4", "2")], [-5]),  # it cost more
        ([n(13, "", "4"), n(14, "4", "many")], [None, None]),
        ([n(20, "1", "4")], [0]),  # no pods
    ],
)
def test_a_change_counts_until_the_next_of_its_node_pool(changes, gpu_hours):
    saved = [effect.saved for effect in report(changed(changes=changes)).changes]

    assert [one and one.gpu_hours for one in saved] == gpu_hours


def test_a_move_between_classes_brought_its_own_slices():
    move = Change(BEGIN, "class", "serving/Deployment/chat", "2", "4", "it fits")
    found = report(changed(changes=[move, move._replace(what="serving/Deployment/other")]))

    saved = [effect.saved.gpu_hours for effect in found.changes]
    assert saved == [50 * (Fraction(1, 2) - Fraction(1, 4)), 0]


def test_a_day_counts_for_the_last_move_in_it():
    moves = [
        Change(BEGIN + hour, "class", "serving/Deployment/chat", before, after, "")
        for hour, before, after in ((0, "2", "4"), (1, "4", "2"), (2, "2", "4"))
    ]

    saved = [effect.saved.gpu_hours for effect in report(changed(changes=moves)).changes]
    assert saved == [0, 0, Fraction("12.5")]


def test_a_sleep_brought_its_night_and_the_first_node_pool_shows_it():
    def slept(pool: str, kind: str, hour: int) -> Change:
        return Change(BEGIN + hour * 3600, kind, pool, "", "", "")

    changes = [slept("a", "asleep", 21), slept("b", "asleep", 21), slept("a", "awake", 23)]
    found = report(changed(changes=changes)).changes

    assert [one.saved for one in found] == [Cost(Fraction(0), Fraction("5.5") * PRICE), None, None]


def test_nights_count_once_by_their_newest_count_if_they_began_in_the_report():
    older, before = {**NIGHT, "saved": {"g6.xlarge": 1}}, {**NIGHT, "saved": {"g6.xlarge": 9}}
    first = replace(example().days[0], nights={NIGHT["began"]: older, "2026-11-01T20:00:00+00:00": before})
    odd = {"nonsense": NIGHT, "x": {}, "2026-11-01T20:00:00": NIGHT}
    second = replace(first, begin=BEGIN + 86_400, nights={NIGHT["began"]: NIGHT, **odd})
    found = report(replace(example(), days=(first, second)))

    assert [night.node_hours for night in found.nights] == [5.5]
    assert found.nights_usd == Fraction("5.5") * PRICE


def test_nights_have_the_prices_of_the_report():
    spot = {**NIGHT, "saved": {"g6.xlarge spot": 2, "g6.xlarge": -1}}
    prices = Prices(given={"g6.xlarge:spot": 0.3})

    found = report(changed(nights={NIGHT["began"]: spot}), prices=prices)
    assert found.nights_usd == Fraction("0.6") - PRICE


def test_machines_that_ended_between_two_reconciles_are_the_uncertainty():
    found, half = report(changed(uncertain={WHOLE_L4: 1800})), PRICE / 2

    assert found.sharing == Interval(35 * PRICE, 35 * PRICE - half, 35 * PRICE + half)
    assert found.headline.most - found.headline.value == half
    assert found.headline_share.least == (Fraction("40.5") * PRICE - half) / (Fraction("60.5") * PRICE)
    assert any("Uncertain by 0.50 machine-hours" in note for note in found.notes)
    assert report().sharing.least == report().sharing.value


def test_gpus_that_no_pod_would_have_had_are_no_certain_saving():
    """Nine pods would have had one machine of eight GPUs and one more, of which they need a single GPU."""
    eight = Machine("large", "large", "g6.48xlarge", "on-demand", "l4", 8, 9)
    hour = Hour(3600, Use(held=1000 * 3600 * 9))
    day = Day(BEGIN, BEGIN, BEGIN + 86_400, hours={eight: {0: hour}}, whole={eight.type: {0: 2 * 3600}})
    price = Fraction("13.3504")

    found = report(replace(example(), days=(day,)))

    assert found.sharing == Interval(price, price / 8, price)
    assert any("fill" in note for note in found.notes)


def test_every_report_says_that_no_sum_has_machines_that_no_reconcile_saw(found):
    assert [note for note in found.notes if "--bill FILE" in note] == [found.notes[-1]]
    assert "it is in no sum" in found.notes[-1]


def test_days_outside_the_report_do_not_count():
    assert reckon([example()], Prices(), UNTIL, UNTIL).total == Parts()
    assert reckon([example()], Prices(), SINCE, SINCE).by_day == ()


def test_moments_have_n_busy_and_how_much_was_asleep(found):
    [day] = found.by_day
    night = next(one for one in found.by_hour if one.at.hour == 21)
    work = next(one for one in found.by_hour if one.at.hour == 8)

    assert len(found.by_hour) == 24
    assert (day.parts, day.whole, day.asleep) == (found.total, found.whole, 3 / 24)
    assert (night.asleep, night.n) == (1.0, {})
    assert (work.n, work.busy) == ({f"gpu-1/{L4.node_pool}": 4.0}, {f"gpu-1/{L4.node_pool}": 0.2})
    assert sum((one.parts for one in found.by_hour), Parts()) == found.total


def test_the_week_has_the_mean_of_gpus_and_their_busy_share(found):
    """At eight two GPUs: eight slices, one busy for an hour, one of which no source measured."""
    monday, tuesday = found.hours_of_week[:2]

    assert monday[8] == (1 / 7, 2.0)
    assert (monday[0], tuesday[8]) == ((None, 0.0), (None, 0.0))


def test_the_week_says_nothing_of_hours_in_which_nothing_was_measured():
    day = example().days[0]
    use = Use(held=HOUR_MS, unmeasured=HOUR_MS)
    hours = {8: Hour(3600, use), 9: Hour(3600, replace(use, unmeasured=0)), 10: Hour(3600)}
    monday = report(changed(hours={L4: hours}, workloads=day.workloads)).hours_of_week[0]

    assert [one[0] for one in monday[8:11]] == [None, 0.0, 0.0]


def test_a_team_label_that_no_pod_has_is_reported_with_those_that_pods_have():
    found = report(label="squad")

    assert [one.key for one in found.by_team] == [("(no team)",), ("",)]
    assert any("No pod has the label squad. Labels that pods have: app, team." in one for one in found.notes)
    assert report(changed(labels={})).by_team == ()


def test_a_label_without_a_value_names_no_team():
    found = report(changed(labels={CHAT: {"team": ""}}))

    assert [one.key for one in found.by_team] == [("(no team)",), ("",)]


def test_a_cluster_counted_late_or_with_gaps_says_so():
    first = replace(example().days[0], since=BEGIN + 3600)
    begin = BEGIN + 2 * 86_400
    third = replace(first, begin=begin, since=begin, through=begin + 86_400)
    found = report(replace(example(), days=(third, first)), ClusterDays("none", "eu-west-1"))

    assert found.counted_since == {"gpu-1": datetime(2026, 11, 2, 1, tzinfo=UTC)}
    assert "gpu-1: 1 day of this time not recorded, and not in any sum." in found.notes
    assert "none: no costs are recorded in this time." in found.notes


def test_hours_that_were_lost_within_days_and_after_the_last_reconcile_are_said():
    first, begin = example().days[0], BEGIN + 86_400
    second = replace(first, begin=begin, since=begin + 14 * 3600, through=begin + 20 * 3600)
    found = report(replace(example(), days=(first, second)))

    assert "gpu-1: 14.0 hours of this time not recorded, and not in any sum." in found.notes
    [note] = [one for one in found.notes if "counted up to" in one]
    assert note.startswith("gpu-1 is counted up to 2026-11-03 20:00 UTC: no reconcile has counted it since.")


def test_a_cluster_that_is_counted_to_now_has_no_such_notes():
    until = datetime(2026, 11, 3, 1, tzinfo=UTC)
    found = reckon((example(),), Prices(), SINCE, until)

    assert not [one for one in found.notes if "counted up to" in one or "not recorded" in one]


def test_spot_at_the_price_on_demand_is_reported_with_what_to_pass():
    machine = L4._replace(capacity_type="spot")
    day = example().days[0]
    found = report(changed(hours={machine: day.hours[L4]}, workloads={machine: day.workloads[L4]}))

    assert any("Pass --price g6.xlarge:spot=DOLLARS" in note for note in found.notes)
    assert found.by_machine[0].key[2] == "g6.xlarge spot"


@pytest.mark.parametrize(
    ("region", "prices", "is_said"),
    [
        ("eu-west-1", Prices(), True),
        ("us-east-1", Prices(), False),
        ("eu-west-1", Prices({"g6.xlarge": 0.9}, is_live=True), False),
    ],
)
def test_prices_of_another_region_are_said_to_be_such(region, prices, is_said):
    found = report(replace(example(), region=region), prices=prices)

    said = "Prices are us-east-1's, and machines are in eu-west-1: most cost more there. Pass --prices live."
    assert (said in found.notes) is is_said


def test_a_machine_that_says_no_gpus_is_paid_for_and_free():
    machine = L4._replace(gpus=0)
    day = example().days[0]
    found = report(
        changed(hours={machine: day.hours[L4]}, workloads={machine: day.workloads[L4]}, changes=[])
    )

    assert found.total == Parts(free=Cost(Fraction(0), 20 * PRICE))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_days())
def test_whatever_the_days_each_table_adds_up_to_the_machine_seconds_price(clusters):
    found = reckon(clusters, Prices(given={"g6.xlarge:spot": 0.31}), SINCE, UNTIL)
    exact = sum(
        Fraction(str(Prices(given={"g6.xlarge:spot": 0.31}).usd_an_hour(*machine[2:4]) or 0))
        * sum(hour.machine_seconds for hour in hours.values())
        for one in clusters
        for day in one.days
        for machine, hours in day.hours.items()
    )

    assert found.total.total.usd == Fraction(exact) / 3600
    for table in (name for name in TABLES if name != "by_team" or found.team_label):
        rows = getattr(found, table)
        assert sum((one.parts for one in rows), Parts()) == found.total, table
        assert all(part.usd >= 0 and part.gpu_hours >= 0 for one in rows for part in one.parts), table
    assert sum((one.parts for one in found.by_day), Parts()) == found.total
    assert sum((one.parts for one in found.by_hour), Parts()) == found.total
    assert sum((one.whole for one in found.by_day), Cost()) == found.whole
    assert found.bound.usd <= found.total.total.usd
    assert found.bound.gpu_hours <= found.total.total.gpu_hours
    assert found.sharing.least <= found.sharing.value <= found.sharing.most
    if not any("not known" in note for note in found.notes):
        assert sum(one.aws_split for one in found.by_workload) == found.total.total.usd


@given(st.lists(st.fractions(0, 1000), max_size=30))
def test_shown_cents_add_up_and_are_a_cent_off_at_most(values):
    shown = cents(values)

    assert sum(shown) == rounded(sum(values, Fraction(0)))
    assert all(abs(one - value * 100) < 1 for one, value in zip(shown, values, strict=True))


def test_cents_add_up_to_a_total_that_is_given():
    assert cents([Fraction(1, 3)] * 3) == [34, 33, 33]
    assert cents([Fraction(1, 3)] * 3, 99) == [33, 33, 33]
    assert (cents([]), rounded(Fraction("0.125"))) == ([], 13)


def test_a_slice_millisecond_costs_its_part_of_a_machine_hour():
    machine = L4._replace(gpus=8, n=5)

    assert slice_cost(machine, 3_600_000 * 40, PRICE) == Cost(Fraction(8), PRICE)
