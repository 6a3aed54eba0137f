"""What changed in time: costs by day or hour, each NodePool's N and how busy it was, and the week by hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil

from slicewise.costs.report import Cost, Effect, Moment, Night, Parts, Report

from cli.output import plural
from cli.report.figures import share
from cli.report.html import week
from cli.report.html.charts import SERIES, PoolSeries, pool_panels, stacked
from cli.report.html.headline import parts_legend
from cli.report.html.markup import Markup, join, tag
from cli.report.html.section import section, sentence
from cli.report.html.tables import plain
from cli.report.html.unit import USD, Unit, unit_of

# Up to it a chart has hours instead of days.
SHORT = timedelta(days=3)
MOST_PANELS = 12
SECOND = timedelta(seconds=1)


def is_short(report: Report) -> bool:
    """Whether a few days are left of it from where counting began, which may be long after its own begin."""
    return bool(report.by_hour) and report.until - min(one.at for one in report.by_hour) <= SHORT


def moments(report: Report) -> Sequence[Moment]:
    """From the first that was counted to the report's end; those without a machine cost nothing."""
    found = {one.at: one for one in (report.by_hour if is_short(report) else report.by_day)}
    if not found:
        return []
    first, end = min(found), max(max(found) + step(report), report.until)
    times = [first + step(report) * i for i in range(ceil((end - first) / step(report)))]
    return [found.get(at) or Moment(at, Parts(), Cost()) for at in times]


def per_of(report: Report) -> str:
    return "hour" if is_short(report) else "day"


def step(report: Report) -> timedelta:
    return timedelta(hours=1) if is_short(report) else timedelta(days=1)


def cost(report: Report) -> Markup:
    per, unit = per_of(report), unit_of(report)
    title = "Cost over time"
    lede = f"Paid by {per} in {unit.name}, by what became of it; on top of it what was saved."
    found = moments(report)
    if not found:
        message = "Nothing was counted in this span, so there is nothing to draw."
        return section("time", title, lede, sentence(message))
    values = _values(report, found)
    times = [one.at for one in found]
    drawn = {name: [max(float(value), 0.0) for value in series] for name, series in values.items()}
    chart = stacked(times, step(report), drawn, unit.mark, _summary(report, unit, per))
    figure = tag("figure", parts_legend(report), chart)
    return section("time", title, lede, figure, _below_zero(values, per), _figures(times, values, unit, per))


def _values(report: Report, found: Sequence[Moment]) -> dict[str, list[Fraction]]:
    """By a name of SERIES, for each moment."""
    unit = unit_of(report)
    values = {name: [unit.of(getattr(one.parts, name)) for one in found] for name in Parts._fields}
    values["saved"] = [unit.of(one.whole) - unit.of(one.parts.total) for one in found]
    if unit is USD and report.nights_usd:
        values["asleep"] = [_asleep(report, one.at) for one in found]
    return values


def _asleep(report: Report, begin: datetime) -> Fraction:
    """What nights saved in the hour or day from `begin`: of each, by the part of it that lies there."""
    end = begin + step(report)
    return sum((_part_of(night, begin, end, report.until) for night in report.nights), Fraction(0))


