"""What stays awake keeps a way to a node: a NodePool is closed for what sleeps, not for them."""

from __future__ import annotations

import pytest
from slicewise.kube.ref import Ref, ref_of
from slicewise.pools import layout

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import pod_spec, scaled
from tests.fakes.sleeper import NODE_POOL, Sleeper
from tests.support import builders
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of

NODES = ("spec", "limits", "nodes")
API = scaled("Deployment", "api", 1)
API["metadata"]["labels"] = {"slicewise.dev/keep-awake": "true"}
JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train", "namespace": "ml"}, "spec": {}}


def place(sleeper: Sleeper, pod: str, node: str | None) -> None:
    spec = sleeper.server.objects[Ref("v1", "Pod", pod, "ml")]["spec"]
    spec.pop("nodeName", None)
    if node is None:
        return
    if Ref("v1", "Node", node) not in sleeper.server.objects:
        made = builders.node(name=node)
        labels = made["metadata"]["labels"] | {layout.NODE_POOL_LABEL: NODE_POOL.name}
        sleeper.create({**made, "metadata": {**made["metadata"], "labels": labels}})
    spec["nodeName"] = node


def cluster() -> Sleeper:
    sleeper = Sleeper()
    sleeper.create(SERVER, API)
    place(sleeper, "api-0", "gpu-a")
    for number in range(3):
        place(sleeper, f"server-{number}", "gpu-b")
    return sleeper


def test_as_many_nodes_as_those_that_stay_run_on_are_let_in():
    sleeper = cluster()
    before = objects_of(sleeper)

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.value(NODE_POOL, *NODES) == "1" and sleeper.replicas(SERVER) == 0
    [finding] = [one for one in asleep.outcome.findings if one.code == "open-for-what-stays"]
    assert "NodePool slicewise-shared-l4 may have 1 node while" in finding.message
    assert "Deployment ml/api" in finding.message
    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before


def test_one_that_waits_is_let_in_also_where_it_has_no_node_yet():
    sleeper = Sleeper()
    sleeper.create(SERVER, API)
    sleeper.at(NIGHT).settle()

    assert sleeper.value(NODE_POOL, *NODES) == "1"


def test_a_node_that_is_lost_at_night_may_be_replaced():
    sleeper = cluster()
    sleeper.at(NIGHT).settle()
    sleeper.delete(Ref("v1", "Node", "gpu-a"))
    place(sleeper, "api-0", None)

    sleeper.later(minutes=15).settle()

    assert sleeper.value(NODE_POOL, *NODES) == "1", "there is none, and one may come"


def test_what_nobody_needs_is_closed():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()

    assert sleeper.value(NODE_POOL, *NODES) == "0"
    assert "open-for-what-stays" not in codes(sleeper.dry_run())


def test_a_running_job_keeps_its_node_replaceable_and_closes_the_pool_with_its_end():
    sleeper = Sleeper()
    sleeper.create(SERVER, JOB)
    sleeper.controllers._made("v1", "Pod", "train-x", sleeper.server.objects[ref_of(JOB)], pod_spec())
    place(sleeper, "train-x", "gpu-a")
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "1"

    sleeper.delete(Ref("v1", "Pod", "train-x", "ml"))
    sleeper.later(hours=1).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "0"

    sleeper.at(MORNING).settle()
    after = objects_of(sleeper)
    assert after[NODE_POOL] == before[NODE_POOL]


def test_a_mark_that_comes_at_night_lets_a_node_in():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "0"

    sleeper.create(API)
    sleeper.later(minutes=15).settle()

    assert sleeper.value(NODE_POOL, *NODES) == "1" and sleeper.replicas(API) == 1


def test_never_more_nodes_than_the_pool_may_have_by_day():
    sleeper = cluster()
    sleeper.edit(NODE_POOL, NODES, "1")
    another = {**API, "metadata": {**API["metadata"], "name": "other"}}
    sleeper.create(another)

    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "1"
    sleeper.at(MORNING).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "1"


def test_a_limit_that_a_person_sets_at_night_stays():
    sleeper = cluster()
    sleeper.at(NIGHT).settle()
    sleeper.edit(NODE_POOL, NODES, "5")
    place(sleeper, "api-0", None)
    sleeper.create({**API, "metadata": {**API["metadata"], "name": "other"}})

    sleeper.later(hours=1).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "5"
    sleeper.at(MORNING).settle()
    assert sleeper.value(NODE_POOL, *NODES) == "5"


def test_a_bare_pod_is_never_replaced_and_keeps_nothing_open():
    sleeper = Sleeper()
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "n", "namespace": "ml"},
        "spec": pod_spec(),
    }
    sleeper.create(bare)
    sleeper.at(NIGHT).settle()

    assert sleeper.value(NODE_POOL, *NODES) == "0"


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_a_limit_that_changes_at_night_is_restored_wherever_a_reconcile_ends(how):
    number, done = 0, False
    while not done:
        sleeper = cluster()
        before = objects_of(sleeper)
        sleeper.at(NIGHT).struck_reconcile(how, number)
        place(sleeper, "server-0", "gpu-b") if sleeper.live(Ref("v1", "Pod", "server-0", "ml")) else None
        sleeper.delete(ref_of(API))
        begin = len(sleeper.calls.made)
        sleeper.struck_reconcile(how, number)
        done = len(sleeper.calls.made) - begin <= number
        sleeper.struck_reconcile(how, number)
        sleeper.settle()
        assert sleeper.value(NODE_POOL, *NODES) == "0", number
        sleeper.at(MORNING).settle()
        assert objects_of(sleeper)[NODE_POOL] == before[NODE_POOL], number
        number += 1
    assert number > 10
