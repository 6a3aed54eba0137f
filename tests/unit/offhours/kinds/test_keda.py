"""What KEDA scales resumes at the count that it had: it neither dips to a minimum nor stays at 0."""

from __future__ import annotations

import pytest
from slicewise.errors import Refused
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Object, ref_of
from slicewise.offhours.plan import OVERDUE_POLL, STAGE_POLL
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import PAUSED, USER_PAUSED, scaled, scaled_object
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of, strike_each_call

EARLY = "2026-11-26T06:51"
BUSY = scaled("Deployment", "busy", 4)
SCALER = scaled_object("busy", BUSY)


def paused_by_its_user(scaler: Object = SCALER) -> Object:
    metadata = {**scaler["metadata"], "annotations": {USER_PAUSED: "true"}}
    return {**scaler, "metadata": metadata}


def counts(sleeper: Sleeper, item: Object = BUSY) -> list[int]:
    """Every count that the target has had from now on."""
    seen: list[int] = []

    def note(changed: Object) -> None:
        if ref_of(changed) == ref_of(item):
            seen.append(changed["spec"]["replicas"])

    sleeper.server.on_change.append(note)
    return seen


def count_of(sleeper: Sleeper, scaler: Object = SCALER) -> str | None:
    return annotations_of(sleeper.server.objects[ref_of(scaler)]).get(PAUSED)


def asleep(scaler: Object = SCALER, demand: int | None = 4, target: Object = BUSY) -> Sleeper:
    sleeper = Sleeper()
    if demand is not None:
        sleeper.controllers.demand[ref_of(scaler)] = demand
    sleeper.create(target, scaler)
    sleeper.at(NIGHT).settle()
    assert count_of(sleeper, scaler) == "0" and sleeper.replicas(target) == 0
    return sleeper


@pytest.mark.parametrize("demand", [0, 1, 4, 9])
@pytest.mark.parametrize("at", [EARLY, MORNING], ids=["woken in time", "woken at the opening"])
def test_what_keda_scaled_to_four_comes_back_at_four_at_once(demand, at):
    sleeper = Sleeper()
    sleeper.create(BUSY, SCALER)
    before = objects_of(sleeper)
    sleeper.controllers.demand[ref_of(SCALER)] = demand
    sleeper.at(NIGHT).settle()
    seen = counts(sleeper)

    sleeper.at(at).settle()

    assert objects_of(sleeper) == before
    assert seen and set(seen) == {4}, "it dipped"
    sleeper.controllers.autoscale()
    assert sleeper.replicas(BUSY) == demand, "from then on its triggers decide"


def test_what_its_user_has_paused_at_a_count_comes_back_at_that_count():
    scaler = paused_by_its_user()
    sleeper = Sleeper()
    sleeper.create(BUSY, scaler)
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    assert sleeper.replicas(BUSY) == 0
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before and sleeper.replicas(BUSY) == 4


@pytest.mark.parametrize("paused", [{}, {USER_PAUSED: "true"}], ids=["free", "paused"])
def test_a_target_that_was_at_zero_stays_there(paused):
    idle = scaled("Deployment", "busy", 0)
    scaler = {**SCALER, "metadata": {**SCALER["metadata"], "annotations": paused}}
    sleeper = Sleeper()
    sleeper.controllers.demand[ref_of(SCALER)] = 0
    sleeper.create(idle, scaler)
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


def test_the_users_own_count_is_restored_in_one_step():
    sleeper = asleep(scaled_object("busy", BUSY, paused="2"))
    seen = counts(sleeper)

    sleeper.at(MORNING).settle()

    assert seen == [2] and count_of(sleeper) == "2"


def test_while_keda_does_not_follow_the_count_stands_and_that_is_reported():
    sleeper = asleep()
    sleeper.server.on_change.clear()  # KEDA's operator is down

    first = sleeper.at(EARLY).reconcile_once()
    assert count_of(sleeper) == "4" and first.outcome.requeue_after == STAGE_POLL
    second = sleeper.later(seconds=15).settle()
    assert second.outcome.stage is Stage.WAKING and "not-resumed" in codes(second)
    assert "KEDA has yet to follow ScaledObject ml/busy" in second.outcome.reason

    late = sleeper.at("2026-11-26T06:56").reconcile_once()
    assert late and any("0 of 4 replicas: KEDA has not followed" in text for _, text in sleeper.notices.sent)
    opened = sleeper.at(MORNING).settle()
    assert (opened.outcome.stage, opened.outcome.requeue_after) == (Stage.WAKING, OVERDUE_POLL)
    assert count_of(sleeper) == "4", "where KEDA comes back, it brings the target to 4"

    sleeper.server.on_change.append(sleeper.controllers.reconcile)
    sleeper.controllers.reconcile(sleeper.server.objects[ref_of(SCALER)])
    assert sleeper.later(minutes=1).settle().outcome.stage is Stage.AWAKE
    assert count_of(sleeper) is None and sleeper.replicas(BUSY) == 4


def test_nodes_and_all_other_workloads_are_awake_though_keda_does_not_follow():
    sleeper = Sleeper()
    sleeper.create(BUSY, SCALER, SERVER)
    sleeper.at(NIGHT).settle()
    keda = sleeper.server.on_change.pop()
    sleeper.server.on_change.append(lambda item: keda(item) if item["kind"] != "ScaledObject" else None)

    found = sleeper.at(MORNING).settle()

    assert found.outcome.stage is Stage.WAKING and sleeper.replicas(SERVER) == 3
    marks = [annotations_of(item) for ref, item in sleeper.server.objects.items() if ref.kind == "NodePool"]
    assert marks and not any("slicewise.dev/asleep" in one for one in marks)


