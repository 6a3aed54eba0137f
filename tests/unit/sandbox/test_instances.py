"""The instance types are EC2's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.cluster.instance_types import INSTANCE_TYPES, write_files
from traces.serving import instance_prices


@pytest.mark.parametrize("name", [t.name for t in INSTANCE_TYPES.values() if t.gpus])
def test_figures_are_those_of_the_published_table(name: str):
    row = next(row for row in instance_prices() if row["instance_type"] == name)
    kind = INSTANCE_TYPES[name]

    assert (kind.gpu_name, kind.gpus) == (row["gpu_name"], int(row["gpu_count"]))
    assert kind.gpu_memory_mib == int(row["gpu_mem_mib_each"])
    assert (kind.vcpu, kind.memory_mib) == (int(row["vcpu"]), int(row["ram_mib"]))
    assert kind.dollars == float(row["usd_per_hour_us_east_1"])


def test_karpenter_reads_physical_gpus_and_the_labels_that_overlays_match(tmp_path: Path):
    types, labels = (json.loads(path.read_text()) for path in write_files(tmp_path))

    (big,) = (entry for entry in types if entry["name"] == "g6.12xlarge")
    assert big["resources"]["nvidia.com/gpu"] == "4"
    assert labels["g6.12xlarge"] == {
        "karpenter.k8s.aws/instance-family": "g6",
        "karpenter.k8s.aws/instance-size": "12xlarge",
        "karpenter.k8s.aws/instance-category": "g",
        "karpenter.k8s.aws/instance-generation": "6",
        "karpenter.k8s.aws/instance-gpu-count": "4",
        "karpenter.k8s.aws/instance-gpu-name": "l4",
        "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
        "karpenter.k8s.aws/instance-gpu-memory": "22888",
    }


def test_types_without_gpus_say_nothing_of_gpus(tmp_path: Path):
    types, labels = (json.loads(path.read_text()) for path in write_files(tmp_path))

    (plain,) = (entry for entry in types if entry["name"] == "m7i.large")
    assert "nvidia.com/gpu" not in plain["resources"]
    assert not any("gpu" in key for key in labels["m7i.large"])
