"""
examples/llm-queue: replicas follow the requests in flight and N, from zero and back, and fill slices before
nodes come; N rises while requests come, and the time that they take stays within the policy's budget.

Real are KEDA's operator and metrics adapter, the autoscaler that they feed, and Prometheus, which scrapes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.catalog import Beside
from sandbox.examples.llm import replay, scaler
from sandbox.examples.llm.n_rises import NRises
from sandbox.examples.llm.requests import APP, COST, HOLDS, Requests, Servers
from sandbox.examples.night import Night
from sandbox.examples.steps import apply, clean_up, pool
from sandbox.examples.world import ExampleCluster, World
from sandbox.metrics.prometheus import Prometheus

CHAT, PLAIN = Servers("default", "chat"), Servers("plain", "plain")
# Replicas by docs/scaling_by_queue.md.
REPLICAS = {replay.MORNING: 1, replay.FORENOON: 2, replay.AFTERNOON: 3}
NOTHING = {"replicas": 0, "GPUs": 0}
# So many polls say that KEDA does not act.
OFTEN = 4


@dataclass(frozen=True)
class Metrics:
    """What runs beside: a Prometheus, and the requests that it scrapes."""

    prometheus: Prometheus
    requests: Requests


@contextmanager
def beside(folder: Path) -> Iterator[Beside]:
    """A Prometheus with the example's own rules."""
    with Requests(CHAT, PLAIN) as requests:
        config = {
            "rule_files": [str(scaler.FOLDER / "prometheus-rules.yaml")],
            "global": {"evaluation_interval": "2s"},
            "scrape_configs": [requests.scrape_config()],
        }
        with Prometheus.start(folder / "prometheus", config) as prometheus:
            yield Beside(handle=Metrics(prometheus, requests), changes=scaler.changes(prometheus.url))


def show(story: Narrator, world: World) -> None:
    cluster, requests = world.onboarded_cluster(), world.beside.handle.requests
    n = int(pool(world.example, "llm")["replicas"]["start"])
    apply(story, cluster)
    world.system.sweep()
    wait(
        story, lambda: CHAT.published(cluster.kube) is not None, "Slicewise has published N on the Deployment"
    )
    story.claim("published", "N is on the Deployment", expected=str(n), observed=CHAT.published(cluster.kube))
    with requests.begin(cluster.kube):
        _from_zero(story, cluster, requests)
        _follow(story, cluster, requests, n)
        rises = NRises(story, world, cluster, requests, CHAT, PLAIN, n, REPLICAS[replay.AFTERNOON])
        rises.start_copy()
        rises.show()
        _a_night(story, world, cluster, requests, rises)
        _back_to_zero(story, cluster, requests)
    clean_up(story, cluster)


def _counts(cluster: ExampleCluster) -> dict[str, int]:
    return {"replicas": len(CHAT.running(cluster.kube)), "GPUs": cluster.gpus()}


def _replayed(requests: Requests) -> str:
    parts = (replay.MORNING, replay.FORENOON, replay.AFTERNOON, replay.NIGHT)
    return f"""Requests are replayed by what client {replay.CLIENT} of a public trace (ServeGen) sent on its
        day {replay.DAY + 1}: {", ".join(map(str, parts))}. They are {requests.scale:.2f} times as many, and
        the day goes faster: ten minutes of it take {replay.WINDOW_SECONDS:.0f} s, and each part repeats until
        the next. A request takes {COST.alone:.2f} s alone, of which its GPU works {sum(COST.gpu)} s; the pods
        of a GPU share its time by the law of the tuning rule."""


def _run(cluster: ExampleCluster, replicas: int) -> bool:
    """Whether so many run and no other number is wanted."""
    return len(CHAT.running(cluster.kube)) == replicas == CHAT.replicas(cluster.kube)


