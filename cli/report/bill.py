"""
A bill beside a report: which instances AWS charged, for how long and what, against what reconciles saw. Pure.

Two exports of AWS Data Exports are read, FOCUS 1.2 and CUR 2.0. What an instance costs is its effective cost:
with Savings Plans and reservations spread over what they cover, without credits, refunds and taxes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction

from slicewise.costs.day import DAY_SECONDS
from slicewise.errors import Refused

Line = Mapping[str, object]

# An ARN of an instance ends with it.
_INSTANCE = re.compile(r"(?:^|/)(i-[0-9a-f]{8,17})$")
_TYPE = re.compile(r"\b[a-z][a-z0-9]*(?:-[a-z0-9]+)?\.(?:metal|nano|micro|small|medium|\d*x?large)\b")
# Of EC2's usage types those that are an instance's hours: BoxUsage, SpotUsage, DedicatedUsage, HostBoxUsage.
_HOURS = re.compile(r"(?:^|-)(?:Box|Spot|Dedicated|HostBox)Usage(?::|$)")
_UNITS = frozenset({"hrs", "hr", "hour", "hours", ""})


@dataclass(frozen=True)
class Charge:
    """
    What one line charges for an instance's time.

    Attributes:
        begin, end: Seconds.
        usd: In the bill's currency.
    """

    instance: str
    instance_type: str
    region: str
    begin: int
    end: int
    hours: Fraction
    usd: Fraction
    currency: str


class LeftOut(Exception):
    """Of a line that is no such charge; the message says what it is, "" of other services and resources."""

    def __init__(self, what: str = "", usd: Fraction = Fraction(0)):
        super().__init__(what)
        self.usd = usd


@dataclass(frozen=True)
class Format:
    """
    Attributes:
        period: Columns of a line's begin and end.
        month: Columns of the billing period's begin and end, and of its invoice, once there is one.
        needed, used: Columns without which it cannot be read, and those that are read where they are there.
        charge: Reads a line; raises LeftOut, or ValueError with what is wrong in it.
    """

    name: str
    period: tuple[str, str]
    month: tuple[str, str, str]
    needed: tuple[str, ...]
    used: tuple[str, ...]
    charge: Callable[[Line], Charge]


def _focus(line: Line) -> Charge:
    instance = _instance(line, "ResourceId")
    usage = _text(line, "SkuMeter") or _text(line, "x_UsageType")
    if usage and not _HOURS.search(usage):
        raise LeftOut()
    category, currency = _text(line, "ChargeCategory"), _text(line, "BillingCurrency")
    usd = _number(line, "EffectiveCost")
    if category != "Usage":
        raise LeftOut(f"{category} lines", usd)
    if _text(line, "ChargeClass") == "Correction":
        raise LeftOut("corrections of earlier bills", usd)
    if _text(line, "ConsumedUnit").lower() not in _UNITS:
        raise LeftOut()
    described = (usage, _text(line, "SkuPriceDetails"), _text(line, "ChargeDescription"))
    return Charge(
        instance,
        _type_in(described),
        _text(line, "RegionId"),
        _second(line, "ChargePeriodStart"),
        _second(line, "ChargePeriodEnd"),
        _number(line, "ConsumedQuantity"),
        usd,
        currency,
    )


FOCUS = Format(
    "FOCUS 1.2",
    ("ChargePeriodStart", "ChargePeriodEnd"),
    ("BillingPeriodStart", "BillingPeriodEnd", "InvoiceId"),
    (
        "ResourceId",
        "ChargeCategory",
        "EffectiveCost",
        "ConsumedQuantity",
        "BillingCurrency",
        "ChargePeriodStart",
        "ChargePeriodEnd",
    ),
    (
        "ChargeClass",
        "ConsumedUnit",
        "SkuMeter",
        "x_UsageType",
        "SkuPriceDetails",
        "ChargeDescription",
        "RegionId",
    ),
    _focus,
)

# What each sort of line of a CUR costs; net columns are there where the account has private discounts.
_EFFECTIVE = {
    "Usage": ("line_item_net_unblended_cost", "line_item_unblended_cost"),
    "SavingsPlanCoveredUsage": (
        "savings_plan_net_savings_plan_effective_cost",
        "savings_plan_savings_plan_effective_cost",
    ),
    "DiscountedUsage": ("reservation_net_effective_cost", "reservation_effective_cost"),
}


def _cur(line: Line) -> Charge:
    if _text(line, "split_line_item_parent_resource_id"):
        raise LeftOut("lines of split cost allocation, which repeat what instances cost")
    instance = _instance(line, "line_item_resource_id")
    usage, sort = _text(line, "line_item_usage_type"), _text(line, "line_item_line_item_type")
    if sort == "SavingsPlanNegation" or not _HOURS.search(usage):
        raise LeftOut()
    if sort not in _EFFECTIVE:
        raise LeftOut(f"{sort} lines", _number(line, "line_item_unblended_cost"))
    column = next((name for name in _EFFECTIVE[sort] if _text(line, name)), None)
    if column is None:
        raise LeftOut(f"{sort} lines without {_EFFECTIVE[sort][1]}, a column that the export lacks")
    return Charge(
        instance,
        _text(line, "product_instance_type") or _type_in((usage,)),
        _text(line, "product_region_code"),
        _second(line, "line_item_usage_start_date"),
        _second(line, "line_item_usage_end_date"),
        _number(line, "line_item_usage_amount"),
        _number(line, column),
        _text(line, "line_item_currency_code"),
    )


CUR = Format(
    "CUR 2.0",
    ("line_item_usage_start_date", "line_item_usage_end_date"),
    ("bill_billing_period_start_date", "bill_billing_period_end_date", "bill_invoice_id"),
    (
        "line_item_resource_id",
        "line_item_line_item_type",
        "line_item_usage_type",
        "line_item_usage_amount",
        "line_item_unblended_cost",
        "line_item_currency_code",
        "line_item_usage_start_date",
        "line_item_usage_end_date",
    ),
    (
        *(name for names in _EFFECTIVE.values() for name in names),
        "product_instance_type",
        "product_region_code",
        "split_line_item_parent_resource_id",
    ),
    _cur,
)


def format_of(columns: Iterable[str], file: str) -> Format:
    """
    Raises:
        Refused: It is none that is known, or lacks columns; the message names them.
    """
    there = frozenset(columns)
    if any(name.startswith("lineItem/") for name in there):
        raise Refused(f"--bill {file} is a legacy CUR. Export CUR 2.0 or FOCUS 1.2 with AWS Data Exports.")
    for one in (FOCUS, CUR):
        missing = [name for name in one.needed if name not in there]
        if not missing:
            return one
        if len(missing) < len(one.needed) - 1:
            lacks = f"is {one.name} without {', '.join(missing)}"
            raise Refused(f"--bill {file} {lacks}. Export these columns, too.")
    raise Refused(f"--bill {file} has the columns of neither FOCUS 1.2 nor CUR 2.0. Export one of them.")


@dataclass
class Bill:
    """
    Charges of all lines of one file, or several.

    Attributes:
        sources: File and format, of each file.
        days: Hours and cost by instance and the second at which a day begins.
        types: Of each instance.
        currencies: That lines have.
        months: From when to when it has all lines of a month, by the second at which that begins: from the
            billing period's begin to the newest line, or to the period's end once there is an invoice.
        unreadable: How many lines could not be read, and where the first is.
        left_out: How many lines were no charges of instances, by what they are, and their sum.
    """

    sources: list[str] = field(default_factory=list)
    days: dict[tuple[str, int], tuple[Fraction, Fraction]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    currencies: set[str] = field(default_factory=set)
    months: dict[int, tuple[int, int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_usd: dict[str, Fraction] = field(default_factory=dict)
    unreadable: int = 0
    first_unreadable: str = ""

    def add(self, charge: Charge, regions: frozenset[str]) -> None:
        self.cover(charge.begin, charge.end)
        if charge.region and charge.region not in regions:
            self.leave_out(LeftOut("lines of other Regions"))
            return
        day = charge.begin - charge.begin % DAY_SECONDS
        if charge.end > day + DAY_SECONDS:
            self.leave_out(LeftOut("lines of more than a day. Export it by hour or by day", charge.usd))
            return
        self.currencies.add(charge.currency)
        self.types[charge.instance] = charge.instance_type or self.types.get(charge.instance, "")
        hours, usd = self.days.get((charge.instance, day), (Fraction(0), Fraction(0)))
        self.days[charge.instance, day] = hours + charge.hours, usd + charge.usd

    def cover(self, begin: int, end: int) -> None:
        """Of one month: between files of two that are not in a row nothing is covered."""
        first, last = self.months.get(_month(begin), (begin, end))
        self.months[_month(begin)] = min(first, begin), max(last, end)

    def has_all_of(self, day: int) -> bool:
        """
        Args:
            day: Second at which it begins.
        """
        first, last = self.months.get(_month(day), (day, day))
        return first <= day and day + DAY_SECONDS <= last

    def leave_out(self, one: LeftOut) -> None:
        what = str(one)
        self.left_out[what] += 1
        self.left_out_usd[what] = self.left_out_usd.get(what, Fraction(0)) + one.usd


def _month(second: int) -> int:
    begin = datetime.fromtimestamp(second, UTC).replace(day=1, hour=0, minute=0, second=0)
    return int(begin.timestamp())


def read(
    bill: Bill, file: str, columns: Iterable[str], lines: Iterable[Line], regions: frozenset[str]
) -> None:
    """
    Adds a file's lines to a bill.

    Raises:
        Refused: The file is no bill that is known, or is of another format than those before.
    """
    found = format_of(columns, file)
    if any(not source.endswith(f"({found.name})") for source in bill.sources):
        raise Refused(
            f"--bill {file} is {found.name}, and {bill.sources[0]} is not. Pass files of one format."
        )
    bill.sources.append(f"{file} ({found.name})")
    for number, line in enumerate(lines, 2):
        try:
            _cover(bill, found, line)
            bill.add(found.charge(line), regions)
        except LeftOut as one:
            bill.leave_out(one)
        except ValueError as error:
            bill.unreadable += 1
            bill.first_unreadable = bill.first_unreadable or f"{file} line {number}: {error}"


def _cover(bill: Bill, one: Format, line: Line) -> None:
    """Fees of a month say nothing of how far the month's lines go."""
    begin, end = (_second(line, column) for column in one.period)
    if end - begin > DAY_SECONDS:
        return
    start, stop, invoice = one.month
    first = _second(line, start) if _text(line, start) else begin
    bill.cover(first, end)
    if _text(line, stop) and _text(line, invoice):
        bill.cover(first, _second(line, stop))


def _text(line: Line, column: str) -> str:
    value = line.get(column)
    return "" if value is None else str(value).strip()


def _instance(line: Line, column: str) -> str:
    found = _INSTANCE.search(_text(line, column))
    if not found:
        raise LeftOut()
    return found[1]


def _number(line: Line, column: str) -> Fraction:
    text = _text(line, column)
    try:
        return Fraction(text or "0")
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{column} is {text!r}, which is no number") from error


def _second(line: Line, column: str) -> int:
    value = line.get(column)
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(_text(line, column))
    except ValueError as error:
        raise ValueError(f"{column} is {value!r}, which is no time") from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _type_in(texts: Iterable[str]) -> str:
    """The machine's type, in whatever of these names it."""
    for text in texts:
        if text.startswith("{"):
            text = _of_details(text)
        if found := _TYPE.search(text):
            return found[0]
    return ""


def _of_details(text: str) -> str:
    try:
        return str(json.loads(text).get("InstanceType", ""))
    except (ValueError, AttributeError):
        return ""
