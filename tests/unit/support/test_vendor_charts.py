"""A test that needs a chart which is not at hand is skipped with the line that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.artifacts import charts
from sandbox.artifacts.charts import Chart
from tests.support.vendor_charts import vendor_chart

MYSELF = (
    "tests/unit/support/test_vendor_charts.py::test_a_stand_in_skips_the_test_and_says_which_line_runs_it"
)


def has(monkeypatch: pytest.MonkeyPatch, *, real: bool) -> Chart:
    found = Chart(Path("gpu-operator-v1.tgz"), "v1", "a test", real)
    monkeypatch.setattr(charts, "chart", lambda name: found)
    return found


def test_a_stand_in_skips_the_test_and_says_which_line_runs_it(monkeypatch):
    has(monkeypatch, real=False)

    with pytest.raises(pytest.skip.Exception) as skipped:
        vendor_chart("gpu-operator")

    line = f"SLICEWISE_CHARTS=<folder with gpu-operator-*.tgz> .venv/bin/python -m pytest '{MYSELF}'"
    assert str(skipped.value).endswith(line)


def test_the_vendors_own_chart_is_what_it_returns(monkeypatch):
    found = has(monkeypatch, real=True)

    assert vendor_chart("gpu-operator") == found
