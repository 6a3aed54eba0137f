"""Charts: bars as long as their figures, axes that hold them, labels that do not touch."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from cli.report.html import charts
from cli.report.html.markup import Markup, tag
from tests.support.pages.markup import read

DAY = timedelta(days=1)
DAYS = [datetime(2026, 11, 1, tzinfo=UTC) + DAY * i for i in range(400)]


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (0.02, 0.02), (0.7, 0.8), (1, 1), (1.2, 1.5), (39, 40), (81, 100), (1234, 1500)]
)
def test_an_axis_ends_at_a_round_figure_no_less_than_its_bars(most, top):
    assert charts.axis_top(most) == pytest.approx(top)


@pytest.mark.parametrize(
    ("value", "top", "unit", "label"),
    [
        (0.005, 0.02, "$", "$0.005"),
        (0.25, 1, "$", "$0.25"),
        (37.5, 50, "$", "$37.50"),
        (7.5, 10, "$", "$7.50"),
        (2.5, 10, " h", "2.5 h"),
        (375, 1500, "$", "$375"),
        (12_500, 50_000, "$", "$12.5k"),
        (5, 20, " h", "5 h"),
    ],
)
def test_an_axis_is_labelled_with_as_many_digits_as_tell_its_lines_apart(value, top, unit, label):
    assert charts.axis_label(value, top, unit) == label


def test_bars_stand_on_one_another_and_are_as_long_as_their_figures():
    drawn = read(charts.stacked(DAYS[:2], DAY, {"used": [1, 2], "idle": [3, 0]}, "$", "Costs"))

    used, idle = (drawn.all("svg")[0].one("path", name).attributes["d"] for name in ("used", "idle"))
    scale = charts.WIDE.inner_height / 4
    assert [float(one) for one in re.findall(r"v(-[\d.]+)", used)] == pytest.approx(
        [-scale, -2 * scale], abs=0.1
    )
    assert re.findall(r"v(-[\d.]+)", idle) == [f"{-3 * scale:.1f}"]
    tops = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)", used + idle)]
    assert tops[2] == pytest.approx(tops[0] - scale, abs=0.1)


@pytest.mark.parametrize("count", [1, 2, 9, 30, 100, 400])
@pytest.mark.parametrize("frame", [charts.WIDE, charts.NARROW, charts.PANELS])
def test_labels_of_dates_have_room(count, frame):
    labels = len(range(0, count, charts.label_every(count, frame.inner_width)))

    assert labels == 1 or frame.inner_width / labels > 40


def test_a_gap_in_n_is_a_gap_in_its_line():
    pool = charts.PoolSeries([4, 4, None, 5], [0.5, None, None, 1.0], [(0.75, 1)], [0.5])

    drawn = read(charts.pool_panels(DAYS[:4], DAY, pool, "N from 4 to 5"))

    line, ticks = (one.attributes["d"] for one in drawn.all("path", "line"))
    assert line.count("M") == 2 and ticks.count("M") == 1
    assert drawn.one("path", "used").attributes["d"].count("z") == 2
    assert drawn.one("text", "mark-number").text == "1"


def test_a_text_never_becomes_markup():
    assert tag("p", '<b> & "c"', title="'\"<") == (
        '<p title="&#x27;&quot;&lt;">&lt;b&gt; &amp; &quot;c&quot;</p>'
    )
    assert (
        tag("p", [Markup("<i></i>"), tag("b", "x")], hidden=True, id=None) == "<p hidden><i></i><b>x</b></p>"
    )
