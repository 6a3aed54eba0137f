"""
Nights in which anything happens at any minute: all that sleeps is awake in time, or a person was told before.

One that fails is printed with its seed; `night(SEED).play()` plays it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from slicewise.app import OFF_HOURS
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.planning.outcome import Stage

from tests.fakes.account import POLICY
from tests.fakes.kube import kueue
from tests.fakes.kube.controllers import (
    Controllers,
    cron_job,
    keeping_volumes,
    notebook,
    ray_cluster,
    scaled,
    scaled_job,
    scaled_object,
)
from tests.fakes.sleeper import CRDS, NODE_POOL
from tests.scenarios.offhours.test_mornings import live
from tests.scenarios.offhours.test_offhours import berlin
from tests.support import random_nights
from tests.support.offhours_nights import (
    ACTIVE,
    NODES,
    PAUSED_JOB,
    PAUSED_OBJECT,
    REPLICAS,
    STOP_POLICY,
    STOPPED,
    SUSPEND,
    Thing,
)
from tests.support.random_nights import KINDS, MINUTE, NAME, OPENING, Night, NightlyAccount, World

POOLS = POLICY.replace("gpus: [l4]", "gpus: [l4], fallbackGpus: [l40s]")
# Most of a long night nothing happens: of four, three are short. All end at the opening.
NIGHTS = ((20, "20:00-07:00"), *[(29, "05:00-07:00")] * 3)
STEP = 10 * MINUTE
TARGET = scaled("Deployment", "of-keda", 1)
RESUMED = scaled("Deployment", "resumed", 2)
RESUMES = scaled_object("resumed", RESUMED)
INDEX = keeping_volumes(scaled("StatefulSet", "index", 2))
POOL = {"apiVersion": NODE_POOL.api_version, "kind": NODE_POOL.kind, "metadata": {"name": NODE_POOL.name}}
# Made by Kueue: it wants more than its queue has, and waits all along.
WAITS = {
    "apiVersion": kueue.API,
    "kind": "Workload",
    "metadata": {"name": "job-waits", "namespace": "ml"},
}
QUEUES = (
    *kueue.flavors(),
    kueue.cluster_queue("mixed", 2, with_cpus=True),
    kueue.local_queue("team", "gpus"),
    kueue.local_queue("both", "mixed"),
    kueue.job("waits", "both", slices=9),
)
THINGS = (
    Thing(scaled("Deployment", "server", 3, priority=1000), REPLICAS, ()),
    Thing(scaled("Deployment", "chat", 2), REPLICAS, ()),
    Thing(scaled("StatefulSet", "store", 1, priority=1000), REPLICAS, ()),
    Thing(INDEX, REPLICAS, ()),
    Thing(INDEX, ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"), ()),
    Thing(scaled("Rollout", "web", 2, version="argoproj.io/v1alpha1"), REPLICAS, ()),
    Thing(scaled("LeaderWorkerSet", "llm", 1, version="leaderworkerset.x-k8s.io/v1"), REPLICAS, ()),
    Thing(scaled("ModelServer", "own", 1, version="inference.example.com/v1"), REPLICAS, ()),
    Thing(cron_job("nightly"), SUSPEND, (), absent=False),
    Thing(scaled_object("keda", TARGET, "1"), PAUSED_OBJECT, ()),
    Thing(RESUMED, REPLICAS, (), scaled_by=RESUMES),
    Thing(RESUMES, PAUSED_OBJECT, ()),
    Thing(scaled_job("queue"), PAUSED_JOB, ()),
    Thing(ray_cluster("rc"), SUSPEND, ()),
    Thing(notebook("nb-ada"), STOPPED, ()),
    Thing(kueue.in_queue(scaled("Deployment", "queued", 2)), REPLICAS, ()),
    Thing(kueue.cluster_queue("gpus", 2), STOP_POLICY, ()),
    Thing(WAITS, ACTIVE, ()),
    Thing(POOL, NODES, ()),
    Thing(POOL, ("spec", "disruption"), ()),
)


class Kubelet:
    """All pods run; nodes are not what these nights are about."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def run(self, item: Object) -> None:
        ref = ref_of(item)
        if item["kind"] != "Pod" or ref not in self._server.objects:
            return
        if not self._server.objects[ref]["spec"].keys() & {"nodeName", "schedulingGates"}:
            to_a_node = {"op": "add", "path": "/spec/nodeName", "value": "node-1"}
            self._server.patch(ref, [to_a_node])
            self._server.set_status(ref, {"phase": "Running"})


