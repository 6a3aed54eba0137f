"""The day that the try of llm-queue plays, in the fleet's own time: what holds by its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import pytest

from sandbox.examples.catalog import named
from sandbox.examples.llm import replay, requests, scaler
from sandbox.examples.llm.fleet import Fleet, Gateway
from sandbox.examples.steps import pool

SECONDS, LOOK = 120, 0.5
ONE_GPU = {"llm/a": "n-1", "llm/b": "n-1", "llm/c": "n-1"}
TWO_GPUS = {**ONE_GPU, "llm/c": "n-2"}
each_seed = pytest.mark.parametrize("seed", [0, 1, 2])


@dataclass(frozen=True)
class Served:
    """
    Attributes:
        in_flight: On average.
        slower: By bound in seconds, which part of all took longer.
    """

    in_flight: float
    slower: Mapping[float, float]


def served(part: replay.Part, pods: Mapping[str, str], seed: int) -> Served:
    gateway = Gateway(requests.COST, requests.EACH, requests.HOLDS, seed)
    fleet, arrivals = Fleet(0.0, {"chat": gateway}), replay.Arrivals(requests.AFTERNOON, 0.0, seed)
    fleet.place("chat", pods)
    arrivals.play(part)
    in_flight = []
    for look in range(1, round(SECONDS / LOOK) + 1):
        now = look * LOOK
        fleet.work(now, [(at, "chat") for at in arrivals.until(now)])
        in_flight.append(sum(server.in_flight for server in gateway.servers.values()))
    found = [server.whole_request for server in gateway.servers.values()]
    count = sum(one.count for one in found)
    slower = {
        bound: 1 - sum(one.counts[number] for one in found) / count
        for number, bound in enumerate(found[0].buckets)
    }
    return Served(fmean(in_flight), slower)


def first(pods: Mapping[str, str], count: int) -> dict[str, str]:
    return dict(list(pods.items())[:count])


@each_seed
def test_each_part_calls_for_one_replica_more_until_three_have_two_gpus(seed: int):
    def wanted(part: replay.Part, replicas: int) -> int:
        return scaler.wanted(served(part, first(TWO_GPUS, replicas), seed).in_flight, 2)

    assert wanted(replay.MORNING, 1) == 1
    assert wanted(replay.FORENOON, 1) == 2
    assert wanted(replay.AFTERNOON, 2) == 3
    assert wanted(replay.AFTERNOON, 3) == 3


@each_seed
def test_with_n_published_as_3_more_are_called_for_and_the_gpus_that_are_there_have_room(seed: int):
    four = {**TWO_GPUS, "llm/d": "n-2"}

    assert scaler.wanted(served(replay.AFTERNOON, TWO_GPUS, seed).in_flight, 3) in (4, 5)
    assert scaler.wanted(served(replay.AFTERNOON, four, seed).in_flight, 3) in (4, 5)


@each_seed
def test_on_two_gpus_p95_is_within_the_budget_and_on_one_it_is_not(seed: int):
    """It is between two of vLLM's buckets, so p95 is reckoned between those."""
    budget = pool(named("llm-queue"), "llm")["slowdownBudget"] * requests.COST.alone
    assert 0.5 < budget < 0.8

    well, badly = (served(replay.AFTERNOON, pods, seed).slower for pods in (TWO_GPUS, ONE_GPU))
    assert 0.5 + 0.3 * (well[0.5] - 0.05) / (well[0.5] - well[0.8]) < budget
    assert well[0.8] < 0.01
    assert badly[0.8] > 0.05
