"""What of an adopted NodePool has to be tolerated, and what its policy says of it."""

from __future__ import annotations

from typing import Any

import pytest
from slicewise import adopted, layout

from tests import builders

POLICY = builders.policy(
    "{taken: {sharing: time-slicing, gpus: [l4], adopt: gpu}, "
    "shared: {sharing: time-slicing, gpus: [l4], maxGpus: 4}}"
)


def node_pool(name: str, *taints: dict[str, str], **spec: Any) -> dict[str, Any]:
    body = {"template": {"spec": {"taints": list(taints)}}, **spec}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": body}


def test_operands_tolerate_the_taints_of_what_is_adopted_beside_ours():
    team = {"key": "team", "value": "vision", "effect": "NoExecute"}
    bare = {"key": "dedicated", "effect": "NoSchedule"}
    found = adopted.operand_tolerations((node_pool("gpu", team, bare, dict(layout.TAINT)),), POLICY)

    assert found == [
        *layout.TOLERATIONS,
        {"key": "team", "operator": "Equal", "value": "vision", "effect": "NoExecute"},
        {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"},
    ]


def test_operands_tolerate_nothing_of_nodepools_that_nobody_adopts():
    other = node_pool("other", {"key": "team", "value": "nlp", "effect": "NoSchedule"})

    assert adopted.operand_tolerations((other,), POLICY) == list(layout.TOLERATIONS)


def test_a_limit_below_what_runs_is_told_with_how_much_runs():
    policy = builders.policy("{taken: {sharing: time-slicing, gpus: [l4], adopt: gpu, maxGpus: 16}}")
    (pool,) = policy.pools
    live = node_pool("gpu", limits={"nvidia.com/gpu": "40"}) | {
        "status": {"resources": {"nvidia.com/gpu": "30"}}
    }

    assert adopted.differences(policy, pool, live) == (
        "limit 40 of nvidia.com/gpu becomes 16 GPUs (maxGpus), and 30 run now: none is taken away",
    )


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"amiSelectorTerms": [{"alias": "al2023@latest"}]}, None),
        ({"amiFamily": "Custom", "amiSelectorTerms": [{"id": "ami-1"}]}, None),
        (
            {"amiSelectorTerms": [{"alias": "bottlerocket@v1"}]},
            "its EC2NodeClass gpu builds bottlerocket nodes",
        ),
        (
            {"amiFamily": "AL2", "amiSelectorTerms": [{"id": "ami-1"}]},
            "its EC2NodeClass gpu builds AL2 nodes",
        ),
    ],
)
def test_a_node_class_that_is_no_al2023_is_refused_by_name(spec, why):
    told = adopted.why_not_class({"kind": "EC2NodeClass", "metadata": {"name": "gpu"}, "spec": spec})

    assert told == (f"{why}, not AL2023" if why else None)


def test_a_node_class_may_choose_capacity_reservations():
    chosen = {
        "kind": "EC2NodeClass",
        "metadata": {"name": "gpu"},
        "spec": {"capacityReservationSelectorTerms": [{}]},
    }

    assert adopted.is_reserved(node_pool("gpu"), chosen)
    assert not adopted.is_reserved(node_pool("gpu"))
