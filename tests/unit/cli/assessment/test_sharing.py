"""Each reason why a pod must not share a GPU, by the Node and Pod that give it."""

from __future__ import annotations

import pytest

from cli.assessment.inventory import gpu_nodes, gpu_pods
from cli.assessment.sharing import exclusion
from tests.support.assessed_cluster import node, pod

GPU = "nvidia.com/gpu"
CLAIM = [{"name": "gpu", "resourceClaimName": "one"}]
OF_TWO = [{"name": n, "resources": {"limits": {GPU: "1"}}} for n in ("main", "helper")]
WHOLE_POOL = {
    "metadata": {
        "name": "slicewise-whole-l4",
        "labels": {"slicewise.dev/pool": "whole", "slicewise.dev/sharing": "none"},
    }
}


def code(on, its):
    (found,), (one,) = gpu_nodes([on], [WHOLE_POOL]), gpu_pods([its])
    why = exclusion(one, found)
    return why.code if why else None


def test_a_pod_with_one_gpu_of_its_own_could_share():
    assert code(node("n"), pod("a-0", "n")) is None


@pytest.mark.parametrize(
    ("expected", "on", "its"),
    [
        ("dra-claim", node("n"), pod("a-0", "n", asks={}, resourceClaims=CLAIM)),
        ("more-than-one-gpu", node("n", "g6.12xlarge", {GPU: 4}), pod("a-0", "n", asks={GPU: 2})),
        ("several-containers", node("n", "g6.12xlarge", {GPU: 4}), pod("a-0", "n", containers=OF_TWO)),
        (
            "mig",
            node("n", "p4d.24xlarge", {"nvidia.com/mig-1g.5gb": 56}),
            pod("a-0", "n", asks={"nvidia.com/mig-1g.5gb": 1}),
        ),
        (
            "mig",
            node("n", "p4d.24xlarge", {GPU: 56}, {"nvidia.com/gpu.product": "A100-SXM4-40GB-MIG-1g.5gb"}),
            pod("a-0", "n"),
        ),
        ("exclusive-mode", node("n", labels={"nvidia.com/gpu.sharing-strategy": "mps"}), pod("a-0", "n")),
        (
            "whole-by-policy",
            node("n", labels={"karpenter.sh/nodepool": "slicewise-whole-l4"}),
            pod("a-0", "n"),
        ),
        ("daemon-set", node("n"), pod("a-0", "n", ("DaemonSet", "agent"))),
        ("unknown-gpu", node("n", "n1-standard-8"), pod("a-0", "n")),
    ],
)
def test_each_reason_not_to_share_is_named(expected, on, its):
    assert code(on, its) == expected


def test_time_slicing_that_is_there_already_is_no_reason():
    sliced = node("n", offers={GPU: 4}, labels={"nvidia.com/gpu.sharing-strategy": "time-slicing"})

    assert code(sliced, pod("a-0", "n")) is None
