"""
Kinds that no row knows sleep by the switch that the policy names, whatever becomes of the policy meanwhile.

Predictor is the kind of an operator that is a stand-in: it puts back what is scaled below its objects.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.kube.labels import SWITCHES
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours import observe
from slicewise.offhours.targets import KEEP_AWAKE
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import OffHours
from slicewise.policy.switches import Switch

from sandbox.controllers.stand_ins import PREDICTOR_STOPPED, predictors
from tests.fakes.kube.controllers import predictor, scaled
from tests.fakes.sleeper import NIGHTS, NODE_POOL, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, codes, objects_of

SUSPENDS = Switch("ml.example.com", "Predictor", ("spec", "suspend"), True)
STATE = replace(SUSPENDS, path=("spec", "server", "state"), asleep="Stopped")
COUNT = replace(SUSPENDS, path=("spec", "count"), asleep=0)
STOPS = replace(SUSPENDS, path=("metadata", "annotations", PREDICTOR_STOPPED), asleep="true")
GPT = predictor("gpt")
PREDICTOR, POD = ref_of(GPT), Ref("v1", "Pod", "gpt-0", "ml")


def naming(*switches: Switch) -> OffHours:
    return replace(NIGHTS, kinds=switches)


def with_predictor(switch: Switch = SUSPENDS, item: Any = GPT, crd: Any = None) -> Sleeper:
    sleeper = Sleeper(naming(switch))
    sleeper.create(crd or predictors(), copy.deepcopy(item))
    return sleeper


def field(sleeper: Sleeper, switch: Switch = SUSPENDS) -> Any:
    return sleeper.value(PREDICTOR, *switch.path)


def mark(sleeper: Sleeper) -> str | None:
    return sleeper.value(NODE_POOL, "metadata", "annotations", SWITCHES)


@pytest.mark.parametrize(
    ("switch", "item"),
    [
        (SUSPENDS, GPT),
        (SUSPENDS, predictor("gpt", suspend=False)),
        (STATE, GPT),
        (STATE, predictor("gpt", server={"state": "Running"})),
        (COUNT, predictor("gpt", count=3)),
        (STOPS, GPT),
    ],
    ids=["no field", "false", "no map", "text", "number", "annotation"],
)
def test_it_sleeps_and_wakes_exactly_as_it_was(switch, item):
    sleeper = with_predictor(switch, item)
    before = objects_of(sleeper)
    assert sleeper.live(POD)

    asleep = sleeper.at(NIGHT).settle()
    assert field(sleeper, switch) == switch.asleep and sleeper.live(POD) is None
    assert asleep.outcome.stage is Stage.ASLEEP and codes(asleep) == set()
    assert codes(sleeper.later(hours=1).settle()) == set(), "nobody fights"

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and sleeper.live(POD)
    assert not any(call.startswith("kubernetes.scale") for call in sleeper.calls.made)


def test_a_day_costs_nothing_and_without_own_switches_nothing_is_discovered():
    plain = Sleeper()
    plain.create(scaled("Deployment", "server", 1))
    plain.at(NIGHT).settle()

    assert not any("preferred_version" in call for call in plain.calls.made)


def test_one_that_its_user_has_stopped_stays_so():
    sleeper = with_predictor(item=predictor("gpt", suspend=True))
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    assert mark(sleeper) is None
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


def test_who_starts_it_at_night_keeps_it():
    sleeper = with_predictor()
    sleeper.at(NIGHT).settle()

    sleeper.edit(PREDICTOR, SUSPENDS.path, False)
    reported = sleeper.later(hours=1).settle()
    assert sleeper.live(POD) and "woken-by-somebody" in codes(reported)

    sleeper.at(MORNING).settle()
    assert field(sleeper) is False and mark(sleeper) is None


def test_one_that_is_marked_stays_awake():
    marked = copy.deepcopy(GPT)
    marked["metadata"]["annotations"] = {KEEP_AWAKE: "true"}
    sleeper = with_predictor(item=marked)

    assert "kept-awake" in codes(sleeper.at(NIGHT).settle()) and field(sleeper) is None


def test_what_kueue_admits_is_left_since_it_would_start_it_again():
    queued = copy.deepcopy(GPT)
    queued["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "team"}
    sleeper = with_predictor(item=queued)

    assert "left-awake" in codes(sleeper.at(NIGHT).settle()) and field(sleeper) is None


@pytest.mark.parametrize("how", ["killed", "answer lost", "403"])
def test_a_reconcile_that_ends_at_any_call_leaves_the_rest_to_the_next(how):
    whole = with_predictor()
    before = objects_of(whole)
    whole.at(NIGHT).settle()

    for number in range(len(whole.calls.made)):
        sleeper = with_predictor().at(NIGHT)
        sleeper.struck_reconcile(how, number)
        sleeper.later(minutes=16).settle()
        assert field(sleeper) is True and mark(sleeper), number
        sleeper.at(MORNING).struck_reconcile(how, number)
        sleeper.later(minutes=16).settle()
        assert objects_of(sleeper) == before, number


@pytest.mark.parametrize("switch", [SUSPENDS, STATE, STOPS], ids=lambda one: ".".join(one.path))
def test_the_annotation_wakes_it_where_the_table_has_lost_it(switch):
    sleeper = with_predictor(switch)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.kept._kept.clear()

    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


# A policy that changes its mind


def test_the_mark_stands_while_anything_is_changed():
    sleeper, seen = with_predictor(), []

    def watch(call: str) -> None:
        if call == f"kubernetes.patch {PREDICTOR}":
            seen.append(json.loads(mark(sleeper) or "[]"))

    sleeper.calls.fails = watch
    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    entry = {"group": "ml.example.com", "kind": "Predictor", "path": "spec.suspend", "asleep": True}
    assert seen == [[entry], [entry]] and mark(sleeper) is None


@pytest.mark.parametrize("emptied", [False, True], ids=["table", "emptied table"])
def test_what_sleeps_is_woken_in_the_morning_though_the_policy_has_dropped_the_kind(emptied):
    sleeper = with_predictor()
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()

    sleeper.off_hours = NIGHTS
    if emptied:
        sleeper.kept._kept.clear()
    sleeper.later(hours=1).settle()
    assert field(sleeper) is True and mark(sleeper), "its night is not over"

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before


def test_without_off_hours_it_is_woken_at_once_and_no_mark_is_left():
    sleeper = with_predictor()
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()

    sleeper.off_hours = None
    sleeper.settle()

    assert objects_of(sleeper) == before
    assert sleeper.kept.snapshots(sleeper.cluster.arn) == ()


@pytest.mark.parametrize("how", ["killed", "403"])
def test_without_off_hours_no_mark_is_left_whichever_call_ends_a_reconcile(how):
    whole = with_predictor()
    before = objects_of(whole)
    whole.at(NIGHT).settle()
    known = len(whole.calls.made)
    whole.off_hours = None
    whole.settle()

    for number in range(0, len(whole.calls.made) - known, 2):
        sleeper = with_predictor().at(NIGHT)
        sleeper.settle()
        sleeper.off_hours = None
        sleeper.struck_reconcile(how, number)
        sleeper.later(minutes=16).settle()
        assert objects_of(sleeper) == before, number


def test_a_path_that_the_policy_changes_at_night_is_restored_all_the_same():
    sleeper = with_predictor()
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()

    sleeper.off_hours = naming(COUNT)
    sleeper.later(hours=1).settle()
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


@pytest.mark.parametrize(
    ("switch", "error"),
    [(("spec", "suspend"), None), (("spec", "suspend"), Refused("403")), (("spec", "replicas"), None)],
    ids=["granted", "not granted", "the very field"],
)
def test_what_was_scaled_before_the_policy_names_its_kind_gets_its_replicas_back(switch, error):
    llm = scaled("ModelServer", "llm", 2, version="inference.example.com/v1")
    asleep = 0 if switch == ("spec", "replicas") else True
    sleeper = Sleeper(naming(Switch("inference.example.com", "ModelServer", switch, asleep)))
    named, sleeper.off_hours = sleeper.off_hours, NIGHTS
    sleeper.create(llm)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    assert sleeper.replicas(llm) == 0

    sleeper.off_hours = named
    sleeper.calls.fails = lambda made: error if made == "kubernetes.list ModelServer" else None
    sleeper.later(hours=1).settle()
    assert sleeper.value(ref_of(llm), "spec", "suspend") is None
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before


# A cluster that has not got the kind, or does not tell


def test_where_the_cluster_has_no_such_kind_everything_else_sleeps():
    sleeper = Sleeper(naming(SUSPENDS))
    server = scaled("Deployment", "server", 2)
    sleeper.create(server)

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(server) == 0 and codes(asleep) == set() and mark(sleeper) is None


@pytest.mark.parametrize("error", [Refused("403: forbidden"), Unavailable("no answer")], ids=["403", "500"])
@pytest.mark.parametrize("call", ["kubernetes.preferred_version", "kubernetes.list Predictor"])
def test_where_the_kind_cannot_be_read_it_is_left_with_all_below_it_and_the_rest_sleeps(call, error):
    sleeper = with_predictor()
    server = scaled("Deployment", "server", 2)
    sleeper.create(server)
    sleeper.calls.fails = lambda made: error if made.startswith(call) else None

    reported = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(server) == 0 and "cannot-be-read" in codes(reported)
    assert field(sleeper) is None and sleeper.live(POD)
    assert not any(call.startswith("kubernetes.scale Deployment ml/gpt") for call in sleeper.calls.made)
    # Of a version that is not known nothing is asked.
    assert ("kubernetes.list Predictor" in sleeper.calls.made) is (call == "kubernetes.list Predictor")


def test_the_mark_stays_until_a_reconcile_has_read_where_something_may_sleep():
    sleeper = with_predictor()
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.off_hours = NIGHTS
    sleeper.kept._kept.clear()
    sleeper.calls.fails = lambda made: Unavailable("no") if made == "kubernetes.list Predictor" else None

    sleeper.at(MORNING)
    for _ in range(3):
        assert sleeper.reconcile_once().outcome.stage is Stage.WAKING
        assert mark(sleeper)
        sleeper.later(minutes=1)
    sleeper.calls.fails = lambda made: None
    sleeper.settle()

    assert objects_of(sleeper) == before


def test_a_version_that_comes_at_night_keeps_nobody_asleep():
    sleeper = with_predictor(crd=predictors("v1"))
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()

    sleeper.create(predictors("v1", "v2"))
    assert version(sleeper) == "v1", "under another it would be another object"
    sleeper.at(MORNING).settle()

    assert objects_of(sleeper) == before
    assert version(sleeper) == "v2"


def version(sleeper: Sleeper) -> str:
    """Under which Predictors are read by the next pass."""
    observation = observe.observe(sleeper._trigger, None, sleeper._ports, "", sleeper.clock.now)
    row = observation.kinds.row_of("ml.example.com/v1", "Predictor")
    assert row
    return row.version


# An operator that puts back what is scaled


def scalings(sleeper: Sleeper, item: Any) -> int:
    return sleeper.calls.made.count(f"kubernetes.scale {ref_of(item)}")


def test_without_a_switch_what_its_operator_puts_back_is_reported_with_who_and_not_contested():
    below = scaled("Deployment", "gpt", 2)
    sleeper = Sleeper()
    sleeper.create(predictors(), copy.deepcopy(GPT))
    before = objects_of(sleeper)

    asleep = sleeper.at(NIGHT).settle()
    for _ in range(3):
        assert codes(sleeper.later(hours=1).settle()) == {"put-back"}

    assert scalings(sleeper, below) == 1 and sleeper.replicas(below) == 2
    [finding] = asleep.outcome.findings
    assert "predictor-operator, which makes it for Predictor gpt" in finding.message
    assert "offHours.kinds with group ml.example.com" in finding.remedy
    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and scalings(sleeper, below) == 1


def test_of_a_kind_that_is_only_scaled_a_person_reads_how_to_find_who_puts_it_back():
    server = scaled("ModelServer", "llm", 2, version="inference.example.com/v1")
    sleeper = Sleeper()

    def put_back(item: Any) -> None:
        if item["kind"] == "ModelServer" and item["spec"]["replicas"] == 0:
            sleeper.server.scale(ref_of(server), 0, 2, manager="model-operator")

    sleeper.create(server)
    sleeper.server.on_change.append(put_back)

    asleep = sleeper.at(NIGHT).settle()
    sleeper.later(hours=1).settle()

    assert scalings(sleeper, server) == 1
    [finding] = asleep.outcome.findings
    assert finding.code == "woken-by-somebody"
    assert "kubectl get modelserver llm -n ml -o yaml --show-managed-fields" in finding.remedy
    assert "offHours.kinds" in finding.remedy
