"""
vCPUs and memory of EC2's GPU machines, by which AWS's split cost allocation divides what a machine costs.

For people to read; nothing is decided by it. Source: aws/karpenter-provider-aws v1.14.1,
pkg/providers/instancetype (instance table of 2026-07-11); traces/data/ec2_gpu_instances.csv has each machine.
"""

from __future__ import annotations

_VCPUS_OF_XLARGE = 4
_GIB_A_VCPU = {
    **dict.fromkeys(("g4dn", "g5", "g6", "g7"), 4.0),
    **dict.fromkeys(("g6e", "gr6", "g7e", "p3dn"), 8.0),
    "g5g": 2.0,
    **dict.fromkeys(("p4d", "p4de"), 12.0),
    **dict.fromkeys(("p5", "p5e", "p5en", "p6-b200"), 32 / 3),
    "p6-b300": 64 / 3,
}
# Where a machine is unlike its family.
_VCPUS = {"g4dn.metal": 96, "g5g.metal": 64}
_GIB = {"g7e.12xlarge": 512, "g7e.24xlarge": 1024, "g7e.48xlarge": 2048, "p5.4xlarge": 256}


def vcpus_and_gib(instance_type: str) -> tuple[int, int] | None:
    """None for a machine that is not in the table."""
    family, _, size = instance_type.partition(".")
    vcpus = _VCPUS.get(instance_type) or _vcpus(size)
    if not vcpus or family not in _GIB_A_VCPU:
        return None
    return vcpus, _GIB.get(instance_type) or round(vcpus * _GIB_A_VCPU[family])


def _vcpus(size: str) -> int:
    """EC2 names sizes by how many times an xlarge they are."""
    times = size.removesuffix("xlarge")
    if times == size or not (times == "" or times.isdigit()):
        return 0
    return _VCPUS_OF_XLARGE * int(times or 1)
