"""
A real Prometheus on this machine, ready in half a second, that is written to and scrapes what it is told to.

    with Prometheus.start(folder) as prometheus:
        prometheus.put("DCGM_FI_DEV_GPU_UTIL", {"gpu": "0"}, [(at, 60.0)])

Each start begins empty. What lies in the past is written by Prometheus' own remote write, which takes any
time and any label as they are: OTLP would rename metrics and add labels, and blocks that `promtool` makes are
seen after a restart only. Samples may come in any order, within 60 days of the newest.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import urllib3

from sandbox.artifacts import prometheus_binary
from sandbox.cluster import free_ports
from sandbox.metrics import remote_write
from sandbox.metrics.remote_write import Samples
from sandbox.processes import Children, end_recorded

READY_SECONDS = 30.0
OUT_OF_ORDER = "60d"


class Refused(Exception):
    """Prometheus did not take what was written; the message has its words."""


class Prometheus:
    """
    A running Prometheus; `start` makes one.

    Attributes:
        url: Of its API.
        folder: Everything of it lies here, logs included.
    """

    def __init__(self, folder: Path, port: int):
        self.url, self.folder = f"http://127.0.0.1:{port}", folder
        self._children = Children(folder)
        self._http = urllib3.PoolManager(retries=False)

    @classmethod
    def start(
        cls,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *,
        progress: Callable[[str], None] = print,
    ) -> Prometheus:
        """
        Start it, and return when it answers.

        Args:
            folder: Its own: what an earlier start left there is ended and removed.
            config: Beside ours, as its configuration file has it: `scrape_configs`, `remote_read` and so on.

        Raises:
            BuildFailed: The first call builds it, and cannot.
            ChildDied: It ended while starting; the message holds the end of its log.
            TimeoutError: It did not become ready.
        """
        command = prometheus_binary.command(progress)
        end_recorded(folder)
        shutil.rmtree(folder / "data", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        port = free_ports.reserve()
        file = folder / "prometheus.yml"
        ours = {"storage": {"tsdb": {"out_of_order_time_window": OUT_OF_ORDER}}}
        file.write_text(json.dumps({**(config or {}), **ours}))  # JSON is YAML
        prometheus = cls(folder, port)
        flags = {
            "config.file": file,
            "storage.tsdb.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
            "scrape.discovery-reload-interval": "50ms",  # else the first scrape comes after five seconds
            "log.level": "warn",
        }
        arguments = ["--web.enable-remote-write-receiver", *(f"--{name}={to}" for name, to in flags.items())]
        prometheus._children.start("prometheus", [command, *arguments])
        try:
            prometheus._wait_until_ready()
        except BaseException:
            prometheus.close()
            raise
        return prometheus

    def put(self, name: str, labels: Mapping[str, str], points: Iterable[tuple[float, float]]) -> None:
        """Write one series; see `write`."""
        self.write([Samples(name, labels, points)])

    def write(self, series: Iterable[Samples]) -> None:
        """
        Write samples, which queries see from then on. Once more the same is no error.

        Raises:
            Refused: It takes one of them not: another value at a time that has one, a time that is too old or
                more than ten minutes ahead of the clock.
        """
        for body in remote_write.bodies(series):
            answer = self._http.request(
                "POST", f"{self.url}/api/v1/write", body=body, headers=remote_write.HEADERS
            )
            if answer.status not in (200, 204):
                raise Refused(f"{answer.status} {answer.data.decode(errors='replace').strip()}")

    def ask(self, path: str, **form: Any) -> dict[str, Any]:
        """What `/api/v1/<path>` answers to a form, errors too: `ask("query", query="up")["data"]`."""
        answer = self._http.request("POST", f"{self.url}/api/v1/{path}", fields=form, encode_multipart=False)
        return answer.json()

    def status(self, of: str) -> dict[str, Any]:
        """What it says of its own "flags", "config", "tsdb" and so on."""
        return self._http.request("GET", f"{self.url}/api/v1/status/{of}").json()["data"]

    def close(self) -> None:
        """End it; a second call does nothing."""
        self._http.clear()
        # Nothing to save: each start begins empty.
        self._children.stop("prometheus")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self._children.check()
            with suppress(urllib3.exceptions.HTTPError):
                if self._http.request("GET", f"{self.url}/-/ready", timeout=1.0).status == 200:
                    return
            time.sleep(0.02)
        raise TimeoutError(f"Prometheus in {self.folder} was not ready after {READY_SECONDS:.0f} s")

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
