"""What happened: nights and what each saved, and changes and what each brought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from fractions import Fraction

from slicewise.costs.cents import cents
from slicewise.costs.report import Effect, Night, Report

from cli.output import plural
from cli.report.figures import dollars, hours, usd
from cli.report.html import formulas
from cli.report.html.headline import saved_cents
from cli.report.html.markup import NOTHING, Markup, tag
from cli.report.html.over_time import numbered
from cli.report.html.section import moment, section, sentence, sortable_time
from cli.report.html.tables import Body, Cell, Column, broken_at_slashes, sortable

_KINDS = {"n": "N of NodePool", "class": "class of", "asleep": "went to sleep:", "awake": "woke:"}


def sections(report: Report) -> Iterator[Markup]:
    yield _changes(report)
    yield _nights(report)


def _changes(report: Report) -> Markup:
    title, lede = (
        "What each change brought",
        "Changes of N and of classes, with the reconcile that saw each first.",
    )
    found = numbered(report)
    if not found:
        return section("changes", title, lede, sentence("N and classes did not change in this span."))
    columns = [
        Column("what", "Change", is_figure=False),
        Column("why", "Why", is_figure=False),
        Column("saved", "Saved", formulas.EFFECT),
        Column("seen", "Reconcile, UTC", is_figure=False),
    ]
    table = sortable("change-list", "Changes, in UTC", columns, Body([_change(n, one) for n, one in found]))
    return section("changes", title, lede, table, _unknown(found))


def _change(number: int, one: Effect) -> list[Cell]:
    saved = (
        Cell("–", float("-inf")) if one.saved is None else Cell(dollars(one.saved.usd), float(one.saved.usd))
    )
    values = tag("span", f"{one.before} → {one.after}", class_="values")
    within = tag("span", tag("b", str(number)), f" {one.cluster}", class_="within")
    return [
        Cell([within, broken_at_slashes(f"{_KINDS[one.kind]} {one.what}: "), values], number),
        Cell(one.why),
        saved,
        _seen(one),
    ]


def _seen(one: Effect) -> Cell:
    """The reconcile that saw it, and when it was, where that is another time."""
    if one.seen_by == one.at:
        return _time(one.at)
    changed = tag("span", "changed ", sortable_time(one.at), class_="within")
    return Cell([sortable_time(one.seen_by), changed], one.seen_by.timestamp())


def _time(at: datetime) -> Cell:
    return Cell(sortable_time(at), at.timestamp())


def _unknown(found: Sequence[tuple[int, Effect]]) -> Markup:
    count = sum(one.saved is None for _, one in found)
    if not count:
        return NOTHING
    text = (
        f"A dash marks {plural(count, 'change')} for which it cannot be said what would have been otherwise."
    )
    return tag("p", text, class_="note")


def _nights(report: Report) -> Markup:
    title, lede = "Nights", "What would have run through each sleep, less what did."
    if not report.nights:
        return section("nights", title, lede, sentence("No cluster slept in this span."), *_sleeps(report))
    shown = list(zip(report.nights, _night_cents(report), strict=True))
    every = tag("details", tag("summary", f"Each of them ({len(shown):,})"), _each_night(shown))
    return section("nights", title, lede, _by_cluster(shown), every, *_sleeps(report))


def _by_cluster(shown: Sequence[tuple[Night, int]]) -> Markup:
    columns = [
        Column("cluster", "Cluster", is_figure=False),
        Column("count", "Sleeps"),
        Column("node-hours", "Node-hours saved", formulas.NODE_HOURS),
        Column("usd", "Saved", formulas.NIGHTS),
    ]
    clusters = sorted({night.cluster for night, _ in shown})
    rows = [_sum_of(name, [one for one in shown if one[0].cluster == name]) for name in clusters]
    return sortable(
        "night-sums", "Sleeps by cluster", columns, Body(rows, [_sum_of("Saved by sleeping", shown)])
    )


def _sum_of(name: str, shown: Sequence[tuple[Night, int]]) -> list[Cell]:
    node_hours = sum((Fraction(night.node_hours) for night, _ in shown), Fraction(0))
    saved = sum(amount for _, amount in shown)
    return [
        Cell(name),
        Cell(f"{len(shown):,}", len(shown)),
        Cell(hours(node_hours), float(node_hours)),
        Cell(usd(saved), saved),
    ]


def _each_night(shown: Sequence[tuple[Night, int]]) -> Markup:
    columns = [
        Column("cluster", "Cluster", is_figure=False),
        Column("began", "Began, UTC", is_figure=False),
        Column("ended", "Ended, UTC", is_figure=False),
        Column("node-hours", "Node-hours saved", formulas.NODE_HOURS),
        Column("usd", "Saved", formulas.NIGHTS),
    ]
    rows = [_night(one, amount) for one, amount in shown]
    return sortable("night-list", "Sleeps by time, in UTC", columns, Body(rows))


def _night_cents(report: Report) -> list[int]:
    """Of each night, so that they add up to what sleeping saved in all."""
    exact = [Fraction(str(night.usd)) for night in report.nights]
    total = saved_cents(report)[1]
    return cents(exact, total if abs(total - sum(exact, Fraction(0)) * 100) < 1 else None)


def _night(one: Night, amount: int) -> list[Cell]:
    return [
        Cell(one.cluster),
        _time(one.began),
        _time(one.ended) if one.ended else Cell("still asleep", float("inf")),
        Cell(hours(Fraction(one.node_hours)), one.node_hours),
        Cell(usd(amount), amount),
    ]


def _sleeps(report: Report) -> Iterator[Markup]:
    found = [one for one in report.changes if one.kind in ("asleep", "awake")]
    if found:
        text = [
            tag("li", f"{moment(one.at)} UTC: {one.cluster}, {_KINDS[one.kind]} {one.what}") for one in found
        ]
        summary = f"When NodePools went to sleep and woke ({len(found):,})"
        yield tag(
            "details",
            tag("summary", summary),
            tag(
                "div",
                tag("ul", text, class_="notes"),
                class_="scroll",
                tabindex=0,
                role="region",
                aria_label=summary,
            ),
        )
