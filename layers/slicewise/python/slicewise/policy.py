"""
The user's policy: what a cluster's GPUs should look like, as values.

`parse` (in policy_parsing.py, offered here) is the one way from YAML to these values: the command line, synth
and the Lambdas read a policy alike.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from slicewise import catalog
from slicewise.catalog import GpuModel


class Mode(StrEnum):
    ACT = "act"
    RECOMMEND = "recommend"
    OBSERVE = "observe"


class Sharing(StrEnum):
    """How the pods of a pool share a GPU. One way a pool: `nvidia.com/gpu: 1` must mean one thing."""

    NONE = "none"
    TIME_SLICING = "time-slicing"
    MPS = "mps"
    MIG = "mig"

    @property
    def has_replicas(self) -> bool:
        return self in (Sharing.TIME_SLICING, Sharing.MPS)


class ConsolidationPolicy(StrEnum):
    WHEN_EMPTY = "WhenEmpty"
    WHEN_EMPTY_OR_UNDERUTILIZED = "WhenEmptyOrUnderutilized"
    BALANCED = "Balanced"


# The device plugin refuses fewer than 2 (k8s-device-plugin v0.20.0, api/config/v1/replicas.go); 1 is a pool
# that does not share. 16 slices of the smallest card, 16 GiB, are 1 GiB each: below that hardly a model fits.
MIN_REPLICAS, MAX_REPLICAS = 2, 16


@dataclass(frozen=True)
class Replicas:
    """How many pods share a GPU: at first, and at most after tuning."""

    start: int = 4
    max: int = 8


@dataclass(frozen=True)
class Pool:
    """
    One choice that pods have: `nodeSelector: {slicewise.dev/pool: <name>}`.

    Attributes:
        gpus: Models by their catalog names, each a NodePool of its own.
        max_gpus: Most GPUs of each model that may run at once: it bounds the bill.
        replicas: Only for time-slicing and mps.
        profile: Only for mig.
        gpu_counts: GPUs that a machine may have; those that EC2 does not sell for a model are left out there.
    """

    name: str
    sharing: Sharing
    gpus: tuple[str, ...]
    max_gpus: int
    replicas: Replicas | None = None
    profile: str | None = None
    capacity_types: tuple[str, ...] = ("on-demand",)
    gpu_counts: tuple[int, ...] = (1, 2, 4, 8)

    def models(self) -> tuple[GpuModel, ...]:
        return tuple(catalog.model(name) for name in self.gpus)

    def counts(self, gpu: GpuModel) -> tuple[int, ...]:
        return tuple(count for count in gpu.counts if count in self.gpu_counts)

    @property
    def start(self) -> int:
        """Slices a GPU that the pool begins with; 1 where a GPU is not divided by replicas."""
        return self.replicas.start if self.replicas else 1


@dataclass(frozen=True)
class Consolidation:
    """Karpenter's own words; `after` is a Go duration such as "10m", or "Never"."""

    policy: ConsolidationPolicy = ConsolidationPolicy.WHEN_EMPTY_OR_UNDERUTILIZED
    after: str = "10m"


@dataclass(frozen=True)
class NodeClass:
    """Which NodeClass the NodePools name; `create` makes us its owner."""

    group: str = "karpenter.k8s.aws"
    kind: str = "EC2NodeClass"
    name: str = "slicewise"
    create: bool = True


@dataclass(frozen=True)
class Policy:
    """`pools` are sorted by name, so that equal policies are equal values."""

    name: str
    pools: tuple[Pool, ...]
    mode: Mode = Mode.ACT
    consolidation: Consolidation = Consolidation()
    node_class: NodeClass = NodeClass()
    install_karpenter: bool = False
    adopt_gpu_operator: bool = False

    @property
    def has_mig(self) -> bool:
        return any(pool.sharing is Sharing.MIG for pool in self.pools)


def fingerprint(policy: Policy) -> str:
    """
    16 hex digits over what the policy means: comments, order of keys, defaults written out and its name are
    not part of it.
    """
    meaning = asdict(policy)
    del meaning["name"]
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


def parse(text: str, name: str) -> Policy:
    """
    Read a policy.

    Args:
        text: YAML.
        name: For messages; also the value of the tag `slicewise.dev/policy` that chooses it.

    Raises:
        InvalidPolicy: with every problem at once, each with its path, value and remedy.
    """
    from slicewise import policy_parsing  # brings PyYAML, which only readers of text need

    return policy_parsing.parse(text, name)
