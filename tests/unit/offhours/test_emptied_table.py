"""A table that was emptied at night costs no more than what it alone knew."""

from __future__ import annotations

from slicewise import layout
from slicewise.model import ref_of

from tests.fakes.controllers import scaled
from tests.fakes.sleeper import FALLBACK, FALLBACK_POOLS, NODE_POOL, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes

NODES = ("spec", "limits", "nodes")


def forgotten() -> Sleeper:
    sleeper = Sleeper(pools=FALLBACK_POOLS)
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.kept._kept.clear()
    return sleeper


def test_a_node_pool_that_we_closed_is_opened_again_and_that_is_reported():
    sleeper = forgotten()

    woken = sleeper.at(MORNING).run_pass()

    assert sleeper.value(NODE_POOL, *NODES) is None
    assert sleeper.value(NODE_POOL, "spec", "limits", "nvidia.com/gpu") == "64"
    assert sleeper.value(NODE_POOL, "metadata", "annotations", layout.ASLEEP) is None
    [finding] = [one for one in woken.outcome.findings if one.code == "sleep-forgotten"]
    assert "NodePool slicewise-shared-l4" in finding.says and "by hand" in finding.remedy
    assert sleeper.value(FALLBACK, *NODES) == "0", "that one has none by day"
    assert sleeper.settle().outcome.findings == ()


def test_a_node_pool_that_stayed_open_for_what_stays_awake_gets_all_its_nodes_again():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    stays = scaled("Deployment", "stays", 1)
    stays["metadata"]["labels"] = {"slicewise.dev/keep-awake": "true"}
    sleeper.create(stays)
    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "1"
    sleeper.kept._kept.clear()

    woken = sleeper.at(MORNING).run_pass()

    assert sleeper.value(NODE_POOL, *NODES) is None and "sleep-forgotten" in codes(woken)


def test_a_night_whose_table_was_emptied_keeps_workloads_that_are_seen_afterwards_as_ever():
    sleeper = forgotten()
    sleeper.edit(ref_of(SERVER), ("spec", "replicas"), 2)
    sleeper.later(hours=1).settle()
    assert sleeper.replicas(SERVER) == 0

    sleeper.at(MORNING).settle()
    assert sleeper.replicas(SERVER) == 2


def test_a_limit_of_no_nodes_that_a_person_set_is_left_and_reported():
    sleeper = Sleeper()
    sleeper.edit(NODE_POOL, NODES, "0")

    told = sleeper.run_pass()

    assert sleeper.value(NODE_POOL, *NODES) == "0" and "closed-by-somebody" in codes(told)
    [finding] = told.outcome.findings
    assert "kubectl" in finding.says
