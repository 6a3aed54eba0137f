"""
What in GPU Operator's values conflicts with slicing, so that joining the release would overrule its owner.

Each is a row of one table. Sources: the chart v26.7.0; k8s-device-plugin v0.20.0 (which setting wins).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slicewise.onboarding.helm.value_paths import Path, at, spelled
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy


@dataclass(frozen=True)
class Conflict:
    """
    Attributes:
        path: Where their value is.
        clashes: Whether it conflicts, of all values that are in effect and the policy.
        needed: What would have to be there.
        why: What would go wrong.
        remedy: What a person can do.
    """

    path: Path
    clashes: Callable[[Any, Policy], bool]
    needed: str
    why: str
    remedy: str


def _is(wanted: Any) -> Callable[[Any, Policy], bool]:
    return lambda value, policy: value == wanted


def _for_mig(but: Any) -> Callable[[Any, Policy], bool]:
    return lambda value, policy: policy.has_mig and value != but


def _reads_a_file(value: Any, policy: Policy) -> bool:
    """By argument or environment; both win over what the node's label chooses."""
    return any("config-file" in str(one).replace("_", "-").lower() for one in value or ())


def _keeps_off_our_nodes(value: Any, policy: Policy) -> bool:
    return bool(value) and any(not pool.adopt for pool in policy.pools)


_OTHER_STACK = "Slices need the device plugin that a ClusterPolicy sets up."
CONFLICTS: tuple[Conflict, ...] = (
    Conflict(
        ("devicePlugin", "enabled"),
        _is(False),
        "true",
        "The device plugin is off, so no node would offer a slice.",
        "Set devicePlugin.enabled: true once nothing else allocates these GPUs.",
    ),
    Conflict(
        ("clusterPolicy", "deployCR"),
        _is(False),
        "true",
        _OTHER_STACK,
        "Set clusterPolicy.deployCR: true, or keep this cluster out of the policy.",
    ),
    Conflict(
        ("gpuCluster", "deployCR"),
        _is(True),
        "false",
        f"GPUs are handed out by DRA, which excludes a ClusterPolicy. {_OTHER_STACK}",
        "Set gpuCluster.deployCR: false when no ResourceClaim has a GPU allocated, or keep this cluster out "
        "of the "
        "policy.",
    ),
    Conflict(
        ("sandboxWorkloads", "enabled"),
        _is(True),
        "false",
        "Nodes may hand their GPUs to virtual machines, where nothing is sliced.",
        "Keep this cluster out of the policy, or set sandboxWorkloads.enabled: false.",
    ),
    Conflict(
        ("mig", "strategy"),
        _for_mig("mixed"),
        '"mixed"',
        "Pods of the policy's MIG pools ask for nvidia.com/mig-..., which only that strategy offers; a "
        "change of it renames what your own MIG pods ask for.",
        "Set mig.strategy: mixed when no pod of yours relies on it, or take the MIG pools out of the policy.",
    ),
    Conflict(
        ("migManager", "enabled"),
        _for_mig(True),
        "true",
        "The policy has a MIG pool, and nothing would cut its GPUs; mig-manager restarts kubelets where a "
        "label asks for it.",
        "Set migManager.enabled: true, or take the MIG pools out of the policy.",
    ),
    Conflict(
        ("devicePlugin", "args"),
        _reads_a_file,
        "no configuration file",
        "The device plugin reads that file, no matter what a node's label says.",
        "Put its content under a key of the ConfigMap that devicePlugin.config.name names, and remove the "
        "argument.",
    ),
    Conflict(
        ("devicePlugin", "env"),
        _reads_a_file,
        "no configuration file",
        "The device plugin reads that file, no matter what a node's label says.",
        "Put its content under a key of the ConfigMap that devicePlugin.config.name names, and remove the "
        "variable.",
    ),
    Conflict(
        ("node-feature-discovery", "worker", "nodeSelector"),
        _keeps_off_our_nodes,
        "nothing",
        "Operands run where node-feature-discovery has seen a GPU, and it would not scan our nodes.",
        "Remove it, or adopt NodePools whose nodes have these labels instead of having us make some.",
    ),
)


def conflicts(policy: Policy, effective: Mapping[str, Any]) -> Iterator[Finding]:
    """
    Args:
        effective: The release's values over its chart's.
    """
    for row in CONFLICTS:
        value = at(effective, row.path, None)
        if value is not None and row.clashes(value, policy):
            yield Finding(
                "operator-value-conflict",
                f"GPU Operator's values say {spelled(row.path)}: {json.dumps(value)[:300]}, and slicing "
                f"needs {row.needed}. {row.why}",
                row.remedy,
                blocking=True,
            )
