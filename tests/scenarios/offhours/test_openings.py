"""
The second way to the morning: a look every five minutes, where the schedule, its message, or the function
that wakes clusters fails.

Minute by minute, as in test_mornings; the hourly sweep never comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest
from slicewise.app import OFF_HOURS
from slicewise.errors import Refused, Unavailable
from slicewise.kube.ref import ref_of
from slicewise.model.opening import Opening
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import Override
from slicewise.trigger import Trigger

from cli.main import main
from tests.fakes.account import HOME, Account
from tests.fakes.kube.controllers import cron_job
from tests.scenarios.offhours.test_offhours import ASLEEP_AT_NIGHT, berlin, replicas, stage
from tests.scenarios.offhours.test_offhours import account as plain_account

account = plain_account
GPU_1 = HOME.arn("gpu-1")
MINUTE = timedelta(minutes=1)
NIGHTLY = cron_job("nightly")
# 06:50 in Berlin; the look comes at minutes 3, 8, 13 ...
DUE, OPENS = berlin(7, 1) - 10 * MINUTE, berlin(7, 1)
Happening = tuple[datetime, Callable[[], object]]


def live(
    account: Account, until: datetime, happenings: Sequence[Happening] = (), schedules: bool = True
) -> None:
    left = sorted(happenings, key=lambda one: one[0])
    while account.clock.now < until:
        begin = account.clock.now
        while left and left[0][0] <= begin:
            left.pop(0)[1]()
        if begin.minute % 5 == 3:
            account.watch_openings()
        due = account.schedules.waiting.get("gpu-1")
        if due and due[0] <= begin:
            del account.schedules.waiting["gpu-1"]
            if schedules:
                account.queues.put(OFF_HOURS, due[1])
        account.run_until(begin.replace(second=59))
        account.clock.now = max(account.clock.now, begin).replace(second=0, microsecond=0) + MINUTE


def woken(account: Account, until: datetime, **how: bool) -> datetime:
    """When its replicas came back."""
    while account.clock.now < until:
        live(account, account.clock.now + MINUTE, **how)
        if replicas(account) == 3:
            return account.clock.now - MINUTE
    raise AssertionError(f"asleep at {until}")


def lose_messages(account: Account) -> None:
    account.queues.waiting = [one for one in account.queues.waiting if one.capability != OFF_HOURS]


def lose_what_is_sent(account: Account) -> None:
    lose_messages(account)
    account.queues.put = lambda capability, body, delay=MINUTE: None  # type: ignore[method-assign]


def lose_no_more(account: Account) -> None:
    del account.queues.put


def break_the_function(account: Account) -> None:
    """Each of its passes fails before it has looked at anything."""
    account.calls.fails = lambda call: Refused("a new release") if call == "store.acquire" else None


def fix_the_function(account: Account) -> None:
    account.calls.fails = lambda call: None


def written(account: Account) -> list[str]:
    names = "sleep.put_opening", "sleep.delete_opening"
    return [call for call in account.calls.made if call.startswith(names)]


def test_a_usual_night_writes_its_opening_once_before_anything_sleeps_and_deletes_it_once(account):
    live(account, berlin(9, 1))

    assert written(account) == ["sleep.put_opening 05:50", "sleep.delete_opening"]
    made = account.calls.made
    changes = [n for n, call in enumerate(made) if call.startswith(("sleep.keep", "kubernetes.scale "))]
    assert made.index("sleep.put_opening 05:50") < changes[0]
    assert replicas(account) == 3 and account.sleep._openings == {}
    assert set(account.late) == {()} and account.lost == []


def test_what_stands_there_is_when_the_waking_begins_and_when_people_come(account):
    live(account, berlin(22))

    assert account.sleep._openings == {GPU_1: Opening(DUE, OPENS)}


def test_with_the_schedule_and_every_message_lost_the_next_reconcile_wakes_it(account):
    """Within five minutes, so that its pods have their ten minutes by five past the opening."""
    live(account, berlin(6.75, 1))
    lose_messages(account)  # passes at night have a chain of their own

    assert woken(account, OPENS, schedules=False) == DUE + 3 * MINUTE


def test_with_the_looks_message_lost_as_well_the_one_after_it_wakes_it(account):
    live(account, berlin(6.75, 1))
    lose_what_is_sent(account)
    live(account, DUE + 5 * MINUTE, schedules=False)
    lose_no_more(account)

    assert woken(account, OPENS, schedules=False) == DUE + 8 * MINUTE


def test_every_message_lost_until_the_opening_costs_five_minutes_more(account):
    live(account, berlin(6.75, 1))
    lose_what_is_sent(account)
    live(account, OPENS, schedules=False)
    assert replicas(account) == 0

    lose_no_more(account)
    assert woken(account, berlin(8, 1), schedules=False) == OPENS + 3 * MINUTE


def test_a_function_that_fails_since_dusk_rings_and_once_fixed_wakes_it_within_five_minutes(account):
    live(account, berlin(22))
    live(account, berlin(8, 1), [(berlin(22), lambda: break_the_function(account))])
    looks = [at for at in range(61) if at % 5 == 3]

    assert replicas(account) == 0
    assert account.late[-len(looks) :] == [() if at <= 5 else (GPU_1,) for at in looks]

    fix_the_function(account)
    assert woken(account, berlin(9, 1)) <= berlin(8, 1) + 5 * MINUTE
    live(account, berlin(8.25, 1))
    assert account.late[-1] == () and account.sleep._openings == {}


def test_one_object_that_cannot_be_woken_rings(account):
    live(account, berlin(22))
    account.calls.fails = lambda call: Refused("denied") if call.startswith("kubernetes.scale ") else None
    live(account, berlin(7.25, 1))

    assert account.late[-2:] == [(GPU_1,), (GPU_1,)]


def test_a_queue_that_takes_nothing_rings_all_the_same(account):
    live(account, berlin(22))
    account.clock.now = OPENS + 6 * MINUTE
    account.calls.fails = lambda call: Unavailable("503") if call.startswith("queues.send_all") else None

    with pytest.raises(Unavailable):
        account.watch_openings()
    assert account.late[-1] == (GPU_1,)


def run(account: Account, *arguments: str) -> None:
    assert main(arguments, find_app=lambda: account.person()) == 0


@pytest.mark.parametrize("works", [True, False], ids=["its passes run", "its passes fail"])
@pytest.mark.parametrize("which", ["gpu-1", "--all"])
def test_what_a_pause_keeps_asleep_never_rings(account, which, works):
    live(account, berlin(22))
    run(account, "pause", which, "--keep-asleep")
    if not works:
        break_the_function(account)
    live(account, berlin(9, 1))

    assert replicas(account) == 0 and set(account.late) == {()}
    assert (GPU_1 in account.sleep._openings) is not works

    fix_the_function(account)
    run(account, "resume", "gpu-1") if which == "gpu-1" else account.store.resume(None)
    account.send(Trigger(GPU_1, "resumed"), OFF_HOURS)
    live(account, berlin(9.1, 1))
    assert replicas(account) == 3 and account.sleep._openings == {}


def test_what_is_resumed_and_still_sleeps_rings(account):
    live(account, berlin(22))
    run(account, "pause", "gpu-1", "--keep-asleep")
    live(account, berlin(9, 1))
    account.calls.fails = lambda call: Refused("denied") if call.startswith("kubernetes.scale ") else None
    run(account, "resume", "gpu-1")
    live(account, berlin(9.25, 1))

    assert account.late[-1] == (GPU_1,)


@pytest.mark.parametrize("works", [True, False], ids=["its passes run", "its passes fail"])
def test_a_person_who_wants_it_asleep_longer_hears_nothing_until_then(account, works):
    live(account, berlin(6, 1))
    if works:
        run(account, "sleep", "gpu-1", "--until", "2026-03-04T10:00")
        live(account, berlin(6.1, 1))
        assert account.sleep._openings[GPU_1].opens == berlin(10, 1)
    else:
        break_the_function(account)
        account.sleep.put_override(GPU_1, Override(True, berlin(6, 1), berlin(10, 1), "ada"))
    live(account, berlin(10, 1))
    assert replicas(account) == (3 if works else 0) and set(account.late) == {()}

    live(account, berlin(10.25, 1))
    assert account.late[-1] == (() if works else (GPU_1,))


def test_a_sleep_whose_end_is_years_away_needs_no_opening(account):
    account.policies["default"] = ASLEEP_AT_NIGHT.replace(
        'asleep: ["Mon-Fri 20:00-07:00", "Sat-Sun"]', "asleep: [2026-03-03 - 2028-01-01]"
    )
    account.send(Trigger(GPU_1, "a new policy"), OFF_HOURS)
    live(account, berlin(14))

    assert replicas(account) == 0 and account.sleep._openings == {}


def test_a_policy_that_asks_for_no_sleep_any_more_wakes_it_or_rings(account):
    live(account, berlin(22))
    account.policies["default"] = ASLEEP_AT_NIGHT.partition("offHours")[0]
    account.calls.fails = lambda call: Refused("denied") if call.startswith("kubernetes.scale ") else None
    account.send(Trigger(GPU_1, "a new policy"), OFF_HOURS)
    live(account, berlin(22.25))
    assert account.late[-1] == (GPU_1,)

    fix_the_function(account)
    live(account, berlin(22.75))
    assert replicas(account) == 3 and account.late[-1] == () and account.sleep._openings == {}


def test_a_cluster_that_was_deleted_at_night_rings_nobody(account):
    live(account, berlin(22))
    del account.eks.clusters["gpu-1"]
    live(account, berlin(9, 1))

    assert set(account.late) == {()} and account.sleep._openings == {}


def test_what_nobody_can_restore_is_no_reason_to_ring_for_ever(account):
    """Passes tell it (snapshot-damaged); an alarm that never ends would hide the next cluster's."""
    live(account, berlin(22))
    for kept in account.sleep._kept.values():
        if kept.ref.kind == "Deployment":
            object.__setattr__(kept, "checksum", "0")
    live(account, berlin(8, 1))

    assert replicas(account) == 0 and set(account.late) == {()} and account.sleep._openings == {}


