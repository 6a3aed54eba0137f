"""What people and their tools change at night is theirs."""

from __future__ import annotations

from slicewise.kube.ref import ref_of

from tests.fakes.kube.controllers import scaled
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, REPLICAS, SERVER, codes


def test_who_scales_up_at_night_keeps_it_and_is_not_contested():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()

    sleeper.edit(ref_of(SERVER), REPLICAS, 1)
    reported = sleeper.later(hours=1).settle()
    assert sleeper.replicas(SERVER) == 1 and "woken-by-somebody" in codes(reported)

    sleeper.at(MORNING)
    assert "changed-while-asleep" in codes(sleeper.reconcile_once())
    assert sleeper.settle() and sleeper.replicas(SERVER) == 1
    sleeper.at("2026-11-26T20:01").settle()
    assert sleeper.replicas(SERVER) == 0, "the next night it sleeps again"


def test_a_night_whose_morning_was_missed_does_not_excuse_the_next():
    """Somebody woke the workload by hand, and no pass ran all day."""
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.edit(ref_of(SERVER), REPLICAS, 3)

    sleeper.at("2026-11-26T20:01").settle()
    assert sleeper.replicas(SERVER) == 0

    sleeper.at("2026-11-27T07:00").settle()
    assert sleeper.replicas(SERVER) == 3


def test_a_zero_that_a_person_wrote_stays():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()

    sleeper.edit(ref_of(SERVER), REPLICAS, 2)
    sleeper.edit(ref_of(SERVER), REPLICAS, 0)
    sleeper.at(MORNING).settle()

    assert sleeper.replicas(SERVER) == 0


def test_a_gitops_tool_that_fights_back_is_named_and_not_contested():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()

    sleeper.server.scale(ref_of(SERVER), 0, 3, manager="argocd-controller")
    reported = sleeper.later(minutes=3).settle()

    assert sleeper.replicas(SERVER) == 3
    [finding] = [f for f in reported.outcome.findings if f.code == "gitops-wakes-it"]
    assert "Argo CD" in finding.message and "docs/off-hours.md" in finding.remedy


def test_what_is_deleted_is_reported_and_what_was_recreated_is_woken():
    other = scaled("Deployment", "other", 2)
    sleeper = Sleeper()
    sleeper.create(SERVER, other)
    sleeper.at(NIGHT).settle()

    sleeper.delete(ref_of(SERVER))
    asleep = {**other, "spec": {**other["spec"], "replicas": 0}}
    sleeper.delete(ref_of(other))
    sleeper.create(asleep)
    woken = sleeper.at(MORNING).reconcile_once()

    assert codes(woken) == {"gone-while-asleep", "made-anew-while-asleep"}
    assert sleeper.replicas(other) == 2
    assert sleeper.settle().actions == ()


def test_what_is_recreated_awake_sleeps_and_wakes_as_it_was_made():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()

    sleeper.delete(ref_of(SERVER))
    sleeper.create(scaled("Deployment", "server", 5))
    sleeper.later(minutes=15).settle()
    assert sleeper.replicas(SERVER) == 0

    sleeper.at(MORNING).settle()
    assert sleeper.replicas(SERVER) == 5


def test_an_edit_between_observation_and_write_is_seen():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.between = lambda: sleeper.edit(ref_of(SERVER), REPLICAS, 5)

    assert sleeper.at(NIGHT).reconcile_once() is None
    sleeper.settle()
    assert sleeper.replicas(SERVER) == 0
    sleeper.at(MORNING).settle()
    assert sleeper.replicas(SERVER) == 5
