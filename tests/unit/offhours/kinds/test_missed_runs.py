"""A CronJob that slept starts at the opening what it missed, or at its next time, as the policy says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.kube.ref import ref_of
from slicewise.policy.off_hours import MissedRuns
from slicewise.reconcile import lanes

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import cron_job
from tests.fakes.sleeper import NIGHTS, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, codes, objects_of

CRON = cron_job("nightly", suspend=False)
SKIPPING = replace(NIGHTS, missed_runs=MissedRuns.SKIP)
LAST = ("status", "lastScheduleTime")
STATUS, RESUME = f"kubernetes.patch {ref_of(CRON)}/status", f"kubernetes.patch {ref_of(CRON)}"


def asleep(off_hours=SKIPPING, last: str | None = "2026-11-25T02:00:00Z", item=CRON) -> Sleeper:
    sleeper = Sleeper(off_hours)
    sleeper.create(item)
    if last:
        sleeper.server.set_status(ref_of(item), {"lastScheduleTime": last, "lastSuccessfulTime": last})
    sleeper.at(NIGHT).settle()
    assert sleeper.value(ref_of(item), "spec", "suspend") is True
    return sleeper


@pytest.mark.parametrize("last", ["2026-11-25T02:00:00Z", None])
def test_it_is_reported_that_its_last_time_was_just_before_the_opening_and_resumed_then(last):
    sleeper = asleep(last=last)
    before = len(sleeper.calls.made)

    sleeper.at("2026-11-26T07:03").settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False
    # What is due at the opening, or in the three minutes since, is no missed run.
    assert sleeper.value(ref_of(CRON), *LAST) == "2026-11-26T05:59:59Z"
    writes = [call for call in sleeper.calls.made[before:] if call in (STATUS, RESUME)]
    assert writes == [STATUS, RESUME], "its controller would start it in the second in which it is resumed"


def test_one_that_a_person_wakes_at_night_skips_what_it_missed_until_then():
    sleeper = asleep().at("2026-11-26T03:30")
    sleeper.put_override(asleep=False)

    sleeper.settle()

    assert sleeper.value(ref_of(CRON), *LAST) == "2026-11-26T02:30:00Z"


def test_before_the_opening_nothing_is_written_and_nothing_is_reported():
    sleeper = asleep()

    waking = sleeper.at("2026-11-26T06:55").settle()

    assert sleeper.value(ref_of(CRON), *LAST) == "2026-11-25T02:00:00Z"
    assert "missed-run" not in codes(waking)


@pytest.mark.parametrize("how", ["the policy has it run", "no policy has off-hours any more"])
def test_it_runs_what_it_missed_where_nothing_says_otherwise(how):
    sleeper = asleep(NIGHTS if how == "the policy has it run" else SKIPPING)
    if how != "the policy has it run":
        sleeper.off_hours = None

    sleeper.at(MORNING).settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False
    assert sleeper.value(ref_of(CRON), *LAST) == "2026-11-25T02:00:00Z"
    assert STATUS not in sleeper.calls.made


@pytest.mark.parametrize("how", ["suspended by a person before", "suspended at night", "resumed at night"])
def test_what_is_a_persons_is_left(how):
    before = cron_job("nightly", suspend=True) if how == "suspended by a person before" else CRON
    sleeper = asleep(item=before)
    if "at night" in how:
        sleeper.edit(ref_of(CRON), ("spec", "suspend"), False)
    if how == "suspended at night":
        sleeper.edit(ref_of(CRON), ("spec", "suspend"), True)

    sleeper.at(MORNING).settle()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is (how != "resumed at night")
    assert STATUS not in sleeper.calls.made


def test_a_run_after_the_opening_is_not_forgotten():
    """Its controller started one while the cluster was awake already, and our pass comes late."""
    sleeper = asleep()
    sleeper.server.set_status(ref_of(CRON), {"lastScheduleTime": "2026-11-26T06:02:00Z"})

    sleeper.at("2026-11-26T07:03").settle()

    assert sleeper.value(ref_of(CRON), *LAST) == "2026-11-26T06:02:00Z"


@pytest.mark.parametrize("error", [Refused("403"), Unavailable("500")])
def test_a_status_that_cannot_be_written_keeps_nothing_suspended(error):
    sleeper = asleep()
    sleeper.calls.fails = lambda call: error if call == STATUS else None

    sleeper.at(MORNING).reconcile_once()

    assert sleeper.value(ref_of(CRON), "spec", "suspend") is False
    assert [failed.part for failed in sleeper.failed] == [f"missed runs of {ref_of(CRON)}"]


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_wherever_reconciles_end_it_is_resumed_and_is_as_it_was(how):
    number, done = 0, False
    while not done:
        sleeper = Sleeper(SKIPPING)
        sleeper.create(CRON)
        before = objects_of(sleeper)
        sleeper.at(NIGHT).settle()
        begin = len(sleeper.calls.made)
        sleeper.at(MORNING).struck_reconcile(how, number)
        done = len(sleeper.calls.made) - begin <= number
        sleeper.settle()

        after = objects_of(sleeper)
        after[ref_of(CRON)].pop("status", None)
        assert after == before and sleeper.kept._kept == {}
        number += 1
    assert number > 5


def test_no_run_is_resumed_beside_the_word_on_what_it_missed():
    """Also in a pass that does nothing else in between, as after one that could not read CronJobs."""
    sleeper = asleep().at("2026-11-26T07:00")
    sleeper.calls.fails = lambda what: Unavailable("no answer") if "list CronJob" in str(what) else None
    sleeper.reconcile_once()
    sleeper.calls.fails = lambda what: None

    planned = sleeper.later(minutes=1).dry_run()

    stretches = [
        {str(action.part) for lane in stretch for action in lane}
        for stretch in lanes.stretches(planned.actions, planned.abreast)
    ]
    [skipped] = [
        number for number, parts in enumerate(stretches) if f"missed runs of {ref_of(CRON)}" in parts
    ]
    [resumed] = [number for number, parts in enumerate(stretches) if str(ref_of(CRON)) in parts]
    assert skipped < resumed
