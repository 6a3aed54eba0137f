"""A story is as good as its claims: what it tells, keeps for machines, and answers to the shell."""

from __future__ import annotations

import io
import json

import pytest

from sandbox import __main__ as command
from sandbox.demo import steps
from sandbox.demo import story as demo
from sandbox.demo.narrator import Narrator
from sandbox.demo.tuned_cluster import most_that_fit


@pytest.fixture
def story() -> Narrator:
    return Narrator(io.StringIO(), promised=("fair", "square"))


def test_a_story_holds_when_every_promised_claim_does(story):
    story.claim("fair", "it is fair", expected=4, observed=4)
    assert not story.all_hold, "the other claim was promised, too"

    story.claim("square", "it is square", expected=[2, 2], observed=[2, 2])

    assert story.all_hold


def test_one_claim_that_does_not_hold_is_reported_and_spoils_the_story(story):
    story.claim("fair", "it is fair", expected=4, observed=5)
    story.claim("square", "it is square", expected=4, observed=4)

    assert not story.all_hold
    assert "✗ fair: it is fair: DOES NOT HOLD: expected 4, saw 5" in story.out.getvalue()


def test_claims_are_kept_for_machines(story, tmp_path):
    story.claim("fair", "it is fair", expected=4, observed=5)
    story.write(tmp_path / "out" / "story.json")

    kept = json.loads((tmp_path / "out" / "story.json").read_text())
    assert kept["claims"] == [
        {"id": "fair", "says": "it is fair", "expected": 4, "observed": 5, "holds": False}
    ]
    assert kept["seconds"] >= 0


def test_each_reason_of_a_record_is_told_once_also_the_one_with_which_a_wait_ends(story):
    records = iter([{}, {"reason": "one"}, {"reason": "one"}, {"reason": "two"}])
    looks = iter([False, False, False, True])

    assert steps.follow(story, lambda: next(looks), steps.Reasons(lambda: next(records)).news)

    told = [line.partition(" s  ")[2] for line in story.out.getvalue().splitlines()]
    assert told == ["Slicewise: one", "Slicewise: two"]


def test_a_wait_that_is_overdue_says_what_for_and_the_story_goes_on(story):
    assert not steps.wait(story, lambda: False, "it snows", within_seconds=0)
    assert not steps.follow(story, lambda: False, lambda: ["it rains"], within_seconds=0)

    told = [line.partition(" s  ")[2] for line in story.out.getvalue().splitlines()]
    assert told == ["still waiting after 0 s: it snows", "it rains", "still waiting after 0 s"]


@pytest.mark.parametrize(("holds", "status"), [(True, 0), (False, 1)])
def test_the_shell_learns_whether_the_demo_held(holds, status, monkeypatch):
    monkeypatch.setattr(demo, "run", lambda out: holds)

    assert command.main(["demo"]) == status


def test_no_two_chapters_of_the_demo_promise_one_claim():
    assert len(set(demo.PROMISED)) == len(demo.PROMISED)


def test_a_fuller_gpu_has_room_for_fewer_such_pods():
    assert most_that_fit(23_034, 21_000, pods=5) == 4
    assert most_that_fit(23_034, 21_000, pods=4) == 3
