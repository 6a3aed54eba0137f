"""What a person says about sleep, and the calendar of a policy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from slicewise.policy.off_hours import Override

from cli.main import main
from tests.fakes.account import HOME, POLICY, Account

NIGHTS = POLICY + 'offHours: {timeZone: Europe/Berlin, asleep: ["Mon-Fri 20:00-07:00", "Sat-Sun"]}\n'
GPU_1 = HOME.arn("gpu-1")
# Half past ten in Berlin, a Tuesday morning.
NOW = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)


@pytest.fixture
def account() -> Account:
    made = Account(NIGHTS)
    made.clock.now = NOW
    made.create_cluster()
    return made


def run(account: Account, *arguments: str) -> int:
    return main(arguments, find_app=lambda: account.person())


def shown(account: Account) -> Override:
    found = account.sleep.override(GPU_1)
    assert found and found.set_at == NOW and found.by
    return found


@pytest.mark.parametrize(
    ("arguments", "asleep", "until"),
    [
        pytest.param(("sleep", "gpu-1"), True, datetime(2026, 3, 3, 19), id="until it sleeps anyway"),
        pytest.param(("snooze", "gpu-1"), False, datetime(2026, 3, 4, 6), id="not tonight"),
        pytest.param(
            ("snooze", "gpu-1", "--until", "22:30"), False, datetime(2026, 3, 3, 21, 30), id="22:30"
        ),
        pytest.param(("wake", "gpu-1", "--for", "2h"), False, datetime(2026, 3, 3, 11, 30), id="two hours"),
        pytest.param(
            ("sleep", "gpu-1", "--until", "2026-03-05T08:00"), True, datetime(2026, 3, 5, 7), id="a moment"
        ),
        pytest.param(("wake", GPU_1, "--until", "09:00"), False, datetime(2026, 3, 4, 8), id="tomorrow"),
    ],
)
def test_what_a_person_says_is_kept_with_its_end_and_checked_now(account, capsys, arguments, asleep, until):
    assert run(account, *arguments, "--reason", "a demo") == 0

    found = shown(account)
    assert (found.asleep, found.until, found.reason) == (asleep, until.replace(tzinfo=UTC), "a demo")
    assert [message.capability for message in account.queues.waiting] == ["off-hours"]
    assert f"{until:%H:%M} UTC" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--until", "late"), "write a time such as 22:30"),
        (("--until", "2026-03-01T08:00"), "this is in the past"),
        (("--for", "0h"), "write a time such as 22:30"),
        (("--for", "soon"), "90m, 2h or 3d"),
    ],
)
def test_a_time_that_is_none_says_what_to_write(account, capsys, arguments, message):
    assert run(account, "wake", "gpu-1", *arguments) == 2

    assert message in capsys.readouterr().err and account.sleep.override(GPU_1) is None


def test_a_cluster_whose_policy_has_no_off_hours_says_so(capsys):
    account = Account()
    account.create_cluster()

    assert run(account, "sleep", "gpu-1") == 1
    assert "write offHours into its policy" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["sleep", "pause"])
@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        pytest.param("x" * 5000, "x" * 779 + "… (cut: 5000 bytes)", id="a long one"),
        pytest.param("na\udcefve", "na?ve", id="bytes that are no UTF-8"),
    ],
)
def test_a_reason_is_kept_as_far_as_it_can_be(account, command, reason, kept):
    assert run(account, command, "gpu-1", "--reason", reason) == 0

    assert kept == (shown(account).reason if command == "sleep" else account.store.paused(GPU_1))


def test_the_status_of_the_fleet_reports_who_sleeps(account, capsys):
    account.send_created()
    account.run_until_idle()
    run(account, "sleep", "gpu-1")
    account.run_until(NOW + timedelta(minutes=1))
    capsys.readouterr()

    assert run(account, "status") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["CLUSTER", "CAPABILITY", "STAGE"],
        ["gpu-1", "off-hours", "asleep"],
        ["gpu-1", "onboarding", "onboarded"],
        ["gpu-1", "tuning", "onboarded"],
    ]


def test_what_was_said_is_reported_and_can_be_taken_back(account, capsys):
    run(account, "snooze", "gpu-1", "--until", "22:30", "--reason", "a demo")
    run(account, "status", "gpu-1")
    assert "(a demo), until Tue 03 Mar 22:30 CET" in capsys.readouterr().out

    assert run(account, "follow-calendar", "gpu-1") == 0
    run(account, "status", "gpu-1")
    assert "awake by the calendar, until Tue 03 Mar 20:00 CET" in capsys.readouterr().out


def test_a_calendar_is_printed_in_both_zones(tmp_path, capsys):
    path = tmp_path / "p.yaml"
    path.write_text(NIGHTS.replace("Europe/Berlin", "America/New_York") + "")
    assert main(("calendar", str(path), "--from", "2026-03-06", "--days", "4")) == 0

    assert capsys.readouterr().out.splitlines() == [
        "America/New_York               UTC",
        "Fri 06 Mar 00:00 EST           Fri 06 Mar 05:00   asleep",
        "Fri 06 Mar 07:00 EST           Fri 06 Mar 12:00   awake",
        "Fri 06 Mar 20:00 EST           Sat 07 Mar 01:00   asleep",
        "Mon 09 Mar 07:00 EDT           Mon 09 Mar 11:00   awake",
        "Mon 09 Mar 20:00 EDT           Tue 10 Mar 00:00   asleep",
    ]


def test_holidays_stand_in_the_calendar_by_name(tmp_path, capsys):
    (tmp_path / "holidays").mkdir()
    (tmp_path / "holidays" / "us.ics").write_text(
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Thanksgiving\nDTSTART;VALUE=DATE:20261126\n"
        "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    path = tmp_path / "p.yaml"
    path.write_text(POLICY + "offHours: {timeZone: America/New_York, asleep: [Sat-Sun], holidays: us}\n")
    assert main(("calendar", str(path), "--from", "2027-11-24", "--days", "2")) == 0

    assert "Thu 25 Nov 05:00   asleep   Thanksgiving" in capsys.readouterr().out


def test_a_policy_that_never_sleeps_has_no_calendar(tmp_path, capsys):
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)

    assert main(("calendar", str(path))) == 0
    assert "nothing sleeps" in capsys.readouterr().out