def test_a_cluster_of_the_release_before_gets_its_opening_with_the_next_reconcile(account):
    live(account, berlin(22))
    account.sleep._openings.clear()
    account.send(Trigger(GPU_1, "the hourly sweep"), OFF_HOURS)
    live(account, berlin(22.1))

    assert account.sleep._openings == {GPU_1: Opening(DUE, OPENS)}


def test_reconciles_that_change_nothing_write_no_opening(account):
    live(account, berlin(22))
    before = len(written(account))
    for _ in range(3):
        account.send(Trigger(GPU_1, "a look"), OFF_HOURS)
        live(account, account.clock.now + MINUTE)

    assert len(written(account)) == before and stage(account) is Stage.ASLEEP


def test_out_of_reach_at_night_it_keeps_the_opening_that_it_had(account):
    live(account, berlin(22))
    account.calls.fails = lambda call: Unavailable("503") if call.startswith("kubernetes.") else None
    live(account, berlin(23))
    assert stage(account) is Stage.WAITING
    assert account.sleep._openings == {GPU_1: Opening(DUE, OPENS)}


def suspended(account: Account) -> bool:
    return account.servers["gpu-1"].objects[ref_of(NIGHTLY)]["spec"].get("suspend", False)


def test_where_a_cron_job_alone_still_sleeps_the_opening_itself_is_what_is_due(account):
    """It is woken at the hour, and nobody has to ask before that."""
    account.servers["gpu-1"].create(NIGHTLY)
    live(account, berlin(6.98, 1))
    assert replicas(account) == 3 and suspended(account)
    assert account.sleep._openings == {GPU_1: Opening(OPENS, OPENS)}

    live(account, berlin(7.1, 1))
    assert not suspended(account) and account.sleep._openings == {}
    assert written(account) == ["sleep.put_opening 05:50", "sleep.put_opening 06:00", "sleep.delete_opening"]
    assert set(account.late) == {()}


def test_a_cron_job_whose_messages_are_lost_is_woken_five_minutes_after_the_opening(account):
    account.servers["gpu-1"].create(NIGHTLY)
    live(account, berlin(6.98, 1))
    lose_what_is_sent(account)
    live(account, OPENS + 3 * MINUTE, schedules=False)
    assert suspended(account)

    lose_no_more(account)
    live(account, OPENS + 4 * MINUTE)
    assert not suspended(account)
