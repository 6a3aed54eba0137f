"""What a report's figures are in: dollars, or GPU-hours where no machine has a price."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from slicewise.costs.report import Cost, Report

from cli.report.figures import dollars, hours


class Unit(NamedTuple):
    """`mark` comes before a figure of an axis, or after it with a leading space."""

    field: str
    name: str
    mark: str

    def of(self, cost: Cost) -> Fraction:
        value: Fraction = getattr(cost, self.field)
        return value

    def text(self, value: Fraction) -> str:
        return dollars(value) if self.field == "usd" else f"{hours(value)} h"


USD, GPU_HOURS = Unit("usd", "dollars", "$"), Unit("gpu_hours", "GPU-hours", " h")


def unit_of(report: Report) -> Unit:
    total = report.total.total
    return GPU_HOURS if total.gpu_hours and not total.usd else USD
