"""What `slicewise status` says at night: also of what no pass could write down."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.app import OFF_HOURS, ONBOARDING, TUNING
from slicewise.errors import Refused, Unavailable
from slicewise.model.opening import Opening
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.trigger import Trigger

from cli.main import main
from tests.fakes.account import HOME, Account
from tests.fakes.clock import START

GPU_1 = HOME.arn("gpu-1")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def account() -> Account:
    """A cluster that was onboarded at nine."""
    made = Account()
    made.create_cluster()
    made.send_created()
    made.run_until_idle()
    return made


def status(account: Account, capsys, *cluster: str) -> str:
    assert main(["status", *cluster], find_app=account.person) in (0, 1)
    return capsys.readouterr().out


def swept_in_vain(account: Account, times: int) -> None:
    """The sweep asks, and nobody answers."""
    for _ in range(times):
        account.clock.pass_by(HOUR)
        account.sweep()
        account.queues.waiting.clear()


@pytest.mark.parametrize("which", [[], ["gpu-1"]], ids=["the fleet", "one cluster"])
def test_sweeps_that_no_reconcile_has_followed_are_reported_with_the_time_of_the_last_one(
    account, capsys, which
):
    last = account.record().at
    swept_in_vain(account, 3)
    account.clock.pass_by(31 * MINUTE)

    reported = status(account, capsys, *which)
    assert f"no reconcile has finished since {last:%Y-%m-%d %H:%M:%S}Z (3 sweeps)" in reported


def test_a_sweep_whose_looks_may_still_come_is_not_counted(account, capsys):
    swept_in_vain(account, 1)
    account.clock.pass_by(29 * MINUTE)
    assert "no reconcile" not in status(account, capsys, "gpu-1")

    account.clock.pass_by(MINUTE)
    assert "(1 sweep)" in status(account, capsys, "gpu-1")


def test_what_the_sweep_does_not_ask_for_is_not_missed(account, capsys):
    left = Record(GPU_1, TUNING, Stage.UNMANAGED, "no policy", START, START)
    account.store._records[GPU_1, TUNING] = left, 1
    swept_in_vain(account, 2)
    account.clock.pass_by(31 * MINUTE)

    told = status(account, capsys).splitlines()
    rows = [line.split()[1] for line in told if not line.startswith(" ")]
    assert rows == ["CAPABILITY", ONBOARDING, TUNING]
    assert len([line for line in told if "no reconcile" in line]) == 1


def test_a_reconcile_after_the_sweep_is_a_good_end(account, capsys):
    account.clock.pass_by(HOUR)
    account.sweep()
    account.run_until_idle()
    account.clock.pass_by(31 * MINUTE)

    assert "no reconcile" not in status(account, capsys, "gpu-1")


@pytest.mark.parametrize("which", [[], ["gpu-1"]], ids=["the fleet", "one cluster"])
def test_what_becomes_of_a_reconcile_that_failed_is_reported(account, capsys, which):
    def refusing(name):
        raise Unavailable("eks:DescribeCluster of gpu-1: throttled")

    account.eks.describe = refusing
    account.send(Trigger(GPU_1, "a test"))
    account.answer_one()
    assert "try 1 of 5 failed; the queue tries again in 10 s" in status(account, capsys, *which)

    account.run_until_idle()
    assert "gave up; next attempt with the hourly sweep" in status(account, capsys, *which)


def test_a_reconcile_at_work_is_reported_and_one_that_never_finished_with_its_log(account, capsys):
    account.clock.pass_by(HOUR)
    began = account.clock.now
    account.store.acquire(GPU_1, "2026/03/02/[$LATEST]abc", began, 5 * MINUTE, TUNING)
    assert f"a reconcile started {began:%Y-%m-%d %H:%M:%S}Z and is at work" in status(
        account, capsys, "gpu-1"
    )

    account.clock.pass_by(5 * MINUTE)
    reported = status(account, capsys, "gpu-1")
    assert f"a reconcile started {began:%Y-%m-%d %H:%M:%S}Z and never finished" in reported
    command = "aws logs tail /aws/lambda/slicewise-tune-slicing --log-stream-names"
    assert f"{command} '2026/03/02/[$LATEST]abc' --since 1d" in reported


def test_a_cluster_whose_first_reconcile_never_finished_is_not_said_to_be_unseen(capsys):
    account = Account()
    account.create_cluster()
    account.store.acquire(GPU_1, "stream", account.clock.now, 5 * MINUTE, ONBOARDING)
    account.clock.pass_by(HOUR)

    reported = status(account, capsys, "gpu-1")
    assert "gpu-1: onboarding" in reported and "never finished" in reported
    assert "no pass has looked" not in reported


def test_what_cannot_be_read_of_a_record_is_named(account, capsys):
    record, token = account.store._records[GPU_1, ONBOARDING]
    odd = replace(record, stage="quarantined", unreadable=("since", "findings[0]"))
    account.store._records[GPU_1, ONBOARDING] = odd, token

    for which in ([], ["gpu-1"]):
        reported = status(account, capsys, *which)
        assert "quarantined" in reported
        assert "not read of this record: since, findings[0]" in reported


def test_that_no_sweep_has_run_for_two_hours_comes_first(account, capsys):
    account.sweep()
    account.clock.pass_by(2 * HOUR)
    assert "no sweep has run" not in status(account, capsys)

    account.clock.pass_by(MINUTE)
    first, *_ = status(account, capsys).splitlines()
    assert first.startswith("no sweep has run since 2026-03-02")
    assert "aws scheduler get-schedule --name slicewise-sweep" in first


def test_a_deployment_that_has_never_swept_is_new(account, capsys):
    account.clock.pass_by(24 * HOUR)

    assert "no sweep" not in status(account, capsys)


def test_every_capability_has_a_function_whose_log_is_named(account, capsys):
    for name in (ONBOARDING, TUNING, OFF_HOURS):
        account.store.acquire(GPU_1, name, account.clock.now, MINUTE, name)
        account.clock.pass_by(MINUTE)

    reported = status(account, capsys, "gpu-1")
    assert reported.count("gpu-1: onboarding") == 1
    functions = ("onboard-cluster", "tune-slicing", "shift-capacity")
    assert all(f"/aws/lambda/slicewise-{function} " in reported for function in functions)


@pytest.mark.parametrize("which", [[], ["gpu-1"]], ids=["the fleet", "one cluster"])
def test_a_cluster_that_sleeps_past_its_hour_is_named_first(account, capsys, which):
    now = account.clock.now
    account.sleep.put_opening(GPU_1, Opening(now - HOUR, now - 6 * MINUTE))
    account.sleep.put_opening(HOME.arn("gpu-2"), Opening(now - HOUR, now - 4 * MINUTE))
    first, *others = status(account, capsys, *which).splitlines()

    assert first == "gpu-1 is asleep past its hour; slicewise status gpu-1 says why"
    assert not any("past" in line for line in others)


def test_records_are_reported_also_where_nobody_can_say_which_clusters_are_late(account, capsys):
    account.calls.fails = lambda call: Refused("no such index") if call == "sleep.openings" else None

    reported = status(account, capsys)
    assert "which clusters are asleep past their hour could not be read: no such index" in reported
    assert "onboarded" in reported
