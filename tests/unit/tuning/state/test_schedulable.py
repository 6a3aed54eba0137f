"""Where pods that ask for more than one GPU may come, by what they choose and tolerate."""

from __future__ import annotations

from typing import Any

import pytest
from slicewise.kube.labels import POOL_LABEL
from slicewise.pools import layout
from slicewise.tuning.state.schedulable import may_land
from slicewise.tuning.state.whole_gpus import gpus_of

from tests.support import builders

(POOL,) = builders.policy().pools
TEAM = {"key": "team", "value": "vision", "effect": "NoSchedule"}
NODE_POOL = {
    "metadata": {"name": "gpu"},
    "spec": {
        "template": {
            "metadata": {"labels": {"team": "vision"}},
            "spec": {
                "taints": [layout.TAINT, TEAM],
                "requirements": [
                    {"key": layout.GPU_NAME_LABEL, "operator": "In", "values": ["l4"]},
                    {"key": layout.GPU_COUNT_LABEL, "operator": "Gt", "values": ["0"]},
                    {"key": "tier", "operator": "In", "values": ["gold", "silver"]},
                ],
            },
        }
    },
}
TOLERATES = {"tolerations": [{"key": "team", "operator": "Exists"}]}


def term(key: str, operator: str, *values: str) -> dict[str, Any]:
    expression = {"key": key, "operator": operator, **({"values": list(values)} if values else {})}
    return {"matchExpressions": [expression]}


def requires(*terms: dict[str, Any]) -> dict[str, Any]:
    return {
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}
            }
        }
    }


@pytest.mark.parametrize(
    ("pod_spec", "lands"),
    [
        ({}, True),
        ({"nodeSelector": {"team": "vision"}}, True),
        ({"nodeSelector": {"team": "nlp"}}, False),
        ({"nodeSelector": {"tier": "gold"}}, True),
        ({"nodeSelector": {"tier": "bronze"}}, False),
        ({"nodeSelector": {POOL_LABEL: "shared"}}, True),
        ({"nodeSelector": {POOL_LABEL: "whole"}}, False),
        ({"nodeSelector": {layout.NODE_POOL_LABEL: "other"}}, False),
        ({"nodeSelector": {layout.GPU_NAME_LABEL: "t4"}}, False),
        ({"nodeSelector": {layout.GPU_COUNT_LABEL: "4"}}, True),
        ({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}, True),
        ({"nodeSelector": {"topology.kubernetes.io/zone": "eu-central-1a"}}, True),
        ({"nodeSelector": {"nobody": "knows"}}, False),
        (requires(term("team", "In", "nlp"), term("team", "In", "vision")), True),
        (requires(term("team", "In", "nlp")), False),
        (requires(term("team", "NotIn", "vision")), False),
        (requires(term("team", "Exists")), True),
        (requires(term("nobody", "Exists")), False),
    ],
)
def test_what_a_pod_chooses_decides(pod_spec, lands):
    assert may_land({**TOLERATES, **pod_spec}, POOL, NODE_POOL) is lands


@pytest.mark.parametrize(
    ("toleration", "lands"),
    [
        ({"key": "team", "operator": "Exists"}, True),
        ({"key": "team", "value": "vision", "effect": "NoSchedule"}, True),
        ({"key": "team", "value": "nlp"}, False),
        ({"key": "team", "value": "vision", "effect": "NoExecute"}, False),
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, False),
    ],
)
def test_a_taint_of_the_team_keeps_out_who_does_not_tolerate_it(toleration, lands):
    assert may_land({"tolerations": [toleration]}, POOL, NODE_POOL) is lands


def test_a_label_that_only_a_node_has_counts():
    node = {"metadata": {"name": "a", "labels": {"rack": "7"}}}

    assert may_land({**TOLERATES, "nodeSelector": {"rack": "7"}}, POOL, NODE_POOL, [node])


def test_two_containers_of_one_gpu_each_are_served_by_two_slices():
    one = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}

    assert gpus_of({"containers": [one, one]}) == 1
    assert (
        gpus_of({"containers": [one], "initContainers": [{"resources": {"limits": {"nvidia.com/gpu": 2}}}]})
        == 2
    )
