"""What plain Nodes and Pods say of GPUs, whoever started them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from cli.assessment.inventory import gpu_nodes, gpu_pods, held
from tests.support.assessed_cluster import node, pod

GPU = "nvidia.com/gpu"


def only(found):
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("machine", "offers", "labels", "expected"),
    [
        ("g6.xlarge", {GPU: 1}, {}, ("l4", 1, 1)),
        # Shared already: the count is of GPUs, the offer of slices.
        ("g6.12xlarge", {GPU: 16}, {"nvidia.com/gpu.count": "4"}, ("l4", 4, 16)),
        ("g6.12xlarge", {f"{GPU}.shared": 16}, {"nvidia.com/gpu.count": "4"}, ("l4", 4, 16)),
        # Karpenter's labels come first, and tell the two A100s apart.
        (
            "p4de.24xlarge",
            {GPU: 8},
            {
                "karpenter.k8s.aws/instance-gpu-name": "a100",
                "karpenter.k8s.aws/instance-gpu-memory": "81920",
                "karpenter.k8s.aws/instance-gpu-count": "8",
            },
            ("a100-80gb", 8, 8),
        ),
        # One is sick: it is there, and paid for.
        ("p5en.48xlarge", {GPU: 7}, {}, ("h200", 8, 7)),
        # MIG of one profile hides behind the plain name, and has the label count instances.
        (
            "p4d.24xlarge",
            {GPU: 56},
            {"nvidia.com/gpu.product": "A100-SXM4-40GB-MIG-1g.5gb", "nvidia.com/gpu.count": "56"},
            ("a100-40gb", 8, 0),
        ),
        # A model that is sold with one or eight of them, in instances only.
        (
            "p5.4xlarge",
            {GPU: 7},
            {"nvidia.com/gpu.product": "H100-80GB-HBM3-MIG-1g.10gb", "nvidia.com/gpu.count": "7"},
            ("h100", 1, 0),
        ),
        # No device plugin runs, and the family has machines of 1, 4 and 8: nothing says how many.
        ("g6.12xlarge", {}, {}, ("l4", None, 0)),
    ],
)
def test_a_node_reports_its_model_gpus_and_slices(machine, offers, labels, expected):
    found = only(gpu_nodes([node("n", machine, offers, labels)]))

    assert (found.model.name, found.gpus, found.offered) == expected


def test_a_gpu_that_ec2_does_not_sell_has_no_model_but_a_name():
    labels = {"nvidia.com/gpu.product": "NVIDIA-GeForce-RTX-4090", "nvidia.com/gpu.count": "2"}

    found = only(gpu_nodes([node("n", "n1-standard-8", {GPU: 2}, labels)]))

    assert (found.model, found.group, found.gpus) == (None, "NVIDIA-GeForce-RTX-4090", 2)


def test_nodes_without_gpus_are_left_out():
    assert gpu_nodes([node("n", "m7i.large", {})]) == ()


@pytest.mark.parametrize(
    "labels",
    [{"karpenter.sh/capacity-type": "spot"}, {"eks.amazonaws.com/capacityType": "SPOT"}],
)
def test_spot_is_reported_by_karpenter_and_by_managed_node_groups(labels):
    assert only(gpu_nodes([node("n", labels=labels)])).term == "spot"
    assert only(gpu_nodes([node("n", labels=dict.fromkeys(labels, "on-demand"))])).term == "on-demand"


@pytest.mark.parametrize(
    ("machine", "offers", "labels", "asks", "gpus"),
    [
        ("g6.xlarge", {GPU: 1}, {}, {GPU: 1}, 1),
        ("g6.12xlarge", {GPU: 16}, {"nvidia.com/gpu.count": "4"}, {GPU: 1}, Fraction(1, 4)),
        ("p5en.48xlarge", {GPU: 7}, {}, {GPU: 1}, 1),
        # 1 of 56 instances of one compute slice, on 8 GPUs.
        ("p4d.24xlarge", {"nvidia.com/mig-1g.5gb": 56}, {}, {"nvidia.com/mig-1g.5gb": 1}, Fraction(1, 7)),
        # Four GPUs are cut in 3g.20gb, two of each, the other four are whole.
        (
            "p4d.24xlarge",
            {GPU: 4, "nvidia.com/mig-3g.20gb": 8},
            {},
            {"nvidia.com/mig-3g.20gb": 1},
            Fraction(1, 2),
        ),
        ("p4d.24xlarge", {GPU: 4, "nvidia.com/mig-3g.20gb": 8}, {}, {GPU: 2}, 2),
        # Four GPUs are cut, and the other four offer four slices each.
        *(
            (
                "p4d.24xlarge",
                {GPU: 16, "nvidia.com/mig-1g.5gb": 28},
                {"nvidia.com/gpu.count": "8", "nvidia.com/gpu.replicas": "4"},
                asks,
                gpus,
            )
            for asks, gpus in (
                ({GPU: 1}, Fraction(1, 4)),
                ({"nvidia.com/mig-1g.5gb": 1}, Fraction(1, 7)),
            )
        ),
        # Of 1g.10gb a GPU has four, which leave compute slices unused.
        (
            "p4d.24xlarge",
            {GPU: 4, "nvidia.com/mig-1g.10gb": 16},
            {},
            {"nvidia.com/mig-1g.10gb": 1},
            Fraction(1, 4),
        ),
    ],
)
def test_a_pod_holds_its_part_of_the_physical_gpus(machine, offers, labels, asks, gpus):
    on = only(gpu_nodes([node("n", machine, offers, labels)]))

    assert held(only(gpu_pods([pod("a-0", "n", asks=asks)])), on) == gpus


def test_pods_without_gpus_are_left_out_and_claims_are_seen():
    plain = pod("web-0", "n", asks={"cpu": 1})
    claims = pod("dra-0", "n", asks={}, resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "one"}])

    assert [one.key for one in gpu_pods([plain, claims])] == ["serving/dra-0"]
