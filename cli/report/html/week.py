"""The week by hour: a table that is its own picture, so that it needs no other text."""

from __future__ import annotations

from collections.abc import Sequence

from cli.report.html.markup import Markup, tag

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Hours = Sequence[Sequence[tuple[float | None, float]]]
# Shades by busy share; the figure is in the cell, too.
_SHADES = (0.05, 0.2, 0.4, 0.6, 0.8)


def is_empty(week: Hours) -> bool:
    return not any(gpus for day in week for _, gpus in day)


def table(week: Hours) -> Markup:
    """
    Args:
        week: 7 days of 24 hours from Monday 00:00 UTC: busy share, None where not measured, and mean GPUs.
    """
    hours = len(week[0])
    content = tag(
        "table",
        tag(
            "caption",
            "Busy in percent, and below it the mean number of GPUs, by hour in UTC",
            id="week-caption",
        ),
        tag("colgroup", [tag("col") for _ in range(hours + 1)]),
        tag("thead", tag("tr", tag("th", "Day", scope="col"), [_hour(hour) for hour in range(hours)])),
        tag("tbody", [_day(name, day) for name, day in zip(DAYS, week, strict=True)]),
        class_="week",
    )
    return tag("div", content, class_="scroll", role="region", aria_labelledby="week-caption", tabindex=0)


def _hour(hour: int) -> Markup:
    return tag("th", f"{hour:02}", scope="col")


def _day(name: str, day: Sequence[tuple[float | None, float]]) -> Markup:
    return tag("tr", tag("th", name, scope="row"), [_cell(busy, gpus) for busy, gpus in day])


def _cell(busy: float | None, gpus: float) -> Markup:
    if not gpus:
        return tag("td", "0", class_="none")
    shade = "none" if busy is None else f"h{sum(busy >= limit for limit in _SHADES)}"
    return tag("td", tag("b", "–" if busy is None else f"{busy * 100:.0f}"), count(gpus), class_=shade)


def count(gpus: float) -> str:
    """A mean number in four characters at most."""
    return f"{gpus:.1f}" if gpus < 10 else f"{gpus:.0f}"
