"""A story is as good as its claims: what it tells, keeps for machines, and answers to the shell."""

from __future__ import annotations

import io
import json

import pytest

from sandbox import __main__ as command
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


@pytest.mark.parametrize(("holds", "status"), [(True, 0), (False, 1)])
def test_the_shell_learns_whether_the_demo_held(holds, status, monkeypatch):
    monkeypatch.setattr(demo, "run", lambda out: holds)

    assert command.main(["demo"]) == status


def test_no_two_chapters_of_the_demo_promise_one_claim():
    assert len(set(demo.PROMISED)) == len(demo.PROMISED)


def test_a_fuller_gpu_has_room_for_fewer_such_pods():
    assert most_that_fit(23_034, 21_000, pods=5) == 4
    assert most_that_fit(23_034, 21_000, pods=4) == 3
