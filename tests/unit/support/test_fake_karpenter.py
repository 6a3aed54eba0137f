"""That the stand-in for Karpenter rests while nothing can happen changes nothing of what happens."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta

import pytest
from slicewise.kube.ref import Ref
from slicewise.pools import layout

from tests.support.tuning.tuned_account import TunedAccount


def _label(account: TunedAccount) -> None:
    operation = {"op": "add", "path": f"/metadata/labels/{layout.CONFIG_LABEL.replace('/', '~1')}"}
    [node, *_] = account._nodes()
    account.servers["gpu-1"].patch(Ref("v1", "Node", node), [operation | {"value": "ts-2"}])


def _drift(account: TunedAccount) -> None:
    requirements = account.node_pool["spec"]["template"]["spec"]["requirements"]
    next(one for one in requirements if one["key"] == layout.CONFIG_LABEL)["values"] = ["ts-2"]


@pytest.fixture(scope="module")
def account() -> TunedAccount:
    return TunedAccount(pods=(4, 4, 1))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda account: None, id="nothing"),
        pytest.param(_label, id="a label that a plugin follows, and breaks a promise by it"),
        pytest.param(_drift, id="nodes that drift, one after another"),
        pytest.param(lambda account: [account.karpenter.add_pod() for _ in range(9)], id="pods"),
        pytest.param(lambda account: account.karpenter.unready.update(account._nodes()), id="sick nodes"),
    ],
)
def test_a_minute_with_rests_is_a_minute_of_ticks(account, change):
    rested, ticked = deepcopy(account), deepcopy(account)
    for one in (rested, ticked):
        change(one)

    rested.karpenter.work_for(60)
    for _ in range(60):
        ticked.clock.pass_by(timedelta(seconds=1))
        ticked.karpenter.tick()

    assert rested.clock.now == ticked.clock.now
    assert rested.servers["gpu-1"].objects == ticked.servers["gpu-1"].objects
    for name in ("ever_drifted", "replaced", "consolidated", "moved", "broken_promises"):
        assert getattr(rested.karpenter, name) == getattr(ticked.karpenter, name), name


def test_it_rests_once_nothing_happens_and_only_then(account):
    ticks = []
    calm = deepcopy(account)
    tick = calm.karpenter.tick
    calm.karpenter.tick = lambda: (ticks.append(calm.clock.now), tick())
    began = calm.clock.now

    calm.karpenter.work_for(60)
    assert len(ticks) < 5
    _label(calm)
    calm.karpenter.work_for(60)

    assert max(ticks) > began + timedelta(minutes=1, seconds=4)
    node = calm.servers["gpu-1"].objects[Ref("v1", "Node", calm._nodes()[0])]
    assert node["status"]["allocatable"] == {layout.GPU_RESOURCE: "2"}
