"""The stand-in's arithmetic and its strictness are NVIDIA's, as far as they are published."""

from __future__ import annotations

import pytest

from sandbox.cluster.instance_types import INSTANCE_TYPES
from sandbox.cluster.samples import plugin_config
from sandbox.gpus.device_plugin import (
    MIG_PROFILES,
    UNSHARED,
    InvalidConfig,
    Sharing,
    mig_profile,
    parse_config,
    report,
)


def time_slicing(replicas: object = 4, **more: object) -> str:
    block = {"resources": [{"name": "nvidia.com/gpu", "replicas": replicas}], **more}
    return f"version: v1\nsharing: {{timeSlicing: {block}}}\n".replace("'", '"').replace("True", "true")


def test_time_slicing_multiplies_the_gpus():
    shared = report(INSTANCE_TYPES["g6.12xlarge"], parse_config(time_slicing(4)), None, "mixed")

    assert shared.resources == {"nvidia.com/gpu": 16}
    assert shared.labels["nvidia.com/gpu.replicas"] == "4"
    assert shared.labels["nvidia.com/gpu.product"] == "NVIDIA-L4-SHARED"


def test_a_renamed_resource_keeps_the_products_name():
    shared = report(
        INSTANCE_TYPES["g6.xlarge"], parse_config(time_slicing(4, renameByDefault=True)), None, "mixed"
    )

    assert shared.resources == {"nvidia.com/gpu.shared": 4}
    assert shared.labels["nvidia.com/gpu.product"] == "NVIDIA-L4"


def test_mps_wins_over_time_slicing():
    both = (
        time_slicing(4).removesuffix("}\n") + ", mps: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}\n"
    )

    assert parse_config(both) == Sharing("mps", {"nvidia.com/gpu": 2}, one_each=True)


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        (time_slicing(4), False),
        (time_slicing(4, failRequestsGreaterThanOne=True), True),
        (plugin_config(4, strategy="mps"), True),
        (plugin_config(), False),
    ],
    ids=["time-slicing by default", "time-slicing told to", "mps", "whole GPUs"],
)
def test_two_slices_for_one_container_are_refused(config: str, refused: bool):
    sharing = parse_config(config)

    assert sharing.refuses("nvidia.com/gpu", 2) is refused
    assert not sharing.refuses("nvidia.com/gpu", 1)


def test_unknown_fields_are_ignored_as_the_plugin_ignores_them():
    assert parse_config(time_slicing(4, period="10ms")) == Sharing("time-slicing", {"nvidia.com/gpu": 4})


@pytest.mark.parametrize(
    "config",
    [
        time_slicing(1),
        time_slicing('"many"'),
        "version: v1\nsharing: {timeSlicing: {resources: []}}",
        "version: v2",
        "",
        "version: [",
    ],
    ids=["one replica", "words", "no resources", "another version", "empty", "no YAML"],
)
def test_the_plugin_exits_on(config: str):
    with pytest.raises(InvalidConfig):
        parse_config(config)


def test_a_whole_gpu_is_a_key_without_sharing():
    assert parse_config(plugin_config()) == UNSHARED


@pytest.mark.parametrize(
    ("strategy", "resource"), [("mixed", "nvidia.com/mig-1g.5gb"), ("single", "nvidia.com/gpu")]
)
def test_mig_advertises_every_slice(strategy: str, resource: str):
    cut = report(INSTANCE_TYPES["p4d.24xlarge"], UNSHARED, "1g.5gb", strategy)

    assert cut.resources == {resource: 56}


def test_a_layout_for_another_card_is_refused():
    with pytest.raises(InvalidConfig, match=r"all-1g\.5gb"):
        mig_profile(INSTANCE_TYPES["p5.48xlarge"], "all-1g.5gb")
    with pytest.raises(InvalidConfig):
        mig_profile(INSTANCE_TYPES["g6.xlarge"], "all-1g.5gb")
    assert mig_profile(INSTANCE_TYPES["p5.48xlarge"], "all-disabled") is None


@pytest.mark.parametrize("gpu", MIG_PROFILES)
def test_mig_slices_fit_the_card(gpu: str):
    """A card has 7 compute slices; the memory in a profile's name is rounded up to whole GB by NVIDIA."""
    memory = next(t.gpu_memory_mib for t in INSTANCE_TYPES.values() if t.gpu_name == gpu) / 1024
    for profile, most in MIG_PROFILES[gpu].items():
        compute, gigabytes = profile.removesuffix("gb").split("g.")
        assert most * int(compute) <= 7
        assert most * int(gigabytes) <= memory, profile
