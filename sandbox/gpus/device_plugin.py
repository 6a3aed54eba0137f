"""
What NVIDIA's device plugin and GPU feature discovery report for a node. Pure.

Rules as in k8s-device-plugin 0.20 (`api/config/v1`, `internal/lm/resource.go`,
`internal/rm/rm.go`) and GPU Operator 26.7. Parsing is as lenient as theirs: fields
nobody knows are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from sandbox.cluster.instance_types import InstanceType

GPU = "nvidia.com/gpu"

# Most instances of a profile on one GPU: GPU Operator 26.7, assets/state-mig-manager/0400_configmap.yaml.
MIG_PROFILES = {
    "a100": {"1g.5gb": 7, "1g.10gb": 4, "2g.10gb": 3, "3g.20gb": 2, "4g.20gb": 1, "7g.40gb": 1},
    "h100": {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2, "4g.40gb": 1, "7g.80gb": 1},
}


class InvalidConfig(Exception):
    """The plugin exits on this configuration."""


@dataclass(frozen=True)
class Sharing:
    """
    Attributes:
        strategy: none, time-slicing or mps, as the label `nvidia.com/gpu.sharing-strategy` says.
        replicas: By resource name; a resource that is missing is not shared.
        renamed: Shared resources are advertised as `<name>.shared`.
        one_each: A container that asks for more than one slice is refused.
    """

    strategy: str
    replicas: Mapping[str, int]
    renamed: bool = False
    one_each: bool = False

    def refuses(self, resource: str, count: int) -> bool:
        shared = self.replicas.get(resource.removesuffix(".shared"), 1) > 1
        return shared and self.one_each and count > 1


UNSHARED = Sharing("none", {})


@dataclass(frozen=True)
class Report:
    """Extended resources of a node and labels of GPU feature discovery."""

    resources: Mapping[str, int]
    labels: Mapping[str, str]


def parse_config(text: str) -> Sharing:
    """
    The sharing that one key of the plugin's ConfigMap asks for.

    Raises:
        InvalidConfig: As the plugin would log it.
    """
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConfig(f"not YAML: {error}") from error
    if not isinstance(config, dict) or config.get("version") != "v1":
        raise InvalidConfig("the version must be v1")
    sharing = config.get("sharing") or {}
    if sharing.get("mps"):  # wins where both are given
        return _shared("mps", sharing["mps"])
    if sharing.get("timeSlicing"):
        return _shared("time-slicing", sharing["timeSlicing"])
    return UNSHARED


def report(kind: InstanceType, sharing: Sharing, profile: str | None, mig_strategy: str) -> Report:
    """
    Args:
        kind: Its GPUs are physical ones.
        profile: The MIG profile that every GPU is cut into; None where MIG is off.
        mig_strategy: single or mixed, as the operator's `mig.strategy`.
    """
    devices, resource = kind.gpus, GPU
    product = kind.gpu_product
    if profile:
        devices *= MIG_PROFILES[kind.gpu_name][profile]
        product = f"{product}-MIG-{profile}"
        if mig_strategy == "mixed":
            resource = f"nvidia.com/mig-{profile}"
    replicas = sharing.replicas.get(resource, 1)
    name = f"{resource}.shared" if sharing.renamed and replicas > 1 else resource
    labels = {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/mig.capable": str(kind.gpu_name in MIG_PROFILES).lower(),
        "nvidia.com/mig.strategy": mig_strategy,
        "nvidia.com/mps.capable": str(sharing.strategy == "mps").lower(),
        "nvidia.com/gpu.memory": str(kind.gpu_memory_mib),
        "nvidia.com/gpu.sharing-strategy": sharing.strategy,
        f"{resource}.count": str(devices),
        f"{resource}.replicas": str(replicas),
        f"{resource}.product": product + ("-SHARED" if replicas > 1 and name == resource else ""),
    }
    if resource != GPU:
        labels |= {f"{GPU}.count": str(kind.gpus), f"{GPU}.product": kind.gpu_product}
    return Report({name: devices * replicas}, labels)


def mig_profile(kind: InstanceType, config_name: str) -> str | None:
    """
    The profile that a value of the label `nvidia.com/mig.config` names; None for "all-disabled".

    Raises:
        InvalidConfig: MIG manager knows no such layout for this GPU.
    """
    profile = config_name.removeprefix("all-")
    if profile == "disabled":
        return None
    if profile not in MIG_PROFILES.get(kind.gpu_name, {}):
        raise InvalidConfig(f"no MIG layout {config_name!r} for {kind.gpu_name}")
    return profile


def _shared(strategy: str, block: Mapping[str, Any]) -> Sharing:
    entries = block.get("resources")
    if not entries:
        raise InvalidConfig(f"{strategy}: no resources given")
    replicas = {}
    for entry in entries:
        count = entry.get("replicas")
        if not isinstance(count, int) or count < 2:
            raise InvalidConfig(f"{strategy}: number of replicas must be >= 2, not {count}")
        replicas[entry["name"]] = count
    # The default differs: api/config/v1/config.go.
    one_each = block.get("failRequestsGreaterThanOne", strategy == "mps")
    return Sharing(strategy, replicas, bool(block.get("renameByDefault")), bool(one_each))
