"""
What may strike a cluster between dusk and dawn: it wakes all the same, or a person has been told before.

Minute by minute: schedules fire, the sweep comes at half past each hour, and messages are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from slicewise.app import OFF_HOURS
from slicewise.errors import Refused, Unauthorized, Unavailable
from slicewise.planning.outcome import Stage

from tests.fakes.account import HOME, Account
from tests.scenarios.offhours.test_offhours import ASLEEP_AT_NIGHT, berlin, replicas, stage
from tests.scenarios.offhours.test_offhours import account as plain_account

account = plain_account
GPU_1 = HOME.arn("gpu-1")
MINUTE = timedelta(minutes=1)
Happening = tuple[datetime, Callable[[], object]]


def live(account: Account, until: datetime, happenings: Sequence[Happening] = ()) -> None:
    left = sorted(happenings, key=lambda one: one[0])
    while account.clock.now < until:
        begin = account.clock.now
        while left and left[0][0] <= begin:
            left.pop(0)[1]()
        if begin.minute == 30:
            account.sweep()
        if begin.minute % 5 == 3:
            account.watch_openings()
        due = account.schedules.waiting.get("gpu-1")
        if due and due[0] <= begin:
            del account.schedules.waiting["gpu-1"]
            account.queues.put(OFF_HOURS, due[1])
        account.run_until(begin.replace(second=59))
        account.clock.now = max(account.clock.now, begin).replace(second=0, microsecond=0) + MINUTE


def out_of_reach(account: Account, error: Exception) -> Callable[[], None]:
    def begin() -> None:
        account.calls.fails = lambda call: error if call.startswith("kubernetes.") else None

    return begin


def back(account: Account) -> Callable[[], None]:
    def end() -> None:
        account.calls.fails = lambda call: None

    return end


def set_status(account: Account, status: str) -> Callable[[], None]:
    def change() -> None:
        account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], status=status)

    return change


def subjects(account: Account) -> list[str]:
    return [subject for subject, _ in account.notices.sent]


def test_the_morning_is_written_before_anything_sleeps(account):
    live(account, berlin(20.1))

    made = account.calls.made
    written = next(number for number, call in enumerate(made) if call == "schedules.put 05:50")
    changed = next(
        number for number, call in enumerate(made) if call.startswith(("sleep.keep", "kubernetes.scale "))
    )
    assert written < changed


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Unavailable("endpoint out of reach"), id="no answer"),
        pytest.param(Refused("403"), id="403"),
        pytest.param(Unauthorized("401"), id="401"),
    ],
)
@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param(6 + 49 / 60, 6 + 53 / 60, id="four minutes at waking"),
        pytest.param(6 + 40 / 60, 7 + 2 / 60, id="over the opening"),
        pytest.param(2, 6 + 58 / 60, id="half the night"),
        pytest.param(19.9, 7 + 1 / 60, id="over dusk, too"),
    ],
)
def test_an_api_server_that_was_out_of_reach_costs_two_minutes_at_most(account, error, begin, end):
    if begin > 20:
        live(account, berlin(22))
    day = 1 if begin < 12 else 0
    live(
        account,
        berlin(end, 1),
        [(berlin(begin, day), out_of_reach(account, error)), (berlin(end, 1), back(account))],
    )
    account.calls.fails = lambda call: None

    live(account, berlin(end, 1) + 2 * MINUTE)

    assert replicas(account) == 3
    assert not [message for message in account.queues.dead if message.capability == OFF_HOURS]


@pytest.mark.parametrize("before", ["onboarded", "blocked", "failed"])
def test_that_does_not_rest_on_what_onboarding_says(account, before):
    live(account, berlin(22))
    if before == "blocked":
        account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], auto_mode=True)
    happenings = [
        (berlin(6.75, 1), out_of_reach(account, Unavailable("503"))),
        (berlin(6.95, 1), back(account)),
    ]
    live(account, berlin(7, 1), happenings)

    assert replicas(account) == 3


def test_a_person_reads_once_before_the_opening_what_cannot_be_read(account):
    live(account, berlin(22))
    live(
        account, berlin(8, 1), [(berlin(6.5, 1), out_of_reach(account, Unavailable("endpoint out of reach")))]
    )

    assert subjects(account) == ["Slicewise: gpu-1 cannot be read"]
    [(_, text)] = account.notices.sent
    assert (
        "1 workload asleep, people come at Wed 04 Mar 07:00 CET" in text and "endpoint out of reach" in text
    )
    assert account.schedules.waiting["gpu-1"][0] == berlin(20, 1), "the schedule stays"


def test_at_night_half_an_hour_out_of_reach_is_reported(account):
    live(account, berlin(22))
    live(account, berlin(22.4), [(berlin(22), out_of_reach(account, Refused("403")))])
    assert subjects(account) == []

    live(account, berlin(23.5))
    assert subjects(account) == ["Slicewise: gpu-1 cannot be read"]


@pytest.mark.parametrize("status", ["UPDATING", "FAILED", "CREATING"])
def test_a_cluster_that_is_not_active_over_the_opening_keeps_its_morning(account, status):
    """While EKS updates it, its API server answers."""
    live(account, berlin(22))
    live(account, berlin(6.9, 1), [(berlin(6 + 40 / 60, 1), set_status(account, status))])
    assert "gpu-1" in account.schedules.waiting
    assert replicas(account) == (3 if status == "UPDATING" else 0)

    set_status(account, "ACTIVE")()
    live(account, berlin(6.9, 1) + 6 * MINUTE)
    assert replicas(account) == 3


def test_schedules_that_cannot_be_read_keep_nobody_asleep(account):
    account.calls.fails = lambda call: Unavailable("throttled") if call == "schedules.next" else None

    live(account, berlin(22))
    assert replicas(account) == 0
    live(account, berlin(6.9, 1))
    assert replicas(account) == 3 and account.lost == []


@pytest.mark.parametrize("minute", [0, 30, 50])
def test_a_lost_schedule_is_put_again_by_the_next_reconcile(account, minute):
    live(account, berlin(22))
    live(account, berlin(5.1, 1), [(berlin(5, 1), lambda: account.schedules.waiting.clear())])
    live(account, berlin(5.6, 1))

    assert account.schedules.waiting["gpu-1"][0] == berlin(7, 1) - timedelta(minutes=10)


def test_what_the_last_sleep_saved_is_not_forgotten_while_nothing_can_be_checked(account):
    live(account, berlin(22))
    before = account.record(capability=OFF_HOURS).details
    assert before
    out_of_reach(account, Refused("403"))()
    live(account, berlin(23))

    assert stage(account) is Stage.WAITING
    assert account.record(capability=OFF_HOURS).details[: len(before)] == before


def test_a_cluster_that_has_no_policy_any_more_needs_no_schedule(account):
    account.policies["default"] = ASLEEP_AT_NIGHT.partition("offHours")[0]
    live(account, berlin(13))

    assert "gpu-1" not in account.schedules.waiting
