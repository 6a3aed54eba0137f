"""
The user's policy: what a cluster's GPUs should look like, as values.

`parse` (in parse.py, offered here) is the one way from YAML to these values: the command line, synth
and the Lambdas read a policy alike.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache

from slicewise.errors import InvalidPolicy, PolicyProblem
from slicewise.hardware import gpus as catalog
from slicewise.hardware.gpus import GpuModel
from slicewise.kube.labels import POLICY_TAG
from slicewise.policy.bounds import bounded, required
from slicewise.policy.off_hours import OffHours


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


class TimeSlice(StrEnum):
    """How long a pod's turn on a GPU is: the driver's compute policy, `default` leaving it untouched."""

    DEFAULT = "default"
    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


class MetricsSource(StrEnum):
    """Where measured use is read; with `none`, N is never changed."""

    CONTAINER_INSIGHTS = "container-insights"
    CONTAINER_INSIGHTS_OTEL = "container-insights-otel"
    PROMETHEUS = "prometheus"
    NONE = "none"


class Drift(StrEnum):
    """What happens when somebody else edits an object of ours, beside being told."""

    REPAIR = "repair"
    TELL = "tell"


# The device plugin refuses fewer than 2 (k8s-device-plugin v0.20.0, api/config/v1/replicas.go); 1 is a pool
# that does not share. 16 slices of the smallest card, 16 GiB, are 1 GiB each: below that hardly a model fits.
MIN_REPLICAS, MAX_REPLICAS = 2, 16
_REPLICAS = (MIN_REPLICAS, MAX_REPLICAS, "for one pod a GPU write `sharing: none`")
_SECOND, _MINUTE, _HOUR, _DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86_400))
_AT_ONCE = timedelta(0)


@dataclass(frozen=True)
class Replicas:
    """How many pods share a GPU: at first, and at most after tuning."""

    start: int = bounded(4, *_REPLICAS)
    max: int = bounded(8, *_REPLICAS)


@dataclass(frozen=True)
class Classes:
    """
    Sub-pools of a pool, each with an N of its own that never changes.

    Attributes:
        sizes: N of each, ascending. The first is 1: a pod without a class has a GPU to itself.
        moves_a_day: Workloads that may change class in a day, of those that let us move them.
    """

    sizes: tuple[int, ...] = bounded((1, 2, 3), 1, MAX_REPLICAS, "pods that share a GPU")
    moves_a_day: int = bounded(
        15,
        0,
        1000,
        "that many workloads change class in a day at most, one after another; with 0 classes are only "
        "recommended",
    )


@dataclass(frozen=True)
class Pool:
    """
    One choice that pods have: `nodeSelector: {slicewise.dev/pool: <name>}`.

    Attributes:
        gpus: Models by their catalog names, each a NodePool of its own.
        max_gpus: Most GPUs of each model that may run at once: it bounds the bill. None only beside `adopt`:
            then the limit of the NodePool that is taken over goes on.
        replicas: Only for time-slicing and mps.
        profile: Only for mig.
        gpu_counts: GPUs that a machine may have; those that EC2 does not sell for a model are left out there.
        slowdown_budget: Mean slowdown that sharing may cause; None for batch, which only wants its GPU full.
        time_slice: Only for time-slicing.
        adopt: A NodePool of somebody else's that is taken over, as it is; N begins at 1 there.
        classes: None for a pool with one N; then it has no replicas.
        size: Of one class, as `parts` gives them: its N.
        fallback_gpus: Further models, whose NodePools are opened only where EC2 has none of `gpus` after a
            night off.
    """

    name: str
    sharing: Sharing
    gpus: tuple[str, ...]
    max_gpus: int | None = required(
        1, 10_000, "it is the most GPUs of each model that this pool may run at once, and so bounds the bill"
    )
    replicas: Replicas | None = None
    profile: str | None = None
    capacity_types: tuple[str, ...] = ("on-demand",)
    gpu_counts: tuple[int, ...] = (1, 2, 4, 8)
    slowdown_budget: float | None = bounded(
        2.0,
        1.05,
        100,
        "how many times longer a request may take than alone on the GPU, which is not measured to less than "
        "a twentieth; for batch write none",
    )
    time_slice: TimeSlice = TimeSlice.DEFAULT
    adopt: str | None = None
    classes: Classes | None = None
    size: int | None = None
    fallback_gpus: tuple[str, ...] = ()

    def parts(self) -> tuple[Pool, ...]:
        """Itself, or its classes: each part has a NodePool a GPU model."""
        if self.classes is None or self.size:
            return (self,)
        return tuple(replace(self, size=size) for size in self.classes.sizes)

    def models(self) -> tuple[GpuModel, ...]:
        """Of all its NodePools, those of fallbacks last."""
        return tuple(catalog.model(name) for name in (*self.gpus, *self.fallback_gpus))

    def is_fallback(self, gpu: GpuModel) -> bool:
        return gpu.name in self.fallback_gpus

    def counts(self, gpu: GpuModel) -> tuple[int, ...]:
        return tuple(count for count in gpu.counts if count in self.gpu_counts)

    @property
    def start(self) -> int:
        """Slices a GPU that the pool begins with; 1 where a GPU is not divided by replicas, or not yet."""
        if self.size:
            return self.size
        return self.replicas.start if self.replicas and not self.adopt else 1


LEARNED = "learned"
# Of the nodes of a NodePool, how many with pods on them go at once at any hour.
MOVES_PODS_PERCENT = 10


@dataclass(frozen=True)
class BusinessHours:
    """
    When Karpenter may take away fewer nodes than otherwise.

    Attributes:
        time_zone: IANA's name.
        hours: Such as "Mon-Fri 08:00-18:00", in that zone; an end before the begin is on the next day.
        nodes: How many may go at once, for any reason but emptiness: a number or a percentage.
    """

    time_zone: str
    hours: tuple[str, ...]
    nodes: str = "0"


@dataclass(frozen=True)
class Consolidation:
    """
    Karpenter's own words.

    Attributes:
        after: A Go duration such as "10m", "Never", or "learned": the pool's measured start-up decides.
        idle_after: In its place while the cluster's GPUs are idle.
        written: Which of these a person wrote, by their names here, sorted; left empty where the policy
            adopts nothing. An adopted NodePool keeps what it has of the others: a default is nobody's wish.
    """

    policy: ConsolidationPolicy = ConsolidationPolicy.WHEN_EMPTY_OR_UNDERUTILIZED
    after: str = bounded("10m", _AT_ONCE, 30 * _DAY, "to keep idle nodes for good write Never")
    idle_after: str = bounded(
        "1m", _AT_ONCE, _DAY, "it is for clusters whose GPUs do nothing, in place of `after`"
    )
    business_hours: BusinessHours | None = None
    written: tuple[str, ...] = ()

    @property
    def first_after(self) -> str:
        """What a NodePool begins with, before anything was learned."""
        return Consolidation().after if self.after == LEARNED else self.after


@dataclass(frozen=True)
class Metrics:
    """`endpoint` is a Prometheus-compatible server, or an AMP workspace, by its URL."""

    source: MetricsSource = MetricsSource.CONTAINER_INSIGHTS
    endpoint: str = ""


@dataclass(frozen=True)
class Tuning:
    """
    When N changes.

    N is decided on at most once in ten minutes, a step of what is measured.

    Attributes:
        raise_after: A higher N must have been right for this long.
        lower_after: A lower one for this long, unless a promise is broken: then at once.
        dwell: Least time between two changes.
        canary: How long one node runs with a new N before the others follow.
        lock: How long an N whose canary failed is not tried again.
        minimum_history: Least evidence from which N is ever raised.
        trial: Times may be shorter than is good for a cluster that matters, so that one can watch.
    """

    raise_after: timedelta = bounded(
        _DAY, _HOUR, 30 * _DAY, "less lets a few measurements raise N, and more never comes", _AT_ONCE
    )
    lower_after: timedelta = bounded(
        2 * _HOUR,
        10 * _MINUTE,
        7 * _DAY,
        "less lets one measurement lower N, and more keeps it too high",
        _AT_ONCE,
    )
    dwell: timedelta = bounded(
        6 * _HOUR,
        10 * _MINUTE,
        30 * _DAY,
        "less has N change again and again, and more hardly ever",
        _AT_ONCE,
    )
    canary: timedelta = bounded(
        30 * _MINUTE, _MINUTE, _DAY, "less tries nothing, and more holds consolidation for days", _SECOND
    )
    lock: timedelta = bounded(
        _DAY,
        _HOUR,
        30 * _DAY,
        "less has nodes try again what has just failed, and more hardly ever",
        _AT_ONCE,
    )
    minimum_history: timedelta = bounded(
        _DAY,
        _DAY,
        6 * _DAY,
        "less holds no daily peak, and more is never known: a week is read, and of that six whole days at "
        "least",
    )
    trial: bool = False


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
    metrics: Metrics = Metrics()
    tuning: Tuning = Tuning()
    drift: Drift = Drift.REPAIR
    off_hours: OffHours | None = None

    @property
    def has_mig(self) -> bool:
        return any(pool.sharing is Sharing.MIG for pool in self.pools)

    @property
    def has_classes(self) -> bool:
        return any(pool.classes for pool in self.pools)

    @property
    def parts(self) -> tuple[Pool, ...]:
        """Its pools, those that are split as their classes."""
        return tuple(part for pool in self.pools for part in pool.parts())


@lru_cache(maxsize=64)  # as the policy that is parsed
def fingerprint(policy: Policy) -> str:
    """
    16 hex digits over what the policy means: comments, order of keys, defaults written out and its name are
    not part of it.
    """
    meaning = asdict(policy)
    del meaning["name"]
    return hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).hexdigest()[:16]


@lru_cache(maxsize=64)  # each pass reads its policy anew (25 ms), and hardly any has changed
def parse(text: str, name: str) -> Policy:
    """
    Read a policy.

    Args:
        text: YAML.
        name: For messages; also the value of the tag `slicewise.dev/policy` that chooses it.

    Raises:
        InvalidPolicy: with every problem at once, each with its path, value and remedy.
    """
    from slicewise.policy import parse as policy_parse  # brings PyYAML, which only readers of text need

    return policy_parse.parse(text, name)


def found(text: str | None, name: str) -> Policy:
    """
    The policy that a cluster chose by its tag.

    Args:
        text: None where no policy of this name is deployed.

    Raises:
        InvalidPolicy: Also where there is none.
    """
    if text is None:
        remedy = "no policy of this name is deployed: add it to policies/ and deploy, or correct the tag"
        raise InvalidPolicy(name, (PolicyProblem(f"tag {POLICY_TAG}", name, remedy),))
    return parse(text, name)
