"""That parts add up to what machines cost, and how that compares with AWS's own figures and with the bill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from slicewise.costs.cents import cents
from slicewise.costs.report import BillCheck, BillLine, Parts, Report, Row

from cli.output import plural
from cli.report.figures import dollars, hours, price, usd
from cli.report.html import formulas
from cli.report.html.breakdown import total_cents
from cli.report.html.markup import Child, Markup, join, tag
from cli.report.html.section import section, sentence
from cli.report.html.tables import Body, Cell, Column, named, sortable

_NO_FIGURE = Cell("–", -1.0)


def sections(report: Report) -> Iterator[Markup]:
    yield _sum(report)
    yield _aws(report)
    yield _bill(report)


def _sum(report: Report) -> Markup:
    title, lede = "How it adds up", "Each machine's hours × its price, and the parts into which that is cut."
    if not report.by_machine:
        return section(
            "sum", title, lede, sentence("No machine was there in this span, so there is nothing to add up.")
        )
    return section(
        "sum",
        title,
        lede,
        _equation(report),
        tag("ul", list(_checks(report)), class_="checks"),
        _machines(report),
    )


def _equation(report: Report) -> Markup:
    used, idle, unmeasured, free = map(usd, total_cents(report.total))
    total = usd(sum(total_cents(report.total)))
    text = f"{used} used + {idle} idle + {unmeasured} not measured + {free} free = {total} paid"
    return tag("p", text, class_="sum")


def _checks(report: Report) -> Iterator[Markup]:
    """In exact fractions, before any rounding."""
    paid = report.total.total.usd
    yield _check("Machine-hours × price over all machines", _paid(report.by_machine), paid)
    yield _check("The sum over clusters", _paid(report.by_cluster), paid)
    yield _check("The sum over namespaces and what no pod held", _paid(report.by_namespace), paid)
    seconds = sum(report.machine_seconds.values())
    clusters = ", ".join(
        f"{name} {hours(Fraction(one, 3600))}" for name, one in sorted(report.machine_seconds.items())
    )
    yield tag(
        "li",
        f"{hours(Fraction(seconds, 3600))} machine-hours were counted, exactly {seconds:,} s: {clusters}.",
    )


def _paid(rows: Sequence[Row]) -> Fraction:
    return sum((row.parts for row in rows), Parts()).total.usd


def _check(what: str, found: Fraction, expected: Fraction) -> Markup:
    if found == expected:
        return tag("li", tag("span", f"{what} equals what was paid, exactly.", class_="holds"))
    text = f"{what} is {dollars(found)}, which differs from what was paid by {dollars(found - expected)}."
    return tag("li", tag("span", text, class_="differs"))


def _machines(report: Report) -> Markup:
    columns = [
        Column("name", "NodePool", is_figure=False),
        Column("type", "Machine", is_figure=False),
        Column("n", "N"),
        Column("gpu-hours", "GPU-hours", formulas.GPU_HOURS),
        Column("price", "$ a GPU-hour", "Price of a GPU-hour = the machine's price an hour ÷ its GPUs."),
        Column("paid", "Paid", formulas.PAID),
    ]
    shown = cents([row.parts.total.usd for row in report.by_machine], sum(total_cents(report.total)))
    pairs = sorted(zip(report.by_machine, shown, strict=True), key=lambda pair: -pair[1])
    foot = [Cell("Paid"), Cell(""), Cell(""), Cell(_all_hours(report)), Cell(""), Cell(usd(sum(shown)))]
    body = Body([_machine(row, amount) for row, amount in pairs], [foot])
    return sortable("machines", "Hours and price of each kind of machine", columns, body, "paid")


def _all_hours(report: Report) -> str:
    return hours(report.total.total.gpu_hours)


def _machine(row: Row, amount: int) -> list[Cell]:
    *around, kind, n = row.key
    total = row.parts.total
    each = total.usd / total.gpu_hours if total.gpu_hours else Fraction(0)
    return [
        Cell(named(around)),
        Cell(kind),
        Cell(n, float(n) if n.isdecimal() else -1.0),
        Cell(hours(total.gpu_hours), float(total.gpu_hours)),
        Cell(price(each) if each else "no price", float(each)),
        Cell(usd(amount), amount),
    ]


def _aws(report: Report) -> Markup:
    title = "Beside AWS's split cost"
    lede = "AWS's split cost allocation for EKS, reckoned for the same pods, beside what this report says."
    rows = [row for row in report.by_namespace if row.aws_split is not None]
    if not any(any(row.key) for row in rows):
        message = "There is nothing to compare: no pod held a GPU of a machine that has a price."
        return section("aws", title, lede, sentence(message))
    why = (
        "They differ because AWS goes by what pods request and not by what they use, counts a slice as a "
        "GPU, weighs a GPU 9 against 1 for CPU and memory, and spreads what no pod requested over those that "
        "requested some. Here a slice is 1 ÷ N of its GPU, and what no pod held has a row of its own."
    )
    return section("aws", title, lede, sentence(why), _aws_table(rows))


def _aws_table(rows: Sequence[Row]) -> Markup:
    columns = [
        Column("name", "Namespace", is_figure=False),
        Column("ours", "This report", formulas.OURS),
        Column("aws", "AWS's split cost", formulas.AWS_SPLIT),
        Column("difference", "Difference", formulas.DIFFERENCE),
    ]
    ours = cents([row.parts.total.usd for row in rows])
    theirs = cents([row.aws_split or Fraction(0) for row in rows])
    found = sorted(zip(rows, ours, theirs, strict=True), key=lambda one: -one[1])
    of_pods = [[Cell(named(row.key)), *_pair(mine, its)] for row, mine, its in found if any(row.key)]
    of_none = [[Cell("Held by no pod"), *_pair(mine, its)] for row, mine, its in found if not any(row.key)]
    foot = [*of_none, [Cell("Sum"), *_pair(sum(ours), sum(theirs))]]
    return sortable("aws-split", "Dollars by namespace", columns, Body(of_pods, foot), "ours")


def _pair(ours: int, theirs: int) -> list[Cell]:
    difference = theirs - ours
    sign = "+" if difference > 0 else ""
    figures = [Cell(usd(amount), amount) for amount in (ours, theirs)]
    return [*figures, Cell(sign + usd(difference), difference)]


def _bill(report: Report) -> Markup:
    title, lede = (
        "Beside the bill",
        "Machines as reconciles saw them, beside a cost export of AWS, joined by instance.",
    )
    if report.bill is None:
        message = "No bill was given. Pass --bill FILE, an export in FOCUS 1.2 or CUR 2.0, to compare."
        return section("bill", title, lede, sentence(message))
    return section("bill", title, lede, *_compared(report.bill))


def _compared(bill: BillCheck) -> Iterator[Child]:
    yield sentence(f"{bill.source}: {plural(bill.equal, 'instance')} agree, {len(bill.lines):,} differ.")
    if bill.currency != "USD":
        yield sentence(f"The bill is in {bill.currency}, so no dollars are compared.")
    if bill.notes:
        yield tag("ul", [tag("li", note) for note in bill.notes], class_="notes")
    if bill.lines:
        yield _bill_table(bill)


def _bill_table(bill: BillCheck) -> Markup:
    columns = [
        Column("name", "Instance", is_figure=False),
        Column("why", "What differs", is_figure=False),
        Column(
            "seen-hours",
            "Hours seen",
            "Hours seen = from the machine's creation to its deletion, by reconciles.",
        ),
        Column("billed-hours", "Hours billed", "Hours billed = the instance's usage in the bill."),
        Column("seen", "Paid", formulas.PAID),
        Column("billed", "Billed", "Billed = what the bill has for the instance, in its currency."),
    ]
    return sortable(
        "bill-lines", "Instances that differ", columns, Body([_line(one, bill) for one in bill.lines])
    )


def _line(one: BillLine, bill: BillCheck) -> list[Cell]:
    money = dollars if bill.currency == "USD" else _amount
    return [
        Cell(join(tag("span", one.instance_type, class_="within"), tag("span", one.instance, class_="name"))),
        Cell(_difference(one)),
        _optional(one.seen_hours, _amount),
        _optional(one.billed_hours, _amount),
        _optional(one.seen_usd, dollars),
        _optional(one.billed_usd, money),
    ]


def _difference(one: BillLine) -> str:
    if one.seen_hours is None:
        return "no reconcile saw it"
    return "not in the bill" if one.billed_hours is None else "hours or price"


def _amount(value: Fraction) -> str:
    return f"{float(value):,.2f}"


def _optional(value: Fraction | None, text: Callable[[Fraction], str]) -> Cell:
    return _NO_FIGURE if value is None else Cell(text(value), float(value))
