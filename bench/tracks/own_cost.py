"""
The cost track: what Slicewise itself costs a month, for one cluster of ten machines with a GPU. Reckoned.

What is asked of CloudWatch is counted on the product's own code: the metrics of the alarms that it keeps, and
the queries of its gateway for one hour, against a client that counts. What it keeps of the costs of a day is
what its own code makes of such a cluster. How long passes take is taken from
`python -m bench coldstart` (their processor time, on the share of one that a function of that size has, and
their calls at 15 ms each); every pass is taken for a cold one. What it writes and logs is an estimate. Prices
are list prices of us-east-1, from memory: check them against your bill.

Free tiers are left out, but for CloudWatch's first million requests a month, which end for nobody: a cluster
makes 24,820 of them, and `requests_beyond_free_usd` is what they cost in an account that has used them up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from slicewise.costs.count.collect import counted
from slicewise.costs.count.lives import CostObservation, Measured
from slicewise.costs.day import DAY_SECONDS, Day, Machine, NodeLife, PodLife, Workload
from slicewise.costs.text import dump
from slicewise.gateways.cloudwatch_metrics import CloudWatchMetrics
from slicewise.model.cluster import EksCluster
from slicewise.policy.model import Policy
from slicewise.tuning import alarms
from slicewise.tuning.usage.pool_usage import STEP

MACHINES, PODS_A_MACHINE, PASSES = 10, 4, 730
USD_AT_MOST = 0.37  # half of what it was (d81a494)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
# Dollars, what for, and the page that says so.
PRICES: Mapping[str, tuple[float, str, str]] = {
    "alarm": (0.10, "a metric of an alarm and month", "CloudWatch pricing, alarms of standard resolution"),
    "metric": (0.01 / 1_000, "a metric read by GetMetricData", "CloudWatch pricing, APIs"),
    "request": (
        0.01 / 1_000,
        "another request to CloudWatch, beyond a million a month",
        "CloudWatch pricing, APIs and free tier: GetMetricData is none of the million",
    ),
    "arm_second": (0.0000133334, "a GB and second of a function on arm64", "Lambda pricing"),
    "x86_second": (0.0000166667, "a GB and second of a function on x86-64", "Lambda pricing"),
    "invocation": (0.20 / 1e6, "an invocation", "Lambda pricing"),
    "write": (0.625 / 1e6, "a KB written to the table", "DynamoDB pricing, on demand"),
    "read": (0.125 / 1e6, "4 KB read from the table", "DynamoDB pricing, on demand"),
    "message": (0.40 / 1e6, "a request to a queue", "SQS pricing, standard queues"),
    "log": (0.50 / 1e6, "a KB of a function's log", "CloudWatch pricing, logs"),
}
# Seconds: processor time of a cold pass on the share of a processor that 512 MB and 1 GB give (1,769 MB give
# one), and 20 or 25 calls at 15 ms. Tuning's to CloudWatch are counted apart, with 2 ms of processor time.
CALL_SECONDS, PROCESSOR_SHARE = 0.015, 0.29
TUNING_SECONDS = 0.25 / PROCESSOR_SHARE + 20 * CALL_SECONDS
ONBOARDING_SECONDS = 0.40 / 0.58 + 25 * CALL_SECONDS
REQUEST_SECONDS = CALL_SECONDS + 0.002 / PROCESSOR_SHARE
# KB of a pass: lease, record and details; and of what was measured.
WRITTEN, MEASURED, READ = 10, 12, 8
# Sent, received and deleted.
MESSAGE_REQUESTS, LOGGED_KB = 3, 2


@dataclass
class CountingCloudWatch:
    """Stands for botocore's client: it lists what Container Insights has of these machines, and counts."""

    machines: int
    requests: int = 0
    metrics: list[Mapping[str, Any]] = field(default_factory=list)

    def get_paginator(self, call: str) -> CountingCloudWatch:
        self._call = call
        return self

    def paginate(self, **asked: Any) -> Iterable[Mapping[str, Any]]:
        if self._call == "list_metrics":
            self.requests += 1
            yield {"Metrics": [self._metric(asked["MetricName"], number) for number in range(self.machines)]}
        else:
            self.metrics += asked["MetricDataQueries"]

    def get_metric_statistics(self, **asked: Any) -> Mapping[str, Any]:
        self.requests += 1
        return {"Datapoints": []}

    def _metric(self, name: str, number: int) -> Mapping[str, Any]:
        of_a_gpu = (
            {} if name == "node_gpu_usage_total" else {"InstanceType": "g6.xlarge", "GpuDevice": "nvidia0"}
        )
        found = {"ClusterName": "gpu-1", "NodeName": f"n-{number}", "InstanceId": f"i-{number}", **of_a_gpu}
        return {"Dimensions": [{"Name": key, "Value": value} for key, value in found.items()]}


