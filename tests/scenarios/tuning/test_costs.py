"""What GPUs cost, hour by hour: counted in every mode, and never twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.costs.day import Day, Use
from slicewise.costs.text import load
from slicewise.errors import Conflict, Refused, Unavailable
from slicewise.model.capabilities import OFF_HOURS, TUNING
from slicewise.planning.record import Record
from slicewise.trigger import Trigger

from tests.support.tuning.tuned_account import GPU_1, POLICY, POOL, TunedAccount

HOUR = timedelta(hours=1)


def account_of(policy: str = POLICY, pods: tuple[int, ...] = (4, 2)) -> TunedAccount:
    """Counted from now on, with all its nodes."""
    account = TunedAccount(pods=pods, policy=policy)
    account.costs.kept.clear()
    account.tune()
    return account


def days(account: TunedAccount) -> list[Day]:
    return [day for _, kept in sorted(account.costs.kept.items()) if (day := load(kept))]


def machine_seconds(account: TunedAccount) -> int:
    hours = (hour for day in days(account) for of in day.hours.values() for hour in of.values())
    return sum(hour.machine_seconds for hour in hours)


def uses(account: TunedAccount) -> list[Use]:
    return [hour.use for day in days(account) for of in day.hours.values() for hour in of.values()]


def counted_seconds(account: TunedAccount) -> int:
    return sum(day.through - day.since for day in days(account))


@pytest.mark.parametrize("mode", ["act", "recommend", "observe"])
def test_each_hour_counts_machines_and_what_pods_held_and_used_of_them(mode):
    account = account_of()
    account.policies["default"] = f"{POLICY}mode: {mode}\n"
    account.hours(3)

    assert counted_seconds(account) >= 2 * 3600
    assert machine_seconds(account) == 2 * counted_seconds(account)
    [day] = days(account)
    [machine] = day.workloads
    assert (machine.node_pool, machine.pool, machine.gpu, machine.gpus, machine.n) == (
        POOL,
        "shared",
        "l4",
        1,
        4,
    )
    use = [hour.use for hour in day.hours[machine].values()]
    held = sum(one.held for one in use)
    # Six of eight slices are held, of pods that are measured at a tenth of a slice's part each.
    assert held == 6 * 1000 * counted_seconds(account)
    assert sum(one.used for one in use) == pytest.approx(held * 0.1, rel=0.01)
    assert not any(one.unmeasured or one.burst for one in use)
    assert {workload.name[:4] for workload in day.workloads[machine]} == {"pod-"}
    assert day.labels and all(labels == {"app": "demo"} for labels in day.labels.values())


def test_a_week_is_a_day_each_and_adds_up():
    account = account_of()

    account.hours(50)

    assert len(days(account)) == 3
    assert [day.roster is None for day in days(account)] == [True, True, False]
    assert machine_seconds(account) == 2 * counted_seconds(account)


def test_a_pause_is_counted_once_it_is_over():
    account = account_of()
    account.store.pause(GPU_1, "a test")
    account.hours(5)
    before = machine_seconds(account)
    account.store.resume(GPU_1)

    account.hours(1)

    assert before == 0 and counted_seconds(account) >= 5 * 3600
    assert machine_seconds(account) == 2 * counted_seconds(account)


def test_metrics_that_cannot_be_read_are_waited_for_six_hours():
    account = account_of()
    began = account.clock.now
    account.metrics.scraped, scraped = _unavailable, account.metrics.scraped
    account.queues.put(TUNING, Trigger(GPU_1, "the hourly sweep").message())
    while account.clock.now < began + 6 * HOUR:
        account.answer_next()
    assert counted_seconds(account) == 0

    while account.clock.now < began + 8 * HOUR:
        account.answer_next()
    assert counted_seconds(account) >= 3600
    assert all(one.unmeasured == one.held for one in uses(account))

    account.metrics.scraped = scraped
    account.hours(1)
    assert counted_seconds(account) >= 8 * 3600
    assert machine_seconds(account) == 2 * counted_seconds(account)
    assert sum(one.used for one in uses(account)) > 0


def _unavailable(start, end):
    raise Unavailable("the source is down")


@pytest.mark.parametrize(
    ("call", "code", "error"),
    [
        ("costs.keep", "costs-not-kept", Conflict("counted further")),
        ("costs.keep", "costs-not-kept", Refused("no right")),
        ("costs.newest", "costs-unreadable", Refused("no right")),
        ("costs.newest", "costs-unreadable", Unavailable("no answer")),
    ],
)
def test_costs_that_cannot_be_kept_or_read_end_nothing_and_the_next_reconcile_counts_them(call, code, error):
    account = account_of()
    account.calls.fails = lambda what: error if what.startswith(call) else None

    record = account.hours(1)

    assert code in {finding.code for finding in record.findings}
    assert record.stage == "onboarded" and account.usage.kept and counted_seconds(account) == 0
    account.calls.fails = lambda what: None
    record = account.hours(1)
    assert code not in {finding.code for finding in record.findings}
    assert counted_seconds(account) >= 3600
    assert machine_seconds(account) == 2 * counted_seconds(account)


@pytest.mark.parametrize(
    "part",
    [
        "slicewise.tuning.costs.cost_days",
        "slicewise.tuning.cost_notice.notices",
        "slicewise.tuning.plan.pool_measures",
    ],
)
def test_n_is_decided_as_before_where_what_counts_costs_fails(monkeypatch, part):
    account = TunedAccount()

    def fails(*_):
        raise KeyError("n1")

    monkeypatch.setattr(part, fails)
    record = account.hours(4)

    assert account.n == 5 and record.stage == "onboarded" and account.usage.kept
    [message] = [one.message for one in record.findings if one.code == "costs-not-counted"]
    assert message == "What GPUs cost or do could not be counted: KeyError: 'n1'."
    monkeypatch.undo()
    assert "costs-not-counted" not in {one.code for one in account.hours(1).findings}


def test_n_that_rises_is_a_change_with_its_reason():
    account = TunedAccount()

    account.hours(4)

    [change] = [one for day in days(account) for one in day.changes if one.kind == "n"]
    assert (change.what, change.before, change.after) == (POOL, "4", "5")
    assert change.why
    assert {machine.n for machine in days(account)[-1].hours} == {4, 5}


def test_what_is_forgotten_of_a_cluster_is_not_what_it_cost():
    account = account_of()
    account.hours(2)
    del account.eks.clusters["gpu-1"]

    account.queues.put(TUNING, Trigger(GPU_1, "it is deleted").message())
    account.answer_gone()
    account.store.delete_state(GPU_1)

    assert account.costs.clusters() == (GPU_1,)
    assert machine_seconds(account) == 2 * counted_seconds(account) > 0


def test_nights_are_those_that_off_hours_has_counted():
    account = account_of()
    account.policies["default"] = f'{POLICY}offHours: {{timeZone: Etc/UTC, asleep: ["Sat-Sun"]}}\n'
    night = {"began": account.clock.now.isoformat(), "saved": {"g6.xlarge": 2.5}, "usd": 2.01}
    slept = Record(GPU_1, OFF_HOURS, "asleep", "", account.clock.now, account.clock.now, details=(night,))
    account.store._records[GPU_1, OFF_HOURS] = slept, 0

    account.hours(1)

    assert days(account)[-1].nights == {night["began"]: night}


def test_costs_are_kept_before_what_was_measured_which_is_not_read_again():
    """Else a reconcile that is killed in between would have lost what its steps were used for."""
    account = account_of()
    account.calls.made.clear()

    account.hours(1)

    kept = [made.partition(" ")[0] for made in account.calls.made if ".keep " in made]
    assert list(dict.fromkeys(kept)) == ["costs.keep", "usage.keep"]
