"""
The Grafana dashboard for people with a Prometheus: valid, bound to no data source, with data in each query.

Prometheus is real. What it holds are pages of the exporters: DCGM's as tests/unit/tuning/usage/expositions
has them, and one that kube-state-metrics 2.20.0 gave of three nodes and six pods of a control plane.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from sandbox.metrics.prometheus import Prometheus
from tests.support.tuning import expositions
from tests.support.tuning.dcgm_samples import exposed

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "examples/grafana/slicewise.json").read_text())
STATE = Path(__file__).with_name("kube-state-metrics-2.20.0.prom").read_text()
DCGM = ("4.4.2-virtual-gpus", "4.5.3-virtual-gpus", "after-4.5.3-virtual-gpus")
NODES = ("n-1", "n-2", "n-3")
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.fixture(scope="module", params=DCGM)
def prometheus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """What was scraped a minute ago: each node has one GPU with two pods, as the exporter names them."""
    at = time.time() - 60
    with Prometheus.start(tmp_path_factory.mktemp("prometheus")) as server:
        for node in NODES:
            page = exposed(request.param, 0, node=node).replace("GPU-5e2c", f"GPU-{node}")
            target = {"pod": f"dcgm-{node}", "namespace": "gpu-operator", "instance": f"{node}:9400"}
            server.write(expositions.scraped(page, at, target))
        server.write(expositions.scraped(STATE, at))
        yield server


def test_no_two_queries_have_one_name():
    assert len(QUERIES) == sum(len(panel["targets"]) for panel in DASHBOARD["panels"])


def asked(prometheus: Prometheus, expression: str, node_pool: str = ".+") -> list[dict[str, Any]]:
    answer = prometheus.ask("query", query=expression.replace("$nodepool", node_pool))
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


def by(found: list[dict[str, Any]], *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(one["metric"].get(name, "") for name in labels): float(one["value"][1]) for one in found}


@pytest.mark.sandbox
@pytest.mark.parametrize("query", QUERIES)
def test_each_query_returns_data(prometheus, query):
    assert asked(prometheus, QUERIES[query])


@pytest.mark.sandbox
def test_figures_are_those_of_the_nodes_and_pods(prometheus):
    """Four pods run, on three GPUs, one is pending, and one that has ended holds no slice."""
    pool = "label_karpenter_sh_nodepool"
    found = {name: asked(prometheus, expression) for name, expression in QUERIES.items()}

    assert by(found["GPUs by NodePool A"], pool) == {("slicewise-shared-l4",): 2, ("slicewise-whole-l4",): 1}
    assert by(found["GPUs A"]) == {(): 3}
    assert by(found["Slices in use A"]) == {(): 4}
    assert by(found["GPUs saved A"]) == {(): 1}
    assert by(found["Slices per GPU (N) A"], pool) == {
        ("slicewise-shared-l4",): 4,
        ("slicewise-whole-l4",): 1,
    }
    assert by(found["Slices offered and in use B"], pool) == {
        ("slicewise-shared-l4",): 3,
        ("slicewise-whole-l4",): 1,
    }
    assert by(found["Slices in use by namespace A"], "namespace") == {("team",): 3, ("research",): 1}
    assert by(found["Pods that wait, by namespace A"], "namespace") == {("team",): 1}
    assert by(found["GPUs busy A"], pool) == {("slicewise-shared-l4",): 60, ("slicewise-whole-l4",): 60}
    assert by(found["GPU memory in use A"], pool)["slicewise-shared-l4",] == 8400


@pytest.mark.sandbox
def test_the_filter_shows_one_node_pool(prometheus):
    found = asked(prometheus, QUERIES["GPUs by NodePool A"], "slicewise-whole-l4")

    assert by(found, "label_karpenter_sh_nodepool") == {("slicewise-whole-l4",): 1}


# The file


def test_it_is_imported_into_any_grafana_with_whatever_data_source_it_has():
    """No id of ours or of anyone's: the person who imports it chooses."""
    assert DASHBOARD["id"] is None and "uid" not in DASHBOARD
    assert isinstance(DASHBOARD["schemaVersion"], int) and DASHBOARD["title"]
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["nodepool"]["datasource"] == DATA_SOURCE
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"] == DATA_SOURCE
        assert all(target["datasource"] == DATA_SOURCE for target in panel["targets"])


def test_panels_have_ids_of_their_own_and_lie_beside_one_another():
    panels = DASHBOARD["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    for one in panels:
        assert one["title"] and one["description"]
        assert len({target["refId"] for target in one["targets"]}) == len(one["targets"])
        assert one["gridPos"]["x"] + one["gridPos"]["w"] <= 24
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


def test_queries_use_no_variable_that_is_not_there():
    names = {one["name"] for one in DASHBOARD["templating"]["list"]}

    used = {
        name for query in QUERIES.values() for name in re.findall(r"\$(\w+)", query) if not name.isdigit()
    }
    assert used == {"nodepool"} <= names