def _part_of(night: Night, begin: datetime, end: datetime, until: datetime) -> Fraction:
    ended = night.ended or until
    there = min(end, ended) - max(begin, night.began)
    if there <= timedelta(0) or ended <= night.began:
        return Fraction(0)
    return Fraction(str(night.usd)) * Fraction(there // SECOND, max(1, (ended - night.began) // SECOND))


def _below_zero(values: Mapping[str, Sequence[Fraction]], per: str) -> Markup:
    count = sum(value < 0 for name in ("saved", "asleep") for value in values.get(name, ()))
    text = f"Below 0, and not drawn: {plural(count, 'figure')} of what was saved. The table has them."
    return tag("p", text, class_="note") if count else join()


def _summary(report: Report, unit: Unit, per: str) -> str:
    parts = ", ".join(
        f"{SERIES[name].lower()} {unit.text(unit.of(part))}" for name, part in report.total._asdict().items()
    )
    return f"Stacked bars of {unit.name} by {per}: {parts} in all. The table below has the figures."


def _figures(
    times: Sequence[datetime], values: Mapping[str, Sequence[Fraction]], unit: Unit, per: str
) -> Markup:
    rows = [
        [label, *(unit.text(series[i]) for series in values.values())]
        for i, label in enumerate(_labels(times, per))
    ]
    return plain(
        "time-figures",
        f"By {per} in {unit.name}",
        [per.capitalize(), *(SERIES[name] for name in values)],
        rows,
    )


def pools(report: Report) -> Markup:
    title = "How many pods share a GPU"
    lede = (
        "For each NodePool: N, the pods that share a GPU, and how busy its GPUs were. A dashed line is a "
        "change, with its number in the table of changes. A tick below marks the start of a sleep."
    )
    names = _largest(report)
    if not names:
        return section("pools", title, lede, sentence("No NodePool had machines in this span."))
    shown = names[:MOST_PANELS]
    body = tag("div", [_panel(report, name) for name in shown], class_="panels")
    return section("pools", title, lede, body, _others(len(names) - len(shown)), _pool_figures(report, shown))


def _largest(report: Report) -> list[str]:
    """NodePools as cluster/NodePool, the one that cost most first."""
    spent: dict[str, Fraction] = defaultdict(Fraction)
    for row in report.by_machine:
        spent["/".join(row.key[:2])] += unit_of(report).of(row.parts.total)
    seen = {name for one in moments(report) for name in one.n}
    return sorted(seen, key=lambda name: (-spent[name], name))


def _others(count: int) -> Markup:
    return sentence(f"Not drawn: {plural(count, 'NodePool')} that cost less.") if count else join()


def _panel(report: Report, name: str) -> Markup:
    found = moments(report)
    series = PoolSeries(
        [one.n.get(name) for one in found],
        [one.busy.get(name) for one in found],
        _marks(report, name),
        [_place(report, one.at) for one in report.changes if _is_of(one, name) and one.kind == "asleep"],
    )
    chart = pool_panels(
        [one.at for one in found],
        step(report),
        series,
        f"N and busy share of NodePool {name}: {_ends(series)}",
    )
    return tag("figure", tag("figcaption", tag("h3", name)), chart)


def _is_of(effect: Effect, name: str) -> bool:
    return f"{effect.cluster}/{effect.what}" == name


def numbered(report: Report) -> list[tuple[int, Effect]]:
    """Changes of N and of classes, as charts and the table number them."""
    found = (one for one in report.changes if one.kind in ("n", "class"))
    return list(enumerate(sorted(found, key=lambda one: one.at), start=1))


def _marks(report: Report, name: str) -> list[tuple[float, int]]:
    return [(_place(report, one.at), number) for number, one in numbered(report) if _is_of(one, name)]


def _place(report: Report, at: datetime) -> float:
    """Where in the chart a time lies, whose first and last bar are whole."""
    found = moments(report)
    part = (at - found[0].at) / (step(report) * len(found))
    return min(max(part, 0.0), 1.0)


def _ends(series: PoolSeries) -> str:
    n = [value for value in series.n if value is not None]
    busy = [value for value in series.busy if value is not None]
    shares = f"busy {share(min(busy))} to {share(max(busy))}" if busy else "not measured"
    return f"N from {n[0]:g} to {n[-1]:g}, {shares}, {plural(len(series.marks), 'change')}."


def _pool_figures(report: Report, names: Sequence[str]) -> Markup:
    found, per = moments(report), per_of(report)
    labels = _labels([one.at for one in found], per)
    rows = [
        [label, *(_n_and_busy(one, name) for name in names)] for label, one in zip(labels, found, strict=True)
    ]
    return plain("pool-figures", "N, and busy share, by NodePool", [per.capitalize(), *names], rows)


def _labels(times: Sequence[datetime], per: str) -> list[str]:
    return [f"{at:%Y-%m-%d %H:%M}" if per == "hour" else f"{at:%Y-%m-%d}" for at in times]


def _n_and_busy(one: Moment, name: str) -> str:
    n = one.n.get(name)
    return "no machine" if n is None else f"{n:.3g}, {share(one.busy.get(name))}"


def hours_of_week(report: Report) -> Markup:
    title, lede = (
        "The week by hour",
        "When GPUs are busy, and how many there are. Hours with none cost nothing.",
    )
    if week.is_empty(report.hours_of_week):
        return section("week", title, lede, sentence("No GPU was there in this span."))
    return section(
        "week", title, lede, tag("figure", week.table(report.hours_of_week)), _unmeasured_hours(report)
    )


def _unmeasured_hours(report: Report) -> Markup:
    missing = sum(busy is None and gpus > 0 for day in report.hours_of_week for busy, gpus in day)
    return (
        tag(
            "p",
            f"A dash marks {plural(missing, 'hour')} of the week in which nothing was measured.",
            class_="note",
        )
        if missing
        else join()
    )


def sections(report: Report) -> Iterator[Markup]:
    yield cost(report)
    yield pools(report)
    yield hours_of_week(report)
