"""Metrics and their dashboard: off by default, and what is drawn is what reconciles report."""

from __future__ import annotations

import json
import re

import pytest
from slicewise.model.measures import NAMESPACE, PoolMeasures
from slicewise.planning.measures import measures
from slicewise.planning.outcome import Stage

from cdk_app.config import ROOT
from tests.infra.templates import spelt_out

DASHBOARD, FUNCTION = "AWS::CloudWatch::Dashboard", "AWS::Lambda::Function"
REPORTED = {
    (one.name, frozenset(name for name, _ in one.dimensions))
    for one in measures("a", "b", Stage.TUNING, (), (), [PoolMeasures("p", 4, 4, 1, 0.5, False)])
}


def searches(template) -> list[re.Match[str]]:
    body = json.loads(spelt_out(template.one(DASHBOARD).properties["DashboardBody"]))
    expressions = [
        metric["expression"] for widget in body["widgets"] for (metric,) in widget["properties"]["metrics"]
    ]
    return [re.search(r"\{([\w,]+)\} MetricName=\"(\w+)\"", one) for one in expressions]


def test_without_being_asked_there_are_neither_metrics_nor_a_dashboard(template):
    assert template.all(DASHBOARD) == []
    on = {one.properties["Environment"]["Variables"]["CLOUDWATCH_METRICS"] for one in template.all(FUNCTION)}
    assert on == {""}


def test_with_a_dashboard_functions_report_what_it_draws(full):
    on = {one.properties["Environment"]["Variables"]["CLOUDWATCH_METRICS"] for one in full.all(FUNCTION)}

    assert on == {"on"}
    assert full.one(DASHBOARD).properties["DashboardName"] == "slicewise"


def test_each_widget_draws_a_metric_that_is_reported_and_each_metric_is_drawn(full):
    drawn = set()
    for found in searches(full):
        namespace, *dimensions = found[1].split(",")
        assert namespace == NAMESPACE
        drawn.add((found[2], frozenset(dimensions)))

    assert drawn == REPORTED


@pytest.mark.parametrize("per", ["NodePool", "cluster"])
def test_synthesis_and_documentation_say_what_metrics_cost_a_month(full, per):
    """In CloudWatch's first tier, 0.30 $ a metric and month. Three functions report of a cluster."""
    pools = [one for one in REPORTED if "NodePool" in one[1]]
    by_capability = [one for one in REPORTED if "Capability" in one[1]]
    metrics = len(pools) if per == "NodePool" else len(REPORTED) - len(pools) + 2 * len(by_capability)

    told = f"{0.30 * metrics:.2f} $ for a {per}"
    assert told in json.dumps(notes(full))
    assert told in (ROOT / "docs/dashboards.md").read_text()


def notes(template) -> object:
    manifest = json.loads((template.assembly / "manifest.json").read_text())
    found = manifest["artifacts"]["Slicewise"]
    extra = template.assembly / found.get("additionalMetadataFile", "missing")
    return [found.get("metadata"), json.loads(extra.read_text()) if extra.exists() else None]
