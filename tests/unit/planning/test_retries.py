"""What failed for one object: its backoff, its words, and when a person hears of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from slicewise.errors import Conflict, LeaseHeld, Refused, Unauthorized, Unavailable
from slicewise.kube.ref import Ref
from slicewise.model.cluster import Alarm
from slicewise.planning import retries
from slicewise.planning.actions import Delete, Notify, PutAlarm, Scale
from slicewise.planning.outcome import Left
from slicewise.reconcile.executor import Attempt

NOW = datetime(2026, 11, 25, 20, tzinfo=UTC)
LONGEST = timedelta(minutes=15)
CHAT, EMBED = (Ref("apps/v1", "Deployment", name, "ml") for name in ("chat", "embed"))


def scale(ref: Ref = CHAT, seen: int = 2) -> Scale:
    return Scale(ref, seen, 0, "asleep by the calendar", part=str(ref))


def try_once(action, error, before=(), now=NOW, longest=LONGEST) -> Attempt:
    attempt = Attempt(before, lambda: now, longest)
    if not attempt.leaves_out(action):
        with attempt.at(action):
            raise error
    return attempt


def waits(error, times: int, longest=LONGEST) -> list[float]:
    """Seconds until each next try, where every try comes at its time and fails."""
    found, failed, now = [], (), NOW
    for _ in range(times):
        failed = try_once(scale(), error, failed, now, longest).failed
        found.append((failed[0].at - now).total_seconds())
        now = failed[0].at
    return found


MORNING = NOW + timedelta(hours=11)
DENIED = Refused('400 admission webhook "least.example.com" denied the request: never below 1.')


def refused(error=DENIED, before=(), now=NOW, version="7") -> Attempt:
    attempt = Attempt(before, lambda: now, LONGEST, {str(CHAT): Left(MORNING, version)})
    if not attempt.leaves_out(scale()):
        with attempt.at(scale()):
            raise error
    return attempt


def test_what_is_refused_for_good_is_left_until_its_time_and_named_at_once():
    [retry] = refused().failed
    [finding] = retries.findings([retry])

    assert retry.at == MORNING and retry.needs_a_notice
    assert refused(before=[retry], now=MORNING - timedelta(minutes=1)).failed == (retry,), "it is not tried"
    assert refused(before=[retry], now=MORNING).failed[0].times == 2
    assert finding.code == "change-refused"
    assert finding.message == (
        'Admission webhook "least.example.com" refuses to let us scale Deployment ml/chat from 2 to 0: '
        '400 admission webhook "least.example.com" denied the request: never below 1.'
    )
    assert "until Thu 26 Nov 07:00 UTC" in finding.remedy
    assert retries.summary([retry]) == (
        'Deployment ml/chat stays unchanged: admission webhook "least.example.com" refuses the change'
    )


@pytest.mark.parametrize("left", [None, {"Deployment ml/embed": Left(MORNING)}], ids=["none", "another"])
def test_a_part_that_is_not_to_be_left_is_tried_again_soon_whoever_refuses_it(left):
    attempt = Attempt((), lambda: NOW, LONGEST, left)
    with attempt.at(scale()):
        raise DENIED

    assert attempt.failed[0].at == NOW + timedelta(seconds=5) and not attempt.failed[0].refused_by


def test_nor_is_one_left_that_fails_otherwise():
    assert refused(Unavailable("503")).failed[0].at == NOW + timedelta(seconds=5)


def test_what_is_left_is_tried_once_its_object_has_changed_or_a_user_asks():
    known = refused().failed
    soon = NOW + timedelta(minutes=1)

    assert refused(before=known, now=soon).failed[0].times == 1
    assert refused(before=known, now=soon, version="8").failed[0].times == 2
    assert refused(before=retries.asked_again(known, soon), now=soon).failed[0].times == 2
    other = try_once(scale(), Unavailable("503")).failed
    assert retries.asked_again(other, NOW) == other, "what does not answer has its backoff"


def test_what_is_refused_each_night_is_known_from_one_to_the_next():
    known = retries.from_json({**retries.as_json(refused().failed[0]), "notified": True})
    by_day = Attempt([known], lambda: MORNING + timedelta(days=7), LONGEST)
    assert by_day.untried == (known,)
    assert not refused(before=by_day.untried, now=MORNING + timedelta(days=7)).failed[0].needs_a_notice
    assert Attempt([known], lambda: MORNING + timedelta(days=9), LONGEST).untried == ()


def test_a_summary_names_what_is_retried_before_what_is_left():
    other = try_once(scale(EMBED), Unavailable("503")).failed
    assert retries.summary([*refused().failed, *other]) == "Deployment ml/embed could not be changed yet"


def test_what_fails_is_tried_again_after_twice_the_time_each_time():
    assert waits(Refused("403"), 9) == [5, 10, 20, 40, 80, 160, 320, 640, 900]
    assert waits(Conflict("409"), 4) == [2, 4, 8, 16]


def test_near_the_opening_it_is_tried_again_each_minute():
    assert waits(Unavailable("503"), 7, longest=timedelta(minutes=1)) == [5, 10, 20, 40, 60, 60, 60]


def test_until_its_time_has_come_it_is_left_out_and_not_forgotten():
    failed = try_once(scale(), Refused("denied")).failed
    early = Attempt(failed, lambda: NOW + timedelta(seconds=4), LONGEST)

    assert early.leaves_out(scale()) and early.failed == failed
    assert not Attempt(failed, lambda: NOW + timedelta(seconds=5), LONGEST).leaves_out(scale())


def test_another_action_on_the_same_object_is_tried_at_once_and_counts_again():
    failed = try_once(scale(), Refused("denied")).failed

    assert not Attempt(failed, lambda: NOW, LONGEST).leaves_out(scale(seen=3))
    assert try_once(scale(seen=3), Refused("denied"), failed).failed[0].times == 1


def test_what_failed_before_is_tried_after_everything_else():
    """A try without an answer takes half a minute: four of them first would leave no time for others."""
    failed = try_once(scale(), Unavailable("timed out")).failed
    others, first = [scale(EMBED), PutAlarm(Alarm("a", {}), "it knows no parts")], scale()

    assert Attempt(failed, lambda: NOW, LONGEST).in_order([first, *others]) == [*others, first]
    assert Attempt((), lambda: NOW, LONGEST).in_order([first, *others]) == [first, *others]


def test_objects_that_never_answer_keep_no_other_waiting_however_slow_they_are():
    clock, slow = [NOW], [Ref("apps/v1", "Deployment", f"a-{n}", "ml") for n in range(4)]
    failed, tried = (), []
    for _ in range(2):  # passes
        attempt = Attempt(failed, lambda: clock[0], timedelta(minutes=1))
        for action in attempt.in_order([scale(ref) for ref in (*slow, CHAT)]):
            if attempt.leaves_out(action):
                continue
            tried.append(action.ref)
            with attempt.at(action):
                if action.ref in slow:
                    clock[0] += timedelta(seconds=35)
                    raise Unavailable("timed out")
        failed = (*attempt.failed, *attempt.untried)

    assert CHAT in tried


def test_what_had_no_turn_is_remembered_with_all_that_is_known_of_it():
    """Else the operators are notified again of what they know."""
    known = retries.Retry(str(CHAT), str(scale()), 9, NOW, "denied", notified=True)
    given_up = Attempt((known,), lambda: NOW, LONGEST)
    given_up._unanswered = ["another"] * 4
    assert given_up.leaves_out(scale()) and (*given_up.failed, *given_up.untried) == (known,)

    of_nothing = Attempt((known,), lambda: NOW, LONGEST)
    assert of_nothing.untried == (known,)
    assert Attempt((known,), lambda: NOW + timedelta(hours=3), LONGEST).untried == ()

    done = Attempt((known,), lambda: NOW, LONGEST)
    with done.at(scale()):
        pass
    assert (*done.failed, *done.untried) == ()


@pytest.mark.parametrize("error", [Conflict("409"), Refused("403"), Unavailable("503")])
def test_the_rest_of_a_part_that_failed_is_left_out_and_others_are_not(error):
    attempt = try_once(scale(), error)

    assert attempt.leaves_out(Delete(CHAT, "why", part=str(CHAT)))
    assert not attempt.leaves_out(scale(EMBED))
    assert not attempt.leaves_out(PutAlarm(Alarm("a", {}), "it knows no parts"))


@pytest.mark.parametrize(
    ("action", "error"),
    [
        pytest.param(scale(), Unauthorized("401"), id="our identity is not known"),
        pytest.param(scale(), LeaseHeld("another"), id="another pass has taken over"),
        pytest.param(Notify("a", "b", "all that follows rests on it", key="a"), Refused("403"), id="no part"),
    ],
)
def test_what_concerns_all_that_follows_is_raised(action, error):
    with pytest.raises(type(error)):
        try_once(action, error)


def test_after_four_parts_without_an_answer_the_others_are_left_for_the_next_reconcile():
    attempt = Attempt((), lambda: NOW, LONGEST)
    refs = [Ref("apps/v1", "Deployment", f"d{number}", "ml") for number in range(6)]
    for ref in refs:
        if not attempt.leaves_out(scale(ref)):
            with attempt.at(scale(ref)):
                raise Unavailable("timed out")

    assert [retry.part for retry in attempt.failed] == [str(ref) for ref in refs[:4]]
    assert attempt.is_given_up
    following = Attempt(attempt.failed, lambda: NOW + timedelta(seconds=1), LONGEST)
    assert [following.leaves_out(scale(ref)) for ref in refs] == [True] * 4 + [False] * 2


def test_refusals_that_come_at_once_stop_nobody_however_many_they_are():
    attempt = Attempt((), lambda: NOW, LONGEST)
    for number in range(50):
        action = scale(Ref("apps/v1", "Deployment", f"d{number}", "ml"))
        assert not attempt.leaves_out(action)
        with attempt.at(action):
            raise Refused("denied")

    assert not attempt.is_given_up and len(attempt.failed) == 50


def test_a_finding_names_the_object_what_was_tried_and_the_answers_words():
    for words in ("422 b-embed needs one replica", "422 b-embed needs one replica."):
        [finding] = retries.findings(try_once(scale(), Refused(words)).failed)

        assert finding.code == "cannot-be-changed"
        assert finding.message == (
            "Failed once to scale Deployment ml/chat from 2 to 0: 422 b-embed needs one replica."
        )
        assert "next at 20:00:05 UTC" in finding.remedy


def test_a_conflict_is_reported_once_it_has_come_three_times():
    failed, now = (), NOW
    for times in range(1, 4):
        failed = try_once(scale(), Conflict("changed"), failed, now).failed
        now = failed[0].at
        assert len(retries.findings(failed)) == (times >= 3)


def test_of_a_conflict_operators_are_notified_after_two_minutes():
    """A name that SQS keeps for a minute is none of their business."""
    failed, now, notified = (), NOW, []
    for _ in range(8):
        failed = try_once(scale(), Conflict("deleted recently"), failed, now).failed
        if failed[0].needs_a_notice:
            notified.append((now - NOW).total_seconds())
        now = failed[0].at

    assert notified[0] == 126


def test_an_action_with_a_long_name_waits_for_its_time_like_any_other():
    """A retry keeps what fits of it."""
    action = Scale(Ref("apps/v1", "Deployment", "x" * 500, "ml"), 2, 0, "asleep", part="long")

    failed = try_once(action, Refused("denied")).failed

    assert try_once(action, Refused("denied"), failed).failed == failed, "it is not tried"
    assert not failed[0].is_due(str(action), "", NOW) and failed[0].is_due(str(action), "", failed[0].at)


def test_operators_are_notified_of_what_fails_five_times_in_one_message_however_many():
    failed, now = {}, NOW
    for _ in range(5):
        attempt = Attempt(failed.values(), lambda now=now: now, LONGEST)
        for number in range(200):
            action = scale(Ref("apps/v1", "Deployment", f"d{number}", "ml"))
            with attempt.at(action):
                raise Refused("denied " * 200)
        failed = {retry.part: retry for retry in attempt.failed}
        assert any(retry.needs_a_notice for retry in attempt.failed) == (attempt.failed[0].times == 5)
        now = attempt.failed[0].at
    subject, text = retries.notice(attempt.failed, "gpu-1")

    assert subject == "Slicewise: 200 objects of gpu-1 cannot be changed"
    assert "And 190 more: slicewise status gpu-1" in text and len(text) < 20_000


def test_what_was_notified_stays_so_while_it_fails_the_same_way():
    failed = try_once(scale(), Refused("denied")).failed
    known = (retries.from_json({**retries.as_json(failed[0]), "times": 5, "notified": True}),)

    assert try_once(scale(), Refused("denied"), known, failed[0].at).failed[0].notified
    assert not try_once(scale(seen=4), Refused("denied"), known, failed[0].at).failed[0].notified


def test_it_comes_back_from_json_as_it_was_and_fields_of_a_later_version_are_dropped():
    [failed] = try_once(scale(), Refused("denied")).failed

    assert retries.from_json(retries.as_json(failed) | {"colour": "red"}) == failed


def test_a_part_that_was_begun_is_ended_though_others_get_no_answer():
    attempt = Attempt((), lambda: NOW, LONGEST)
    with attempt.at(scale(Ref("apps/v1", "Deployment", "begun", "ml"))):
        pass
    for number in range(4):
        with attempt.at(scale(Ref("apps/v1", "Deployment", f"d{number}", "ml"))):
            raise Unavailable("no answer")

    assert attempt.is_given_up
    assert not attempt.leaves_out(scale(Ref("apps/v1", "Deployment", "begun", "ml")))
    assert attempt.leaves_out(scale(Ref("apps/v1", "Deployment", "another", "ml")))
