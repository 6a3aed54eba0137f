"""What a policy says of a NodePool that it adopts, and what stands against that."""

from __future__ import annotations

from typing import Any

import pytest
from slicewise.kube.labels import ORIGINAL_ANNOTATION
from slicewise.pools import adopted, adopted_settings, layout

from tests.support import builders


def node_pool(name: str, *taints: dict[str, str], **spec: Any) -> dict[str, Any]:
    body = {"template": {"spec": {"taints": list(taints)}}, **spec}
    return {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name}, "spec": body}


def test_a_limit_below_what_runs_is_reported_with_how_much_runs():
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
    reported = adopted.why_not_class({"kind": "EC2NodeClass", "metadata": {"name": "gpu"}, "spec": spec})

    assert reported == (f"{why}, not AL2023" if why else None)


def test_a_node_class_may_choose_capacity_reservations():
    chosen = {
        "kind": "EC2NodeClass",
        "metadata": {"name": "gpu"},
        "spec": {"capacityReservationSelectorTerms": [{}]},
    }

    assert adopted.is_reserved(node_pool("gpu"), chosen)
    assert not adopted.is_reserved(node_pool("gpu"))


def test_a_budget_of_the_owners_that_equals_one_of_ours_stays_when_ours_goes():
    owner = {
        "budgets": [dict(layout.ONE_AT_A_TIME), {"nodes": "0", "schedule": "0 8 * * *", "duration": "10h"}]
    }

    def live(disruption: dict[str, Any], taken: dict[str, Any]) -> dict[str, Any]:
        original = {"limits": None, "disruption": owner, "requirements": [], "taken": taken}
        marks = {ORIGINAL_ANNOTATION: adopted_settings.dumped(original)}
        item = node_pool("gpu", disruption=disruption)
        return {**item, "metadata": {"name": "gpu", "annotations": marks}}

    raised, taken = adopted_settings.disruption(live(owner, {}), {}, [layout.ONE_AT_A_TIME])
    again, taken = adopted_settings.disruption(live(raised, taken), {}, [layout.ONE_AT_A_TIME])
    later, _ = adopted_settings.disruption(live(again, taken), {}, ())

    assert again == raised and len(raised["budgets"]) == 3
    assert later == owner