def _from_zero(story: Narrator, cluster: ExampleCluster, requests: Requests) -> None:
    one = {"replicas": 1, "GPUs": 1}
    wait(story, lambda: _counts(cluster) == NOTHING, "nothing waits: KEDA has scaled to 0, no GPU is left")
    before = _counts(cluster)
    story.aside(_replayed(requests))
    rate = requests.play(CHAT, replay.MORNING)
    says = f"{replay.MORNING}: {rate:.0f} requests a second; the gateway holds {HOLDS}: a replica runs"
    wait(story, lambda: _counts(cluster) == one, says)
    story.claim(
        "from-zero",
        "without requests there is no replica and no GPU; those that wait at the gateway start one of each",
        expected=[NOTHING, one],
        observed=[before, _counts(cluster)],
    )


def _follow(story: Narrator, cluster: ExampleCluster, requests: Requests, n: int) -> None:
    """Each part of the day until its replicas run, and what nodes there were for them."""
    observed, wanted = [], []
    for part, replicas in REPLICAS.items():
        rate = requests.play(CHAT, part)
        says = f"{part}: {rate:.0f} requests a second at {n} a GPU: {replicas} replicas run"
        wait(story, partial(_run, cluster, replicas), says)
        observed.append(_counts(cluster))
        wanted.append(CHAT.replicas(cluster.kube))
    reads = scaler.reads(cluster)
    wait(story, lambda: scaler.reads(cluster) > reads, "the autoscaler has read its metric once more")
    story.claim(
        "replicas-by-queue",
        "replicas follow requests in flight × N / target, and no more are wanted",
        expected={
            "run": [*REPLICAS.values()],
            "wanted": [*REPLICAS.values()],
            "then": REPLICAS[replay.AFTERNOON],
        },
        observed={
            "run": [one["replicas"] for one in observed],
            "wanted": wanted,
            "then": CHAT.replicas(cluster.kube),
        },
    )
    story.claim(
        "slices-before-nodes",
        "slices are filled before nodes come: GPUs for each of these",
        expected=[math.ceil(replicas / n) for replicas in REPLICAS.values()],
        observed=[one["GPUs"] for one in observed],
    )


def _a_night(
    story: Narrator, world: World, cluster: ExampleCluster, requests: Requests, rises: NRises
) -> None:
    """With requests that wait at the gateway all the while, as many as it holds."""
    prometheus, night = world.beside.handle.prometheus, Night(world, cluster)
    replicas = CHAT.replicas(cluster.kube)
    requests.play(CHAT, replay.NIGHT)
    night.begins()
    waiting = HOLDS * rises.higher
    wait(story, lambda: scaler.load(prometheus) >= waiting, f"{HOLDS} requests wait, which the metric shows")
    before = requests.counts(CHAT)
    time.sleep(OFTEN * scaler.POLL_SECONDS)
    story.claim(
        "asleep",
        "requests come, and KEDA's metric asks for replicas, but Slicewise has paused it: none is there, and "
        "no GPU is paid for",
        expected={"asked for": scaler.wanted(HOLDS, rises.higher), "come": True, "pods": 0, "GPUs": 0},
        observed={
            "asked for": math.ceil(scaler.load(prometheus) / scaler.target()),
            "come": requests.counts(CHAT).since(before).refused > 0,
            "pods": len(cluster.pods(APP)),
            "GPUs": cluster.gpus(),
        },
    )
    as_before = {"replicas": replicas, "GPUs": math.ceil(replicas / rises.higher)}
    requests.play(CHAT, replay.MORNING)
    night.ends(lambda: _counts(cluster) == as_before)
    story.claim(
        "awake-as-before",
        "in the morning there are as many replicas as in the evening, on no more GPUs than they need",
        expected=as_before,
        observed=_counts(cluster),
    )


def _back_to_zero(story: Narrator, cluster: ExampleCluster, requests: Requests) -> None:
    requests.play(CHAT, None)
    wait(story, lambda: not cluster.pods(APP), "no request is left: KEDA has scaled to 0")
    story.claim(
        "back-to-zero",
        "when nothing waits there is no replica",
        expected={"wanted": 0, "pods": 0},
        observed={"wanted": CHAT.replicas(cluster.kube), "pods": len(cluster.pods(APP))},
    )
