"""
examples/llm-queue: replicas follow the requests in flight and N, from zero and back, and fill slices before
nodes come.

Real are KEDA's operator and metrics adapter, the autoscaler that they feed, and Prometheus.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.demo.narrator import Narrator
from sandbox.demo.steps import wait
from sandbox.examples.catalog import Beside
from sandbox.examples.llm import scaler
from sandbox.examples.llm.n_rises import NRises
from sandbox.examples.llm.requests import Requests, Servers
from sandbox.examples.night import Night
from sandbox.examples.steps import apply, clean_up, pool
from sandbox.examples.world import ExampleCluster, World
from sandbox.metrics.prometheus import Prometheus

# Requests in flight, one after another: a quiet morning, a second replica, a busy day.
QUIET, MORE, BUSY = 4, 8, 16
NOTHING = {"replicas": 0, "GPUs": 0}
# So many polls say that KEDA does not act.
OFTEN = 4


@contextmanager
def beside(folder: Path) -> Iterator[Beside]:
    """A Prometheus with the example's own rules."""
    config = {
        "rule_files": [str(scaler.FOLDER / "prometheus-rules.yaml")],
        "global": {"evaluation_interval": "2s"},
    }
    with Prometheus.start(folder / "prometheus", config) as prometheus:
        yield Beside(handle=prometheus, changes=scaler.changes(prometheus.url))


def show(story: Narrator, world: World) -> None:
    cluster, prometheus = world.onboarded_cluster(), world.beside.handle
    n = int(pool(world.example, "llm")["replicas"]["start"])
    chat, plain = Servers("default", "chat"), Servers("plain", "plain")
    apply(story, cluster)
    world.system.sweep()
    wait(
        story, lambda: chat.published(cluster.kube) is not None, "Slicewise has published N on the Deployment"
    )
    story.claim("published", "N is on the Deployment", expected=str(n), observed=chat.published(cluster.kube))
    with Requests(cluster.kube, prometheus, chat, plain):
        _from_zero(story, cluster, chat)
        _follow(story, cluster, chat, n)
        rises = NRises(story, world, cluster, chat, plain, n)
        rises.show()
        _a_night(story, world, cluster, chat, rises.higher)
        _back_to_zero(story, cluster, chat)
    clean_up(story, cluster)


def _counts(cluster: ExampleCluster, chat: Servers) -> dict[str, int]:
    return {"replicas": len(chat.running(cluster.kube)), "GPUs": cluster.gpus()}


def _from_zero(story: Narrator, cluster: ExampleCluster, chat: Servers) -> None:
    one = {"replicas": 1, "GPUs": 1}
    wait(
        story,
        lambda: _counts(cluster, chat) == NOTHING,
        "nothing waits: KEDA has scaled to 0, no GPU is left",
    )
    before, chat.in_flight = _counts(cluster, chat), QUIET
    wait(
        story, lambda: _counts(cluster, chat) == one, f"{QUIET} requests wait at the gateway: a replica runs"
    )
    story.claim(
        "from-zero",
        "without requests there is no replica and no GPU; those that wait at the gateway start one of each",
        expected=[NOTHING, one],
        observed=[before, _counts(cluster, chat)],
    )


def _follow(story: Narrator, cluster: ExampleCluster, chat: Servers, n: int) -> None:
    """Each load until its replicas run, and what nodes there were for them."""
    observed, expected = list[Any](), list[Any]()
    for chat.in_flight in (QUIET, MORE, BUSY):
        replicas = scaler.wanted(chat.in_flight, n)
        says = f"{chat.in_flight} requests in flight at {n} a GPU: {replicas} replicas run"
        wait(story, lambda wanted=replicas: len(chat.running(cluster.kube)) == wanted, says)
        expected.append({"replicas": replicas, "GPUs": math.ceil(replicas / n)})
        observed.append(_counts(cluster, chat))
    story.claim(
        "replicas-by-queue",
        "replicas follow requests in flight × N / target",
        expected=[one["replicas"] for one in expected],
        observed=[one["replicas"] for one in observed],
    )
    story.claim(
        "slices-before-nodes",
        "slices are filled before nodes come: GPUs for each of these",
        expected=[one["GPUs"] for one in expected],
        observed=[one["GPUs"] for one in observed],
    )


def _a_night(story: Narrator, world: World, cluster: ExampleCluster, chat: Servers, n: int) -> None:
    """With requests that wait at the gateway all the while."""
    prometheus, night, replicas = world.beside.handle, Night(world, cluster), scaler.wanted(BUSY, n)
    night.begins()
    says = f"{BUSY} requests wait, of which the metric tells"
    wait(story, lambda: scaler.load(prometheus) >= BUSY * n, says)
    time.sleep(OFTEN * scaler.POLL_SECONDS)
    story.claim(
        "asleep",
        "KEDA's metric asks for replicas, but Slicewise has paused it: none is there, and no GPU is paid for",
        expected={"asked for": replicas, "pods": 0, "GPUs": 0},
        observed={
            "asked for": math.ceil(scaler.load(prometheus) / scaler.target()),
            "pods": len(cluster.pods("app=chat")),
            "GPUs": cluster.gpus(),
        },
    )
    as_before = {"replicas": replicas, "GPUs": math.ceil(replicas / n)}
    night.ends(lambda: _counts(cluster, chat) == as_before)
    story.claim(
        "awake-as-before",
        "in the morning there are as many replicas as in the evening, on no more GPUs than they need",
        expected=as_before,
        observed=_counts(cluster, chat),
    )


def _back_to_zero(story: Narrator, cluster: ExampleCluster, chat: Servers) -> None:
    chat.in_flight = 0
    wait(story, lambda: not cluster.pods("app=chat"), "no request is left: KEDA has scaled to 0")
    story.claim(
        "back-to-zero",
        "when nothing waits there is no replica",
        expected={"wanted": 0, "pods": 0},
        observed={"wanted": chat.replicas(cluster.kube), "pods": len(cluster.pods("app=chat"))},
    )
