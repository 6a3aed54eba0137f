"""The day that the try of llm-queue plays, in the fleet's own time: what holds by its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import pytest
from slicewise.policy.model import parse
from slicewise.tuning.rule.replicas import TuningPolicy, choose_replicas
from slicewise.tuning.usage.evidence import measure

from sandbox.examples.llm import replay, requests, scaler
from sandbox.examples.llm.fleet import WHOLE_REQUEST_BUCKETS, Fleet, Gateway
from sandbox.examples.llm.n_rises import FEW

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
        refused: Part of those that came.
    """

    in_flight: float
    slower: Mapping[float, float]
    refused: float


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
    return Served(fmean(in_flight), slower, gateway.refused / gateway.came)


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
def test_on_two_gpus_p95_is_within_the_budget_with_few_refused_and_on_one_it_is_not(seed: int):
    budget = scaler.budget()
    assert budget in WHOLE_REQUEST_BUCKETS, "p95 would be judged by where in its bucket it is reckoned to be"

    well, badly = (served(replay.AFTERNOON, pods, seed) for pods in (TWO_GPUS, ONE_GPU))
    assert well.slower[budget] < 0.01 and well.refused < FEW
    assert badly.slower[budget] > 0.05 and badly.refused > 4 * FEW


def test_by_their_own_series_slicewise_would_let_no_two_of_the_servers_share_a_gpu():
    """The story says so: N rises by series of other workloads."""
    [pool] = parse((scaler.FOLDER / "policy.yaml").read_text(), "llm-queue").pools
    busy = requests.AFTERNOON * sum(requests.COST.gpu) / len(TWO_GPUS)
    pods = [measure(pod, [busy] * 3 * 144, [2500.0], step_seconds=600) for pod in TWO_GPUS]

    assert pool.slowdown_budget and pool.replicas
    policy = TuningPolicy(slowdown_budget=pool.slowdown_budget, max_replicas=pool.replicas.max)
    assert choose_replicas("llm", pods, pool.models()[0].memory_mib, current=2, policy=policy).target == 1
