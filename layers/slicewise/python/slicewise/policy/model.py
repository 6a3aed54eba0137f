"""
The user's policy: what a cluster's GPUs should look like, as values.

`parse` (in parse.py, offered here) is the one way from text to these values: the command line, synth
and the Lambdas read a policy alike.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import KW_ONLY, asdict, dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache

from slicewise.errors import InvalidPolicy, PolicyProblem, PolicySkew
from slicewise.hardware import gpus as catalog
from slicewise.hardware.gpus import VIDEO_KINDS, GpuModel
from slicewise.kube.labels import CLASS_LABEL, POLICY_TAG
from slicewise.kube.quantities import NEVER
from slicewise.policy import fields
from slicewise.policy.bounds import Bounds
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
    """What happens when another writer edits an object of ours, beside being reported."""

    REPAIR = "repair"
    REPORT = "report"


class KarpenterPlace(StrEnum):
    """What the pods of a Karpenter that we install run on."""

    NODES = "nodes"
    FARGATE = "fargate"


class CostReport(StrEnum):
    """How often the operators get a notice of what a cluster's GPUs cost, beside `slicewise report`."""

    NONE = "none"
    WEEKLY = "weekly"


# The device plugin refuses fewer than 2 (k8s-device-plugin v0.20.0, api/config/v1/replicas.go); 1 is a pool
# that does not share. 16 slices of the smallest card, 16 GiB, are 1 GiB each: below that hardly a model fits.
MIN_REPLICAS, MAX_REPLICAS = 2, 16
_REPLICAS = fields.Whole(Bounds(MIN_REPLICAS, MAX_REPLICAS, "for one pod a GPU write `sharing: none`"))
_SECOND, _MINUTE, _HOUR, _DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86_400))
_AT_ONCE = timedelta(0)
# Blanks, and what YAML has only escaped: a policy is passed to functions as it is (canonical.py).
_NOT_OF_A_URL = r"\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff"
ENDPOINTS = "write the URL of a Prometheus-compatible server or of an AMP workspace"
CAPACITY_TYPES = ("on-demand", "spot", "reserved")
GPU_COUNTS = (1, 2, 4, 8)
_SOLD = f"EC2 sells {', '.join(catalog.names())}"
_GPUS = fields.ListOf(fields.GpuName(), f"write a list of models, such as [l4]; {_SOLD}")
_FALLBACKS = fields.ListOf(fields.GpuName(), f"write a list of models, such as [l40s]; {_SOLD}")
_CAPACITY = fields.ListOf(
    fields.OneOf(CAPACITY_TYPES, f"Karpenter knows {', '.join(CAPACITY_TYPES)}"),
    f"write a list with some of {', '.join(CAPACITY_TYPES)}",
)
_COUNTS = fields.ListOf(
    fields.OneOf(GPU_COUNTS, "EC2 sells machines with 1, 2, 4 or 8 GPUs"),
    "write a list with some of 1, 2, 4, 8: GPUs that one machine may have",
)
_SIZES = fields.ListOf(
    fields.Whole(Bounds(1, MAX_REPLICAS, "pods that share a GPU")),
    "write a list such as [1, 2, 3]: pods that share a GPU, of each class",
)
_MOVES = fields.Whole(
    Bounds(
        0,
        1000,
        "that many workloads change class in a day at most, one after another; with 0 classes are only "
        "recommended",
    )
)
_MAX_GPUS = fields.Whole(
    Bounds(
        1, 10_000, "it is the most GPUs of each model that this pool may run at once, and so bounds the bill"
    )
)
_SLOWDOWN = fields.Number(
    Bounds(
        1.05,
        100,
        "how many times longer a request may take than alone on the GPU, which is not measured to less than "
        "a twentieth; for batch write none",
    )
)
_NODE_POOL = fields.Text(
    re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?"),
    "write the name of the NodePool that is there, such as gpu",
    "the name of a NodePool",
)
_POOL_NAME = fields.Text(
    re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?"),
    "a pool's name has 1 to 30 of a-z, 0-9 and - (not first or last)",
)


