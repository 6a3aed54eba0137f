"""A day comes back from its bytes as it was, and always has room in an item."""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import astuple, replace

import pytest
from slicewise.costs import text
from slicewise.costs.count.collect import counted
from slicewise.costs.count.lives import CostObservation, Measured
from slicewise.costs.day import (
    DAY_SECONDS,
    OTHERS,
    Change,
    Day,
    Machine,
    MachineType,
    NodeLife,
    PodLife,
    Replicas,
    Span,
    Use,
    Workload,
)
from slicewise.model.costs import CostDay

DAY = 20_600 * DAY_SECONDS
LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def large(nodes: int, pods: int, workloads: int) -> Day:
    """Names as EC2 and Kubernetes make them: nothing of an id or an ending is like that of another."""
    chance = random.Random(1)

    def some(count: int, letters: str = LETTERS) -> str:
        return "".join(chance.choice(letters) for _ in range(count))

    machines = [
        Machine(f"slicewise-p{pool}-l4", f"p{pool}", kind, "on-demand", "l4", 1, 10)
        for pool in range(4)
        for kind in ("g6.xlarge", "g6.2xlarge")
    ]
    of_nodes = {}
    for number in range(nodes):
        name = f"ip-10-{number // 256}-{number % 256}-{chance.randrange(256)}.eu-central-1.compute.internal"
        began = DAY - chance.randrange(30 * DAY_SECONDS)
        of_nodes[name] = NodeLife(f"i-0{some(16, '0123456789abcdef')}", chance.choice(machines), began)
    names = list(of_nodes)
    made = [
        (Workload("apps", "Deployment", f"team-{chance.randrange(40)}", f"llm-{some(6)}"), some(10))
        for _ in range(workloads)
    ]
    of_pods = {
        f"{owner.namespace}/{owner.name}-{template}-{some(5)}": PodLife(
            names[number % nodes], owner, 1, DAY - chance.randrange(30 * DAY_SECONDS), None, 1000, 4096
        )
        for number in range(pods)
        for owner, template in [made[number % workloads]]
    }
    labels = {owner: {"app": owner.name, "team": owner.namespace} for owner, _ in made}
    busy = Measured({DAY + 600 * step: step / 7 for step in range(6)}, {}, 23_034)

    def seen(at: int) -> CostObservation:
        return CostObservation(
            at, at - 1200, of_nodes, of_pods, labels=labels, measured=lambda key, life: busy
        )

    [first] = counted(None, seen(DAY + 1200))
    [day] = counted(first, seen(DAY + 3 * 3600))
    return day


@pytest.fixture(scope="module")
def full() -> Day:
    """A day that has something of everything."""
    day = large(3, 9, 4)
    began, bare = "2026-11-27T20:00:00+00:00", Workload("", "Pod", "ns", "bare")
    [machine, *_], [node, *_] = day.hours, day.roster.nodes
    ended = f"{node}@{DAY + 7}"
    roster = replace(
        day.roster,
        nodes={**day.roster.nodes, ended: NodeLife("", machine, DAY, DAY + 7)},
        pods={**day.roster.pods, "ns/bare": PodLife(ended, bare, 2, DAY, DAY + 7)},
        pools={"slicewise-p0-l4": Replicas(4, "it is right")},
        asleep={"slicewise-p0-l4": Span(DAY), "slicewise-p1-l4@9": Span(3, 9)},
    )
    return replace(
        day,
        whole={MachineType("p", "g6.xlarge", "spot", "l4", 1): {0: 5, 23: 3600}},
        uncertain={MachineType("p", "g6.xlarge", "spot", "l4", 1): 1800},
        asleep={"slicewise-p0-l4": {0: 60, 1: 3600}},
        changes=[Change(DAY + 5, "n", "slicewise-p0-l4", "4", "5", "for “reasons”")],
        nights={began: {"began": began, "usd": 1.5, "nodes": {"g6.xlarge": 2}}},
        instances={**day.instances, "": (MachineType("p", "", "", "", 1), 7)},
        roster=roster,
    )


def test_a_day_comes_back_as_it_was(full):
    assert text.load(text.dump(full)) == full
    assert text.load(text.dump(replace(full, roster=None))) == replace(full, roster=None)


def unpacked(day: Day) -> dict:
    return json.loads(zlib.decompress(text.dump(day).content))


def packed(day: Day, found: object) -> CostDay:
    return CostDay(day.begin, day.through, zlib.compress(json.dumps(found).encode()))


def test_what_a_later_release_adds_is_left_out(full):
    found = unpacked(full) | {"since_when": 1}
    for rows in (
        "hours",
        "workloads",
        "whole",
        "labels",
        "instances",
        "of_machines",
        "of_workloads",
        "changes",
    ):
        found[rows] = [[*row, "more"] for row in found[rows]]
    found["roster"]["nodes"] = [[*row, "more"] for row in found["roster"]["nodes"]]
    found["roster"]["pods"] += [["more"] * len(found["roster"]["pods"][0])]

    assert text.load(packed(full, found)) == full


