"""The real Prometheus as a process: which it is, where it listens, what it keeps, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from slicewise.errors import Unavailable
from slicewise.gateways.prometheus import PrometheusMetrics

from sandbox.artifacts import prometheus_binary
from sandbox.metrics import remote_write
from sandbox.metrics.prometheus import Prometheus, Refused
from sandbox.metrics.remote_write import Samples
from sandbox.processes import is_recorded_alive
from tests.support import functions_aws
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[3]
AT = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
START_AND_WAIT = """
import sys, time
from pathlib import Path
from sandbox.metrics.prometheus import Prometheus
Prometheus.start(Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""


def value(prometheus: Prometheus, query: str) -> str | None:
    found = prometheus.ask("query", query=query, time=AT)["data"]["result"]
    return found[0]["value"][1] if found else None


def test_it_is_the_version_that_its_module_file_requires():
    """The project calls v0.316.0 of its module 3.16.0."""
    required = re.fullmatch(r"v0\.(\d)(\d\d)\.(\d+)", prometheus_binary.PROMETHEUS.version)
    assert required

    said = subprocess.run([prometheus_binary.command(), "--version"], capture_output=True, text=True).stdout

    assert f"version {required[1]}.{int(required[2])}.{required[3]} " in said


def test_it_begins_empty_and_what_ran_in_its_folder_ends(tmp_path: Path):
    with Prometheus.start(tmp_path) as first:
        first.put("busy", {}, [(AT, 1.0)])
        assert value(first, "busy") == "1"

        with Prometheus.start(tmp_path) as second:
            assert value(second, "busy") is None
            with pytest.raises(Unavailable):
                port, now = PrometheusMetrics(first.url, functions_aws.session()), datetime.now(UTC)
                list(port.read("gpu-1", now - timedelta(days=1), now, timedelta(minutes=10)))


def test_it_ends_with_the_process_that_started_it_however_that_ends(tmp_path: Path):
    launcher = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout and launcher.stdout.readline() == "ready\n"
    record = tmp_path / "processes" / "prometheus.json"
    assert is_recorded_alive(record)

    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()

    eventually(lambda: not is_recorded_alive(record))


def test_it_listens_on_loopback_alone(tmp_path: Path):
    with Prometheus.start(tmp_path) as prometheus:
        flags = prometheus.status("flags")

    assert re.fullmatch(r"127\.0\.0\.1:\d+", flags["web.listen-address"])


def test_more_samples_than_one_request_takes_are_all_written(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(remote_write, "BATCH", 4)
    series = [Samples("busy", {"gpu": str(gpu)}, [(AT - n, 1.0) for n in range(gpu)]) for gpu in range(1, 11)]
    assert len(list(remote_write.bodies(series))) > 10

    with Prometheus.start(tmp_path) as prometheus:
        prometheus.write(series)

        assert value(prometheus, "sum(count_over_time(busy[1m]))") == "55"


def test_what_it_does_not_take_is_an_error_with_its_words(tmp_path: Path):
    with Prometheus.start(tmp_path) as prometheus:
        prometheus.put("busy", {}, [(AT, 1.0)])

        with pytest.raises(Refused, match=r"400 .*duplicate sample"):
            prometheus.put("busy", {}, [(AT, 2.0)])
        with pytest.raises(Refused, match=r"400 .*(out of bounds|too old)"):
            prometheus.put("busy", {}, [(AT - 100 * 86400, 2.0)])
