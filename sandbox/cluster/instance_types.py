"""
The EC2 instance types that the sandbox's Karpenter can launch.

Two files are generated: the kwok provider's types, and the labels that the AWS
provider gives to types and Nodes. Capacities count physical GPUs, as EC2 reports them.

Figures: Karpenter's AWS provider at 1d92708, its table of instance types of
2026-07-11 (vCPU, memory, GPUs) and its on-demand prices in us-east-1 of 2026-07-20.
The m7i types: the AWS price list of the same month. `gpu_product` is what GPU feature
discovery makes of the driver's name of the card.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ZONES = ("us-east-1a", "us-east-1b")
# Spot prices move; a fixed fraction is enough to make spot the cheaper choice.
SPOT_FRACTION = 0.4
LABEL_PREFIX = "karpenter.k8s.aws/instance-"


@dataclass(frozen=True)
class InstanceType:
    """One EC2 type. `gpu_memory_mib` is that of one GPU; `dollars` an hour, on demand."""

    name: str
    vcpu: int
    memory_mib: int
    dollars: float
    gpus: int = 0
    gpu_name: str = ""
    gpu_memory_mib: int = 0
    gpu_product: str = ""

    @property
    def family(self) -> str:
        return self.name.split(".")[0]

    @property
    def size(self) -> str:
        return self.name.split(".")[1]

    def labels(self) -> dict[str, str]:
        """The AWS provider's labels of this type."""
        category, generation = re.match(r"([a-z]+)(\d+)", self.family).groups()
        values = {
            "family": self.family,
            "size": self.size,
            "category": category,
            "generation": generation,
        }
        if self.gpus:
            values |= {
                "gpu-count": str(self.gpus),
                "gpu-name": self.gpu_name,
                "gpu-manufacturer": "nvidia",
                "gpu-memory": str(self.gpu_memory_mib),
            }
        return {LABEL_PREFIX + key: value for key, value in values.items()}


INSTANCE_TYPES = {
    t.name: t
    for t in (
        InstanceType("g4dn.xlarge", 4, 16384, 0.526, 1, "t4", 16384, "Tesla-T4"),
        InstanceType("g5.xlarge", 4, 16384, 1.006, 1, "a10g", 22888, "NVIDIA-A10G"),
        InstanceType("g5.12xlarge", 48, 196608, 5.672, 4, "a10g", 22888, "NVIDIA-A10G"),
        InstanceType("g6.xlarge", 4, 16384, 0.8048, 1, "l4", 22888, "NVIDIA-L4"),
        InstanceType("g6.12xlarge", 48, 196608, 4.6016, 4, "l4", 22888, "NVIDIA-L4"),
        InstanceType("g6.48xlarge", 192, 786432, 13.3504, 8, "l4", 22888, "NVIDIA-L4"),
        InstanceType("g6e.xlarge", 4, 32768, 1.861, 1, "l40s", 45776, "NVIDIA-L40S"),
        InstanceType("p4d.24xlarge", 96, 1179648, 21.957642, 8, "a100", 40960, "NVIDIA-A100-SXM4-40GB"),
        InstanceType("p5.48xlarge", 192, 2097152, 55.04, 8, "h100", 81920, "NVIDIA-H100-80GB-HBM3"),
        InstanceType("m7i.large", 2, 8192, 0.1008),
        InstanceType("m7i.4xlarge", 16, 65536, 0.8064),
    )
}


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write the provider's two files; returns (instance types, labels)."""
    types, labels = folder / "instance-types.json", folder / "instance-labels.json"
    types.write_text(json.dumps([_provider_entry(t) for t in INSTANCE_TYPES.values()], indent=1))
    labels.write_text(json.dumps({t.name: t.labels() for t in INSTANCE_TYPES.values()}, indent=1))
    return types, labels


def _provider_entry(t: InstanceType) -> dict[str, object]:
    resources = {
        "cpu": str(t.vcpu),
        "memory": f"{t.memory_mib}Mi",
        "pods": "110",
        "ephemeral-storage": "100Gi",
    }
    if t.gpus:
        resources["nvidia.com/gpu"] = str(t.gpus)
    return {
        "name": t.name,
        "architecture": "amd64",
        "operatingSystems": ["linux"],
        "resources": resources,
        "offerings": [
            _offering(price, capacity_type, zone)
            for zone in ZONES
            for capacity_type, price in (("on-demand", t.dollars), ("spot", t.dollars * SPOT_FRACTION))
        ],
    }


def _offering(price: float, capacity_type: str, zone: str) -> dict[str, object]:
    return {
        "Price": price,
        "Available": True,
        "Requirements": [
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [capacity_type]},
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]},
        ],
    }
