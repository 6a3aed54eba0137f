"""Charts as plain SVG: patterns beside colours, and no script. Sizes are in pixels of the drawing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, isclose, log10

from cli.report.html.markup import Child, Markup, join, tag

# Each class has a pattern of its own in the style sheet, so that no colour carries the meaning alone.
SERIES = {
    "used": "Used",
    "idle": "Idle",
    "unmeasured": "Not measured",
    "free": "Free",
    "saved": "Saved by sharing",
    "asleep": "Saved by sleeping",
}
_HATCHES = {
    "idle": "M0 6L6 0M-1 1L1 -1M5 7L7 5",
    "unmeasured": "M1.5 1.5h1.2M4.5 4.5h1.2",
    "free": "M0 3H6",
    "saved": "M0 0L6 6M-1 5L1 7M5 -1L7 1",
    "asleep": "M3 0V6",
}


@dataclass(frozen=True)
class Frame:
    """A drawing: its size, and what is left free at its edges for labels."""

    width: int
    height: int
    left: int = 52
    right: int = 8
    top: int = 12
    bottom: int = 26

    @property
    def inner_width(self) -> int:
        return self.width - self.left - self.right

    @property
    def inner_height(self) -> int:
        return self.height - self.top - self.bottom


WIDE, NARROW = Frame(880, 300), Frame(340, 260)
PANELS = Frame(430, 190, left=46, top=22)
# Of a row of panels: N above, busy below.
_N_PANEL, _BUSY_PANEL = (22, 62), (94, 72)


def patterns() -> Markup:
    """What the fills of all charts refer to, once a page."""
    defined = [
        tag(
            "pattern",
            tag("rect", width=6, height=6, class_=f"ground {name}"),
            tag("path", d=path, class_=f"hatch {name}"),
            id=f"hatch-{name}",
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
        )
        for name, path in _HATCHES.items()
    ]
    return tag("svg", tag("defs", defined), width=0, height=0, aria_hidden="true", class_="patterns")


def swatch(name: str) -> Markup:
    box = tag("rect", x=0.5, y=0.5, width=13, height=13, class_=f"fill {name}")
    return tag("svg", box, width=14, height=14, viewBox="0 0 14 14", aria_hidden="true", class_="swatch")


def legend(figures: Mapping[str, str]) -> Markup:
    """
    Args:
        figures: By a name of SERIES, as text.
    """
    entries = [
        tag("li", swatch(name), SERIES[name], " ", tag("span", text, class_="number"))
        for name, text in figures.items()
    ]
    return tag("ul", entries, class_="legend")


def stacked(
    times: Sequence[datetime], step: timedelta, values: Mapping[str, Sequence[float]], unit: str, summary: str
) -> Markup:
    """
    Bars by time, one upon another, once for wide and once for narrow screens.

    Args:
        step: From one time to the next.
        values: By a name of SERIES, from the bottom up; none below 0.
        unit: Before a figure of the axis, or after it with a leading space.
        summary: What it shows, for those who do not see it.
    """
    return join(
        *(
            _svg(frame, summary, _stacked(frame, times, step, values, unit), size)
            for frame, size in ((WIDE, "wide"), (NARROW, "narrow"))
        )
    )


def _svg(frame: Frame, summary: str, content: Child, size: str = "") -> Markup:
    return tag(
        "svg",
        content,
        viewBox=f"0 0 {frame.width} {frame.height}",
        role="img",
        aria_label=summary,
        class_=f"chart {size}".strip(),
    )


def _stacked(
    frame: Frame, times: Sequence[datetime], step: timedelta, values: Mapping[str, Sequence[float]], unit: str
) -> Iterator[Markup]:
    top = axis_top(max(map(sum, zip(*values.values(), strict=True)), default=0))
    yield from _grid(frame, top, unit)
    below = [0.0] * len(times)
    # Outlines of thin bars would be all that is seen of them.
    density = "dense" if frame.inner_width / max(len(times), 1) < 6 else ""
    for name, series in values.items():
        yield tag("path", d=_bars(frame, below, series, top), class_=f"fill {name} {density}".strip())
        below = [one + more for one, more in zip(below, series, strict=True)]
    yield from _dates(frame, times, step)


def axis_top(most: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is no less."""
    if most <= 0:
        return 1.0
    power = 10.0 ** floor(log10(most))
    return next((step * power for step in (1, 1.5, 2, 2.5, 4, 5, 6, 8) if step * power >= most), 10 * power)


