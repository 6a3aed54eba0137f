"""Who paid for what: a table by team, namespace, workload, pool and cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from slicewise.costs.cents import cents
from slicewise.costs.report import Parts, Report, Row

from cli.report.figures import cents_table, hours, share, usd
from cli.report.html import formulas
from cli.report.html.markup import Markup
from cli.report.html.section import section, sentence
from cli.report.html.tables import Body, Cell, Column, named, sortable

_OF_PODS = ("used", "idle", "unmeasured")
_OF_MACHINES = (*_OF_PODS, "free")
_PARTS = {
    "used": Column("used", "Used", formulas.USED),
    "idle": Column("idle", "Idle", formulas.IDLE),
    "unmeasured": Column("unmeasured", "Not measured", formulas.UNMEASURED),
    "free": Column("free", "Free", formulas.FREE),
}


def sections(report: Report) -> Iterator[Markup]:
    yield _teams(report)
    pods = "What its pods held, in dollars. What no pod held belongs to none of them."
    yield _pods("namespaces", "By namespace", "Namespace", pods, report.by_namespace)
    yield _pods("workloads", "By workload", "Workload", pods, report.by_workload)
    machines = "What its machines cost, in dollars."
    yield _machines("by-pool", "By pool", "Pool", machines, report.by_pool)
    yield _machines("clusters", "By cluster", "Cluster", machines, report.by_cluster)


def _teams(report: Report) -> Markup:
    if not report.team_label:
        message = "No label names teams. Pass --team-label KEY to have costs by team."
        return section("teams", "By team", "", sentence(message))
    lede = f"What its pods held, in dollars, by their label {report.team_label}."
    return _pods("teams", "By team", "Team", lede, report.by_team)


def _pods(key: str, title: str, what: str, lede: str, rows: Sequence[Row]) -> Markup:
    named_rows, free = [row for row in rows if any(row.key)], [row for row in rows if not any(row.key)]
    if not named_rows:
        return section(key, title, lede, sentence("No pod held a GPU in this span."))
    columns = _columns(what, "Allocated", formulas.ALLOCATED, _OF_PODS)
    shown = _figures(named_rows, _OF_PODS, part_cents([*named_rows, *free]))
    body = Body(_rows(named_rows, shown), list(_foot(named_rows, free, shown)))
    return section(
        key, title, lede, sortable(key, f"Dollars {title[0].lower()}{title[1:]}", columns, body, "total")
    )


def _columns(what: str, total: str, formula: str, parts: Sequence[str]) -> list[Column]:
    return [
        Column("name", what, is_figure=False),
        Column("gpu-hours", "GPU-hours", formulas.GPU_HOURS),
        Column("total", total, formula),
        *(_PARTS[part] for part in parts),
        Column("busy", "Busy", formulas.BUSY),
        Column("memory", "Memory", formulas.MEMORY),
    ]


def _machines(key: str, title: str, what: str, lede: str, rows: Sequence[Row]) -> Markup:
    if not rows:
        return section(key, title, lede, sentence("No machine was there in this span."))
    columns = _columns(what, "Paid", formulas.PAID, _OF_MACHINES)
    shown = _figures(rows, _OF_MACHINES, part_cents(rows))
    foot = [_total("Total", rows, shown)]
    return section(
        key,
        title,
        lede,
        sortable(
            key, f"Dollars {title[0].lower()}{title[1:]}", columns, Body(_rows(rows, shown), foot), "total"
        ),
    )


def _figures(rows: Sequence[Row], parts: Sequence[str], totals: Sequence[int]) -> list[list[int]]:
    """Cents of each row and part, which add up both ways."""
    exact = [[getattr(row.parts, part).usd for part in parts] for row in rows]
    return cents_table(exact, totals[: len(parts)])


def part_cents(rows: Sequence[Row]) -> list[int]:
    """Cents of used, idle, not measured and free: the same in each table, and in all what was paid."""
    return total_cents(sum((row.parts for row in rows), Parts()))


def total_cents(total: Parts) -> list[int]:
    return cents([part.usd for part in total])


def _rows(rows: Sequence[Row], shown: Sequence[Sequence[int]]) -> list[list[Cell]]:
    pairs = sorted(zip(rows, shown, strict=True), key=lambda pair: (-sum(pair[1]), pair[0].key))
    return [_row(row, figures) for row, figures in pairs]


def _row(row: Row, figures: Sequence[int]) -> list[Cell]:
    gpu_hours = row.parts.total.gpu_hours
    return [
        Cell(named(row.key)),
        Cell(hours(gpu_hours), float(gpu_hours)),
        *(Cell(usd(figure), figure) for figure in (sum(figures), *figures)),
        _share(row.busy),
        _share(row.memory),
    ]


def _share(value: float | None) -> Cell:
    return Cell(share(value), -1.0 if value is None else value)


def _foot(rows: Sequence[Row], free: Sequence[Row], shown: Sequence[Sequence[int]]) -> Iterator[list[Cell]]:
    """What pods held, what none held, and both."""
    everything = [*rows, *free]
    held, unheld = sum(map(sum, shown)), part_cents(everything)[3]
    blanks = [Cell("")] * 5
    yield _total("Held by pods", rows, shown)
    yield [Cell("Held by no pod"), Cell(hours(_gpu_hours(free))), Cell(usd(unheld)), *blanks]
    yield [Cell("Paid"), Cell(hours(_gpu_hours(everything))), Cell(usd(held + unheld)), *blanks]


def _total(title: str, rows: Sequence[Row], shown: Sequence[Sequence[int]]) -> list[Cell]:
    columns = [sum(column) for column in zip(*shown, strict=True)]
    figures = (sum(columns), *columns)
    return [
        Cell(title),
        Cell(hours(_gpu_hours(rows))),
        *(Cell(usd(one)) for one in figures),
        Cell(""),
        Cell(""),
    ]


def _gpu_hours(rows: Sequence[Row]) -> Fraction:
    return sum((row.parts.total.gpu_hours for row in rows), Fraction(0))
