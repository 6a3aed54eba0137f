"""A report for people, as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from slicewise.costs.cents import cents, rounded
from slicewise.costs.notes import AWS_DIFFERS
from slicewise.costs.report import BillCheck, BillLine, Effect, Interval, Parts, Report, Row
from slicewise.costs.wastes import sentences, wastes

MOST_ROWS, MOST_EVENTS = 12, 15
_ALL, _NO_POD = "all", "(no pod)"
_FIGURES = ("GPU-hours", "busy", "used", "idle", "unmeas.", "free", "$")
_KINDS = {"n": "N"}


def lines(report: Report) -> Iterator[str]:
    yield from _headline(report)
    if not report.total.total.gpu_hours:
        yield "  No GPU machine was there."
    else:
        yield from _parts(report)
        yield from _tables(report)
        yield from _wastes(report)
    yield from _changes(report)
    yield from _nights(report)
    if report.bill:
        yield from _bill(report.bill)
    yield from _notes(report)


def _headline(report: Report) -> Iterator[str]:
    clusters = ", ".join(report.clusters)
    yield f"{clusters}: {report.since:%Y-%m-%d} to {report.until:%Y-%m-%d %H:%M} UTC"
    share = report.headline_share
    saved = [report.sharing.value, report.nights_usd]
    sharing, nights = cents(saved, rounded(report.headline.value))
    yield (
        f"  Saved {_interval(report.headline)}, {float(share.value):.0%} of what would have been paid: "
        f"sharing {_signed(sharing)}, nights {_signed(nights)}."
    )
    least = "at least " if report.unpriced else ""
    paid, hours = _usd(report.total.total.usd), _hours(report.total.total.gpu_hours)
    busy = (
        "nothing was measured" if report.busy is None else f"busy {_share(report.busy)} of the measured time"
    )
    yield f"  Paid {least}{paid} for {hours} GPU-hours, {busy}."
    whole = f"{_usd(report.whole.usd)} for {_hours(report.whole.gpu_hours)} GPU-hours"
    yield f"  The same pods on whole GPUs: {whole}."
    yield f"  No placement of these pods could cost less than {_usd(report.bound.usd)}."
    yield f"  Prices: {report.terms}"


def _interval(found: Interval) -> str:
    if found.least == found.most:
        return _usd(found.value)
    return f"{_usd(found.value)} (between {_usd(found.least)} and {_usd(found.most)})"


def _parts(report: Report) -> Iterator[str]:
    shown = cents([part.usd for part in report.total])
    hours = [part.gpu_hours for part in report.total]
    names = ("used", "idle", "unmeasured", "free")
    rows = [[name, _hours(one), _cents(usd)] for name, one, usd in zip(names, hours, shown, strict=True)]
    total = [_ALL, _hours(sum(hours, Fraction(0))), _cents(sum(shown))]
    yield ""
    yield from table(("what was paid for", "GPU-hours", "$"), [*rows, total])
    for cluster, seconds in report.machine_seconds.items():
        yield f"  {cluster}: {seconds:,} machine-seconds, each at its machine's price, are that sum's part."


def _tables(report: Report) -> Iterator[str]:
    yield from _table("cluster, pool", report.by_pool, " ".join)
    team = f"team ({report.team_label})"
    yield from _table(team, report.by_team, _named, aws=True) if report.by_team else ()
    yield from _table("namespace", report.by_namespace, _named, aws=True)
    yield from _table("workload", report.by_workload, _named, aws=True)
    yield f"  {AWS_DIFFERS}"


def _named(key: tuple[str, ...]) -> str:
    return " ".join(key).strip() or _NO_POD


def _table(
    what: str, rows: Sequence[Row], name: Callable[[tuple[str, ...]], str], aws: bool = False
) -> Iterator[str]:
    """The largest rows, then the sum of the others, so that what is shown adds up."""
    shown = shown_cents(rows)
    split = cents([row.aws_split or Fraction(0) for row in rows])
    titles = (what, *_FIGURES, *(["AWS split $"] if aws else []))
    body = []
    for row, parts, its in zip(rows, shown, split, strict=True):
        figures = [_cents(one) for one in (*parts, sum(parts))]
        split_ = [_cents(its) if row.aws_split is not None else "?"] if aws else []
        body.append([name(row.key), _hours(row.parts.total.gpu_hours), _share(row.busy), *figures, *split_])
    yield ""
    yield from table(titles, body[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        rest = sum(sum(parts) for parts in shown[MOST_ROWS:])
        yield f"  and {len(rows) - MOST_ROWS} more rows, {_cents(rest)} $ in all; --json and --csv have each"


def shown_cents(rows: Sequence[Row]) -> list[list[int]]:
    """Cents by row and part: each column adds up to the total's cents, a row to what it shows."""
    total = sum((row.parts for row in rows), Parts())
    columns = [
        cents([row.parts[place].usd for row in rows], of_all)
        for place, of_all in enumerate(cents([part.usd for part in total]))
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _wastes(report: Report) -> Iterator[str]:
    if found := sentences(report, wastes(report)):
        yield ""
        yield "Largest wastes"
        yield from (f"  {place}. {one}" for place, one in enumerate(found, 1))


def _changes(report: Report) -> Iterator[str]:
    if report.changes:
        yield ""
        yield "Changes, and what each brought until the next one"
        yield from (f"  {_change(one)}" for one in report.changes[-MOST_EVENTS:])
    if len(report.changes) > MOST_EVENTS:
        yield f"  and {len(report.changes) - MOST_EVENTS} before; --json has each"


def _change(one: Effect) -> str:
    steps = f" {one.before or '?'} to {one.after}" if one.after else ""
    saved = f", {_usd(one.saved.usd)} saved" if one.saved else ""
    why = f": {one.why}" if one.why else ""
    what = f"{one.cluster} {one.what}: {_KINDS.get(one.kind, one.kind)}"
    return f"{one.at:%Y-%m-%d %H:%M}  {what}{steps}{saved}{why}"


def _nights(report: Report) -> Iterator[str]:
    if report.nights:
        yield ""
        hours = sum(one.node_hours for one in report.nights)
        yield f"Nights: {len(report.nights)}, {hours:,.1f} node-hours, {_usd(report.nights_usd)}"


def _bill(found: BillCheck) -> Iterator[str]:
    yield ""
    yield f"Against the bill {found.source}: {found.equal} instances alike, {len(found.lines)} not"
    rows = [_bill_row(one) for one in found.lines[:MOST_ROWS]]
    if rows:
        yield from table(("instance", "type", "hours seen", "billed", "$ seen", "billed"), rows)
    if len(found.lines) > MOST_ROWS:
        yield f"  and {len(found.lines) - MOST_ROWS} more; --json has each"
    if any(one.seen_hours is None for one in found.lines):
        yield "  Where hours seen are missing, no reconcile saw the instance: it may be of another cluster."
    yield from (f"  {note}" for note in found.notes)


def _bill_row(one: BillLine) -> list[str]:
    hours = ("-" if value is None else _hours(value) for value in (one.seen_hours, one.billed_hours))
    usd = ("-" if value is None else _cents(rounded(value)) for value in (one.seen_usd, one.billed_usd))
    return [one.instance, one.instance_type or "?", *hours, *usd]


def _notes(report: Report) -> Iterator[str]:
    if report.notes:
        yield ""
        yield "Note"
        yield from (f"  {note}" for note in report.notes)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        first, *figures = (
            f"{cell:{'<' if not place else '>'}{widths[place]}}" for place, cell in enumerate(row)
        )
        yield f"  {first}  {'  '.join(figures)}".rstrip()


def _usd(value: Fraction) -> str:
    return _signed(rounded(value))


def _signed(amount: int) -> str:
    return f"{'-' if amount < 0 else ''}${_cents(abs(amount))}"


def _cents(amount: int) -> str:
    return f"{'-' if amount < 0 else ''}{abs(amount) // 100:,}.{abs(amount) % 100:02}"


def _hours(value: Fraction) -> str:
    return f"{float(value):,.1f}"


def _share(value: float | None) -> str:
    return "?" if value is None else f"{value:.0%}"
