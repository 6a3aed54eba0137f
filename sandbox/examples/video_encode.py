"""
examples/video-encode: N follows the encoders, which run out long before the SMs do, and Kueue starts as many
Jobs as there are slices.

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

import yaml
from slicewise.pools.layout import NODE_POOL_LABEL

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.catalog import Beside
from sandbox.examples.kueue_queue import PART, KueueQueue, shorter
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
    settings, job = pool(world.example, "video"), _job(world)
    n, most = int(settings["replicas"]["start"]), int(settings["replicas"]["max"])
    each = int(job["spec"]["parallelism"])
    apply(story, cluster, PART)
    queue = KueueQueue(cluster)
    apply(story, cluster)
    wait(story, lambda: cluster.running(PODS) == each, f"{each} encodings run")
    pods = queue.quota // each * each
    others = _others_come(story, cluster, queue, job)
    story.claim(
        "nodes-by-n",
        f"{pods} encodings at {n} a GPU need {math.ceil(pods / n)} GPUs",
        expected=math.ceil(pods / n),
        observed=cluster.gpus(),
    )
    before = _names(cluster)
    _days_are_measured(story, world, cluster)
    _encoders_bind(story, world, cluster, n, most)
    wanted = most_that_share(n, most)
    _n_follows(story, cluster, n, wanted, before)
    _quota_follows(story, cluster, queue, before, each, int(settings["maxGpus"]) * wanted)
    _the_next_is_admitted(story, cluster, queue, each)
    cluster.kubectl("delete", "jobs", *others)
    clean_up(story, cluster, PART)


def _job(world: World) -> Mapping[str, Any]:
    [job] = [item for item in rendered(world.example) if item["kind"] == "Job"]
    return job


def _others_come(
    story: Narrator, cluster: ExampleCluster, queue: KueueQueue, job: Mapping[str, Any]
) -> list[str]:
    """Jobs of other teams, more than the quota has room for; their names."""
    each = int(job["spec"]["parallelism"])
    fit = queue.quota // each
    names = [f"trailers-{number}" for number in range(1, fit + 2)]
    cluster.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(shorter(job, name) for name in names))
    story.saw(f"{len(names)} Jobs more come, of {each} encodings each")
    expected = {"admitted": fit, "pending": len(names) + 1 - fit, "slices": fit * each}
    wait(
        story,
        lambda: queue.status() == expected and cluster.running(PODS) == fit * each,
        f"Kueue has admitted as many as its quota of {queue.quota} slices lets in, and their pods run",
    )
    story.claim(
        "quota-admits",
        f"of {len(names) + 1} Jobs {fit} run; the others have no pod, so Karpenter starts no node for them",
        expected={**expected, "pods that run": fit * each, "pods of Jobs that wait": 0},
        observed={
            **queue.status(),
            "pods that run": cluster.running(PODS),
            "pods of Jobs that wait": queue.pods_of_suspended(),
        },
    )
    return names


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


def _quota_follows(
    story: Narrator,
    cluster: ExampleCluster,
    queue: KueueQueue,
    before: Mapping[str, list[str]],
    each: int,
    quota: int,
) -> None:
    """Slicewise changes no quota, so what N adds is free until a person does."""
    waited, fit = queue.status(), quota // each
    story.saw(f"an engineer runs: {queue.raise_quota(quota)}")
    wait(
        story,
        lambda: queue.status()["admitted"] == fit and cluster.running(PODS) == fit * each,
        f"Kueue admits what {quota} slices hold",
    )
    story.claim(
        "quota-follows-by-hand",
        f"N alone let no Job in; a quota of {quota} slices does, and its pods run on nodes that were there",
        expected={
            "Jobs before": queue.quota // each,
            "Jobs": fit,
            "encodings": fit * each,
            "nodes": before["nodes"],
        },
        observed={
            "Jobs before": waited["admitted"],
            "Jobs": queue.status()["admitted"],
            "encodings": cluster.running(PODS),
            "nodes": _names(cluster)["nodes"],
        },
    )


def _the_next_is_admitted(story: Narrator, cluster: ExampleCluster, queue: KueueQueue, each: int) -> None:
    full, encodings = queue.status(), cluster.running(PODS)
    ended = queue.end_one(each)
    story.saw(f"the encodings of Job {', '.join(ended)} end; no container runs here, so a kubelet is played")

    def observed() -> dict[str, Any]:
        return {"ended": queue.completed(), **queue.status(), "encodings": cluster.running(PODS)}

    expected = {"ended": ended, **full, "pending": full["pending"] - 1, "encodings": encodings}
    wait(story, lambda: observed() == expected, "Kueue has admitted the next, and its pods run")
    story.claim(
        "next-is-admitted",
        "a Job that ends frees its slices, and the next one has them",
        expected=expected,
        observed=observed(),
    )


def _offers(cluster: ExampleCluster) -> list[int]:
    return [offered(node) for node in cluster.gpu_nodes()]


def _detail(world: World, cluster: ExampleCluster) -> Mapping[str, Any]:
    """What the record has of the NodePool that has nodes: there is one for each model."""
    used = {node["metadata"]["labels"][NODE_POOL_LABEL] for node in cluster.gpu_nodes()}
    found = world.system.details(cluster.name, "tuning")
    return next((one for one in found if one.get("node_pool") in used), {})
