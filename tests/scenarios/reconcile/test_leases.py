"""
Who works on a cluster, and who waits: looks that take minutes, passes that are killed, leases that are never
free and records that can never be saved. Queues and table are stand-ins; the loop is the product's.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from slicewise.app import CAPABILITIES, OFF_HOURS, ONBOARDING, TIMEOUTS, TUNING
from slicewise.errors import LeaseHeld, Unavailable
from slicewise.planning.actions import Wake
from slicewise.planning.outcome import Outcome, Plan, Stage
from slicewise.planning.record import UNKNOWN_TIME
from slicewise.ports import Ports
from slicewise.reconcile.reconciler import GIVEN_UP, Capability, Delivery, Reconciler, Report
from slicewise.trigger import Trigger, read

from tests.fakes.account import HOME, Account
from tests.fakes.aws.store import FakeStore
from tests.fakes.calls import Calls, Killed
from tests.fakes.clock import START, Clock
from tests.support import builders

GPU_1 = HOME.arn("gpu-1")
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
# What clocks may differ by, and the longest that a quick waiter waits.
MARGIN, WAITERS = timedelta(seconds=10), timedelta(seconds=20)


class Cluster:
    """
    A cluster that each capability looks at for `look`, while messages are being answered, and then writes to.

    Attributes:
        looked: Which capability has looked, and when, in order.
        reports: What passes have said.
        killed_in: Capabilities whose next look does not end; `killed_in_write`: nor does a write.
        during: Called at the end of each look.
        brings: How late each trigger that is sent comes: two times for one that comes twice, none for one
            that is lost.
    """

    def __init__(self, look: timedelta, store: FakeStore | None = None) -> None:
        self.clock, self.look = Clock(), look
        self.calls = Calls()
        self.store = store or FakeStore(self.calls)
        self.looked: list[tuple[str, timedelta]] = []
        self.reports: list[Report] = []
        self.killed_in: set[str] = set()
        self.killed_in_write = False
        self.during: Callable[[], object] = lambda: None
        self.brings: Callable[[Trigger], tuple[timedelta, ...]] = lambda trigger: (timedelta(0),)
        self._queue: list[tuple[object, int, str, str]] = []
        self._sent = 0
        ports = Ports(
            eks=None,  # type: ignore[arg-type]
            store=self.store,
            queues=SimpleNamespace(send=self.send),  # type: ignore[arg-type]
            policies=None,  # type: ignore[arg-type]
            kubernetes=None,  # type: ignore[arg-type]
            helm=None,  # type: ignore[arg-type]
            sleep=None,  # type: ignore[arg-type]
            schedules=None,  # type: ignore[arg-type]
            notices=None,  # type: ignore[arg-type]
        )
        self._reconciles = {name: self._of(name, ports) for name in CAPABILITIES}

    def _of(self, name: str, ports: Ports) -> Reconciler[None]:
        def observe(trigger, record, now):
            self.looked.append((name, self.clock.now - START))
            self.until(self.clock.now + self.look)
            self.during()
            if name in self.killed_in:
                self.killed_in.remove(name)
                self._kill()

        written = Plan(Outcome(Stage.AWAKE, "done"), (Wake("nobody", "one write"),))
        capability = Capability(
            name=name,
            observe=observe,
            plan=lambda world, now: written,
            cluster=lambda world: builders.cluster(),
            enforced=lambda world: True,
            record_fields=lambda world, before, now: {},
            timeout=TIMEOUTS[name],
        )
        return Reconciler(capability, ports, self.clock, jitter=lambda: 1.0)

    def _kill(self) -> None:
        self.calls.kill_before = len(self.calls.made)
        self.store.sweeps()

    def send(self, capability: str, message: str, delay: timedelta = timedelta(0)) -> None:
        if self.killed_in_write:
            self._kill()
        if capability in CAPABILITIES:
            for late in self.brings(read(message, HOME)):
                self._sent += 1
                heapq.heappush(self._queue, (self.clock.now + delay + late, self._sent, capability, message))

    def until(self, moment) -> None:
        """Messages that are due by then are answered, also in the middle of a look."""
        while self._queue and self._queue[0][0] <= moment:
            due, _, capability, body = heapq.heappop(self._queue)
            self.clock.now = max(self.clock.now, due)
            try:
                self.reports.append(self._reconciles[capability].run(read(body, HOME)))
            except Killed:
                self.calls.revive()  # its message stays hidden for longer than this test lasts
        self.clock.now = max(self.clock.now, moment)

    def triggers(self, *capabilities: str) -> Cluster:
        for number, name in enumerate(capabilities):
            self.send(name, Trigger(GPU_1, "the hourly sweep").message(), number * 5 * SECOND)
        return self

    def run(self, time: timedelta, hourly: Callable[[], object] = lambda: None) -> Cluster:
        end = self.clock.now + time
        while self.clock.now < end:
            hourly()
            self.until(min(self.clock.now + HOUR, end))
        return self


@pytest.mark.parametrize("seconds", [1, 125, 150, 280])
def test_of_three_triggers_that_come_together_each_has_its_look_however_long_that_takes(seconds):
    cluster = Cluster(timedelta(seconds=seconds)).triggers(*CAPABILITIES)

    cluster.run(HOUR)

    assert [name for name, _ in cluster.looked] == [*dict(cluster.looked)], "nobody looked in vain"
    assert {name for name, _ in cluster.looked} == set(CAPABILITIES)
    assert [report.stage for report in cluster.reports if report.stage != "busy"] == [Stage.AWAKE] * 3
    last = max(at for _, at in cluster.looked)
    assert last <= 2 * (timedelta(seconds=seconds) + 15 * WAITERS)


@pytest.mark.parametrize("killed", CAPABILITIES)
def test_a_reconcile_that_is_killed_while_it_looks_keeps_others_out_no_longer_than_its_function_may_run(
    killed,
):
    cluster = Cluster(timedelta(seconds=60))
    cluster.killed_in = {killed}
    waits = next(name for name in CAPABILITIES if name != killed)

    cluster.triggers(killed, waits).run(2 * HOUR)

    [_, (name, at)] = cluster.looked
    assert name == waits
    assert TIMEOUTS[killed] <= at <= TIMEOUTS[killed] + MARGIN + WAITERS


def test_a_reconcile_that_is_killed_while_it_acts_keeps_nobody_out_after_its_functions_end():
    cluster = Cluster(TIMEOUTS[ONBOARDING] - SECOND)
    cluster.triggers(ONBOARDING).killed_in_write = True

    cluster.until(START)

    end = START + TIMEOUTS[ONBOARDING] + MARGIN
    with pytest.raises(LeaseHeld):
        cluster.store.acquire(GPU_1, "another", end - SECOND, HOUR)
    cluster.store.acquire(GPU_1, "another", end, HOUR)


def test_a_reconcile_that_lost_its_lease_while_it_looked_writes_nothing():
    """No function lives so long; the fence stands all the same."""
    cluster = Cluster(TIMEOUTS[TUNING] + MARGIN).triggers(TUNING)
    cluster.during = lambda: cluster.store.acquire(GPU_1, "another", cluster.clock.now, HOUR)

    cluster.until(START + SECOND)

    assert cluster.reports[0].stage == "busy" and "taken over" in cluster.reports[0].reason
    assert cluster.store.record(GPU_1, TUNING) is None


class NeverSaved(FakeStore):
    """Records of a lease whose tokens have begun anew: each save is refused, though the lease is ours."""

    def save(self, record, lease, *, history):
        raise LeaseHeld("a later reconcile has recorded it already")


class NeverFree(FakeStore):
    def acquire(self, cluster, holder, now, length, capability=""):
        self._leases[cluster] = 1, None  # beside it stands who waits
        raise LeaseHeld("another pass works on it")


def test_a_record_that_can_never_be_saved_costs_a_few_reconciles_an_hour():
    cluster = Cluster(SECOND, NeverSaved(Calls()))

    cluster.run(24 * HOUR, hourly=lambda: cluster.triggers(TUNING))

    assert 24 <= len(cluster.looked) <= 24 * 9
    given_up = [report for report in cluster.reports if report.stage == GIVEN_UP]
    assert len(given_up) >= 22 and "the hourly sweep asks again" in given_up[0].reason


def test_a_lease_that_is_never_free_is_asked_for_a_few_times_an_hour():
    cluster = Cluster(SECOND, NeverFree(Calls()))

    cluster.run(24 * HOUR, hourly=lambda: cluster.triggers(*CAPABILITIES))

    tries = len(cluster.reports) / len(CAPABILITIES)
    assert not cluster.looked
    # Those of a quarter of an hour, six as they grow rare, then four an hour; each sweep's own.
    assert 75 < tries <= 75 + 6 + 24 * 5


def test_who_waits_behind_a_short_reconcile_does_not_wait_long():
    cluster = Cluster(timedelta(seconds=100)).triggers(ONBOARDING, OFF_HOURS)

    cluster.run(HOUR)

    assert [name for name, _ in cluster.looked] == [ONBOARDING, OFF_HOURS]
    assert cluster.looked[1][1] <= timedelta(seconds=100) + WAITERS


# A note that a trigger waits, and the trigger itself


@pytest.mark.parametrize("waits", CAPABILITIES)
def test_no_trigger_is_dropped_for_one_that_was_lost(waits):
    """Who waits for the lease of a killed pass is lost; the next trigger comes before that lease ends."""
    killed = next(name for name in CAPABILITIES if name != waits)
    cluster = Cluster(SECOND)
    cluster.killed_in = {killed}
    cluster.brings = lambda trigger: () if trigger.reason == "lost" and trigger.waits else (timedelta(0),)
    cluster.triggers(killed)
    cluster.send(waits, Trigger(GPU_1, "lost").message(), 10 * SECOND)
    cluster.send(waits, Trigger(GPU_1, "the next").message(), 120 * SECOND)

    cluster.run(HOUR)

    [_, (name, at)] = cluster.looked
    assert name == waits
    assert TIMEOUTS[killed] <= at <= TIMEOUTS[killed] + MARGIN + WAITERS


def test_a_trigger_whose_reconcile_was_noted_as_waiting_far_ahead_waits_itself():
    """Some clock was wrong by a day."""
    cluster = Cluster(timedelta(seconds=100)).triggers(ONBOARDING)
    cluster.until(START)
    cluster.store.note_waiting(GPU_1, TUNING, cluster.clock.now + 24 * HOUR)
    held = cluster.store.acquire(GPU_1, "another", cluster.clock.now, 60 * SECOND)

    cluster.triggers(TUNING).run(HOUR)

    assert held and [name for name, _ in cluster.looked] == [ONBOARDING, TUNING]


@pytest.mark.parametrize(
    "brings",
    [
        pytest.param(lambda trigger: (10 * 60 * SECOND,), id="each is ten minutes late"),
        pytest.param(lambda trigger: (timedelta(0), SECOND), id="each comes twice"),
        pytest.param(lambda trigger: (timedelta(0), 10 * 60 * SECOND), id="each comes once more, much later"),
        pytest.param(lambda trigger: () if trigger.waits else (timedelta(0),), id="all that wait are lost"),
    ],
)
def test_a_lease_that_is_never_free_costs_little_whatever_the_queue_does(brings):
    cluster = Cluster(SECOND, NeverFree(Calls()))
    cluster.brings = brings

    cluster.run(24 * HOUR, hourly=lambda: cluster.triggers(*CAPABILITIES))

    assert not cluster.looked
    tries = len(cluster.reports) / len(CAPABILITIES)
    assert tries <= 2 * (75 + 6 + 24 * 5)
    assert len(cluster._queue) <= 4 * len(CAPABILITIES), "no more wait from day to day"


# What a record says of a pass that failed


def failing(account: Account) -> None:
    def refusing(name):
        raise Unavailable("eks:DescribeCluster of gpu-1: throttled")

    account.eks.describe = refusing


def test_a_record_reports_how_many_tries_are_left_and_when_the_next_is_after_the_last():
    account = Account()
    account.create_cluster()
    account.sweep()
    account.run_until_idle()
    failing(account)
    account.send(Trigger(GPU_1, "a test"))
    reported = []
    while account.queues.waiting:
        account.answer_one()
        reported.append(account.record().next_try)

    assert reported == [
        "try 1 of 5 failed; the queue tries again in 10 s",
        "try 2 of 5 failed; the queue tries again in 20 s",
        "try 3 of 5 failed; the queue tries again in 40 s",
        "try 4 of 5 failed; the queue tries again in 80 s",
        f"try 5 of 5 failed: gave up; next attempt with the hourly sweep at about {START + HOUR:%H:%M} UTC",
    ]
    assert account.record().stage is Stage.WAITING
    assert account.record().reason == "no answer: eks:DescribeCluster of gpu-1: throttled"
    assert len(account.queues.dead) == 1


def test_a_reconcile_that_ends_well_leaves_no_word_of_tries():
    account = Account()
    account.create_cluster()
    describe = account.eks.describe
    failing(account)
    account.send(Trigger(GPU_1, "a test"))
    account.answer_one()
    assert account.record().next_try
    account.eks.describe = describe

    account.run_until_idle()

    assert account.record().next_try == ""


def test_where_the_sweeps_cannot_be_read_a_failure_is_recorded_all_the_same():
    account = Account()
    account.create_cluster()
    failing(account)

    def unread():
        raise Unavailable("dynamodb:GetItem")

    account.store.sweeps = unread
    with pytest.raises(Unavailable):
        account.person().onboarding.run(Trigger(GPU_1, "a test"), Delivery(5, 5, timedelta(0)))

    assert account.record().next_try == "try 5 of 5 failed: gave up; next attempt with the hourly sweep"


def test_failures_alike_are_one_line_of_history():
    account = Account()
    account.create_cluster()
    failing(account)
    for _ in range(3):
        account.send(Trigger(GPU_1, "a test"))
        account.run_until_idle()

    assert len([record for record in account.store.history if record.stage is Stage.WAITING]) == 1


# What another release recorded


def test_what_could_not_be_read_of_the_record_before_is_reported_once():
    account = Account()
    account.create_cluster()
    account.send_created()
    account.run_until_idle()
    key = GPU_1, ONBOARDING
    record, token = account.store._records[key]
    account.store._records[key] = replace(record, unreadable=("since", "details[0]")), token

    account.send(Trigger(GPU_1, "a test"))
    account.run_until_idle()
    reported = {finding.code: finding.message for finding in account.record().findings}
    assert "since, details[0]" in reported["record-unreadable"]

    account.send(Trigger(GPU_1, "a test"))
    account.run_until_idle()
    assert "record-unreadable" not in {finding.code for finding in account.record().findings}


@pytest.mark.parametrize("odd", [UNKNOWN_TIME, START + 400 * timedelta(days=1)], ids=["unknown", "to come"])
def test_a_stage_whose_beginning_cannot_be_read_begins_now(odd):
    """A deadline that is reckoned from it neither passes at once nor never."""
    account = Account()
    account.create_cluster(status="CREATING")
    account.send_created()
    account.answer_one()
    key = GPU_1, ONBOARDING
    record, token = account.store._records[key]
    account.store._records[key] = replace(record, since=odd, observed_at=odd), token

    account.clock.pass_by(timedelta(minutes=1))
    account.answer_one()

    assert (account.record().stage, account.record().since) == (record.stage, account.clock.now)
    assert (account.record().observed_at or START) <= account.clock.now