def _grid(frame: Frame, top: float, unit: str) -> Iterator[Markup]:
    for part in (0, 0.25, 0.5, 0.75, 1):
        y = frame.top + frame.inner_height * (1 - part)
        yield tag(
            "path", d=f"M{frame.left} {y:.1f}H{frame.width - frame.right}", class_="grid" if part else "axis"
        )
        yield tag("text", axis_label(top * part, top, unit), x=frame.left - 8, y=y + 4, class_="at-end")


def axis_label(value: float, top: float, unit: str) -> str:
    """With as many digits as a quarter of the axis has; a dollar has two, if any."""
    scale, thousands = (1000, "k") if top >= 10_000 else (1, "")
    quarter = top / 4 / scale
    digits = next(
        digits for digits in (0, 1, 2, 3, 4, 5, 6) if digits == 6 or isclose(round(quarter, digits), quarter)
    )
    if unit == "$" and digits == 1 and not thousands:
        digits = 2
    text = f"{value / scale:,.{digits}f}{thousands}"
    return text + unit if unit.startswith(" ") else unit + text


def _bars(frame: Frame, below: Sequence[float], series: Sequence[float], top: float) -> str:
    """All bars of one series as one path."""
    step = frame.inner_width / max(len(series), 1)
    width = min(step * 0.78 if step > 3 else step, 64)
    scale = frame.inner_height / top
    base = frame.top + frame.inner_height
    return "".join(
        f"M{frame.left + step * (i + 0.5) - width / 2:.1f} {base - low * scale:.1f}"
        f"h{width:.1f}v{-value * scale:.1f}h{-width:.1f}z"
        for i, (low, value) in enumerate(zip(below, series, strict=True))
        if value > 0
    )


def _dates(frame: Frame, times: Sequence[datetime], step: timedelta) -> Iterator[Markup]:
    each = frame.inner_width / max(len(times), 1)
    for i in range(0, len(times), label_every(len(times), frame.inner_width)):
        x = frame.left + each * (i + 0.5)
        yield tag("text", time_label(times[i], step), x=x, y=frame.height - 8, class_="at-middle")


def label_every(count: int, width: int) -> int:
    """Labels take 56 pixels each; weeks are kept where there are enough days."""
    every = max(1, ceil(count * 56 / width))
    return every if every < 4 else ceil(every / 7) * 7


def time_label(at: datetime, step: timedelta) -> str:
    """Short; hours but for midnight, which is named by its day."""
    return f"{at:%H:%M}" if step < timedelta(days=1) and at.hour else f"{at.day} {at:%b}"


@dataclass(frozen=True)
class PoolSeries:
    """
    N and busy of one NodePool, None where it had no machines or nothing was measured.

    Attributes:
        marks: Changes, as (part of the span from 0 to 1, number in the table of changes).
        sleeps: Part of the span at which it was put to sleep.
    """

    n: Sequence[float | None]
    busy: Sequence[float | None]
    marks: Sequence[tuple[float, int]] = ()
    sleeps: Sequence[float] = ()


def pool_panels(times: Sequence[datetime], step: timedelta, pool: PoolSeries, summary: str) -> Markup:
    """N above, busy below, changes through both."""
    return _svg(PANELS, summary, _pool(PANELS, times, step, pool))


def _pool(frame: Frame, times: Sequence[datetime], step: timedelta, pool: PoolSeries) -> Iterator[Markup]:
    most = max(2, ceil(max((n for n in pool.n if n is not None), default=1)))
    yield from _panel(frame, _N_PANEL, "N", f"{most}", "0")
    yield from _panel(frame, _BUSY_PANEL, "Busy", "100 %", "0")
    yield _busy(frame, pool)
    yield tag("path", d=_steps(frame, _N_PANEL, pool.n, float(most)), class_="line")
    yield from _sleeps(frame, pool.sleeps)
    yield from _marks(frame, pool.marks)
    yield from _dates(frame, times, step)


