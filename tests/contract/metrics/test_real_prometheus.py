"""
DCGM's exporters read by a real Prometheus: what it scrapes, what it is sent, and what it says of itself.

Expositions are those of tests/unit/tuning/usage/expositions, which say what version and source they are
after.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from slicewise.gateways.prometheus import PrometheusMetrics
from slicewise.tuning.usage.evidence import Grade
from slicewise.tuning.usage.pool_usage import pool_use, read

from sandbox.aws.core.loopback import Handler, Server
from sandbox.metrics.prometheus import Prometheus
from tests.support import functions_aws
from tests.support.builders import NOW
from tests.support.tuning import dcgm_samples, expositions
from tests.support.tuning.dcgm_samples import POOL, contents, exposed, pod
from tests.support.tuning.series import in_one_piece
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox
SESSION = functions_aws.session()
OLD, NEW = "4.4.2-virtual-gpus", "4.5.3-virtual-gpus"
UTIL = "DCGM_FI_DEV_GPU_UTIL"
TARGET = {"pod": "nvidia-dcgm-exporter-x", "namespace": "gpu-operator", "container": "exporter"}


def by_labels(series):
    return {(one.name, frozenset(one.labels.items())): one for one in series}


def read_of(prometheus, end=NOW, *, days=7.0, step=timedelta(minutes=10)):
    port = PrometheusMetrics(prometheus.url, SESSION)
    return in_one_piece(port.read("gpu-1", end - timedelta(days=days), end, step))


# Remote write


@pytest.mark.parametrize(
    ("exposition", "grade"),
    [(OLD, Grade.DEVICE), (NEW, Grade.POD), ("after-4.5.3-virtual-gpus", Grade.POD)],
)
@pytest.mark.parametrize("honor_labels", [True, False])
def test_what_exporters_expose_is_the_evidence_that_unit_tests_take_it_for(
    real_prometheus, exposition, grade, honor_labels
):
    """Two days of pages, in the week before a fixed date, written from afar."""
    how = {"honor_labels": honor_labels, "target": TARGET}
    begin = NOW - timedelta(days=2)
    real_prometheus.write(
        sample
        for step in range(288)
        for sample in expositions.scraped(
            exposed(exposition, step),
            (begin + step * dcgm_samples.STEP + timedelta(seconds=30)).timestamp(),
            how["target"],
            honor_labels=honor_labels,
        )
    )

    series = read_of(real_prometheus)

    assert by_labels(series) == by_labels(dcgm_samples.scraped(exposition, **how))
    seen = contents(pod("a-0"), pod("b-0"))
    assert pool_use(read(series, "prometheus", seen), "prometheus", seen, NOW, POOL).grade is grade


# Scraping


class Exporter:
    """A page on loopback; None is a node that is gone."""

    def __init__(self):
        self.page: str | None = None
        self._server = Server(type("Page", (Handler,), {"do_GET": lambda handler: self._answer(handler)}))
        self.address = f"127.0.0.1:{self._server.port}"

    def _answer(self, handler):
        if self.page is None:
            handler.reply(503)
        else:
            handler.reply(200, self.page.encode(), {"Content-Type": "text/plain; version=0.0.4"})

    def close(self):
        self._server.close()


@pytest.fixture
def exporter():
    exporter = Exporter()
    yield exporter
    exporter.close()


def scraping(exporter, *, honor_labels=False, labels=TARGET):
    job = {
        "job_name": "dcgm",
        "scrape_interval": "1s",
        "honor_labels": honor_labels,
        "static_configs": [{"targets": [exporter.address], "labels": labels}],
    }
    return {"scrape_configs": [job]}


def now_of(prometheus, query):
    """Value by the name of the pod that was measured."""
    found = prometheus.ask("query", query=query)["data"]["result"]
    return {one["metric"].get("exported_pod"): one["value"][1] for one in found}


@pytest.mark.parametrize("exposition", [OLD, NEW])
@pytest.mark.parametrize("honor_labels", [True, False])
def test_a_scrape_names_pods_as_unit_tests_take_it_to(tmp_path, exporter, exposition, honor_labels):
    exporter.page = exposed(exposition)
    target = {**TARGET, "job": "dcgm", "instance": exporter.address}
    wanted = {
        (one.name, frozenset(one.labels.items()))
        for one in expositions.scraped(exporter.page, 0, target, honor_labels=honor_labels)
    }

    with Prometheus.start(tmp_path, scraping(exporter, honor_labels=honor_labels)) as prometheus:
        eventually(lambda: now_of(prometheus, UTIL), 30)
        answer = prometheus.ask("query", query='{__name__=~"DCGM_.*"}')["data"]["result"]

    found = [{**one["metric"]} for one in answer]
    assert {(one.pop("__name__"), frozenset(one.items())) for one in found} == wanted


def test_a_target_that_is_deleted_is_marked_and_its_last_step_stays(tmp_path, exporter):
    """An instant selector ends at the marker; without one it goes on for five minutes, unlike ours."""
    exporter.page = exposed(NEW)
    with Prometheus.start(tmp_path, scraping(exporter)) as prometheus:
        eventually(lambda: now_of(prometheus, UTIL), 30)
        exporter.page = None
        eventually(lambda: not now_of(prometheus, UTIL), 30)

        unmarked = datetime.now(UTC).timestamp() - 240
        prometheus.put(UTIL, {"exported_pod": "written"}, [(unmarked, 7.0)])
        assert now_of(prometheus, UTIL) == {"written": "7"}
        seen = read_of(
            prometheus, datetime.now(UTC) + timedelta(seconds=2), days=1 / 24, step=timedelta(seconds=1)
        )

    scraped = [one for one in seen if one.name == UTIL and one.labels.get("exported_pod") == "a-0"]
    written = [one for one in seen if one.labels.get("exported_pod") == "written"]
    assert {value for one in scraped for value in one.values} == {10.0}
    assert [len(one.times) for one in written] == [1]


# What it says of itself


def test_a_store_beyond_it_that_is_down_is_reported_with_the_series(tmp_path):
    """As where a Prometheus reads older days from elsewhere: it answers with what it has, and warns."""
    nowhere = {"remote_read": [{"url": "http://127.0.0.1:9/read", "read_recent": True}]}
    at = (NOW - timedelta(hours=3)).timestamp()

    with Prometheus.start(tmp_path, nowhere) as prometheus:
        prometheus.put(UTIL, {"Hostname": "n-1"}, [(at, 1.0)])
        [series] = read_of(prometheus)

    assert "127.0.0.1:9" in series.incomplete
