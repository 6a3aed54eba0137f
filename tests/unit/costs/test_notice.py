"""The weekly notice: which week it is of, when it is due, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from slicewise.costs.day import Use
from slicewise.costs.notice import Week, last_week, notice
from slicewise.costs.prices import Prices
from slicewise.costs.reckon import reckon
from slicewise.costs.tally import ClusterDays, Rates
from slicewise.costs.wastes import of_the_largest, wastes
from slicewise.policy.model import parse
from slicewise.tuning.cost_notice import week_to_report

from tests.support.costs.days import BATCH, CHAT, HOUR_MS, L4, SINCE, UNTIL, WHOLE_L4, example

POOLS = "pools: {shared: {sharing: none, gpus: [l4], maxGpus: 1}}\n"
MONDAY = datetime(2026, 11, 9, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "since", "key"),
    [
        ("2026-11-09T00:00", "2026-11-02", "costs 2026-W45"),
        ("2026-11-15T23:59", "2026-11-02", "costs 2026-W45"),
        ("2026-01-05T12:00", "2025-12-29", "costs 2026-W01"),
        ("2027-01-04T12:00", "2026-12-28", "costs 2026-W53"),
    ],
)
def test_the_last_week_is_the_newest_that_has_ended(now, since, key):
    week = last_week(datetime.fromisoformat(now).replace(tzinfo=UTC))

    assert (f"{week.since:%Y-%m-%d}", week.key) == (since, key)
    assert (week.until - week.since).days == 7 and week.until.weekday() == 0
    assert week.days[1] - week.days[0] == 6 * 86_400


@pytest.mark.parametrize(
    ("policy", "notified", "is_due"),
    [
        ("report: weekly", (), True),
        ("report: weekly", ("costs 2026-W45",), False),
        ("report: weekly", ("costs 2026-W44",), True),
        ("report: none", (), False),
        ("drift: repair", (), False),
        ("{report: weekly, mode: recommend}", (), False),
    ],
)
def test_it_is_due_once_where_the_policy_asks_for_it_and_acts(policy, notified, is_due):
    fields = policy.strip("{}").replace(", ", "\n")

    assert bool(week_to_report(parse(f"{POOLS}{fields}\n", "p"), notified, MONDAY)) is is_due


def test_it_has_the_headline_the_largest_wastes_and_where_to_see_more():
    subject, text = notice("gpu-1", "eu-west-1", example().days, Week(SINCE, UNTIL)) or ("", "")

    assert subject == "Slicewise: GPUs of gpu-1 cost $16.10 last week"
    assert text.splitlines() == [
        "Cluster gpu-1, 2026-11-02 to 2026-11-08 (UTC).",
        "Paid: $16.10 for 20.0 GPU-hours, on demand in us-east-1 on 2026-07-20.",
        "Saved: $32.59 (67% of what would have been paid): sharing $28.17, nights $4.42.",
        "",
        "1. $8.05 (50%): held and not used by serving/Deployment/chat of gpu-1, busy 20% of the time",
        "2. $5.03 (31%): no pod held it: NodePool slicewise-shared-l4 of gpu-1",
        "",
        "Prices are us-east-1's, and machines are in eu-west-1: most cost more there. Pass --prices live.",
        "All of it: slicewise report gpu-1 --since 2026-11-02 --until 2026-11-08",
    ]


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("spot", "g6.xlarge:spot: counted at the price on demand."),
        ("reserved", "g6.xlarge in capacity reservations: these are paid for whether machines run or not."),
    ],
)
def test_it_says_where_its_dollars_are_not_what_is_paid_or_saved(term, said):
    [day] = example().days
    machine, kind = L4._replace(capacity_type=term), WHOLE_L4._replace(capacity_type=term)
    moved = {"hours": {machine: day.hours[L4]}, "whole": {kind: day.whole[WHOLE_L4]}}
    day = replace(day, **moved, workloads={machine: day.workloads[L4]}, uncertain={kind: 18_000})

    _, text = notice("gpu-1", "us-east-1", [day], Week(SINCE, UNTIL)) or ("", "")

    assert said in text and "eu-west-1" not in text
    assert "Saved: $32.59, between $28.57 and $36.62 (67% of what would have been paid)" in text


def test_of_many_workloads_only_those_are_reckoned_that_may_be_named():
    [day] = example().days
    many = {CHAT._replace(name=f"chat-{number:03}"): Use(held=HOUR_MS + number) for number in range(200)}
    many[BATCH] = Use(held=90 * HOUR_MS, unmeasured=90 * HOUR_MS)
    days = [replace(day, workloads={L4: many}), replace(day, begin=day.through, workloads={L4: many})]

    kept = of_the_largest(days, Rates(Prices()))

    assert [len(one.workloads[L4]) for one in kept] == [50, 50]
    assert [one.hours for one in kept] == [one.hours for one in days]
    both = [
        reckon([ClusterDays("gpu-1", "us-east-1", tuple(found))], Prices(), SINCE, UNTIL)
        for found in (days, kept)
    ]
    assert wastes(both[0], most=20) == wastes(both[1], most=20)
    assert both[0].headline == both[1].headline and both[0].total == both[1].total


def test_a_week_without_machines_has_none():
    assert notice("gpu-1", "eu-west-1", (), Week(SINCE, UNTIL)) is None
