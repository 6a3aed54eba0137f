"""The ScaledObject of examples/llm-queue: what it wants, what is another of it here, and who reads it."""

from __future__ import annotations

import math
import re

import urllib3
import yaml

from sandbox.examples.catalog import named
from sandbox.examples.llm.requests import COST
from sandbox.examples.overlay import Change
from sandbox.examples.steps import pool
from sandbox.examples.world import ExampleCluster
from sandbox.metrics.prometheus import Prometheus

FOLDER = named("llm-queue").folder
# KEDA asks so often whether a target at 0 is needed, and leaves one that is not needed for so long.
POLL_SECONDS, COOLDOWN_SECONDS = 2, 5
# Over so long the query has the mean here, and the latency of requests is asked for.
WINDOW_SECONDS = 10
# Calls of its adapter as KEDA's operator counts them: one whenever an autoscaler reads a metric.
_READS = re.compile(r'^keda_\w+_handled_total\{.*grpc_method="GetMetrics".*\} (\S+)$', re.MULTILINE)


def changes(prometheus: str) -> tuple[Change, ...]:
    """What is another of it on this machine, where no replica loads a model for minutes."""
    trigger = "spec.triggers.0.metadata"
    return tuple(
        Change("ScaledObject", "chat", field, value, reason)
        for field, value, reason in (
            (f"{trigger}.serverAddress", prometheus, "Prometheus is on this machine"),
            (f"{trigger}.query", query(), f"the mean of {WINDOW_SECONDS} s, not of a minute"),
            ("spec.pollingInterval", POLL_SECONDS, "in place of 15 s"),
            ("spec.cooldownPeriod", COOLDOWN_SECONDS, "in place of 5 minutes"),
        )
    )


def wanted(in_flight: float, n: int) -> int:
    """Replicas, by docs/scaling_by_queue.md."""
    return math.ceil(in_flight * n / target())


def target() -> float:
    """Requests in flight that a GPU should have."""
    return float(_trigger()["threshold"])


def query() -> str:
    """As it is asked here."""
    return _trigger()["query"].replace("[1m:5s]", f"[{WINDOW_SECONDS}s:500ms]")


def load(prometheus: Prometheus) -> float:
    """What the query gives now; 0 where it gives nothing."""
    return value(prometheus, query()) or 0.0


def budget() -> float:
    """Seconds that a request may take by the policy."""
    # Rounded, since a request's parts add up to a hair less than a third of it.
    return round(float(pool(named("llm-queue"), "llm")["slowdownBudget"]) * COST.alone, 9)


def p95(prometheus: Prometheus, namespace: str, seconds: float = WINDOW_SECONDS) -> float | None:
    """Of whole requests that ended in the last seconds, in seconds; None where none did."""
    return _number(value(prometheus, _p95(namespace, seconds)))


def worst_p95(prometheus: Prometheus, namespace: str, seconds: float) -> float | None:
    """The highest p95 of WINDOW_SECONDS, asked for each of the last seconds; None where none ended."""
    windows = f"({_p95(namespace, WINDOW_SECONDS)})[{seconds:.0f}s:1s]"
    return _number(value(prometheus, f"max_over_time({windows})"))


def seconds_over(prometheus: Prometheus, namespace: str, bound: float, seconds: float) -> float:
    """In how many of the last seconds that p95 was higher than the bound."""
    windows = f"({_p95(namespace, WINDOW_SECONDS)} > bool {bound})[{seconds:.0f}s:1s]"
    return value(prometheus, f"sum_over_time({windows})") or 0.0


def _p95(namespace: str, seconds: float) -> str:
    buckets = f'vllm:e2e_request_latency_seconds_bucket{{namespace="{namespace}"}}[{seconds:.0f}s]'
    return f"histogram_quantile(0.95, sum by (le) (increase({buckets})))"


def _number(found: float | None) -> float | None:
    return None if found is None or math.isnan(found) else found


def value(prometheus: Prometheus, asked: str) -> float | None:
    """Of a query that gives one value or none."""
    found = prometheus.ask("query", query=asked)["data"]["result"]
    return float(found[0]["value"][1]) if found else None


def reads(cluster: ExampleCluster) -> int:
    """How often autoscalers have read a metric until now, all of them together."""
    url = f"http://{cluster.controllers.address('keda', 'metrics')}/metrics"
    return reads_of(urllib3.request("GET", url).data.decode())


def reads_of(page: str) -> int:
    """What a page of metrics of KEDA's operator says of them."""
    return sum(int(float(count)) for count in _READS.findall(page))


def _trigger() -> dict[str, str]:
    [trigger] = yaml.safe_load((FOLDER / "scaledobject.yaml").read_text())["spec"]["triggers"]
    found: dict[str, str] = trigger["metadata"]
    return found
