"""
examples/video-encode: N follows the encoders, which run out long before the SMs do.

Encoding itself is not shown: a real Prometheus is told what DCGM would have measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from slicewise.pools.layout import NODE_POOL_LABEL

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.catalog import Beside
from sandbox.examples.steps import apply, clean_up, pool
from sandbox.examples.world import ExampleCluster, World, offered, rendered
from sandbox.metrics.prometheus import Prometheus
from sandbox.metrics.remote_write import Samples
from sandbox.metrics.replay import TUNER, MetricsReplay

PODS = "app=video-encode"
# Of one encoding: what part of a card's encoders and of its SMs it keeps busy, and its memory.
ENCODER, SM, MIB = 0.16, 0.02, 450.0
DAYS, SAMPLE_SECONDS, STEP_SECONDS = 2, 300, 600
# One-sided 95 % of a normal distribution.
Z95 = 1.645


@contextmanager
def beside(folder: Path) -> Iterator[Beside]:
    with Prometheus.start(folder) as prometheus:
        yield Beside(here={"metrics": {"endpoint": prometheus.url}}, handle=prometheus)


def show(story: Narrator, world: World) -> None:
    cluster = world.onboarded_cluster()
    policy, job = pool(world.example, "video")["replicas"], _job(world)
    n, pods = int(policy["start"]), int(job["parallelism"])
    apply(story, cluster)
    wait(story, lambda: cluster.running(PODS) == pods, f"{pods} encodings run")
    story.claim(
        "nodes-by-n",
        f"{pods} encodings at {n} a GPU need {math.ceil(pods / n)} GPUs",
        expected=math.ceil(pods / n),
        observed=cluster.gpus(),
    )
    before = _names(cluster)
    _days_are_measured(story, world, cluster)
    _encoders_bind(story, world, cluster, n, int(policy["max"]))
    _n_follows(story, cluster, n, most_that_share(n, int(policy["max"])), before)
    clean_up(story, cluster)


def _job(world: World) -> Mapping[str, Any]:
    [job] = [item["spec"] for item in rendered(world.example) if item["kind"] == "Job"]
    return job


def _names(cluster: ExampleCluster) -> dict[str, list[str]]:
    return {
        "nodes": sorted(node["metadata"]["name"] for node in cluster.gpu_nodes()),
        "pods": sorted(pod["metadata"]["name"] for pod in cluster.pods(PODS)),
    }


def _days_are_measured(story: Narrator, world: World, cluster: ExampleCluster) -> None:
    replay = MetricsReplay.of(world.system, cluster.name)
    with world.system.aws.functions.held(TUNER):
        replay.age(timedelta(days=DAYS + 1))
        series = list(_measured(cluster))
        world.beside.handle.write(series)
    points = sum(len(tuple(one.points)) for one in series)
    story.saw(
        f"{DAYS} days pass; Prometheus has {points:,} samples more: each encoding keeps {ENCODER:.0%} of its "
        f"card's encoders busy, and {SM:.0%} of its SMs"
    )


def _measured(cluster: ExampleCluster) -> Iterator[Samples]:
    """As dcgm-exporter 4.5.3 has it: memory and SMs by pod, encoders by GPU, repeated for each pod."""
    end = int(time.time()) // STEP_SECONDS * STEP_SECONDS
    times = range(end - DAYS * 86_400, end, SAMPLE_SECONDS)
    for node in cluster.gpu_nodes():
        name = node["metadata"]["name"]
        pods = [pod for pod in cluster.pods(PODS) if pod["spec"].get("nodeName") == name]
        of_gpu = {"Hostname": name, "gpu": "0", "UUID": f"GPU-{name}", "modelName": "a card of the sandbox"}
        of_pods = [
            {**of_gpu, "pod": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
            for pod in pods
        ]
        for metric, each in (("DCGM_FI_DEV_FB_USED", MIB), ("DCGM_FI_DEV_GPU_UTIL", 100 * SM)):
            yield _steady(metric, of_gpu, each * len(pods), times)
            yield from (_steady(metric, labels, each, times) for labels in of_pods)
        for metric, value in (("ENC", 100 * ENCODER * len(pods)), ("DEC", 0.0)):
            yield from (
                _steady(f"DCGM_FI_DEV_{metric}_UTIL", labels, value, times) for labels in (of_gpu, *of_pods)
            )


def _steady(metric: str, labels: Mapping[str, str], value: float, times: Sequence[int]) -> Samples:
    return Samples(metric, labels, [(float(at), value) for at in times])


def most_that_share(n: int, most: int) -> int:
    """
    How many encodings may share a card for certain, by docs/tuning.md: n were measured together, and at worst
    one of them did everything.
    """
    together = n * ENCODER
    mean, deviation = ENCODER, math.sqrt(together * together / n - ENCODER * ENCODER)
    fitting = [k for k in range(1, most + 1) if k * mean + Z95 * deviation * math.sqrt(k) <= 1]
    return max(fitting, default=1)


def _encoders_bind(story: Narrator, world: World, cluster: ExampleCluster, n: int, most: int) -> None:
    world.system.send_message(
        "TuningQueueUrl", {"slicewise": 1, "cluster": cluster.name, "reason": "requested by hand"}
    )
    story.saw(f"an engineer runs: slicewise tune {cluster.name}")
    wait(story, lambda: bool(_detail(world, cluster).get("bounds")), "Slicewise decides on measurements")
    detail = _detail(world, cluster)
    bounds = {one["what"]: one for one in detail.get("bounds", ())}
    for what, bound in bounds.items():
        story.quote(f"{what:8} allows {bound['n']}: {bound['says']}")
    story.claim(
        "encoders-bind",
        f"by their SMs {most} encodings would share a card; by its encoders {most_that_share(n, most)}",
        expected={"encoders": most_that_share(n, most), "compute": most, "binding": "encoders"},
        observed={
            **{what: bounds.get(what, {}).get("n") for what in ("encoders", "compute")},
            "binding": detail.get("binding"),
        },
    )


def _n_follows(
    story: Narrator, cluster: ExampleCluster, n: int, wanted: int, before: Mapping[str, list[str]]
) -> None:
    wait(story, lambda: set(_offers(cluster)) == {wanted}, f"each node offers {wanted} slices")
    story.claim(
        "n-follows-encoders",
        f"N rises from {n} to {wanted} on nodes that run: none is replaced, and no encoding begins again",
        expected={"offered": [wanted] * len(before["nodes"]), **before},
        observed={"offered": _offers(cluster), **_names(cluster)},
    )


def _offers(cluster: ExampleCluster) -> list[int]:
    return [offered(node) for node in cluster.gpu_nodes()]


def _detail(world: World, cluster: ExampleCluster) -> Mapping[str, Any]:
    """What the record has of the NodePool that has nodes: there is one for each model."""
    used = {node["metadata"]["labels"][NODE_POOL_LABEL] for node in cluster.gpu_nodes()}
    found = world.system.details(cluster.name, "tuning")
    return next((one for one in found if one.get("node_pool") in used), {})
