"""
Nights in which anything happens, as tests/scenarios/offhours/test_random_nights.py has them, on the real API
server and controllers of Kubernetes, with objects that are changed side by side.

Time, queues, table and schedules are on fakes; no node is there, so pods are made and wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from slicewise.app import OFF_HOURS, ONBOARDING, TUNING, App
from slicewise.gateways.kubernetes import MOST_AT_ONCE
from slicewise.trigger import Trigger

from sandbox.cluster.control_plane import ControlPlane
from tests.sandbox.offhours.test_offhours import GPU, NAMESPACE, POOL, POOLS, Cluster, Counted
from tests.scenarios.offhours.test_mornings import live
from tests.scenarios.offhours.test_offhours import berlin
from tests.support import random_nights
from tests.support.offhours_nights import NODES, PAUSED_JOB, PAUSED_OBJECT, REPLICAS, SUSPEND, Thing
from tests.support.random_nights import CALLS, GPU_1, NAME, OPENING, WORLD, Idle, Night, NightlyAccount, World
from tests.support.waiting import eventually
from tests.support.workload_crds import serve

pytestmark = pytest.mark.sandbox

DUSK, ASLEEP = 30, "06:00-07:00"
PODS = {"server": 2, "chat": 1, "store": 1, "of-keda": 1}
THE_POOL = {"apiVersion": POOL.api_version, "kind": POOL.kind, "metadata": {"name": POOL.name}}
THINGS = (
    Thing(GPU.scaled("Deployment", "server", 2), REPLICAS, ()),
    Thing(GPU.scaled("Deployment", "chat", 1), REPLICAS, ()),
    Thing(GPU.scaled("StatefulSet", "store", 1), REPLICAS, ()),
    Thing(GPU.cron_job("nightly"), SUSPEND, (), absent=False),
    Thing(GPU.scaled_object("of-keda", "1"), PAUSED_OBJECT, ()),
    Thing(GPU.scaled_job("queue"), PAUSED_JOB, ()),
    Thing(THE_POOL, NODES, ()),
    Thing(THE_POOL, ("spec", "disruption"), ()),
)
MADE = (
    GPU.scaled("Deployment", "of-keda", 1),
    *(thing.item for thing in THINGS if thing.item is not THE_POOL),
)


class RealAccount(NightlyAccount):
    """An account whose one cluster is a real one; onboarding and tuning have done their work."""

    def __init__(self, kubernetes: Any) -> None:
        self._kubernetes = kubernetes
        super().__init__()
        self.clock.now = berlin(DUSK - 0.5)
        self.create_cluster(karpenter=False)
        self._apps |= dict.fromkeys((ONBOARDING, TUNING), Idle(self._apps[OFF_HOURS]))
        self.queues.put(OFF_HOURS, Trigger(GPU_1, "a test").message())

    def _app(self, principal: str) -> App:
        app = super()._app(principal)
        cluster = Counted(self._kubernetes, self.calls)
        return replace(app, ports=replace(app.ports, kubernetes=lambda _: cluster), threads=MOST_AT_ONCE)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane.start(tmp_path_factory.mktemp("random-nights"), karpenter=False) as plane:
        plane.install_crds()
        serve(plane.kube, "keda-*")
        plane.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield plane


@pytest.fixture
def night(plane: ControlPlane) -> Iterator[Callable[[int], Night]]:
    kube = plane.kube

    def delete(items: Sequence[Any]) -> None:
        for item in items:
            kube.delete(kube.path(item), missing_ok=True)

    def begin(seed: int) -> Night:
        delete((*MADE, THE_POOL))
        eventually(lambda: not kube.list(f"/api/v1/namespaces/{NAMESPACE}/pods"), "pods of the night before")
        cluster = Cluster(plane)
        for item in MADE:
            kube.create(item)
        for app, count in PODS.items():
            eventually(lambda app=app, count=count: len(cluster.pods(app)) == count, app)
        account = RealAccount(cluster.gateway)
        world = World(account, THINGS, cluster.night.live, berlin(DUSK), ASLEEP, f"pools: {POOLS}\n")
        account.policies["default"] = world.policy()
        return Night(seed, world, (*CALLS, *WORLD))

    yield begin
    delete((*MADE, THE_POOL))


def test_where_nothing_happens_everything_sleeps_and_wakes(night):
    calm = night(0)
    calm.mishaps = ()
    live(calm.world.account, OPENING - 20 * random_nights.MINUTE)

    assert all(value != calm.wanted[thing] for thing, value in calm.world.values().items())
    assert calm.play() == ""
    assert NAME in calm.world.account.schedules.waiting


def test_in_three_nights_everything_wakes_in_time_or_is_reported(night):
    """Calls are refused or killed, the NodePool may not be changed, schedule, tag and pause come or go."""
    random_nights.judge((2, 5, 6), night)


@pytest.mark.soak
def test_in_thirty_nights_everything_wakes_in_time_or_is_reported(night):
    random_nights.judge(range(100, 130), night)
