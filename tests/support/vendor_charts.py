"""Vendors' own charts for tests. Where NVIDIA's is not at hand, a test is skipped and says how to run it."""

from __future__ import annotations

import os
import tarfile
from typing import Any

import pytest
import yaml

from sandbox.artifacts import charts
from sandbox.artifacts.charts import Chart
from sandbox.libyaml import LOADER


def vendor_chart(name: str) -> Chart:
    """The vendor's own chart of that name, never a stand-in."""
    found = charts.chart(name)
    if not found.real:
        pytest.skip(
            f"needs NVIDIA's GPU Operator chart: {charts.FOLDER}=<folder with {name}-*.tgz> "
            f".venv/bin/python -m pytest '{_node_id()}'"
        )
    return found


def values(chart: Chart) -> dict[str, Any]:
    """A chart's values.yaml."""
    return yaml.safe_load(text(chart, "values.yaml"))


def definitions(chart: Chart) -> list[dict[str, Any]]:
    """The CRDs among a chart's templates, without what helm would fill in."""
    return [
        yaml.load("\n".join(line for line in text(chart, name).splitlines() if "{{" not in line), LOADER)
        for name in names(chart)
        if name.startswith("templates/") and name.endswith(".yaml")
    ]


def names(chart: Chart) -> list[str]:
    """Paths below the chart's own folder."""
    with tarfile.open(chart.path) as archive:
        return [member.name.partition("/")[2] for member in archive.getmembers()]


def text(chart: Chart, name: str) -> str:
    with tarfile.open(chart.path) as archive:
        member = next(m for m in archive.getmembers() if m.name.partition("/")[2] == name)
        return archive.extractfile(member).read().decode()


def _node_id() -> str:
    # "tests/a.py::test_b (call)", as pytest keeps it for whoever asks.
    return os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]