def test_what_an_earlier_release_lacked_is_empty(full):
    found = {
        key: unpacked(full)[key]
        for key in ("since", "hours", "workloads", "of_machines", "of_types", "of_workloads")
    }

    assert text.load(packed(full, found)) == Day(
        full.begin, full.since, full.through, hours=full.hours, workloads=full.workloads
    )


@pytest.mark.parametrize("roster", [[], "gone", {"seen_at": "noon"}, {"seen_at": 5, "nodes": [[1]]}])
def test_a_roster_that_cannot_be_read_costs_no_hours(full, roster):
    assert text.load(packed(full, unpacked(full) | {"roster": roster})) == replace(full, roster=None)


NO_DAYS = (b"", b"\x00", *(zlib.compress(one) for one in (b"{", b"[]", b"{}", b'{"since": 1, "hours": 5}')))


@pytest.mark.parametrize("content", NO_DAYS)
def test_what_is_no_day_is_none(content):
    assert text.load(CostDay(DAY, DAY, content)) is None


@pytest.mark.parametrize(
    ("rows", "column"), [("hours", 1), ("hours", 2), ("of_machines", 6), ("instances", 2), ("changes", 0)]
)
def test_a_day_with_a_word_where_a_number_belongs_is_none(full, rows, column):
    found = unpacked(full)
    found[rows][0][column] = "soon"

    assert text.load(packed(full, found)) is None


@pytest.mark.parametrize(
    ("of", "column"), [("nodes", 3), ("nodes", 4), ("pods", 3), ("pods", 5), ("pods", 6)]
)
def test_a_roster_with_a_word_where_a_number_belongs_costs_no_hours(full, of, column):
    found = unpacked(full)
    rows = found["roster"][of]
    (rows[column] if of == "pods" else rows[0])[0 if of == "pods" else column] = "soon"

    assert text.load(packed(full, found)) == replace(full, roster=None)


def test_a_thousand_nodes_and_ten_thousand_pods_fit_with_their_roster():
    day = large(1000, 10_000, 1000)

    kept = text.dump(day)

    assert len(kept.content) < 200_000
    assert text.load(kept) == day


def test_of_more_workloads_than_fit_the_smallest_become_others():
    day = large(1000, 10_000, 10_000)
    largest = max(day.workloads, key=lambda machine: len(day.workloads[machine]))
    [big, *_] = day.workloads[largest]
    day.workloads[largest][big].held += 10**9

    kept = text.dump(day)
    found = text.load(kept)

    assert found and len(kept.content) <= text.MOST_BYTES
    assert (found.hours, found.instances, found.roster) == (day.hours, day.instances, day.roster)
    assert 5000 < found.folded < 9000
    assert big in found.workloads[largest]
    others = {one for uses in found.workloads.values() for one in uses if one.name == OTHERS}
    assert {(one.group, one.kind, one.namespace.partition("-")[0]) for one in others} == {("", "", "team")}
    assert totals(found) == totals(day)


def totals(day: Day) -> dict[Machine, list[int]]:
    return {
        machine: [sum(values) for values in zip(*map(astuple, uses.values()), strict=True)]
        for machine, uses in day.workloads.items()
    }


def test_workloads_are_lost_before_instances_and_a_roster_that_does_not_fit_at_all(monkeypatch):
    day, lost = large(60, 200, 200), []
    most = len(text.dump(day).content)
    while most > 1000:
        monkeypatch.setattr(text, "MOST_BYTES", most)
        found = text.load(text.dump(day))
        assert found and found.hours == day.hours and totals(found) == totals(day)
        seconds = sum(of_one for _, of_one in found.instances.values())
        assert seconds == sum(of_one for _, of_one in day.instances.values())
        lost.append((found.roster is None, "" in found.instances, found.folded > 0))
        most = most * 9 // 10

    # Where the roster is lost there is room for the others again.
    assert list(dict.fromkeys(lost)) == [
        (False, False, False),
        (False, False, True),
        (False, True, True),
        (True, False, False),
        (True, False, True),
        (True, True, True),
    ]


def test_the_hours_of_a_workload_that_was_folded_before_are_its_own_again():
    """It may become larger than others; what was folded stays with those."""
    use = Use(5)
    team, others = Workload("apps", "Deployment", "ns", "a"), Workload("", "", "ns", OTHERS)
    [machine, *_] = large(1, 1, 1).hours
    day = Day(DAY, DAY, DAY, workloads={machine: {team: use, others: use}}, folded=3)

    assert text.load(text.dump(day)) == day
