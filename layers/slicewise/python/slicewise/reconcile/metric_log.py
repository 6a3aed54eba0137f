"""Metrics of a reconcile as lines of the function's log, in CloudWatch's embedded metric format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

from slicewise.model.measures import NAMESPACE, Measure

# Makes one of Powertools' EphemeralMetrics. A handler has it, since functions alone come with Powertools.
NewMetrics = Callable[..., Any]


def write(measures: Iterable[Measure], new_metrics: NewMetrics) -> None:
    """A line for each combination of dimensions: all metrics of one line have the same."""
    for dimensions, group in groupby(sorted(measures, key=_dimensions), key=_dimensions):
        # An empty service: else Powertools adds the function's as a dimension.
        line = new_metrics(namespace=NAMESPACE, service="")
        for name, value in dimensions:
            line.add_dimension(name, value)
        for measure in group:
            line.add_metric(measure.name, measure.unit, measure.value)
        line.flush_metrics()


def _dimensions(measure: Measure) -> tuple[tuple[str, str], ...]:
    return measure.dimensions
