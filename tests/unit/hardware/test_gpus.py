"""The table of facts makes sense, and agrees with the list of machines that it was taken from."""

from collections import defaultdict

import pytest
from slicewise.hardware import gpus

from traces.serving import instance_prices

MIG_MODELS = [model for model in gpus.MODELS if model.mig]
PROFILES = [pytest.param(m, p, n, id=f"{m.name} {p}") for m in MIG_MODELS for p, n in m.mig.items()]


@pytest.mark.parametrize("model, profile, most", PROFILES)
def test_instances_of_a_profile_fit_the_card(model, profile, most):
    memory = gpus.mig_memory_gb(profile)

    # Names round up (3g.135gb is 134.x), so one less per instance is what surely must fit; and one instance
    # more than the table allows must exceed memory or compute, else the table gives away less than there is.
    assert (memory - 1) * most < model.memory_gib
    assert gpus.mig_compute_slices(profile) * most <= model.compute_slices
    too_many = most + 1
    assert memory * too_many > model.memory_gib or (
        gpus.mig_compute_slices(profile) * too_many > model.compute_slices
    )


@pytest.mark.parametrize("model", MIG_MODELS, ids=lambda model: model.name)
def test_the_largest_profile_is_the_whole_card(model):
    """So a table of a 40 GB card beside an 80 GB one cannot pass."""
    whole = max(model.mig, key=gpus.mig_memory_gb)

    assert gpus.mig_memory_gb(whole) == model.memory_gib
    assert gpus.mig_compute_slices(whole) == model.compute_slices
    assert model.mig[whole] == 1


def test_only_the_two_a100_share_a_karpenter_name():
    assert [m.name for m in gpus.MODELS if m.name_is_shared] == ["a100-40gb", "a100-80gb"]


def test_models_that_share_a_name_differ_in_memory():
    assert len({(m.karpenter_name, m.memory_mib) for m in gpus.MODELS}) == len(gpus.MODELS)


def test_the_catalog_is_what_karpenter_lists():
    listed = defaultdict(set)
    for row in instance_prices():
        if row["gpu_manufacturer"] == "nvidia" and int(row["gpu_count"]) > 0:
            family = row["instance_type"].split(".")[0]
            listed[row["gpu_name"], int(row["gpu_mem_mib_each"])].add((int(row["gpu_count"]), family))

    ours = {(m.karpenter_name, m.memory_mib): (set(m.counts), set(m.families)) for m in gpus.MODELS}

    assert ours == {key: ({c for c, _ in found}, {f for _, f in found}) for key, found in listed.items()}


@pytest.mark.parametrize(
    "written, remedy",
    [
        ("a100", "a100-40gb (p4d) or a100-80gb (p4de)"),
        ("g5.xlarge", "did you mean a10g?"),
        ("p5", "did you mean h100?"),
        ("L4", "say which: l4"),
        ("rtx-pro-server-600", "did you mean rtx-pro-server-6000?"),
        ("tpu", "EC2 sells t4"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(written, remedy):
    assert remedy in gpus.suggestion(written)