@dataclass(frozen=True)
class Replicas:
    """How many pods share a GPU: at first, and at most after tuning."""

    start: int = fields.declare(_REPLICAS, "Pods that share a GPU at first.", default=4)
    max: int = fields.declare(
        _REPLICAS,
        "Pods that share a GPU at most, after tuning.",
        default=8,
        by_default="8, or `start` where that is more",
    )


@dataclass(frozen=True)
class Classes:
    """
    Sub-pools of a pool, each with an N of its own that never changes.

    Attributes:
        sizes: N of each, ascending. The first is 1: a pod without a class has a GPU to itself.
        moves_a_day: Workloads that may change class in a day, of those that let us move them.
    """

    sizes: tuple[int, ...] = fields.declare(
        _SIZES,
        "Splits the pool into classes of so many pods a GPU, each a NodePool whose N never changes.",
        default=(1, 2, 3),
        path="classes",
        by_default="one N for the whole pool",
    )
    moves_a_day: int = fields.declare(
        _MOVES,
        f"Workloads labelled {CLASS_LABEL}: auto that are moved to their class in a day at most.",
        default=15,
        path="movesADay",
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
        adopt: A NodePool of another owner that is adopted, as it is; N begins at 1 there.
        classes: None for a pool with one N; then it has no replicas.
        size: Of one class, as `parts` gives them: its N.
        fallback_gpus: Further models, whose NodePools are opened only where EC2 has none of `gpus` after a
            night off.
    """

    name: str
    sharing: Sharing = fields.declare(
        fields.Choice(Sharing), "How pods share a GPU: one way for the whole pool.", stand_in=Sharing.NONE
    )
    gpus: tuple[str, ...] = fields.declare(
        _GPUS, "GPU models, each of which becomes a NodePool of its own.", stand_in=()
    )
    max_gpus: int | None = fields.declare(
        _MAX_GPUS,
        "The most GPUs of each model that may run at once: it bounds the bill.",
        unless="adopt",
        by_default="must be written, but beside `adopt`",
    )
    replicas: Replicas | None = fields.declare(
        fields.Section(Replicas, "write {start: 4, max: 8}: the slices of a GPU at first, and at most"),
        "How many pods share a GPU, with `sharing: time-slicing` or mps.",
        default=None,
        by_default="{start: 4, max: 8} where pods share a GPU",
    )
    profile: str | None = fields.declare(
        fields.MigProfile(),
        "The MIG profile that one pod gets, with `sharing: mig`.",
        default=None,
        by_default="must be written with `sharing: mig`",
    )
    capacity_types: tuple[str, ...] = fields.declare(
        _CAPACITY, "What EC2 may start: Karpenter's capacity types.", default=("on-demand",)
    )
    gpu_counts: tuple[int, ...] = fields.declare(
        _COUNTS, "How many GPUs a machine may have.", default=GPU_COUNTS
    )
    slowdown_budget: float | None = fields.declare(
        _SLOWDOWN, "How many times longer a request may take than alone; none for batch.", default=2.0
    )
    time_slice: TimeSlice = fields.choice(
        TimeSlice.DEFAULT, "How long a pod's turn on the GPU is; untested on hardware."
    )
    adopt: str | None = fields.declare(
        _NODE_POOL,
        "A NodePool that is there already and is taken over as it is.",
        default=None,
        by_default="NodePools of our own",
    )
    classes: Classes | None = fields.declare(fields.Inline(Classes), "", default=None)
    size: int | None = None
    fallback_gpus: tuple[str, ...] = fields.declare(
        _FALLBACKS,
        "Models that get nodes only where EC2 has none of `gpus` when the cluster wakes.",
        default=(),
        by_default="none",
    )

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
# Each may take four of Karpenter's 50 budgets in the week of a clock change.
_MOST_HOURS = 12


@dataclass(frozen=True)
class BusinessHours:
    """
    When Karpenter may take away fewer nodes than otherwise.

    Attributes:
        time_zone: IANA's name.
        hours: Such as "Mon-Fri 08:00-18:00", in that zone; an end before the begin is on the next day.
        nodes: How many may go at once, for any reason but emptiness: a number or a percentage.
    """

    time_zone: str = fields.declare(
        fields.TimeZone(), "The time zone of `hours`, by its IANA name.", stand_in="UTC"
    )
    hours: tuple[str, ...] = fields.declare(
        fields.ListOf(
            fields.WeeklyHours(),
            'write a list, such as ["Mon-Fri 08:00-18:00"]',
            _MOST_HOURS,
            f"write at most {_MOST_HOURS} lines; several days may share one: Mon-Fri",
        ),
        "When the cluster is busy; an end before the start is on the next day.",
        stand_in=(),
    )
    nodes: str = fields.text(
        "0",
        re.compile(r"[0-9]{1,4}|([0-9]|[1-9][0-9]|100)%"),  # NodePool CRD v1, spec.disruption.budgets
        'write a text such as "0", "1" or "5%", in quotes',
        "How many nodes with pods on them may go at once in these hours.",
        "a number or a percentage, in quotes",
    )


@dataclass(frozen=True)
class Consolidation:
    """
    Karpenter's own words.

    Attributes:
        after: A Go duration such as "10m", "Never", or "learned": the pool's measured start-up decides.
        idle_after: In its place while the cluster's GPUs are idle.
        written: Which of these a person wrote, by their names here, sorted; left empty where the policy
            adopts nothing. An adopted NodePool keeps what it has of the others: a default was not asked for.
    """

    policy: ConsolidationPolicy = fields.choice(
        ConsolidationPolicy.WHEN_EMPTY_OR_UNDERUTILIZED, "Which nodes Karpenter takes away."
    )
    # NodePool CRD v1, spec.disruption.consolidateAfter; `learned` is ours.
    after: str = fields.declare(
        fields.Span(
            Bounds(_AT_ONCE, 30 * _DAY, "to keep idle nodes for good write Never"),
            words=(NEVER, LEARNED),
            is_text=True,
            remedy="write a duration such as 30s, 10m or 1h30m, or learned, or Never",
        ),
        "How long a node stays after it could go; learned is as long as the pool's nodes take to start.",
        default="10m",
    )
    idle_after: str = fields.declare(
        fields.Span(
            Bounds(_AT_ONCE, _DAY, "it is for clusters whose GPUs do nothing, in place of `after`"),
            is_text=True,
            remedy="write a duration such as 1m: it is for idle clusters",
        ),
        "In place of `after` while the cluster's GPUs are idle.",
        default="1m",
    )
    business_hours: BusinessHours | None = fields.declare(
        fields.Section(BusinessHours),
        "Hours in which fewer nodes with pods on them may go.",
        default=None,
        by_default="none",
    )
    written: tuple[str, ...] = ()

    @property
    def first_after(self) -> str:
        """What a NodePool begins with, before anything was learned."""
        return Consolidation().after if self.after == LEARNED else self.after


@dataclass(frozen=True)
class Metrics:
    """`endpoint` is a Prometheus-compatible server, or an AMP workspace, by its URL."""

    source: MetricsSource = fields.choice(
        MetricsSource.CONTAINER_INSIGHTS, "Where measured use is read; with none, N is never changed."
    )
    endpoint: str = fields.text(
        "",
        re.compile(rf"https?://[^{_NOT_OF_A_URL}/?#@]+(/[^{_NOT_OF_A_URL}?#]*)?"),
        f"{ENDPOINTS}, without user, query, fragment, or letters that cannot be printed",
        "The server's URL, with `source: prometheus`.",
        "a URL",
        by_default="must be written with `source: prometheus`",
    )


@dataclass(frozen=True)
class Tuning:
    """
    When N changes.

    N is decided on at most once in ten minutes, a step of what is measured.

    Attributes:
        raise_after: A higher N must have been right for this long: one day holds one daily peak.
        lower_after: A lower one for this long, unless a promise is broken: then at once. Two hours outlast a
            restart.
        dwell: Least time between two changes, except after a breach.
        canary: How long one node runs with a new N before the others follow.
        lock: How long an N whose canary failed is not tried again: a day holds one daily peak.
        minimum_history: Least evidence from which N is ever raised.
        publish_slices: N is written on workloads, as an annotation of their own metadata.
        trial: Times may be shorter than is good for a cluster that matters, so that one can watch.
    """

    raise_after: timedelta = fields.declare(
        fields.Span(
            Bounds(_HOUR, 30 * _DAY, "less lets a few measurements raise N, and more never comes", _AT_ONCE)
        ),
        "A higher N must have been right for this long.",
        default=_DAY,
    )
    lower_after: timedelta = fields.declare(
        fields.Span(
            Bounds(
                10 * _MINUTE,
                7 * _DAY,
                "less lets one measurement lower N, and more keeps it too high",
                _AT_ONCE,
            )
        ),
        "A lower N must have been right for this long; at once where a promise is broken.",
        default=2 * _HOUR,
    )
    dwell: timedelta = fields.declare(
        fields.Span(
            Bounds(
                10 * _MINUTE, 30 * _DAY, "less has N change again and again, and more hardly ever", _AT_ONCE
            )
        ),
        "The least time between two changes of N.",
        default=6 * _HOUR,
    )
    canary: timedelta = fields.declare(
        fields.Span(
            Bounds(_MINUTE, _DAY, "less tries nothing, and more holds consolidation for days", _SECOND)
        ),
        "How long one node runs with a new N before the others follow.",
        default=30 * _MINUTE,
    )
    lock: timedelta = fields.declare(
        fields.Span(
            Bounds(
                _HOUR,
                30 * _DAY,
                "less has nodes try again what has just failed, and more hardly ever",
                _AT_ONCE,
            )
        ),
        "How long an N whose canary failed is not tried again.",
        default=_DAY,
    )
    minimum_history: timedelta = fields.declare(
        fields.Span(
            Bounds(
                _DAY,
                6 * _DAY,
                "less holds no daily peak, and more is never known: a week is read, and of that six whole "
                "days at least",
            )
        ),
        "How much measured use it takes to raise N.",
        default=_DAY,
    )
    publish_slices: bool = fields.flag(
        False,
        "Whether workloads are annotated with how many pods share a GPU where theirs run, "
        "for what scales them.",
    )
    trial: bool = fields.flag(False, "Allows shorter times, to watch N change; not for clusters that matter.")


NEWEST_IMAGE = "al2023@latest"


@dataclass(frozen=True)
class NodeClass:
    """Which NodeClass the NodePools name; `create` makes us its owner."""

    group: str = fields.text(
        "karpenter.k8s.aws",
        re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+"),
        "write an API group such as karpenter.k8s.aws",
        "The API group of the NodeClass that the NodePools name.",
        "an API group",
    )
    kind: str = fields.text(
        "EC2NodeClass",
        re.compile(r"[A-Z][A-Za-z0-9]*"),
        "write a kind such as EC2NodeClass",
        "Its kind.",
        "a kind",
    )
    name: str = fields.text(
        "slicewise",
        re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"),
        "write the name of a Kubernetes object: a-z, 0-9, - and .",
        "Its name.",
        "a name",
    )
    create: bool = fields.flag(
        True,
        "Whether Slicewise makes it.",
        by_default="true for the EC2NodeClass `slicewise`, false for any other",
    )
    image: str = fields.text(
        NEWEST_IMAGE,
        # EC2NodeClass CRD v1, spec.amiSelectorTerms.alias, of AL2023; its releases are named by their day.
        re.compile(r"al2023@(latest|v20[0-9]{6})"),
        "write al2023@latest, or a release of AL2023's such as al2023@v20261101",
        "What its nodes are built from: the newest AL2023, or one release of it until you write another.",
        "an image alias",
    )

    @property
    def is_pinned(self) -> bool:
        return self.image != NEWEST_IMAGE


_A_POOL = "write at least one, such as `shared: {sharing: time-slicing, gpus: [l4], maxGpus: 8}`"


@dataclass(frozen=True)
class Policy:
    """`pools` are sorted by name, so that equal policies are equal values."""

    name: str
    _: KW_ONLY
    mode: Mode = fields.choice(
        Mode.ACT,
        "With act the plan is applied; with recommend and observe it is made all the same, and not applied.",
    )
    pools: tuple[Pool, ...] = fields.declare(
        fields.Named(Pool, _POOL_NAME, _A_POOL), "The pools of GPUs that pods choose from.", stand_in=()
    )
    consolidation: Consolidation = fields.declare(
        fields.Section(Consolidation),
        "When Karpenter takes away idle and half-empty GPU nodes.",
        default=Consolidation(),
    )
    node_class: NodeClass = fields.declare(
        fields.Section(NodeClass), "The NodeClass of the NodePools.", default=NodeClass()
    )
    install_karpenter: bool = fields.flag(
        False, "Whether Karpenter is installed where there is none.", path="karpenter.install"
    )
    karpenter_on: KarpenterPlace = fields.choice(
        KarpenterPlace.NODES,
        "What its pods run on: nodes that are there already, or Fargate, which needs none.",
        path="karpenter.on",
    )
    karpenter_interruptions: bool = fields.flag(
        False,
        "Whether it drains nodes before EC2 takes them back, such as spot ones: a queue a cluster.",
        path="karpenter.interruptions",
    )
    adopt_gpu_operator: bool = fields.flag(
        False,
        "Whether a GPU Operator that is there is joined; its values stay.",
        path="gpuOperator.adopt",
    )
    metrics: Metrics = fields.declare(
        fields.Section(Metrics), "Where measured use is read.", default=Metrics()
    )
    tuning: Tuning = fields.declare(fields.Section(Tuning), "When N changes.", default=Tuning())
    drift: Drift = fields.choice(Drift.REPAIR, "What happens when another writer edits our objects.")
    report: CostReport = fields.choice(
        CostReport.NONE,
        "Whether the operators get a notice each week of what GPUs cost and what was saved; in mode act.",
    )
    off_hours: OffHours | None = fields.declare(
        fields.Section(OffHours),
        "When what runs on the pools sleeps.",
        default=None,
        by_default="it never sleeps",
    )

    @property
    def is_on_fargate(self) -> bool:
        return self.install_karpenter and self.karpenter_on is KarpenterPlace.FARGATE

    @property
    def handles_interruptions(self) -> bool:
        return self.install_karpenter and self.karpenter_interruptions

    @property
    def has_mig(self) -> bool:
        return any(pool.sharing is Sharing.MIG for pool in self.pools)

    @property
    def has_classes(self) -> bool:
        return any(pool.classes for pool in self.pools)

    @property
    def video_kinds(self) -> tuple[str, ...]:
        """Which of VIDEO_KINDS the GPUs of pools with an N have, or may have: no other need be read."""
        models = [model for pool in self.pools if pool.replicas for model in pool.models()]
        return tuple(kind for kind in VIDEO_KINDS if any(model.video_engines[kind] != 0 for model in models))

    @property
    def publishes(self) -> bool:
        """Whether workloads are annotated with N."""
        return self.tuning.publish_slices and any(pool.sharing.has_replicas for pool in self.pools)

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


@lru_cache(maxsize=64)  # each reconcile reads its policy again, and hardly any has changed
def parse(text: str, name: str) -> Policy:
    """
    Read a policy.

    Args:
        text: As a deployment has checked it (checked.py), which is taken as it is; else YAML.
        name: For messages; also the value of the tag `slicewise.dev/policy` that chooses it.

    Raises:
        InvalidPolicy: with every problem at once, each with its path, value and remedy.
    """
    from slicewise.policy import parse as policy_parse  # it knows these values

    return policy_parse.parse(text, name)


def found(text: str | None, name: str, *, waits: bool = False) -> Policy:
    """
    The policy that a cluster chose by its tag.

    Args:
        text: None where no policy of this name is deployed.
        waits: Whether one that is refused only since it is of another release counts as pending.

    Raises:
        InvalidPolicy: Also where there is none.
        PolicySkew: Where it is pending.
    """
    if text is None:
        remedy = "no policy of this name is deployed: add it to policies/ and deploy, or correct the tag"
        raise InvalidPolicy(name, (PolicyProblem(f"tag {POLICY_TAG}", name, remedy),))
    try:
        return parse(text, name)
    except InvalidPolicy as refused:
        if waits and refused.is_skew:
            raise PolicySkew(refused) from refused
        raise
