"""Once a week, where the policy says `report: weekly`: what GPUs cost, on the notices topic."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.errors import Refused

from tests.support.tuning.tuned_account import POLICY, TunedAccount

WEEKLY = f"{POLICY}report: weekly\n"


def sunday_evening(policy: str = WEEKLY) -> TunedAccount:
    account = TunedAccount(policy=policy)
    now = account.clock.now
    sunday = now.replace(hour=21) + (6 - now.weekday()) * timedelta(days=1)
    account.clock.pass_by(sunday - now)
    account.hours(2)
    return account


def sent(account: TunedAccount) -> list[tuple[str, str]]:
    return [one for one in account.notices.sent if one[0].startswith("Slicewise: GPUs of")]


@pytest.fixture(scope="module")
def account() -> TunedAccount:
    return sunday_evening()


def test_the_week_s_cost_is_sent_once_it_is_counted_and_not_again(account):
    assert sent(account) == [], "not before its end"

    account.hours(4)
    [(subject, text)] = sent(account)
    assert subject == "Slicewise: GPUs of gpu-1 cost at least $0.00 last week"
    assert "2026-03-02 to 2026-03-08 (UTC)" in text
    assert text.endswith("All of it: slicewise report gpu-1 --since 2026-03-02 --until 2026-03-08")

    account.hours(3)
    assert len(sent(account)) == 1


def test_a_policy_that_does_not_ask_for_it_has_none_sent():
    account = sunday_evening(POLICY)
    account.hours(4)

    assert sent(account) == []


def test_a_week_that_could_not_be_read_is_sent_by_a_later_reconcile(monkeypatch):
    account = sunday_evening()
    days = account.costs.days

    def refused(*_):
        raise Refused("not now")

    monkeypatch.setattr(account.costs, "days", refused)
    account.hours(3)
    assert sent(account) == []

    monkeypatch.setattr(account.costs, "days", days)
    account.hours(1)
    assert len(sent(account)) == 1
