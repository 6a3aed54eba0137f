"""What the one loop makes of notices, what it keeps of what led to decisions, and under which lease."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from types import SimpleNamespace

import pytest
from slicewise.errors import Conflict, LeaseHeld, Refused, Unauthorized
from slicewise.kube.ref import Ref
from slicewise.model.capabilities import TUNING
from slicewise.planning.actions import Notify, Patch
from slicewise.planning.eks_actions import ApplyChartCrds
from slicewise.planning.outcome import Left, Outcome, Plan, Stage
from slicewise.ports import Ports
from slicewise.reconcile.executor import Attempt
from slicewise.reconcile.reconciler import Capability, Reconciler
from slicewise.trigger import Trigger

from tests.fakes.account import HOME
from tests.fakes.aws.notices import FakeNotices
from tests.fakes.aws.queues import FakeQueues
from tests.fakes.aws.store import FakeStore
from tests.fakes.calls import Calls, Killed
from tests.fakes.clock import Clock
from tests.support import builders

HINT = Trigger(HOME.arn("gpu-1"), "a test")
NOTICE = Notify("it happened", "at nine", "a test", key="it happened at nine")


def patch(part: str = "", name: str = "a") -> Patch:
    return Patch(Ref("v1", "Node", name), (), f"patch {name}", "a test", part=part)


class Loop:
    """
    A capability whose plan is always these actions and details.

    Attributes:
        patches: What each patch answers.
        patch: Does what each patch does.
        abreast, left: Of its plan.
    """

    def __init__(self, *actions: object, threads: int = 1) -> None:
        self.actions, self.acts, self.patches = actions, True, None
        self.patch: Callable[[str], object] = lambda name: None
        self.abreast: dict[str, str] = {}
        self.left: dict[str, Left] = {}
        self.details: tuple[dict[str, object], ...] = ()
        self.crds, self.apply = ({"kind": "a"},) * 30, lambda item: None
        self.calls, self.clock = Calls(), Clock()
        self.store, self.notices = FakeStore(self.calls), FakeNotices(self.calls)
        capability = Capability(
            TUNING,
            observe=lambda *_: builders.cluster(),
            plan=lambda *_: Plan(
                Outcome(Stage.ONBOARDED, "as it is"),
                self.actions,
                self.details,
                abreast=self.abreast,
                left=self.left,
            ),
            cluster=lambda cluster: cluster,
            enforced=lambda _: self.acts,
            record_fields=lambda *_: {},
            timeout=timedelta(minutes=20),
        )
        ports = Ports(
            *(None, self.store, FakeQueues(self.clock, self.calls), None),
            kubernetes=lambda _: SimpleNamespace(patch=self._patch, apply=self.apply),
            helm=lambda _: SimpleNamespace(chart_crds=lambda *_: self.crds),
            sleep=None,
            schedules=None,
            notices=self.notices,
        )
        self.reconciler = Reconciler(capability, ports, self.clock, threads=threads)

    def _patch(self, ref: Ref, *_: object) -> None:
        self.patch(ref.name)
        if self.patches:
            raise self.patches

    def run(self, times: int = 1) -> int:
        """Passes an hour apart, whatever they end with. Returns how often NOTICE has been sent in all."""
        for _ in range(times):
            with suppress(Conflict, Refused, Killed):
                self.reconciler.run(HINT)
            self.calls.revive()
            self.store._leases.clear()
            self.clock.pass_by(timedelta(hours=1))
        return sum(subject == NOTICE.subject for subject, _ in self.notices.sent)


def test_a_notice_is_sent_once_however_often_a_plan_asks_for_it():
    loop = Loop(NOTICE)

    assert loop.run(3) == 1
    loop.actions = (NOTICE, replace(NOTICE, key="it happened at ten"))
    assert loop.run(3) == 2


def test_what_was_sent_already_is_neither_shown_nor_recorded_as_done():
    loop = Loop(NOTICE)
    assert loop.reconciler.dry_run(HINT)[1].actions == (NOTICE,)

    loop.run(2)

    assert loop.reconciler.dry_run(HINT)[1].actions == ()
    assert loop.store.record(HINT.cluster, TUNING).changed == ()


@pytest.mark.parametrize("part", ["", "a"])
def test_a_write_that_conflicts_reports_nothing_and_is_reported_once_it_is_through(part):
    loop = Loop(patch(part), replace(NOTICE, part=part))
    loop.patches = Conflict("409")
    assert loop.run(20) == 0

    loop.patches = None
    assert loop.run(3) == 1


def test_a_conflict_in_one_part_has_the_notice_of_another_sent():
    loop = Loop(patch("a"), replace(NOTICE, part="b"))
    loop.patches = Conflict("409")

    assert loop.run(3) == 1


@pytest.mark.parametrize("error", [Refused("403"), Conflict("409")], ids=["refused", "conflict"])
def test_a_notice_that_could_not_be_sent_is_sent_by_the_next_reconcile(error):
    loop = Loop(NOTICE)
    loop.calls.refuse[loop_number(loop, "notices.publish")] = error

    assert loop.run() == 0
    assert loop.run(3) == 1


@pytest.mark.parametrize("call", ["notices.publish", "store.save"])
@pytest.mark.parametrize("how", ["kill_before", "kill_after"])
def test_a_reconcile_that_is_killed_has_a_notice_sent_once_more_at_most_and_never_not_at_all(call, how):
    loop = Loop(NOTICE)
    setattr(loop.calls, how, loop_number(loop, call))

    assert 1 <= loop.run(3) <= 2


def test_a_failure_after_a_notice_has_it_remembered():
    loop = Loop(NOTICE, patch())
    loop.patches = Refused("403")

    assert loop.run(3) == 1


def test_a_record_that_could_not_be_read_is_not_written_over():
    loop = Loop(NOTICE)
    loop.details = ({"pool": "a"},)
    loop.run()
    kept = loop.store.record(HINT.cluster, TUNING)
    loop.calls.refuse[len(loop.calls.made) + 1] = Refused("throttled")
    assert loop.run() == 1 and loop.calls.made[-2] == "store.record"

    assert loop.store.record(HINT.cluster, TUNING) == kept
    assert loop.run(3) == 1


def test_a_plan_that_asks_for_none_for_a_while_has_none_forgotten():
    loop = Loop(NOTICE)
    loop.run()
    loop.actions = ()
    loop.run(3)
    loop.actions = (NOTICE,)

    assert loop.run() == 1


def test_only_the_newest_of_what_nobody_asks_for_any_more_are_kept():
    loop = Loop(*(replace(NOTICE, key=str(number)) for number in range(250)))
    assert loop.run(2) == 250

    loop.actions = (NOTICE,)
    loop.run(2)

    kept = loop.store.record(HINT.cluster, TUNING).notified
    assert kept == (*map(str, range(150, 250)), NOTICE.key)


def test_a_mode_that_only_says_sends_nothing():
    loop = Loop(NOTICE)
    loop.acts = False

    assert loop.run(2) == 0
    loop.acts = True
    assert loop.run() == 1


def test_what_was_decided_about_many_pools_is_kept_whole():
    loop = Loop()
    loop.details = tuple({"pool": f"pool-{i}", "text": "x" * 61_000} for i in range(30))

    loop.run()

    record = loop.store.record(HINT.cluster, TUNING)
    assert record.details == loop.details and record.findings == ()


def test_what_has_no_room_in_the_record_is_reported_by_name():
    loop = Loop()
    names = ({"node_pool": "a"}, {"pool": "b"}, {"node_pool": "c", "pool": "b"}, {"other": 1})
    loop.details = tuple({**name, "text": "x" * 1_100_000} for name in names)

    loop.run()

    record = loop.store.record(HINT.cluster, TUNING)
    [finding] = record.findings
    assert record.details == loop.details[:1]
    assert finding.code == "details-not-kept" and "decided about b, c, something:" in finding.message


def test_a_charts_definitions_that_take_longer_than_a_lease_are_applied_under_it():
    loop, applied = Loop(ApplyChartCrds("c", "1", "a test")), []

    def slowly(item):
        loop.clock.pass_by(timedelta(seconds=34))
        with pytest.raises(LeaseHeld):
            loop.store.acquire(HINT.cluster, "another", loop.clock(), timedelta(minutes=2))
        applied.append(item)

    loop.apply = slowly
    loop.run()

    assert len(applied) == 30


def test_a_reconcile_that_lost_its_lease_applies_no_further_definition():
    loop, applied = Loop(ApplyChartCrds("c", "1", "a test")), []

    def overtaken(item):
        applied.append(item)
        if len(applied) == 3:
            loop.clock.pass_by(timedelta(hours=1))
            loop.store.acquire(HINT.cluster, "another", loop.clock(), timedelta(minutes=2))

    loop.apply = overtaken
    loop.run()

    assert len(applied) == 3 and loop.store.record(HINT.cluster, TUNING) is None


# The lease while a pass acts


ONE_WRITE, SPARE, MARGIN = timedelta(minutes=2), timedelta(seconds=30), timedelta(seconds=10)
SECOND = timedelta(seconds=1)


def patches(number: int) -> list[Patch]:
    return [patch(f"part {one}", f"{one}") for one in range(number)]


def test_many_short_actions_share_one_renewal():
    loop = Loop(*patches(200))

    loop.run()

    assert loop.calls.made.count("store.renew") == 1


def test_while_a_reconcile_acts_nobody_gets_its_lease_though_the_clocks_differ():
    """Each action takes its time, up to the longest, and the other's clock is fast."""
    seconds = iter((0, 25, 120, 0, 20, 120, 60, 110))
    loop = Loop(*patches(8))

    def slowly(name: str) -> None:
        loop.clock.pass_by(next(seconds) * SECOND)
        with pytest.raises(LeaseHeld):
            loop.store.acquire(HINT.cluster, "another", loop.clock() + MARGIN - SECOND, ONE_WRITE)

    loop.patch = slowly
    loop.run()

    assert next(seconds, None) is None and 1 < loop.calls.made.count("store.renew") < 8