def test_a_target_that_is_deleted_is_waited_for_by_nobody():
    sleeper = asleep()
    sleeper.delete(ref_of(BUSY))

    assert sleeper.at(MORNING).settle().outcome.stage is Stage.AWAKE
    assert count_of(sleeper) is None


def test_a_target_that_cannot_be_read_is_waited_for():
    sleeper = asleep()
    sleeper.calls.fails = lambda call: (
        Refused("403") if call.startswith("kubernetes.list Deployment") else None
    )

    assert sleeper.at(MORNING).settle().outcome.stage is Stage.WAKING
    assert count_of(sleeper) == "4"

    sleeper.calls.fails = lambda call: None
    assert sleeper.later(minutes=1).settle().outcome.stage is Stage.AWAKE
    assert count_of(sleeper) is None


@pytest.mark.parametrize("wanted", [None, "7"], ids=["removed", "another count"])
def test_who_changes_the_annotation_while_it_resumes_has_the_last_word(wanted):
    sleeper = asleep()
    sleeper.server.on_change.clear()
    sleeper.at(EARLY).reconcile_once()

    sleeper.edit(ref_of(SCALER), ("metadata", "annotations", PAUSED), wanted)
    sleeper.at(MORNING).settle()

    assert count_of(sleeper) == wanted


def test_a_person_who_says_sleep_while_it_resumes_is_obeyed():
    sleeper = asleep()
    sleeper.at(EARLY).reconcile_once()
    assert count_of(sleeper) == "4"

    sleeper.put_override(asleep=True)
    sleeper.settle()
    assert count_of(sleeper) == "0" and sleeper.replicas(BUSY) == 0

    sleeper.put_override(asleep=False)
    sleeper.settle()
    assert count_of(sleeper) is None and sleeper.replicas(BUSY) == 4


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_a_reconcile_that_ends_at_any_call_while_it_resumes_leaves_the_rest_to_the_next(how):
    def is_struck(number: int) -> bool:
        sleeper = asleep().at(EARLY)
        seen = counts(sleeper)
        struck = [sleeper.struck_reconcile(how, number) for _ in range(2)]
        sleeper.at(MORNING).settle()
        assert count_of(sleeper) is None and sleeper.replicas(BUSY) == 4, number
        assert 1 not in seen, f"it dipped: {number}"
        return any(struck)

    strike_each_call(is_struck)


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_a_reconcile_that_ends_at_any_call_while_it_is_sent_back_to_sleep_leaves_the_rest_to_the_next(how):
    def resuming() -> Sleeper:
        sleeper = asleep().at(EARLY)
        sleeper.reconcile_once()
        sleeper.put_override(asleep=True)
        return sleeper

    def is_struck(number: int) -> bool:
        sleeper = resuming()
        struck = sleeper.struck_reconcile(how, number)
        sleeper.settle()
        assert count_of(sleeper) == "0" and sleeper.replicas(BUSY) == 0, number
        sleeper.put_override(asleep=False)
        sleeper.settle()
        assert count_of(sleeper) is None and sleeper.replicas(BUSY) == 4, number
        return struck

    strike_each_call(is_struck)


@pytest.mark.parametrize("at", ["asleep", "resuming"])
def test_the_annotation_keeps_the_count_where_the_table_has_lost_it(at):
    sleeper = asleep()
    if at == "resuming":
        sleeper.at(EARLY).reconcile_once()
    sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert count_of(sleeper) is None and sleeper.replicas(BUSY) == 4


def test_a_kind_of_a_teams_own_resumes_as_well():
    target = scaled("ModelServer", "own", 3, version="inference.example.com/v1")
    scaler = scaled_object("own", target)
    sleeper = asleep(scaler, 3, target)
    seen = counts(sleeper, target)

    sleeper.at(MORNING).settle()

    assert seen == [3] and count_of(sleeper, scaler) is None


def test_one_that_is_deleted_at_night_is_reported_with_the_count_of_what_it_scaled():
    sleeper = asleep()
    sleeper.delete(ref_of(SCALER))

    reported = sleeper.at(MORNING).reconcile_once()

    [finding] = [one for one in reported.outcome.findings if one.code == "gone-while-asleep"]
    assert "ran at 4 and is at 0" in finding.message and "to 4" in finding.remedy


def test_one_that_is_created_again_at_night_keeps_the_count():
    sleeper = asleep()
    sleeper.server.delete(ref_of(SCALER))
    sleeper.server.create(paused_by_its_user())
    sleeper.later(minutes=15).settle()
    assert count_of(sleeper) == "0"

    sleeper.at(MORNING).settle()

    assert count_of(sleeper) is None and sleeper.replicas(BUSY) == 4


def test_the_count_of_an_earlier_night_is_not_taken_for_tonights():
    """No pass ran by day; its triggers have brought it to 0 since somebody woke it."""
    sleeper = asleep()
    sleeper.edit(ref_of(SCALER), ("metadata", "annotations", PAUSED), None)
    sleeper.server.scale(ref_of(BUSY), sleeper.replicas(BUSY), 0, manager="keda-operator")
    sleeper.at("2026-11-26T20:01").settle()

    assert all(one.resume_at == "" for one in sleeper.kept.snapshots(sleeper.cluster.arn))


def test_a_marked_scaled_object_keeps_its_target_awake_and_a_way_to_a_node():
    marked = {**SCALER, "metadata": {**SCALER["metadata"], "labels": {KEEP_AWAKE: "true"}}}
    sleeper = Sleeper()
    sleeper.create(BUSY, marked)

    reported = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(BUSY) == 4 and {"kept-awake", "open-for-what-stays"} <= codes(reported)
