from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.kube.labels import STARTUP_ANNOTATION
from slicewise.pools.startup_history import p95, recorded_startups
from slicewise.tuning.consolidation import startup
from slicewise.tuning.consolidation.startup import Startup, dumped, learned, measured

from tests.support.builders import NOW

POOL = "slicewise-shared-l4"


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def conditions(**times: float) -> list[dict]:
    return [{"type": kind, "status": "True", "lastTransitionTime": at(t)} for kind, t in times.items()]


def claim(name: str = "claim-1", born: float = 0, node: str = "node-1", **times: float) -> dict:
    times = times or {"Registered": born + 40, "Initialized": born + 90}
    return {
        "metadata": {"name": name, "creationTimestamp": at(born)},
        "status": {"nodeName": node, "conditions": conditions(**times)},
    }


def pod(ready: float | None, born: float = -1, node: str = "node-1", restarts: int = 0) -> dict:
    return {
        "metadata": {"name": "a", "creationTimestamp": at(born)},
        "spec": {"nodeName": node},
        "status": {
            "conditions": conditions(Ready=ready) if ready is not None else [],
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


def seconds(*found: float) -> list[timedelta]:
    return [timedelta(seconds=one) for one in found]


def node_pool(text: str | None = None) -> dict:
    return {"metadata": {"name": POOL, "annotations": {STARTUP_ANNOTATION: text} if text else {}}}


def started(claim: str, ready: float = 100) -> Startup:
    return Startup(claim, *seconds(1, 2, ready))


def test_a_start_is_measured_from_the_claim_to_its_first_ready_pod():
    (found,) = measured([claim()], [pod(150), pod(130), pod(120, node="other"), pod(None)])

    assert found == Startup("claim-1", *seconds(40, 90, 130))


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param([], id="no pod"),
        pytest.param([pod(None)], id="not ready yet"),
        pytest.param([pod(600, born=300)], id="came to a node that ran already"),
        pytest.param([pod(200, restarts=1)], id="restarted, so ready for a second time"),
        pytest.param([pod(3601)], id="an hour later: it waited for something else"),
    ],
)
def test_what_says_nothing_about_the_start_of_the_node_is_left_out(pods):
    assert measured([claim()], pods) == ()


def test_a_claim_without_a_node_yet_is_left_out():
    assert measured([claim(Registered=40)], [pod(130)]) == ()


def test_measurements_outlive_their_nodes():
    before = node_pool(dumped({"gone": 70}))

    after = learned(before, measured([claim()], [pod(130)]))

    assert after == {"gone": 70, "claim-1": 130}
    assert recorded_startups(node_pool(dumped(after))) == after


def test_a_claim_counts_once_though_its_first_pod_has_ended_since():
    known = learned(node_pool(), measured([claim()], [pod(130), pod(500)]))

    assert learned(node_pool(dumped(known)), measured([claim()], [pod(500)])) == {"claim-1": 130}


def test_only_the_newest_are_kept_and_a_second_reconcile_of_a_large_pool_changes_nothing():
    many = [started(f"claim-{i}", i + 1) for i in range(200)]

    known = learned(node_pool(), many)

    assert list(known) == [f"claim-{i}" for i in range(150, 200)]
    assert learned(node_pool(dumped(known)), many) == known
    assert list(learned(node_pool(dumped(known)), [*many, started("new")]))[-2:] == ["claim-199", "new"]


@pytest.mark.parametrize("text", ["", "no", "{}", "[1]", '[["a"]]', '[["a","b"]]', "null", '[["a",null]]'])
def test_an_annotation_that_a_user_broke_counts_as_nothing(text):
    assert recorded_startups(node_pool(text)) == {}


def test_p95_needs_three_starts_and_is_one_of_them():
    assert p95(seconds(10, 20)) is None
    assert p95(seconds(30, 10, 20)) == timedelta(seconds=30)
    assert p95(seconds(*range(1, 101))) == timedelta(seconds=95)


def test_the_annotation_stays_small():
    full = {f"{POOL}-{i:05}": 3600 for i in range(startup.KEPT)}

    assert len(dumped(full)) < 4096