def _busy(frame: Frame, pool: PoolSeries) -> Markup:
    if all(value is None for value in pool.busy):
        middle = frame.left + frame.inner_width / 2
        return tag("text", "not measured", x=middle, y=sum(_BUSY_PANEL) - 24, class_="at-middle")
    return tag("path", d=_area(frame, _BUSY_PANEL, pool.busy, 1.0), class_="fill used")


def _panel(frame: Frame, panel: tuple[int, int], title: str, top: str, bottom: str) -> Iterator[Markup]:
    begin, height = panel
    base, right = begin + height, frame.width - frame.right
    yield tag("path", d=f"M{frame.left} {begin + 12}H{right}", class_="grid")
    yield tag("path", d=f"M{frame.left} {base}H{right}", class_="axis")
    yield tag("text", top, x=frame.left - 6, y=begin + 16, class_="at-end")
    yield tag("text", bottom, x=frame.left - 6, y=base + 4, class_="at-end")
    yield tag("text", title, x=frame.left + 4, y=begin + 8, class_="panel-title")


def _points(
    frame: Frame, panel: tuple[int, int], series: Sequence[float | None], top: float
) -> Iterator[list[tuple[float, float, float]]]:
    """Runs without a gap, each of (left, right, y)."""
    begin, height = panel[0] + 12, panel[1] - 12
    step = frame.inner_width / max(len(series), 1)
    run: list[tuple[float, float, float]] = []
    for i, value in enumerate([*series, None]):
        if value is None:
            if run:
                yield run
            run = []
            continue
        left = frame.left + step * i
        run.append((left, left + step, begin + height * (1 - min(value / top, 1))))


def _steps(frame: Frame, panel: tuple[int, int], series: Sequence[float | None], top: float) -> str:
    return "".join(
        f"M{run[0][0]:.1f} {run[0][2]:.1f}" + "".join(f"V{y:.1f}H{right:.1f}" for _, right, y in run)
        for run in _points(frame, panel, series, top)
    )


def _area(frame: Frame, panel: tuple[int, int], series: Sequence[float | None], top: float) -> str:
    base = panel[0] + panel[1]
    return "".join(
        f"M{run[0][0]:.1f} {base}" + "".join(f"V{y:.1f}H{right:.1f}" for _, right, y in run) + f"V{base}z"
        for run in _points(frame, panel, series, top)
    )


def _sleeps(frame: Frame, sleeps: Sequence[float]) -> Iterator[Markup]:
    base = sum(_BUSY_PANEL)
    if sleeps:
        ticks = "".join(f"M{frame.left + part * frame.inner_width:.1f} {base}v5" for part in sleeps)
        yield tag("path", d=ticks, class_="line")


def _marks(frame: Frame, marks: Sequence[tuple[float, int]]) -> Iterator[Markup]:
    for part, number in marks:
        x = frame.left + part * frame.inner_width
        yield tag("path", d=f"M{x:.1f} 16V{sum(_BUSY_PANEL)}", class_="mark")
        yield tag("circle", cx=x, cy=10, r=8, class_="mark-ground")
        yield tag("text", str(number), x=x, y=14, class_="at-middle mark-number")


@dataclass(frozen=True)
class Bar:
    """A bar of parts side by side, each a name of SERIES with its length."""

    label: Child
    figure: Child
    parts: Sequence[tuple[str, float]]


def bars(rows: Sequence[Bar]) -> Markup:
    """Bars below one another, on one scale; each says its figure beside it."""
    top = max((sum(length for _, length in row.parts) for row in rows), default=0) or 1
    return tag("dl", [_bar(row, top) for row in rows], class_="bars")


def _bar(row: Bar, top: float) -> Markup:
    drawn, x = [], 0.0
    for name, length in row.parts:
        width = 100 * length / top
        drawn.append(tag("rect", x=f"{x:.2f}%", y=1, width=f"{width:.2f}%", height=22, class_=f"fill {name}"))
        x += width
    svg = tag("svg", drawn, width="100%", height=24, aria_hidden="true")
    return tag("div", tag("dt", row.label), tag("dd", row.figure, svg))
