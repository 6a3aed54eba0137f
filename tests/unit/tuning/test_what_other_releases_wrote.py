"""
Annotations, records and snapshots that this release did not write: one field more, one fewer, another type,
garbage. A pass goes on, and says what it could not read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slicewise.errors import InvalidPolicy
from slicewise.kube.labels import (
    MOVED_ANNOTATION,
    ORIGINAL_ANNOTATION,
    ROLLOUT_ANNOTATION,
    STARTUP_ANNOTATION,
    TUNING_ANNOTATION,
)
from slicewise.kube.objects import annotations_of
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry
from slicewise.planning.outcome import Stage
from slicewise.pools import startup_history
from slicewise.tuning import explain, snapshot
from slicewise.tuning.classes.annotation import read_mark
from slicewise.tuning.classes.decision import loaded
from slicewise.tuning.plan import plan
from slicewise.tuning.state.observation import Partial, Paused, Unmanaged
from slicewise.tuning.state.pool_state import read_rollout, read_tuning

from cli.main import main
from tests.fakes.account import HOME, PERSON
from tests.scenarios.classes.test_classes import split_account
from tests.support.mutations import GARBAGE, mutated
from tests.support.tuning.tuned_account import TunedAccount

pytestmark = pytest.mark.slow

FEW = settings(max_examples=60)
MANY = settings(max_examples=200)
ROLLOUT = {
    "from": 4,
    "to": 5,
    "since": "2026-03-02T09:00:00Z",
    "reason": "demand",
    "canary": {"node": "node-1", "since": "2026-03-02T09:00:00Z"},
    "held": {"consolidateAfter": "10m"},
    "narrowed": "2026-03-02T09:00:00Z",
    "taken_back": 1,
    "limited": 5,
}
TUNING = {
    "changed_at": "2026-03-02T09:00:00Z",
    "above_since": "2026-03-02T09:00:00Z",
    "above_target": 6,
    "failed": {"7": "2026-03-02T09:00:00Z"},
}
STARTUP = [["claim-1", 90], ["claim-2", 110], ["claim-3", 100]]
ORIGINAL = {
    "limits": {"nvidia.com/gpu": "10"},
    "disruption": {"consolidateAfter": "1h", "consolidationPolicy": "WhenEmpty"},
    "requirements": ["nvidia.com/device-plugin.config"],
}
MARK = {"class": 2, "moved": ["2026-03-02T09:00:00Z"], "toleration": True}


def texts(value):
    """What an annotation may hold in its place."""
    return (
        mutated(value).map(json.dumps) | GARBAGE.map(json.dumps) | st.text(max_size=8) | st.just("[" * 90_000)
    )


def marked(node_pool, annotation, text):
    metadata = node_pool["metadata"]
    return {
        **node_pool,
        "metadata": {**metadata, "annotations": {**annotations_of(node_pool), annotation: text}},
    }


def seen(account):
    """What the next pass of tuning sees, and when."""
    account.hours(1)
    account.eks.entries["gpu-1", PERSON] = AccessEntry(PERSON, policies=(CLUSTER_ADMIN_POLICY,))
    app = account.person()
    world, _ = app.tuning.dry_run(app.trigger("gpu-1", "a test"))
    return world, account.clock.now


@pytest.fixture(scope="module")
def world():
    """Of a cluster whose N is right, as a pass of tuning sees it."""
    return seen(TunedAccount(pods=(4, 2)))


@pytest.fixture(scope="module")
def split_world():
    return seen(split_account())


def with_annotation(world, annotation, text):
    pools = tuple(marked(pool, annotation, text) for pool in world.contents.node_pools)
    return replace(world, contents=replace(world.contents, node_pools=pools))


def unmanaged(observed):
    return Unmanaged(observed.cluster, observed.alarms, observed.contents)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (ROLLOUT_ANNOTATION, ROLLOUT),
        (TUNING_ANNOTATION, TUNING),
        (STARTUP_ANNOTATION, STARTUP),
        (ORIGINAL_ANNOTATION, ORIGINAL),
    ],
)
@pytest.mark.parametrize("policy", ["a policy", "no policy"])
def test_a_reconcile_goes_on_whatever_an_annotation_holds(world, annotation, value, policy):
    found, now = world

    @FEW
    @given(texts(value))
    @example("[" * 90_000)
    @example('{"from": Infinity, "to": 5}')
    def holds(text):
        looked = with_annotation(found, annotation, text)
        looked = looked if policy == "a policy" else unmanaged(looked)
        made = plan(looked, now)
        assert made.outcome.stage in (Stage.ONBOARDED, Stage.TUNING, Stage.UNMANAGED)
        json.dumps(made.details)

    holds()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"from": 4}',
        '{"from": Infinity, "to": 5, "since": "2026-03-02T09:00:00Z"}',
        "[" * 90_000,
    ],
    ids=["nothing", "half", "a list", "one field", "without end", "nested"],
)
def test_a_change_of_n_that_cannot_be_read_is_reported_also_where_nobody_may_carry_it_on(world, text):
    found, now = world
    looked = with_annotation(found, ROLLOUT_ANNOTATION, text)

    for made in (plan(looked, now), plan(unmanaged(looked), now)):
        assert "annotation-unreadable" in {finding.code for finding in made.outcome.findings}


def test_a_change_of_n_of_a_later_release_is_carried_on():
    later = json.dumps(ROLLOUT | {"phase": "canary", "canary": {**ROLLOUT["canary"], "zone": "a"}})
    pool = {"metadata": {"name": "a", "annotations": {ROLLOUT_ANNOTATION: later}}}

    rollout, finding = read_rollout(pool)
    assert (rollout.to, rollout.canary.node, finding) == (5, "node-1", None)


def test_a_setting_that_karpenter_would_refuse_is_not_restored():
    held = json.dumps(ROLLOUT | {"held": {"consolidateAfter": "soon"}})

    rollout, finding = read_rollout({"metadata": {"name": "a", "annotations": {ROLLOUT_ANNOTATION: held}}})
    assert rollout is None and finding.code == "annotation-unreadable"


@MANY
@given(texts(TUNING))
def test_what_tuning_remembers_is_read_or_reported(text):
    pool = {"metadata": {"name": "a", "annotations": {TUNING_ANNOTATION: text}}}

    history, finding = read_tuning(pool)
    assert history.dumped() and (finding is None or history.changed_at is None)


@MANY
@given(texts(STARTUP))
def test_of_measured_starts_those_are_kept_that_can_be_read(text):
    pool = {"metadata": {"name": "a", "annotations": {STARTUP_ANNOTATION: text}}}

    found = startup_history.recorded_startups(pool)
    assert all(timedelta(0) < timedelta(seconds=one) <= timedelta(days=1) for one in found.values())


def test_one_start_that_cannot_be_read_costs_the_others_nothing_and_is_reported(world):
    found, now = world
    text = json.dumps([*STARTUP, ["claim-4", "soon"], 5])

    looked = with_annotation(found, STARTUP_ANNOTATION, text)
    assert startup_history.recorded_startups(looked.contents.node_pools[0]) == dict(STARTUP)
    assert "annotation-unreadable" in {finding.code for finding in plan(looked, now).outcome.findings}


@MANY
@given(texts(MARK))
def test_a_workload_whose_mark_cannot_be_read_is_left_unchanged(text):
    item = {"metadata": {"name": "a", "annotations": {MOVED_ANNOTATION: text}}}

    mark = read_mark(item)
    assert all(at.tzinfo for at in mark.moved) and mark.dumped()


@pytest.mark.parametrize(
    ("original", "lost"),
    [
        (ORIGINAL, ""),
        (ORIGINAL | {"later": 1}, ""),
        ({**ORIGINAL, "limits": None}, ""),
        ({key: ORIGINAL[key] for key in ("disruption", "requirements")}, "limits"),
        (ORIGINAL | {"limits": "10"}, "limits"),
        (ORIGINAL | {"limits": {"nvidia.com/gpu": "many"}}, "limits"),
        (ORIGINAL | {"disruption": ["10m"]}, "disruption"),
        (ORIGINAL | {"requirements": 5}, "requirements"),
        ([], "limits, disruption, requirements"),
    ],
    ids=str,
)
def test_what_an_adopted_pool_was_is_restored_as_far_as_it_can_be_read(world, original, lost):
    found, now = world
    looked = with_annotation(found, ORIGINAL_ANNOTATION, json.dumps(original))

    made = plan(unmanaged(looked), now)

    [patch] = [action for action in made.actions if "back" in str(action)]
    written = {
        operation["path"].split("/")[2] for operation in patch.operations if "/spec/" in operation["path"]
    }
    for part in ("limits", "disruption"):
        assert (part in written) == (part not in lost), "what cannot be read stays as it stands"
    reported = [finding.message for finding in made.outcome.findings if finding.code == "original-unreadable"]
    assert (lost in reported[0]) if lost else not reported


WORLDS = pytest.mark.parametrize("which", ["world", "split_world"])


@WORLDS
def test_a_reconcile_goes_on_whatever_the_record_before_holds(which, request):
    found, now = request.getfixturevalue(which)
    known = [dict(one) for one in plan(found, now).details]

    @FEW
    @given(mutated(known))
    def holds(details):
        details = tuple(one for one in details if isinstance(one, dict))
        for measurement in (found.measurement, Partial(found.measurement.readings)):
            json.dumps(plan(replace(found, recorded=details, measurement=measurement), now).details)
        plan(Paused(found.cluster, "an audit", found.policy_name, details), now)

    holds()


@WORLDS
def test_every_recorded_decision_is_explained_or_said_to_be_of_another_release(which, request):
    found, now = request.getfixturevalue(which)
    known = [dict(one) for one in plan(found, now).details]

    @MANY
    @given(mutated(known))
    def holds(details):
        for one in details:
            if isinstance(one, dict):
                assert all(isinstance(line, str) for line in explain.lines(one))

    holds()


def test_a_decision_that_cannot_be_explained_names_its_pool_and_what_to_do():
    lines = explain.lines({"node_pool": "slicewise-shared-l4", "n": 4, "bounds": "wide"})

    assert "slicewise-shared-l4" in lines[0] and "another release" in lines[0]
    assert "slicewise tune" in lines[1]


def test_a_decision_on_classes_is_read_whole_or_decided_again(split_world):
    found, now = split_world
    [kept] = [dict(one) for one in plan(found, now).details if "classes" in one]

    @MANY
    @given(mutated(kept))
    def holds(detail):
        decision = loaded((detail,), "shared")
        assert decision.is_due(now) in (True, False)
        assert all(one.before >= 1 and one.after >= 1 for one in decision.recommendations)

    holds()


# Snapshots


@pytest.fixture(scope="module")
def text(world):
    return snapshot.dump(*world)


def test_any_snapshot_is_loaded_or_said_to_be_none(text):
    whole = json.loads(text)

    @FEW
    @given(mutated(whole))
    def holds(found):
        try:
            observed, now = snapshot.load(json.dumps(found))
        except (snapshot.Unreadable, InvalidPolicy):
            return
        contents = getattr(observed, "contents", None)
        assert now.tzinfo and (contents is None or isinstance(contents.nodes, tuple))

    holds()


def test_a_snapshot_of_a_later_release_is_planned_from_and_its_version_said(text, tmp_path, capsys):
    found = json.loads(text)
    found |= {"slicewise_snapshot": 2, "extra": {}}
    found["cluster"]["tier"] = "gold"
    for series in found["series"]:
        series["quality"] = "good"
    file = tmp_path / "later.json"
    file.write_text(json.dumps(found))

    assert main(["plan", "--snapshot", str(file)]) == 0
    reported = capsys.readouterr()
    assert "gpu-1: tuning:" in reported.out
    assert "version 2" in reported.err


def test_what_is_in_a_snapshot_and_in_no_cluster_is_said_and_not_thrown(text, tmp_path, capsys):
    whole = json.loads(text)
    file = tmp_path / "file.json"

    @FEW
    @given(mutated(whole["contents"]))
    def holds(contents):
        file.write_text(json.dumps(whole | {"contents": contents}))
        assert main(["plan", "--snapshot", str(file)]) in (0, 2)
        assert main(["explain", "--snapshot", str(file)]) in (0, 1, 2)

    holds()
    assert HOME.account not in capsys.readouterr().err