@pytest.mark.parametrize("killed_at", ["0", "100", "199"])
def test_a_reconcile_that_is_killed_in_an_action_is_waited_for_half_a_minute_longer_than_that_may_take(
    killed_at,
):
    loop = Loop(*patches(200))

    def kill(name: str) -> None:
        if name == killed_at:
            loop.calls.kill_before = len(loop.calls.made)
            loop.store.sweeps()
        loop.clock.pass_by(SECOND / 10)

    loop.patch = kill
    with pytest.raises(Killed):
        loop.reconciler.run(HINT)
    loop.calls.revive()

    with pytest.raises(LeaseHeld):
        loop.store.acquire(HINT.cluster, "another", loop.clock() + ONE_WRITE, ONE_WRITE)
    loop.store.acquire(HINT.cluster, "another", loop.clock() + ONE_WRITE + SPARE, ONE_WRITE)


def test_a_lease_that_was_lost_stops_the_actions_that_are_left():
    loop = Loop(*patches(9))

    def overtaken(name: str) -> None:
        if name == "2":
            loop.clock.pass_by(timedelta(hours=1))
            loop.store.acquire(HINT.cluster, "another", loop.clock(), ONE_WRITE)
        assert name <= "2"

    loop.patch = overtaken
    loop.run()

    assert loop.store.record(HINT.cluster, TUNING) is None


