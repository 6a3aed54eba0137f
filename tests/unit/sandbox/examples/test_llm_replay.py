"""When requests come: as many as the client of the trace sent, at its scale, part after part."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from sandbox.examples.llm import replay
from sandbox.examples.llm.replay import AFTERNOON, FORENOON, MORNING, NIGHT, Arrivals

TRACE = Path(__file__).parents[4] / "traces/data/servegen/language_rates.csv.gz"
PARTS = (MORNING, FORENOON, AFTERNOON, NIGHT)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_part_has_the_rates_of_the_published_file(part: replay.Part):
    with gzip.open(TRACE, "rt") as lines:
        rows = list(csv.reader(lines))[1:]
    day = rows[replay.DAY * 144 :]

    # The first column is the time.
    assert part.rates() == tuple(float(row[1 + replay.CLIENT]) for row in day[part.first : part.last])


def test_the_times_of_day_are_those_of_the_windows():
    assert list(map(str, PARTS)) == [
        "the early morning (07:20 to 08:20)",
        "the forenoon (09:20 to 09:40)",
        "the afternoon (15:10 to 17:10)",
        "the night (00:00 to 01:00)",
    ]


def test_the_afternoon_is_steady_and_the_others_are_quieter():
    arrivals = Arrivals(50.0, 0.0)
    afternoon = AFTERNOON.rates()

    assert max(afternoon) / min(afternoon) < 1.05
    assert arrivals.play(AFTERNOON) == pytest.approx(50.0)
    assert 10 < arrivals.play(NIGHT) < arrivals.play(FORENOON) < 0.9 * 50
    assert 10 < arrivals.play(MORNING) < 0.3 * 50


def test_requests_come_by_chance_at_the_rate_of_their_window():
    arrivals = Arrivals(50.0, 1000.0, seed=1)
    rates = [rate * arrivals.scale for rate in MORNING.rates()]
    arrivals.play(MORNING)

    times = list(arrivals.until(1000.0 + 60 * replay.WINDOW_SECONDS))

    assert times == sorted(times) and times[0] > 1000 and times[-1] <= 1600
    for number, rate in enumerate(rates):
        # The part repeats ten times.
        found = sum(int((at - 1000) / replay.WINDOW_SECONDS) % len(rates) == number for at in times)
        expected = 10 * replay.WINDOW_SECONDS * rate
        assert abs(found - expected) < 4 * expected**0.5


def test_it_goes_on_where_it_was_however_often_it_is_asked():
    def times(step: float) -> list[float]:
        arrivals, found = Arrivals(20.0, 0.0, seed=2), list[float]()
        arrivals.play(AFTERNOON)
        for number in range(1, round(100 / step) + 1):
            found += arrivals.until(number * step)
        return found

    assert len(times(100.0)) > 1500
    assert times(0.25) == pytest.approx(times(100.0))


def test_no_request_comes_before_a_part_is_played_nor_after_the_last():
    arrivals = Arrivals(50.0, 0.0)
    assert list(arrivals.until(10.0)) == []

    arrivals.play(AFTERNOON)
    found = list(arrivals.until(12.0))
    assert len(found) > 50 and all(10 < at <= 12 for at in found)

    arrivals.play(None)
    assert list(arrivals.until(100.0)) == []
