"""Where EC2 has no machine of the usual model, the fallback's NodePool is opened, and closed again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.errors import Refused
from slicewise.kube.labels import OPENED, STARTUP_ANNOTATION
from slicewise.kube.objects import last_seen
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours.observe import _is_claim_of
from slicewise.offhours.sleep_fields import opens
from slicewise.offhours.wake.gpu_fallback import CALM, FRESH
from slicewise.planning.outcome import Stage
from slicewise.pools import layout

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import scaled
from tests.fakes.sleeper import FALLBACK, FALLBACK_POOLS, NODE_POOL, Sleeper
from tests.support import builders

NIGHT, WAKING, OPENING = "2026-11-25T20:01", "2026-11-26T06:52", "2026-11-26T07:00"
SERVER = scaled("Deployment", "server", 3)
NODES = ("spec", "limits", "nodes")


def waking(pools: str = FALLBACK_POOLS) -> Sleeper:
    """Its pods wait for nodes; nobody was refused yet."""
    sleeper = Sleeper(pools=pools)
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.at(WAKING).settle()
    assert sleeper.replicas(SERVER) == 3
    return sleeper


def opened() -> Sleeper:
    sleeper = waking()
    sleeper.refuse()
    sleeper.settle()
    assert is_open(sleeper)
    return sleeper


def is_open(sleeper: Sleeper, node_pool: Ref = FALLBACK) -> bool:
    return sleeper.value(node_pool, *NODES) is None


def mark(sleeper: Sleeper) -> str | None:
    return sleeper.value(FALLBACK, "metadata", "annotations", OPENED)


def place(sleeper: Sleeper, node_pool: Ref = FALLBACK, node: str = "f1") -> None:
    """A node of a NodePool, on which all pods run."""
    labels = {layout.NODE_POOL_LABEL: node_pool.name, "node.kubernetes.io/instance-type": "g6e.xlarge"}
    made = builders.node(name=node)
    sleeper.create(
        {**made, "metadata": {**made["metadata"], "labels": {**made["metadata"]["labels"], **labels}}}
    )
    for number in range(3):
        sleeper.server.objects[Ref("v1", "Pod", f"server-{number}", "ml")]["spec"]["nodeName"] = node


def codes(plan) -> set[str]:
    return {finding.code for finding in plan.outcome.findings}


def test_it_has_no_nodes_until_a_machine_is_refused_while_pods_wait():
    sleeper = waking()
    assert not is_open(sleeper)

    sleeper.refuse()
    sleeper.settle()

    assert is_open(sleeper) and mark(sleeper) == "Thu 26 Nov 07:00 CET"
    assert sleeper.value(FALLBACK, "spec", "limits", "nvidia.com/gpu") == "64", "what bounds the bill stays"


def test_it_is_reported_once_with_what_a_node_hour_costs_against_the_usual_one():
    sleeper = opened()
    sleeper.later(minutes=2).settle()

    [(subject, text)] = [sent for sent in sleeper.notices.sent if "opened" in sent[0]]
    assert subject == "Slicewise: l40s is opened for pool shared of gpu-1"
    assert "EC2 has no l4, and 3 pods of pool shared wait" in text
    assert "from $1.861 (g6e.xlarge); with l4 from $0.8048 (g6.xlarge)" in text


@pytest.mark.parametrize(
    "what",
    ["an old event", "an event of another NodePool", "an event of the fallback", "nobody waits", "no event"],
)
def test_it_stays_closed_without_a_reason(what):
    sleeper = waking()
    match what:
        case "an old event":
            sleeper.refuse(ago=FRESH + timedelta(seconds=1))
        case "an event of another NodePool":
            sleeper.refuse("slicewise-shared-l4-more")
        case "an event of the fallback":
            sleeper.refuse(FALLBACK.name)
        case "nobody waits":
            place(sleeper, NODE_POOL)
            sleeper.refuse()

    sleeper.settle()

    assert not is_open(sleeper) and mark(sleeper) is None


def test_events_that_come_twice_late_or_of_many_claims_open_it_once():
    sleeper = waking()
    for _ in range(5):
        sleeper.refuse(ago=timedelta(minutes=3))
    sleeper.settle()
    for _ in range(5):
        sleeper.refuse()
    sleeper.later(minutes=1).settle()

    assert is_open(sleeper) and sum("opened" in subject for subject, _ in sleeper.notices.sent) == 1


def test_it_is_opened_after_the_opening_as_well():
    sleeper = waking()
    assert sleeper.at(OPENING).settle().outcome.requeue_after == timedelta(minutes=2), (
        "refusals are looked for"
    )

    sleeper.later(minutes=10).refuse()
    sleeper.settle()

    assert is_open(sleeper)


def test_the_next_sleep_closes_it():
    sleeper = opened()
    place(sleeper)
    sleeper.at(OPENING).settle()

    sleeper.at("2026-11-26T20:01").settle()

    assert not is_open(sleeper) and mark(sleeper) is None
    sleeper.at("2026-11-27T07:00").settle()
    assert not is_open(sleeper) and sleeper.kept.snapshots(sleeper.cluster.arn) == ()


STOPS = {
    "observe": lambda sleeper: setattr(sleeper, "mode", "observe"),
    "recommend": lambda sleeper: setattr(sleeper, "mode", "recommend"),
    "paused": lambda sleeper: sleeper.store.pause(sleeper.cluster.arn, "on call"),
    "kept asleep": lambda sleeper: sleeper.store.pause(sleeper.cluster.arn, "on call", keep_asleep=True),
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("when", ["when the cluster would sleep", "when the usual machines are back"])
def test_it_is_closed_in_every_mode_and_paused_or_not(stop, when):
    sleeper = opened()
    place(sleeper)
    sleeper.at("2026-11-26T09:00").settle()
    assert [kept.ref for kept in sleeper.kept._kept.values()] == [FALLBACK]
    STOPS[stop](sleeper)

    assert is_open(sleeper) and sleeper.settle().outcome.requeue_after, (
        "pods run there, and it is looked at again"
    )
    assert is_open(sleeper)
    if when == "when the cluster would sleep":
        sleeper.at("2026-11-26T20:01").settle()
        assert sleeper.replicas(SERVER) == 3
    else:
        place(sleeper, NODE_POOL, "usual")
        sleeper.settle()

    assert not is_open(sleeper) and mark(sleeper) is None
    assert sleeper.kept._kept == {}


@pytest.mark.parametrize("stop", STOPS)
def test_none_is_opened_while_nothing_may_be_put_to_sleep(stop):
    sleeper = waking()
    sleeper.at(OPENING).settle()
    STOPS[stop](sleeper)
    sleeper.refuse()

    sleeper.settle()

    assert not is_open(sleeper)


@pytest.mark.parametrize("when", ["when the cluster would sleep", "when the usual machines are back"])
def test_a_topic_that_refuses_keeps_none_open_and_none_undone(when):
    sleeper = waking()
    sleeper.refuse()
    sleeper.calls.fails = lambda call: Refused("403") if call.startswith("notices.") else None
    for _ in range(3):
        sleeper.reconcile_once()
    assert is_open(sleeper) and [failed.part for failed in sleeper.failed] != [str(FALLBACK)]
    [kept] = [kept for kept in sleeper.kept._kept.values() if opens(kept)]
    assert kept.done, "it is open, whoever was told"

    place(sleeper, NODE_POOL, "usual")
    if when == "when the cluster would sleep":
        sleeper.at("2026-11-26T20:01")
    else:
        sleeper.at("2026-11-26T09:00")
    for _ in range(9):
        sleeper.reconcile_once()

    assert not is_open(sleeper) and mark(sleeper) is None
    assert not [kept for kept in sleeper.kept._kept.values() if opens(kept)]


def test_it_is_closed_once_nothing_runs_there_and_nothing_was_refused_for_a_while():
    sleeper = opened()
    place(sleeper)
    reported = sleeper.at("2026-11-26T09:00").settle()
    assert is_open(sleeper) and "fallback-open" in codes(reported)
    [finding] = [one for one in reported.outcome.findings if one.code == "fallback-open"]
    assert "1 g6e.xlarge at $1.861 runs there" in finding.message

    place(sleeper, NODE_POOL, "usual")
    sleeper.refuse(ago=CALM - timedelta(minutes=1))
    sleeper.settle()
    assert is_open(sleeper), "the usual machines may still be refused"

    sleeper.later(minutes=2).settle()
    assert not is_open(sleeper) and mark(sleeper) is None
    assert sleeper.kept.snapshots(sleeper.cluster.arn) == ()


def test_a_machine_that_is_on_its_way_does_not_close_it():
    sleeper = opened()

    sleeper.at("2026-11-26T07:05").settle()

    assert is_open(sleeper)


@pytest.mark.parametrize("limit", ["7", "0"])
def test_a_persons_limit_stays(limit):
    sleeper = opened()
    sleeper.edit(FALLBACK, NODES, limit)
    sleeper.refuse()
    sleeper.later(minutes=1).settle()
    assert sleeper.value(FALLBACK, *NODES) == limit

    for at in ("2026-11-26T12:00", "2026-11-26T20:01", "2026-11-27T08:00"):
        sleeper.at(at).settle()
    assert sleeper.value(FALLBACK, *NODES) == limit and mark(sleeper) is None


def test_an_open_one_with_another_limit_is_the_persons_from_then_on():
    sleeper = opened()
    sleeper.edit(FALLBACK, NODES, "7")

    sleeper.later(minutes=1).settle()

    assert mark(sleeper) is None
    assert not any(opens(kept) for kept in sleeper.kept._kept.values())


def test_a_person_who_has_set_another_limit_is_not_opened_over():
    sleeper = waking()
    sleeper.edit(FALLBACK, NODES, "2")

    sleeper.refuse()
    sleeper.settle()

    assert sleeper.value(FALLBACK, *NODES) == "2" and sleeper.notices.sent == []


@pytest.mark.parametrize("how", ["no fallback", "no off-hours", "no policy that can be read"])
def test_it_is_closed_when_no_policy_asks_for_it_any_more(how):
    sleeper = opened()
    match how:
        case "no fallback":
            sleeper.pools = builders.DEFAULT_POOLS
        case "no off-hours":
            sleeper.off_hours = None
        case _:
            sleeper.pools = "{}"

    sleeper.later(minutes=1).settle()

    assert not is_open(sleeper) and mark(sleeper) is None


def test_one_of_which_nothing_is_known_any_more_is_closed():
    sleeper = opened()
    sleeper.kept._kept.clear()

    sleeper.at("2026-11-26T20:01").settle()
    sleeper.at("2026-11-27T08:00").settle()

    assert not is_open(sleeper) and mark(sleeper) is None


def test_a_node_pool_that_is_recreated_is_closed_and_opened_again():
    sleeper = opened()
    item = sleeper.live(FALLBACK)
    sleeper.delete(FALLBACK)
    sleeper.later(minutes=1).settle()

    sleeper.create(
        {
            **item,
            "metadata": {
                "name": FALLBACK.name,
                "labels": item["metadata"]["labels"],
                "annotations": {"a": "b"},
            },
            "spec": {**item["spec"], "limits": {**item["spec"]["limits"], "nodes": "0"}},
        }
    )
    sleeper.refuse()
    sleeper.later(minutes=1).settle()

    sleeper.at("2026-11-26T20:01").settle()
    assert not is_open(sleeper)


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_opening_and_closing_go_on_wherever_a_reconcile_ends(how):
    """Each call of a pass is struck once, when it opens and when it closes."""
    whole = waking()
    whole.refuse()
    before = len(whole.calls.made)
    whole.reconcile_once()

    for number in range(len(whole.calls.made) - before):
        sleeper = waking()
        sleeper.refuse()
        sleeper.struck_reconcile(how, number)
        sleeper.settle()
        assert is_open(sleeper) and mark(sleeper)
        assert [subject for subject, _ in sleeper.notices.sent], "never not told"

        sleeper.at("2026-11-26T20:01")
        sleeper.struck_reconcile(how, number)
        sleeper.settle()
        assert not is_open(sleeper) and mark(sleeper) is None
        sleeper.at("2026-11-27T12:00").settle()
        assert not is_open(sleeper) and sleeper.kept.snapshots(sleeper.cluster.arn) == ()


def test_of_a_split_pool_only_the_class_that_waits_is_opened():
    pools = (
        "{shared: {sharing: time-slicing, gpus: [l4], fallbackGpus: [l40s], classes: [1, 2], maxGpus: 16}}"
    )
    sleeper = Sleeper(pools=pools)
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.at(WAKING).settle()

    sleeper.refuse("slicewise-shared-l4-1")
    sleeper.refuse("slicewise-shared-l4-2")
    sleeper.settle()

    one, two = (FALLBACK._replace(name=f"{FALLBACK.name}-{size}") for size in (1, 2))
    assert is_open(sleeper, one) and not is_open(sleeper, two), "who names no class is of class 1"


def test_a_claim_is_known_by_its_name_even_where_that_is_cut_off():
    long = "slicewise-" + "a" * 30 + "-rtx-pro-server-6000"

    assert _is_claim_of("slicewise-shared-l4-x7k2p", "slicewise-shared-l4")
    assert not _is_claim_of("slicewise-shared-l4-x7k2p", "slicewise-shared")
    assert _is_claim_of(f"{long}-"[:58] + "x7k2p", long)


@pytest.mark.parametrize(
    "event",
    [
        {"lastTimestamp": "2026-11-26T06:00:00Z"},
        {"lastTimestamp": None, "eventTime": "2026-11-26T06:00:00.000000Z"},
        {"series": {"lastObservedTime": "2026-11-26T06:00:00.000000Z"}, "eventTime": "2026-11-26T05:00:00Z"},
    ],
    ids=["core/v1", "events.k8s.io/v1", "a series"],
)
def test_when_an_event_happened_last_is_read_from_both_apis(event):
    at = last_seen({"metadata": {}, **event})
    assert at and at.isoformat() == "2026-11-26T06:00:00+00:00"


def test_how_long_its_machines_take_to_start_makes_no_morning_earlier():
    sleeper = Sleeper(pools=FALLBACK_POOLS)
    slow = '[["a",3000],["b",3000],["c",3000]]'
    sleeper.edit(FALLBACK, ("metadata", "annotations", STARTUP_ANNOTATION), slow)
    sleeper.create(SERVER)

    assert (
        sleeper.at(NIGHT).settle() and sleeper.at("2026-11-26T06:49").dry_run().outcome.stage is Stage.ASLEEP
    )


def test_no_events_are_read_where_no_pool_has_a_fallback():
    sleeper = waking(builders.DEFAULT_POOLS)

    assert not any("Event" in call for call in sleeper.calls.made)
    assert ref_of(SERVER) in sleeper.server.objects
