"""Keys, requirements, limits and overlays say one N, in words that Karpenter and the device plugin know."""

import pytest
import yaml
from slicewise.kube.objects import required_values
from slicewise.policy.model import Sharing
from slicewise.pools import layout

from tests.support import builders

# k8s-device-plugin v0.20.0, api/config/v1: what the parser knows. It ignores the rest without a word, so that
# a field such as `period` would look as if it worked.
KNOWN = {
    "": {"version", "flags", "sharing"},
    "flags": {"migStrategy"},
    "sharing": {"timeSlicing", "mps"},
    "timeSlicing": {"renameByDefault", "failRequestsGreaterThanOne", "resources"},
    "mps": {"renameByDefault", "failRequestsGreaterThanOne", "resources"},
    "resources": {"name", "replicas"},
}
MIG = "{s: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 16}}"


def fields(value, under=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield under, key
            yield from fields(inner, key)
    if isinstance(value, list):
        for inner in value:
            yield from fields(inner, under)


def one_pool(pools, *more):
    policy = builders.policy(pools, *more)
    pool = policy.pools[0]
    return policy, pool, pool.models()[0]


def requirement(item, key):
    return required_values(item["spec"]["template"]["spec"]["requirements"], key)


@pytest.mark.parametrize("key, text", layout.device_plugin_configs().items())
def test_a_key_holds_only_fields_that_the_device_plugin_has(key, text):
    for under, field in fields(yaml.safe_load(text)):
        assert field in KNOWN[under], f"{key}: {under}.{field}"


@pytest.mark.parametrize("key, text", layout.device_plugin_configs().items())
def test_a_key_says_in_its_name_what_it_does(key, text):
    sharing = yaml.safe_load(text).get("sharing", {})
    if key == "exclusive":
        assert sharing == {} and layout.slices_of_key(key) == 1
        return
    ((block, body),) = sharing.items()
    assert key == f"{ {'timeSlicing': 'ts', 'mps': 'mps'}[block] }-{body['resources'][0]['replicas']}"
    assert body["failRequestsGreaterThanOne"] is True
    assert layout.slices_of_key(key) == body["resources"][0]["replicas"]


def test_every_n_that_a_policy_may_ask_for_has_its_key():
    keys = layout.device_plugin_configs()

    assert len(keys) == 1 + 2 * 15
    for sharing in Sharing:
        for n in range(1, 17):
            assert layout.config_key(sharing, n) in keys


@pytest.mark.parametrize("key", ["ts-1", "ts-17", "ts-", "ts-x", "vgpu-4", "", "ts-4-2", "exclusive-2"])
def test_a_key_that_is_not_ours_has_no_n(key):
    assert layout.slices_of_key(key) is None


@pytest.mark.parametrize("n", range(2, 9))
def test_one_n_is_in_requirement_limits_and_overlays(n):
    policy, pool, gpu = one_pool("{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16}}")

    node_pool = layout.node_pool(policy, pool, gpu, n)
    overlays = layout.overlays(pool, gpu, n, layout.overlay_weights(policy))

    assert requirement(node_pool, layout.CONFIG_LABEL) == (f"ts-{n}",)
    assert node_pool["spec"]["limits"] == {"nvidia.com/gpu": str(16 * n)}
    assert [o["metadata"]["name"] for o in overlays] == [f"slicewise-shared-l4-{c}" for c in (1, 4, 8)]
    assert [o["spec"]["capacity"] for o in overlays] == [{"nvidia.com/gpu": str(n * c)} for c in (1, 4, 8)]


def test_changing_n_changes_nothing_that_karpenter_hashes():
    policy, pool, gpu = one_pool("{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16}}")

    def hashed(n):
        template = layout.node_pool(policy, pool, gpu, n)["spec"]["template"]
        return template["metadata"], {k: v for k, v in template["spec"].items() if k != "requirements"}

    assert hashed(4) == hashed(8)


def test_a_mig_pool_offers_its_profile_and_no_whole_gpu():
    policy, pool, gpu = one_pool(MIG)

    node_pool = layout.node_pool(policy, pool, gpu, 1)
    overlays = layout.overlays(pool, gpu, 1, layout.overlay_weights(policy))

    assert node_pool["spec"]["template"]["metadata"]["labels"]["nvidia.com/mig.config"] == "all-1g.10gb"
    assert requirement(node_pool, layout.CONFIG_LABEL) == ("exclusive",)
    assert node_pool["spec"]["limits"] == {"nvidia.com/mig-1g.10gb": str(7 * 16)}
    assert [o["spec"]["capacity"] for o in overlays] == [
        {"nvidia.com/mig-1g.10gb": "7", "nvidia.com/gpu": "0"},
        {"nvidia.com/mig-1g.10gb": "56", "nvidia.com/gpu": "0"},
    ]


def test_an_overlay_is_tied_to_its_node_pool_and_to_gpu_machines_only():
    policy, pool, gpu = one_pool("{shared: {sharing: mps, gpus: [a10g], maxGpus: 1}}")

    for overlay, count in zip(
        layout.overlays(pool, gpu, 4, layout.overlay_weights(policy)), gpu.counts, strict=True
    ):
        assert {r["key"]: r["values"] for r in overlay["spec"]["requirements"]} == {
            "karpenter.sh/nodepool": ["slicewise-shared-a10g"],
            "karpenter.k8s.aws/instance-gpu-count": [str(count)],
            "karpenter.k8s.aws/instance-gpu-manufacturer": ["nvidia"],
        }


def test_the_two_a100_are_distinguished_by_memory():
    policy, pool, gpu = one_pool("{w: {sharing: none, gpus: [a100-80gb], maxGpus: 8}}")

    node_pool = layout.node_pool(policy, pool, gpu, 1)

    assert requirement(node_pool, layout.GPU_NAME_LABEL) == ("a100",)
    assert requirement(node_pool, layout.GPU_MEMORY_LABEL) == ("81920",)


def test_only_counts_that_ec2_sells_are_required():
    policy, pool, gpu = one_pool("{w: {sharing: none, gpus: [l4], maxGpus: 8, gpuCounts: [1, 2]}}")

    assert requirement(layout.node_pool(policy, pool, gpu, 1), layout.GPU_COUNT_LABEL) == ("1",)


def test_overlay_weights_are_unique_and_in_range():
    pools = {
        f"p{i}": {"sharing": "none", "gpus": ["l4", "t4", "l40s", "h100"], "maxGpus": 1} for i in range(60)
    }
    weights = layout.overlay_weights(builders.policy(yaml.safe_dump(pools, default_flow_style=True)))

    assert len(set(weights.values())) == len(weights) == 60 * 11
    assert min(weights.values()) >= 1 and max(weights.values()) <= 10_000


def test_a_new_pool_leaves_the_weights_of_others_alone():
    one = layout.overlay_weights(builders.policy("{b: {sharing: none, gpus: [l4], maxGpus: 1}}"))
    two = layout.overlay_weights(
        builders.policy(
            "{a: {sharing: none, gpus: [l4], maxGpus: 1}, b: {sharing: none, gpus: [l4], maxGpus: 1}}"
        )
    )

    assert one.items() <= two.items()


def test_the_longest_names_are_valid_label_values():
    """karpenter.sh/nodepool is a label on every node: at most 63 characters."""
    _, pool, gpu = one_pool(f"{{{'p' * 30}: {{sharing: none, gpus: [rtx-pro-server-6000], maxGpus: 1}}}}")

    assert len(layout.node_pool_name(pool, gpu)) <= 63