def test_of_more_failures_than_a_record_holds_those_that_failed_most_often_are_kept():
    """Else each pass pushes out those of the one before, and none ever fails often enough to be reported."""
    loop = Loop(*(patch(f"Deployment ml/{'d' * 60}-{number:04}") for number in range(1_000)))

    def denied(name: str) -> None:
        raise Refused("403 " + "x" * 300)

    loop.patch = denied
    for _ in range(7):
        loop.run()

    record = loop.store.record(HINT.cluster, TUNING)
    assert 100 < len(record.retries) < 1_000
    assert sum(retry.times == 7 for retry in record.retries) >= len(record.retries) - 2
    assert loop.notices.sent, "after the fifth time the operators are notified"


def test_of_more_refusals_than_a_record_holds_the_operators_are_notified_once():
    """What has no room would be reported by each look: a mail every quarter of an hour, all night."""
    loop = Loop(*(patch(f"Deployment ml/{'d' * 60}-{number:04}") for number in range(1_000)))
    morning = loop.clock() + timedelta(hours=10)
    loop.left = {action.part: Left(morning) for action in loop.actions}

    def denied(name: str) -> None:
        raise Refused('403 admission webhook "floor.example.com" denied the request: ' + "x" * 300)

    loop.patch = denied
    for _ in range(5):
        loop.run()
        loop.clock.pass_by(timedelta(minutes=15))

    [(_, text)] = loop.notices.sent
    assert "And 990 more" in text and len(loop.store.record(HINT.cluster, TUNING).retries) > 100


# Parts that are done side by side


def side_by_side(*actions: Patch) -> Loop:
    loop = Loop(*actions, threads=4)
    loop.abreast = {action.part: "workload" for action in actions}
    return loop


def test_parts_that_wait_for_no_other_are_under_way_together():
    loop, all_four = side_by_side(*patches(4)), Barrier(4, timeout=30)
    loop.patch = lambda name: all_four.wait()

    loop.run()

    assert len(loop.store.record(HINT.cluster, TUNING).changed) == 4


def test_side_by_side_too_a_failure_is_its_parts_alone():
    loop = side_by_side(*(patch(part, f"{part}{step}") for part in "abcdef" for step in (1, 2)))

    def fails(name: str) -> None:
        if name == "c1":
            raise Refused("403")

    loop.patch = fails
    loop.run()

    record = loop.store.record(HINT.cluster, TUNING)
    assert len(record.changed) == 10 and [retry.part for retry in record.retries] == ["c"]


@pytest.mark.parametrize(
    "error", [Unauthorized("401"), LeaseHeld("taken over"), ValueError("a bug"), Killed()]
)
def test_what_concerns_all_leaves_out_the_others_that_are_under_way(error):
    attempt = Attempt((), Clock(), timedelta(minutes=15))
    assert not attempt.leaves_out(patch("b"))

    with pytest.raises(type(error)), attempt.ends_where_this_fails(), attempt.at(patch("a")):
        raise error

    assert attempt.leaves_out(patch("b")) and attempt.leaves_out(patch())


def test_side_by_side_too_a_lease_that_was_lost_ends_the_reconcile():
    loop = side_by_side(*patches(4))
    loop.clock.pass_by(timedelta(hours=1))
    loop.store.renew = _taken_over

    loop.run()

    assert loop.store.record(HINT.cluster, TUNING) is None


def _taken_over(*_: object) -> None:
    raise LeaseHeld("another pass has taken over")


def loop_number(loop: Loop, call: str) -> int:
    """The number of the first such call of a pass."""
    twin = Loop(*loop.actions)
    twin.run()
    return twin.calls.made.index(call)
