"""N is doubled in the middle of a steady load: what the queue sees, with N published and without."""

from __future__ import annotations

from functools import cache
from statistics import fmean

import pytest

from sandbox.examples.llm.queue_model import SYNC_SECONDS, Autoscaler, Load, Queue, changed

# Of the example's policy: a request may take three times as long as alone.
BUDGET = 3.0
AT, UNTIL = 900.0, 2400.0
SEEDS = (1, 2, 3)
TWO_PERIODS = AT + 2 * SYNC_SECONDS + 1


@cache
def doubled(seed: int, is_published: bool) -> Queue:
    return changed(Load(seed=seed), 2, 4, at=AT, until=UNTIL, is_published=is_published)


@pytest.mark.parametrize("seed", SEEDS)
def test_with_n_published_p95_stays_within_the_budget(seed):
    queue = doubled(seed, True)

    assert queue.p95(300, AT) <= BUDGET
    assert queue.p95(AT) <= BUDGET


@pytest.mark.parametrize("seed", SEEDS)
def test_with_n_published_the_autoscaler_settles_within_two_periods(seed):
    queue = doubled(seed, True)

    settled = queue.replicas_at(TWO_PERIODS)
    later = [count for at, count in queue.replicas if at > TWO_PERIODS]
    assert settled >= 1.6 * queue.replicas_at(AT)
    # What follows is the load's own noise around it.
    assert abs(settled / fmean(later) - 1) <= 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_without_it_p95_leaves_the_budget_and_stays_away(seed):
    queue = doubled(seed, False)

    assert queue.p95(300, AT) <= BUDGET < queue.p95(AT + 300, AT + 900)
    assert queue.p95(AT + 900) > BUDGET
    assert queue.replicas_at(TWO_PERIODS) < 1.2 * queue.replicas_at(AT)


def test_a_gpu_alone_slows_requests_as_the_tuning_rule_predicts():
    """Mean slowdown 1/(1 − ρ); what η costs where only one is served is not lost."""
    load = Load(gpus=1, busy=0.5, seed=4)
    queue = Queue(load, Autoscaler(1e9, 1, 1), 1)

    queue.run(20_000)

    mean = sum(slowdown for _, slowdown in queue.slowdowns) / len(queue.slowdowns)
    assert 1.75 <= mean <= 2.2


def test_an_autoscaler_ignores_a_tenth_and_waits_before_it_scales_down():
    scaler = Autoscaler(target=1.0, n=1, replicas=10)

    scaler.sync(0, 10.9)
    assert scaler.replicas == 10
    scaler.sync(15, 12)
    assert scaler.replicas == 12
    for at in (30, 45, 300):
        scaler.sync(at, 5)
        assert scaler.replicas == 12
    scaler.sync(330, 5)
    assert scaler.replicas == 5