@cache
def evening(hour: float, asleep: str) -> NightlyAccount:
    """Half an hour before the cluster sleeps. To be copied."""
    account = NightlyAccount()
    account.policies["default"] = world_of(account, hour, asleep).policy()
    account.clock.now = berlin(hour - 2)
    account.create_cluster()
    account.send_created()
    account.run_until_idle()
    server = account.servers[NAME]
    server.add_crds(*CRDS, *kueue.CRDS)
    for namespace in ("ml", "default"):
        server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    Controllers(server)
    kueue.Kueue(server)
    server.on_change.append(Kubelet(server).run)
    made = [thing.item for thing in THINGS if thing.item not in (POOL, WAITS)]
    for item in (TARGET, *QUEUES, *made):
        server.create(item)
    live(account, berlin(hour - 0.5))
    return account


@cache
def calm(steps: int, hour: float, asleep: str) -> NightlyAccount:
    """So many steps into a night in which nothing has happened. To be copied."""
    if not steps:
        return evening(hour, asleep)
    account = deepcopy(calm(steps - 1, hour, asleep))
    live(account, account.clock.now + STEP)
    return account


def world_of(account: NightlyAccount, hour: float, asleep: str) -> World:
    def find(ref: Ref) -> Object | None:
        return world.account.servers[NAME].objects.get(ref)

    world = World(account, THINGS, find, berlin(hour), asleep, POOLS)
    return world


def night(seed: int, kinds: Sequence[random_nights.Kind] = KINDS) -> Night:
    when = NIGHTS[seed % len(NIGHTS)]
    return Night(seed, world_of(deepcopy(evening(*when)), *when), kinds)


def night_from_its_first_mishap(seed: int) -> Night:
    """The same; until something happens, all nights of one length are alike."""
    when = NIGHTS[seed % len(NIGHTS)]
    dusk = evening(*when)
    found = Night(seed, world_of(dusk, *when), KINDS)
    first = min((mishap.at for mishap in found.mishaps), default=OPENING)
    found.world.account = deepcopy(calm((first - dusk.clock.now) // STEP, *when))
    return found


@pytest.mark.parametrize("seed", [0, 1], ids=["long", "short"])
def test_where_nothing_happens_everything_sleeps_and_wakes(seed):
    calm = night(seed)
    live(calm.world.account, OPENING - 30 * MINUTE)

    assert calm.world.account.record(capability=OFF_HOURS).stage is Stage.ASLEEP
    assert all(value != calm.wanted[thing] for thing, value in calm.world.values().items())
    calm.mishaps = ()
    assert calm.play() == "" and calm.world.account.notices.sent == []


def test_a_night_without_a_morning_is_noticed():
    """What judges these nights can find something."""
    calm = night(1)
    calm.mishaps = ()
    live(calm.world.account, OPENING - 30 * MINUTE)
    calm.world.account._apps[OFF_HOURS] = random_nights.Idle(calm.world.account._apps[OFF_HOURS])

    story = calm.play()

    assert story.startswith("seed 1:") and all(str(thing.ref) in story for thing in THINGS)


def test_a_seed_makes_the_same_night_each_time():
    stories = []
    for _ in range(2):
        same = night(7)
        same.play()
        stories.append(same.story())

    assert stories[0] == stories[1] and len(stories[0]) > 2


@pytest.mark.parametrize("seed", [3, 4, 8, 9])
def test_a_night_from_its_first_mishap_is_the_whole_night(seed):
    whole, rest = night(seed), night_from_its_first_mishap(seed)
    assert rest.world.account.clock.now > whole.world.account.clock.now

    assert whole.play() == rest.play() and whole.story() == rest.story()
    one, other = whole.world.account, rest.world.account
    assert one.calls.made == other.calls.made and one.notices.sent == other.notices.sent
    assert one.servers[NAME].objects == other.servers[NAME].objects


def test_in_three_hundred_nights_everything_wakes_in_time_or_is_reported():
    random_nights.judge(range(300), night_from_its_first_mishap)


@pytest.mark.exhaustive
@pytest.mark.soak
@pytest.mark.parametrize("first", range(1_000, 11_000, 500))
def test_in_ten_thousand_nights_everything_wakes_in_time_or_is_reported(first):
    random_nights.judge(range(first, first + 500), night_from_its_first_mishap)
