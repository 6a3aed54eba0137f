"""
The metrics side of a tuning pass over a large cluster: its peak of memory, and its seconds of CPU.

5,000 machines with one GPU and ten pods each in 40 NodePools, measured by DCGM through a Prometheus whose
answers are made up, on loopback. `first` is a pass that knows nothing yet, `hourly` one with a week in the
table. Each runs in a process of its own. EKS, the cluster's objects and the table are stood in for, so the
objects are there before it begins; `objects` is a process that has nothing else.
"""

from __future__ import annotations

import gzip
import json
import pickle
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from slicewise.costs.day import DAY_SECONDS, Day
from slicewise.costs.text import dump
from slicewise.hardware.gpus import VIDEO_KINDS
from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.ref import Object
from slicewise.model.cluster import Series
from slicewise.model.costs import CostDay
from slicewise.model.usage import Page
from slicewise.policy import model as policy
from slicewise.pools import layout
from slicewise.ports import Metrics, NoCosts

from sandbox.aws.core.loopback import Handler

NOW = datetime(2026, 11, 24, 10, 7, tzinfo=UTC)
GPUS, PODS_A_GPU, NODE_POOLS, WORKLOADS = 5_000, 10, 40, 1_000
# What a function of 512 MB has of a CPU: Lambda gives a whole one for 1,769 MB.
LAMBDA_MIB, LAMBDA_CPU = 512, 512 / 1769
LAMBDA_SECONDS = 300
POLICY_TEXT = "pools:\n" + "".join(
    f"  p{number:02}: {{sharing: time-slicing, gpus: [l4], replicas: {{start: {PODS_A_GPU}, max: 16}}, "
    f"maxGpus: {GPUS}}}\n"
    for number in range(NODE_POOLS)
)
POLICY_TEXT += "mode: recommend\nmetrics: {source: prometheus, endpoint: 'ENDPOINT'}\n"


