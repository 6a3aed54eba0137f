"""Which pods are of our pools, by what they choose and where they run."""

from __future__ import annotations

import pytest
from slicewise.offhours.workloads import chooses, on_our_pools

OURS, NAMED = {"key": "slicewise.dev/pool", "operator": "Exists"}, "slicewise.dev/pool"
SHARED = {"key": NAMED, "operator": "In", "values": ["shared"]}
CPU = {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}
NOT_OURS = {"key": NAMED, "operator": "DoesNotExist"}


def pod(*terms, selector=None, node="") -> dict:
    """`terms` are the alternatives of its required node affinity."""
    found = {"nodeSelectorTerms": [{"matchExpressions": list(term)} for term in terms]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": found}} if terms else {}
    return {"nodeSelector": selector or {}, "affinity": affinity, "nodeName": node}


@pytest.mark.parametrize(
    ("pod_spec", "ours"),
    [
        pytest.param(pod(selector={NAMED: "shared"}), True, id="by its selector"),
        pytest.param(pod([OURS]), True, id="any pool"),
        pytest.param(pod([SHARED, CPU]), True, id="a pool, and more"),
        pytest.param(pod([SHARED], [OURS, CPU]), True, id="a pool either way"),
        pytest.param(pod([SHARED], [CPU]), False, id="a pool, or nodes of somebody else"),
        pytest.param(pod([CPU], [SHARED]), False, id="nodes of somebody else, or a pool"),
        pytest.param(pod([SHARED], []), False, id="an alternative that says nothing"),
        pytest.param(pod([NOT_OURS]), False, id="no pool"),
        pytest.param(pod([CPU]), False, id="somebody else's alone"),
        pytest.param(pod(), False, id="anywhere"),
        pytest.param(pod([SHARED], [CPU], node="n-1"), True, id="either, and it is on a node of ours"),
        pytest.param(pod([SHARED], [CPU], node="n-9"), False, id="either, and it is elsewhere"),
    ],
)
def test_who_may_run_elsewhere_is_ours_only_while_it_runs_on_a_node_of_ours(pod_spec, ours):
    assert on_our_pools(pod_spec, frozenset({"n-1"})) is ours


@pytest.mark.parametrize(
    ("pod_spec", "may"),
    [
        (pod(selector={NAMED: "shared"}), True),
        (pod(selector={NAMED: "other"}), False),
        (pod([SHARED], [CPU]), True),
        (pod([CPU], [OURS]), True),
        (pod([NOT_OURS]), False),
        (pod([{**SHARED, "operator": "NotIn"}]), False),
        (pod([CPU]), False),
        (pod(), False),
    ],
)
def test_who_may_run_on_a_pool_and_asks_for_one_waits_for_it(pod_spec, may):
    assert chooses(pod_spec, "shared") is may
