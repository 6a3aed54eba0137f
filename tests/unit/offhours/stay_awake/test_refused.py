"""Which parts of a plan are left where they are refused for good, and what stays awake then."""

from __future__ import annotations

import pytest
from slicewise.errors import Refused
from slicewise.kube.ref import ref_of
from slicewise.planning.outcome import Left

from tests.fakes.kube.controllers import cron_job, ray_cluster, scaled, scaled_object
from tests.fakes.sleeper import NODE_POOL, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER

CRON, RAY, OF_KEDA = cron_job("nightly"), ray_cluster("rc"), scaled("Deployment", "of-keda", 2)
SCALER = scaled_object("keda", OF_KEDA)
DENIED = Refused('403 admission webhook "floor.example.com" denied the request: no')


def sleeper(*items: dict) -> Sleeper:
    made = Sleeper()
    for item in items:
        if item["kind"] == "ScaledObject":
            made.controllers.demand[ref_of(item)] = 2
    made.create(*items)
    return made.at(NIGHT)


def test_workloads_and_what_makes_them_are_left_until_the_night_ends_and_no_node_pool():
    night = sleeper(SERVER, CRON, RAY, OF_KEDA, SCALER)
    version = {str(ref): item["metadata"]["resourceVersion"] for ref, item in night.server.objects.items()}

    left = night.dry_run().left

    parts = {str(ref_of(item)) for item in (SERVER, CRON, RAY, SCALER)}
    night.at(MORNING)
    assert left == {part: Left(night.clock.now, version[part]) for part in parts}


@pytest.mark.parametrize("moment", ["2026-11-26T06:55", MORNING], ids=["waking", "awake"])
def test_nothing_is_left_on_the_way_back(moment):
    night = sleeper(SERVER)
    night.settle()

    planned = night.at(moment).dry_run()

    assert planned.actions and planned.left == {}


@pytest.mark.parametrize(
    ("items", "call", "message"),
    [
        pytest.param([SERVER], f"kubernetes.scale {ref_of(SERVER)}", "Deployment ml/server", id="scaled"),
        pytest.param([RAY], f"kubernetes.patch {ref_of(RAY)}", "RayCluster ml/rc", id="by its own switch"),
        pytest.param(
            [OF_KEDA, SCALER], f"kubernetes.patch {ref_of(SCALER)}", "Deployment ml/of-keda", id="by KEDA"
        ),
    ],
)
def test_what_is_left_keeps_a_way_to_a_node(items, call, message):
    night = sleeper(*items)
    night.calls.fails = lambda made: DENIED if made.startswith(call) else None

    for _ in range(3):
        night.reconcile_once()

    assert night.value(NODE_POOL, "spec", "limits", "nodes") == "1"
    [finding] = [one for one in night.dry_run().outcome.findings if one.code == "open-for-what-stays"]
    assert f"for what stays awake: {message}." in finding.message
