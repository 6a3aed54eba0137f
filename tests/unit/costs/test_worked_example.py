"""The worked example of docs/savings.md: its numbers are those of the page."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from slicewise.costs.cents import rounded
from slicewise.costs.prices import Prices
from slicewise.costs.reckon import reckon
from slicewise.costs.report import Cost, Report

from tests.support.costs.days import SINCE, UNTIL, example

PAGE = (Path(__file__).parents[3] / "docs" / "savings.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([a-zN ]+) \|[^|]*\|[^|]*\| ([^|]*\d[^|]*) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def found() -> Report:
    return reckon([example()], Prices(), SINCE, UNTIL)


def usd(value: Fraction) -> str:
    return f"${rounded(value) / 100:.2f}"


def cost(value: Cost) -> str:
    return f"{float(value.gpu_hours):g} GPU-hours, {usd(value.usd)}"


def test_each_figure_of_the_page_is_what_is_reckoned(found):
    total = found.total
    reckoned = {
        "total": cost(total.total),
        "used": cost(total.used),
        "unmeasured": cost(total.unmeasured),
        "idle": cost(total.idle),
        "free": cost(total.free),
        "busy": f"{found.busy:.0%}".replace("%", " %"),
        "whole": cost(found.whole),
        "sharing": usd(found.sharing.value),
        "nights": usd(found.nights_usd),
        "saved": usd(found.headline.value),
        "saved share": f"{float(found.headline_share.value):.0%}".replace("%", " %"),
        "bound": cost(found.bound),
        "change of N": cost(found.changes[0].saved),
    }

    assert dict(ROW.findall(PAGE)) == reckoned


def test_aws_s_split_of_the_page_is_what_is_reckoned(found):
    rows = {f"`{row.key[0]}`" if row.key[0] else "no pod": row for row in found.by_namespace}
    shown = re.findall(r"^\| (\S+|no pod) \| (\$[\d.]+) \| (\$[\d.]+) \|$", PAGE, re.MULTILINE)

    assert shown == [(name, usd(row.parts.total.usd), usd(row.aws_split)) for name, row in rows.items()]
