"""Slurm's NodeSets: scaled as anything else, but for their volumes and for jobs that still run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slicewise.kube.ref import Ref, ref_of
from slicewise.policy.off_hours import Volumes

from tests.fakes.kube.controllers import keeping_volumes, scaled
from tests.fakes.sleeper import NIGHTS, NODE_POOL, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, objects_of

TRAIN = scaled("NodeSet", "train", 2, version="slinky.slurm.net/v1beta1")


def slurm(*items: dict, **policy: object) -> Sleeper:
    sleeper = Sleeper(replace(NIGHTS, **policy))
    sleeper.server.add_crds("nodesets.slinky.slurm.net")
    sleeper.create(*items)
    return sleeper


def test_a_node_set_sleeps_and_wakes_as_it_was():
    sleeper = slurm(TRAIN, SERVER)
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    assert sleeper.replicas(TRAIN) == 0 and sleeper.plans[-1].outcome.findings == ()

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before


@pytest.mark.parametrize("volumes", Volumes)
def test_one_that_deletes_its_volumes_is_left_awake_whatever_the_policy_says_of_volumes(volumes):
    """We may tell a StatefulSet alone to retain them."""
    store = keeping_volumes(TRAIN)
    sleeper = slurm(store, SERVER, volumes=volumes)

    asleep = sleeper.at(NIGHT).settle()

    assert (sleeper.replicas(TRAIN), sleeper.replicas(SERVER)) == (2, 0)
    [finding] = [one for one in asleep.outcome.findings if one.code == "volumes-would-go"]
    assert "NodeSet ml/train deletes its volumes" in finding.message
    assert finding.remedy.startswith("Set Retain there"), "the policy's switch would not help"
    assert sleeper.value(NODE_POOL, "spec", "limits", "nodes") == "1", "it keeps a way to a node"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        pytest.param("Allocated", "Slurm jobs run there", id="a job"),
        pytest.param("Completing", "Slurm jobs run there", id="a job that ends"),
        pytest.param("Idle", "the controller of NodeSet has not ended them", id="none"),
    ],
)
def test_pods_that_drain_are_named_as_such(state, message):
    sleeper = slurm(TRAIN)
    sleeper.server.on_change.clear()  # its operator deletes nothing
    condition = {"type": f"SlurmNodeState{state}", "status": "True"}
    sleeper.server.set_status(Ref("v1", "Pod", "train-0", "ml"), {"conditions": [condition]})
    sleeper.at(NIGHT).settle()

    planned = sleeper.later(minutes=6).settle()

    [finding] = [one for one in planned.outcome.findings if one.code == "outlives-its-sleep"]
    assert f"{ref_of(TRAIN)} was put to sleep" in finding.message and message in finding.message
