"""How the requests of a GPU share its time: by hand for a few, by the law for many."""

from __future__ import annotations

import random

import pytest

from sandbox.examples.llm.gpu_time import ETA, Cost, Request, SharedGpu

SECOND = Cost((1.0,))


def ended(gpu: SharedGpu, until: float) -> list[tuple[str, list[float]]]:
    return [(one.server, pytest.approx(one.done)) for one in gpu.work(until)]


def test_a_request_alone_takes_what_it_costs_part_after_part():
    gpu = SharedGpu()
    gpu.add(Request(0.0, Cost((0.25, 0.5), besides=0.125), "a"))

    assert ended(gpu, 0.8) == []
    assert ended(gpu, 10.0) == [("a", [0.375, 0.875])]
    assert len(gpu) == 0 and gpu.now == 10.0


def test_two_requests_have_half_of_what_the_gpu_does_of_several():
    gpu = SharedGpu()
    gpu.add(Request(0.0, SECOND, "a"))
    gpu.add(Request(0.0, SECOND, "b"))

    both = 2 / ETA
    assert ended(gpu, 10.0) == [("a", [both]), ("b", [both])]


def test_one_that_comes_later_slows_the_first_while_both_are_there():
    gpu = SharedGpu()
    gpu.add(Request(0.0, SECOND, "a"))
    assert ended(gpu, 0.5) == []
    gpu.add(Request(0.5, SECOND, "b"))

    # The first needs half a second more, of which each has η/2 of a second a second; then the other is alone.
    first = 0.5 + 0.5 * 2 / ETA
    assert ended(gpu, 10.0) == [("a", [first]), ("b", [first + 0.5])]


def test_what_a_server_does_besides_takes_no_time_of_the_gpu():
    gpu = SharedGpu()
    for name in "ab":
        gpu.add(Request(0.0, Cost((0.1,), besides=0.9), name))

    both = 0.9 + 0.2 / ETA
    assert len(gpu) == 2
    assert ended(gpu, 2.0) == [("a", [both]), ("b", [both])]


def test_how_often_it_is_looked_at_changes_nothing():
    def served(step: float) -> list[float]:
        gpu, draw, done = SharedGpu(), random.Random(3), list[float]()
        for came in sorted(draw.uniform(0, 40) for _ in range(30)):
            while gpu.now + step < came:
                done += [one.done[-1] for one in gpu.work(gpu.now + step)]
            done += [one.done[-1] for one in gpu.work(came)]
            gpu.add(Request(came, SECOND))
        return done + [one.done[-1] for one in gpu.work(200.0)]

    assert len(served(0.01)) == 30
    assert served(0.01) == pytest.approx(served(50.0))


def test_a_server_that_ends_leaves_its_requests_which_begin_again_elsewhere():
    gpu, other = SharedGpu(), SharedGpu()
    for number, server in enumerate("aba"):
        gpu.add(Request(number / 10, Cost((0.5, 0.5)), server))
    gpu.work(2.0)  # all have the first half of it

    left = gpu.remove("a")

    assert [one.came for one in left] == [0.0, 0.2] and len(gpu) == 1
    other.work(2.0)
    for one in left:
        other.add(one)
    assert ended(other, 10.0) == [("a", [2 + 1 / ETA, 2 + 2 / ETA])] * 2


def test_it_does_not_work_backwards():
    gpu = SharedGpu(5.0)

    with pytest.raises(ValueError, match="until 5"):
        gpu.work(4.0)


def test_a_busy_gpu_slows_requests_as_the_tuning_rule_predicts():
    """
    1/(1 − ρ) on average, a little more since η costs nothing where one is alone: with ρ = 0.5 of what it does
    of several, k are on it with a chance of p₁/2^(k−1), and p₁ = 0.45/1.9; so their mean is 4 p₁, and the
    time of each that by the rate (Little's law).
    """
    rate = 0.5 * ETA
    gpu, draw, at, done = SharedGpu(), random.Random(1), 0.0, list[Request]()
    while at < 20_000:
        at += draw.expovariate(rate)
        done += gpu.work(at)
        gpu.add(Request(at, SECOND))

    mean = sum(one.slowdown for one in done) / len(done)
    assert mean == pytest.approx(4 * (0.45 / 1.9) / rate, rel=0.04)
