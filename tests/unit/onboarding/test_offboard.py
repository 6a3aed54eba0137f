"""What an offboarding that does not end holds on to, and what other NodePools rest on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry, Release
from slicewise.onboarding import offboard
from slicewise.onboarding.observation import Observation, ObserveError, ObserveFailure, Remains
from slicewise.planning.eks_actions import GrantAdmin, RevokeAdmin
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.pools import layout

from tests.fakes.account import INSTALLER, SETTINGS
from tests.support import builders
from tests.support.builders import NOW
from tests.support.onboarding_runs import MARK

OURS = Release("gpu-operator", "gpu-operator", 1, "deployed", "gpu-operator", "v26.7.0", MARK)
LONG_AGO = NOW - timedelta(hours=1)
ADMIN = AccessEntry(INSTALLER, policies=(CLUSTER_ADMIN_POLICY,), created_at=LONG_AGO, admin_since=LONG_AGO)


def world(entry: AccessEntry = ADMIN, **known: Any) -> Observation:
    return Observation(builders.cluster(), entries={INSTALLER: entry}, **{"remains": Remains(), **known})


@pytest.mark.parametrize("kind", ObserveFailure)
def test_cluster_admin_is_not_held_while_a_cluster_does_not_answer(kind):
    found = offboard.plan(world(observe_error=ObserveError(kind, "no answer")), SETTINGS, NOW)

    assert found.outcome.stage is Stage.FAILED
    assert [type(action) for action in found.actions] == [RevokeAdmin]


def failed(since: timedelta) -> Record:
    given_up = offboard.plan(world(observe_error=ObserveError(ObserveFailure.UNREACHABLE, "")), SETTINGS, NOW)
    findings = given_up.outcome.findings
    return Record("c", "onboarding", Stage.FAILED, "it did not end", NOW, NOW - since, findings)


def test_a_reconcile_that_merely_failed_keeps_nobody_from_going_on():
    known = world(AccessEntry(INSTALLER), remains=Remains(node_pools=()), record=failed(timedelta(hours=1)))
    known = replace(known, record=replace(known.record, findings=()))

    found = offboard.plan(known, SETTINGS, NOW)

    assert [type(action) for action in found.actions] == [GrantAdmin]


@pytest.mark.parametrize(
    ("since", "forced", "granted"),
    [
        pytest.param(timedelta(hours=1), False, False, id="an hour after it failed"),
        pytest.param(timedelta(hours=7), False, True, id="hours after it failed"),
        pytest.param(timedelta(hours=1), True, True, id="a person asks"),
    ],
)
def test_after_an_attempt_that_did_not_end_admin_is_asked_for_seldom(since, forced, granted):
    looked_at = Remains(node_pools=())
    known = world(AccessEntry(INSTALLER), remains=looked_at, record=failed(since), forced=forced)

    found = offboard.plan(known, SETTINGS, NOW)

    assert [type(action) for action in found.actions] == ([GrantAdmin] if granted else [])


def node_pool(key: str, operator: str, *values: str) -> dict[str, Any]:
    one = {"key": key, "operator": operator, **({"values": list(values)} if values else {})}
    return {"spec": {"template": {"spec": {"requirements": [one]}}}}


@pytest.mark.parametrize(
    ("item", "may"),
    [
        (node_pool("karpenter.k8s.aws/instance-category", "In", "c", "m", "r"), False),
        (node_pool("karpenter.k8s.aws/instance-category", "In", "c", "g"), True),
        (node_pool("karpenter.k8s.aws/instance-category", "NotIn", "t"), True),
        (node_pool("karpenter.k8s.aws/instance-family", "In", "m7i"), False),
        (node_pool("node.kubernetes.io/instance-type", "In", "p5.48xlarge"), True),
        (node_pool(layout.GPU_COUNT_LABEL, "Gt", "0"), True),
        (node_pool(layout.GPU_MANUFACTURER_LABEL, "DoesNotExist"), False),
        (node_pool("kubernetes.io/arch", "In", "amd64"), True),
    ],
)
def test_a_node_pool_that_has_no_node_now_may_get_gpus_all_the_same(item, may):
    assert layout.may_have_gpus(item) is may


def test_an_operator_stays_where_a_team_s_pool_sleeps():
    """It has no node tonight, and in the morning nobody would offer its GPUs."""
    theirs = node_pool(layout.GPU_COUNT_LABEL, "Gt", "0")
    theirs |= {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "gpu"}}
    seen = builders.contents(releases=(OURS,), node_pools=(theirs,))
    entry = AccessEntry(INSTALLER, policies=(CLUSTER_ADMIN_POLICY,), admin_since=NOW)
    remains = Remains(node_pools=(theirs,), ours=(), contents=seen)

    found = offboard.plan(world(entry, remains=remains), SETTINGS, NOW)

    assert not [action for action in found.actions if str(action).startswith("uninstall")]
    assert [one.code for one in found.outcome.findings] == ["gpu-operator-stays"]