def run(gpus: int = GPUS, workloads: int = WORKLOADS) -> dict[str, Any]:
    size = {"gpus": gpus, "workloads": workloads}
    found: dict[str, Any] = {**size, "pods": gpus * PODS_A_GPU, "node_pools": NODE_POOLS}
    server = get_context("spawn").Process(target=_serve, args=(size, port := _free_port()), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory(prefix="slicewise-bench-") as folder:
        for what in ("objects", "first", "hourly"):
            table = Path(folder, what)
            if what == "hourly":
                table.write_bytes(pickle.dumps(list(_week(**size))))
            found[what] = _measured({"what": what, "port": port, "table": str(table), **size})
    server.terminate()
    slow = max(found[what]["cpu_seconds"] for what in ("first", "hourly")) / LAMBDA_CPU
    found["in_a_function_seconds"] = slow
    peak = max(found[what]["peak_mib"] for what in ("first", "hourly"))
    found["holds"] = peak <= LAMBDA_MIB and slow <= LAMBDA_SECONDS
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _measured(what: Mapping[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.tracks.large_metrics"],
        input=json.dumps(what),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": "layers/slicewise/python", "PATH": "/usr/bin:/bin"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"  {what['what']}: {found}", file=sys.stderr)
    return found


# The cluster


def node_pool(number: int) -> str:
    return f"slicewise-p{number:02}-l4"


def _node(gpu: int) -> str:
    return f"ip-10-{gpu // 65536}-{gpu // 256 % 256}-{gpu % 256}.eu-central-1.compute.internal"


def _workload(gpu: int, place: int, workloads: int) -> int:
    """One of those of the GPU's NodePool."""
    of_pool = workloads // NODE_POOLS
    number = (gpu // NODE_POOLS * PODS_A_GPU + place) % of_pool
    return number * NODE_POOLS + gpu % NODE_POOLS


@cache
def _suffix(number: int) -> str:
    letters = "bcdfghjklmnpqrstvwxz2456789"
    return "".join(letters[number // len(letters) ** place % len(letters)] for place in range(5))


def _pod_name(gpu: int, place: int, workloads: int) -> str:
    return f"inference-{_workload(gpu, place, workloads):04}-7f5d8c9b7d-{_suffix(gpu * PODS_A_GPU + place)}"


def nodes(gpus: int) -> Iterator[Object]:
    for gpu in range(gpus):
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": _node(gpu),
                "creationTimestamp": "2026-11-01T00:00:00Z",
                "labels": {
                    POOL_LABEL: f"p{gpu % NODE_POOLS:02}",
                    layout.NODE_POOL_LABEL: node_pool(gpu % NODE_POOLS),
                    layout.CONFIG_LABEL: f"ts-{PODS_A_GPU}",
                    layout.GPU_NAME_LABEL: "l4",
                    layout.GPU_COUNT_LABEL: "1",
                    layout.GPU_MEMORY_LABEL: "22888",
                },
            },
            "spec": {},
            "status": {
                "allocatable": {
                    "cpu": "15",
                    "memory": "60Gi",
                    "pods": "110",
                    "nvidia.com/gpu": str(PODS_A_GPU),
                },
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }


def pods(gpus: int, workloads: int) -> Iterator[Object]:
    for gpu in range(gpus):
        for place in range(PODS_A_GPU):
            owner = f"inference-{_workload(gpu, place, workloads):04}-7f5d8c9b7d"
            yield {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "namespace": "ml",
                    "name": _pod_name(gpu, place, workloads),
                    "labels": {"pod-template-hash": "7f5d8c9b7d"},
                    "ownerReferences": [
                        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "controller": True}
                    ],
                },
                "spec": {
                    "nodeName": _node(gpu),
                    "nodeSelector": {POOL_LABEL: f"p{gpu % NODE_POOLS:02}"},
                    "containers": [{"name": "server", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
                },
                "status": {"phase": "Running", "startTime": "2026-11-02T00:00:00Z"},
            }


class _Cluster:
    """Implements what tuning asks of ports.Kubernetes."""

    def __init__(self, gpus: int, workloads: int):
        parsed = policy.parse(POLICY_TEXT.replace("ENDPOINT", "http://p:9090"), "bench")
        self._found = {
            "Node": tuple(nodes(gpus)),
            "Pod": tuple(pods(gpus, workloads)),
            "NodePool": tuple(
                layout.node_pool(parsed, one, one.models()[0], PODS_A_GPU) for one in parsed.pools
            ),
        }

    def list(self, api_version: str, kind: str, **how: Any) -> tuple[Object, ...]:
        return self._found.get(kind, ())

    def get(self, ref: Any) -> None:
        return None


# What a Prometheus says of it


def answer(query: str, start: int, end: int, step: int, gpus: int, workloads: int) -> Iterator[str]:
    """The API's own text, in pieces; of `max by (…) (…)` it heeds which labels are asked for."""
    metric = query[query.index("DCGM_") : query.index("{")]
    by = query.split("(", 1)[1].split(")", 1)[0] if query.startswith("max by") else ""
    kept = {label.strip() for label in by.split(",")} if by else None
    of_pods = metric in ("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_UTIL")
    yield '{"status":"success","data":{"resultType":"matrix","result":['
    if " or count by (modelName) " in query:  # nothing encodes or decodes here
        values = ",".join(f'[{at},"{gpus}"]' for at in range(start, end + 1, step))
        yield f'{{"metric":{{"modelName":"NVIDIA L4"}},"values":[{values}]}}]}}}}'
        return
    comma = ""
    for gpu in range(gpus):
        rng = random.Random(f"{metric} {gpu} {start}")
        for place in range(-1, PODS_A_GPU if of_pods else 0):
            labels = _labels(gpu, place, workloads)
            if kept is not None:
                labels = {key: value for key, value in labels.items() if key in kept}
            values = ",".join(f'[{at},"{_value(metric, place, rng)}"]' for at in range(start, end + 1, step))
            yield f'{comma}{{"metric":{json.dumps(labels)},"values":[{values}]}}'
            comma = ","
    yield "]}}"


def _value(metric: str, place: int, rng: random.Random) -> str:
    if metric == "DCGM_FI_DEV_XID_ERRORS":
        return "0"
    if metric == "DCGM_FI_DEV_FB_USED":
        return str(rng.randrange(1000, 1400) if place >= 0 else rng.randrange(14_000, 15_000))
    if metric == "DCGM_FI_DEV_GPU_UTIL":
        return repr(rng.random() * (4 if place >= 0 else 40))
    return repr(rng.random() * 0.4)


def _labels(gpu: int, place: int, workloads: int) -> dict[str, str]:
    """As dcgm-exporter 4.5.3 writes them, and the Prometheus operator's scrape adds to them."""
    uuid = f"GPU-{(gpu * 2654435761) % 2**32:08x}-1f2e-4d3c-8b4a-{gpu:012x}"
    found = {
        "gpu": "0",
        "UUID": uuid,
        "pci_bus_id": "00000000:31:00.0",
        "device": "nvidia0",
        "modelName": "NVIDIA L4",
        "Hostname": _node(gpu),
        "DCGM_FI_DRIVER_VERSION": "580.95.05",
        "endpoint": "gpu-metrics",
        "instance": f"10.{gpu // 65536}.{gpu // 256 % 256}.{gpu % 256}:9400",
        "job": "nvidia-dcgm-exporter",
        "service": "nvidia-dcgm-exporter",
    }
    if place >= 0:
        found |= {
            "container": "server",
            "namespace": "ml",
            "pod": _pod_name(gpu, place, workloads),
            "pod_uid": f"{gpu:08x}-0000-4000-8000-{place:012x}",
        }
    return found


class _Api(Handler):
    size: Mapping[str, int]

    def do_POST(self) -> None:
        form = {name: values[0] for name, values in parse_qs(self.body().decode()).items()}
        window = (int(form[name]) for name in ("start", "end", "step"))
        text = "".join(answer(form["query"], *window, **self.size)).encode()
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        self.reply(200, gzip.compress(text, 1), headers)


def _serve(size: Mapping[str, int], port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), type("Api", (_Api,), {"size": size})).serve_forever()


# The table


def _week(gpus: int, workloads: int) -> Iterator[Page]:
    """What reconciles of a week have kept, up to an hour ago: as varied as what is measured."""
    from slicewise.tuning.state.observation import measured_by
    from slicewise.tuning.usage.history import History, StoredHistory, settled
    from slicewise.tuning.usage.pages import pages

    rng, through = random.Random(1), settled(NOW - timedelta(hours=1))
    today = through // 86_400 * 86_400
    days = {
        _key(number): {today - n * 86_400: _workload_day(rng, today - n * 86_400, through) for n in range(8)}
        for number in range(workloads)
    }
    known = {
        ("ml", _pod_name(gpu, place, workloads)): StoredHistory(
            _key(_workload(gpu, place, workloads)), 1_762_000_000
        )
        for gpu in range(gpus)
        for place in range(PODS_A_GPU)
    }
    devices = {f"{_node(gpu)}/0": _device(rng, gpu, through) for gpu in range(gpus)}
    by = policy.parse(POLICY_TEXT.replace("ENDPOINT", "http://127.0.0.1"), "bench")
    yield from pages(History(days, devices, known, through), 0, measured_by(by))


def _workload_day(rng: random.Random, begin: int, through: int) -> Any:
    from slicewise.tuning.usage.history import STEPS_A_DAY, WorkloadDay
    from slicewise.tuning.usage.video import Samples

    steps = min(STEPS_A_DAY, (through - begin) // 600 + 1)
    values = [[rng.randrange(200) for _ in range(steps)] for _ in range(2)]
    rest = [65535] * (STEPS_A_DAY - steps)
    pooled = array("I", [rng.randrange(1, 500) if bucket < 45 else 0 for bucket in range(46)])
    shares = (array("H", one + rest) for one in values)
    end = begin + (steps - 1) * 600
    return WorkloadDay(*shares, Samples(pooled), 1400.0, 1000.0, 1400.0, steps, last=end, through=end)


def _key(number: int) -> Any:
    from slicewise.tuning.usage.history import WorkloadKey

    return WorkloadKey("apps", "Deployment", "ml", f"inference-{number:04}", "l4")


def _device(rng: random.Random, gpu: int, through: int) -> Any:
    from slicewise.tuning.usage.points import StepPoints
    from slicewise.tuning.usage.readings import Device

    def points(most: float) -> StepPoints:
        return StepPoints(through - 146 * 600, 600, array("d", (rng.random() * most for _ in range(147))))

    xid = {through - 600 * n: 0.0 for n in range(147)}
    return Device(_node(gpu), "0", points(0.4), points(15_000), xid, model="NVIDIA L4")


class _Counted:
    """Implements ports.Metrics by another one, and counts the points."""

    def __init__(self, metrics: Metrics):
        self._metrics, self.points = metrics, 0

    def read(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> Iterator[Series]:
        for series in self._metrics.read(cluster, start, end, step):
            self.points += len(series.times)
            yield series


class _Table:
    """Implements ports.UsageStore: pages in one file, whatever source they say."""

    def __init__(self, path: Path):
        self._path = path
        self.written = 0

    def pages(self, cluster: str, source: str, since: int) -> tuple[Page, ...]:
        return tuple(pickle.loads(self._path.read_bytes())) if self._path.exists() else ()

    def keep(self, cluster: str, pages: Iterable[Page], now: datetime) -> None:
        self.written += sum(len(page.content) for page in pages)


class _Costs(NoCosts):
    """What the machines cost was counted until an hour before; of so many pods no item has a roster."""

    def newest(self, cluster: str, now: datetime) -> CostDay | None:
        through = int(now.timestamp()) // 600 * 600 - 4200
        return dump(Day(through // DAY_SECONDS * DAY_SECONDS, through, through))


# In the process that is measured


def _child() -> None:
    from botocore.session import Session
    from slicewise.gateways.prometheus import PrometheusMetrics

    from bench import isolated_app

    asked = json.load(sys.stdin)
    size = {"gpus": asked["gpus"], "workloads": asked["workloads"]}
    cluster, table = _Cluster(**size), _Table(Path(asked["table"]))
    endpoint = f"http://127.0.0.1:{asked['port']}"
    metrics = _Counted(PrometheusMetrics(endpoint, Session(), VIDEO_KINDS))
    app = isolated_app.an_app(
        {"url": "", "ca": "", "token": ""},
        POLICY_TEXT.replace("ENDPOINT", endpoint),
        kubernetes=lambda _: cluster,
        usage=table,
        costs=_Costs(),
        metrics=lambda _: metrics,
    )
    app.clock = lambda: NOW
    if asked["what"] == "objects":
        print(json.dumps({"peak_mib": _peak(), "cpu_seconds": 0.0}))
        return
    began, wall = time.process_time(), time.monotonic()
    report = app.tuning.run(app.trigger(isolated_app.NAME, "a bench"))
    found = {
        "peak_mib": _peak(),
        "cpu_seconds": time.process_time() - began,
        "seconds": time.monotonic() - wall,
        "points": metrics.points,
        "written_kb": table.written / 1000,
        "said": report.reason[:200],
    }
    print(json.dumps(found))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _child()
