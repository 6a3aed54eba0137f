from __future__ import annotations

from datetime import timedelta

from slicewise.fleet.sweep import sweep
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.trigger import DeploymentScope

from tests.fakes.clock import START

HOME = DeploymentScope("111122223333", "eu-west-1")


def remembered(name: str, stage: Stage = Stage.ONBOARDED, capability: str = "onboarding") -> Record:
    return Record(HOME.arn(name), capability, stage, "", at=START, since=START)


def asked(clusters, records=()):
    return [(one.capability, one.trigger.name) for one in sweep(clusters, records, HOME)]


def test_every_cluster_is_checked():
    assert asked(["b", "a"]) == [("onboarding", "a"), ("onboarding", "b")]


def test_only_onboarded_clusters_are_proven():
    records = [remembered("a"), remembered("b", Stage.BLOCKED), remembered("c", Stage.INSTALLING)]

    assert [name for capability, name in asked(["a", "b", "c"], records) if capability == "tuning"] == ["a"]


def test_a_stage_that_only_another_release_knows_is_read():
    records = [remembered("a", "quarantined"), remembered("b", Stage.BLOCKED)]

    assert [name for capability, name in asked(["a", "b"], records) if capability == "tuning"] == ["a"]


def test_a_cluster_that_no_policy_asks_for_any_more_is_checked_once_by_tuning():
    """Its alarms have to go; after that look its record says that it is left alone."""
    tuned = remembered("a", Stage.ONBOARDED, "tuning")
    left = remembered("b", Stage.UNMANAGED, "tuning")
    records = [remembered("a", Stage.UNMANAGED), remembered("b", Stage.UNMANAGED), tuned, left]

    assert [name for capability, name in asked(["a", "b"], records) if capability == "tuning"] == ["a"]


def test_what_we_remember_of_a_deleted_cluster_is_checked_so_that_it_is_forgotten():
    assert asked([], [remembered("gone", capability="tuning")]) == [("onboarding", "gone")]


def test_no_clusters_ask_for_nothing():
    assert asked([]) == []


def test_looks_are_spread_over_time_and_never_beyond_what_sqs_can_delay():
    few, many = sweep(["a", "b", "c"], [], HOME), sweep([f"c{n}" for n in range(5000)], [], HOME)

    assert [one.delay for one in few] == [timedelta(seconds=0), timedelta(seconds=2), timedelta(seconds=4)]
    assert max(one.delay for one in many) < timedelta(seconds=900)
    assert len({one.delay for one in many}) > 800


def test_no_trigger_of_a_sweep_forces_a_reconcile_of_a_refused_cluster():
    assert not any(one.trigger.forced for one in sweep(["a"], [remembered("b")], HOME))