def asked_of_cloudwatch(machines: int = MACHINES) -> tuple[int, int, int]:
    """Metrics of a cluster's alarms; metrics that an hourly pass reads, and its other requests."""
    arn = "arn:aws:eks:us-east-1:111122223333:cluster/gpu-1"
    cluster = EksCluster(arn, "gpu-1", "us-east-1", "111122223333", "ACTIVE", "1.36", "API", NOW)
    kept = alarms.wanted(cluster, Policy("any", pools=()))
    of_alarms = sum("MetricStat" in query for alarm in kept for query in alarm.settings["Metrics"])
    counting = CountingCloudWatch(machines)
    gateway = CloudWatchMetrics(None, "us-east-1")  # type: ignore[arg-type]
    gateway.__dict__["_cloudwatch"] = counting  # in the place of the client that it would make
    list(gateway.read("gpu-1", NOW - timedelta(hours=1) - STEP, NOW, STEP))
    # One DescribeAlarms beside.
    return of_alarms, len(counting.metrics), counting.requests + 1


def kb_of_costs(machines: int = MACHINES) -> int:
    """Of the item that has what a day's GPUs cost, at the end of the day."""
    chance, begin = random.Random(1), int(NOW.timestamp()) // DAY_SECONDS * DAY_SECONDS
    kind = Machine("slicewise-shared-l4", "shared", "g6.xlarge", "on-demand", "l4", 1, PODS_A_MACHINE)
    nodes, pods = dict[str, NodeLife](), dict[str, PodLife]()
    for _ in range(machines):
        name = f"ip-10-0-{chance.randrange(256)}-{chance.randrange(256)}.ec2.internal"
        nodes[name] = NodeLife(f"i-{chance.randrange(2**68):017x}", kind, begin - chance.randrange(10**6))
        for slot in range(PODS_A_MACHINE):
            owner = Workload("apps", "Deployment", f"team-{slot}", f"inference-{slot}")
            pod = f"team-{slot}/inference-{slot}-{chance.randrange(2**40):010x}-{chance.randrange(2**20):05x}"
            pods[pod] = PodLife(name, owner, 1, begin - chance.randrange(10**5), None, 1000, 4096)
    newest: Day | None = None
    for at in range(begin, begin + DAY_SECONDS, 3600):
        busy = Measured({step: chance.random() / 4 for step in range(at - 7200, at, 600)}, {}, 23_034)
        seen = CostObservation(at, at - 1200, nodes, pods, measured=_same(busy))
        newest = [newest, *counted(newest, seen)][-1]
    assert newest
    return -(-len(dump(newest).content) // 1000)


def _same(found: Measured) -> Callable[[str, PodLife], Measured]:
    return lambda key, life: found


def run() -> dict[str, Any]:
    of_alarms, metrics, requests = asked_of_cloudwatch()
    of_costs = kb_of_costs()
    # What for: how many of which price a month.
    counted: dict[str, Mapping[str, float]] = {
        "the cluster's alarms": {"alarm": of_alarms},
        "metrics that tuning reads": {"metric": PASSES * metrics},
        "onboarding passes": {"x86_second": PASSES * ONBOARDING_SECONDS, "invocation": PASSES},
        "tuning passes": {
            "arm_second": PASSES * 0.5 * (TUNING_SECONDS + requests * REQUEST_SECONDS),
            "invocation": PASSES,
        },
        "table": {
            "write": PASSES * (2 * WRITTEN + MEASURED + of_costs),
            "read": PASSES * (2 * READ + -(-of_costs // 4)),
        },
        "queues": {"message": PASSES * 2 * MESSAGE_REQUESTS},
        "logs": {"log": PASSES * 2 * LOGGED_KB},
    }
    rows = {
        name: sum(PRICES[price][0] * number for price, number in of_one.items())
        for name, of_one in counted.items()
    }
    total = sum(rows.values())
    return {
        "machines": MACHINES,
        "passes_a_month": PASSES,
        "counted": counted,
        "usd_a_month": rows,
        "total_usd": total,
        "requests_beyond_free_usd": PASSES * requests * PRICES["request"][0],
        "prices": {name: {"usd": usd, "for": what, "by": page} for name, (usd, what, page) in PRICES.items()},
        "usd_at_most": USD_AT_MOST,
        "holds": total <= USD_AT_MOST,
    }
