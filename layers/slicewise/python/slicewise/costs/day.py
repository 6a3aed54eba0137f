"""
One UTC day of what a cluster's GPU machines did, as reconciles add to it: whole numbers alone, so that parts
add up exactly. Pure.

Time on a GPU is counted in slice-milliseconds: a GPU that offers N slices has 1000 N of them a second, so
that what a pod holds of it is a whole number, whatever N is. They are added up only where N is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DAY_SECONDS, HOUR_SECONDS = 86_400, 3_600


class Machine(NamedTuple):
    """
    What machines have in common that are counted together.

    Attributes:
        node_pool: The NodePool's name; `pool` is the policy's.
        instance_type: As EC2 calls it; `capacity_type` is `on-demand`, `spot` or `reserved`.
        gpu: The model, as Karpenter's label has it; `gpus` is how many a machine has.
        n: Slices that each GPU offers; 1 where GPUs are whole.
    """

    node_pool: str
    pool: str
    instance_type: str
    capacity_type: str
    gpu: str
    gpus: int
    n: int

    @property
    def type(self) -> MachineType:
        """Where its pods would have run with whole GPUs."""
        return MachineType(self.node_pool, self.instance_type, self.capacity_type, self.gpu, self.gpus)


class Workload(NamedTuple):
    """A pod's topmost owner that is known."""

    group: str
    kind: str
    namespace: str
    name: str


# In place of the workloads of a namespace that did not fit into a day's item.
OTHERS = "(others)"


@dataclass(slots=True)
class Use:
    """
    What pods did on GPUs of one Machine. All but `memory` and the requests are slice-milliseconds.

    Attributes:
        held: Of slices that pods held.
        used: Of these, what pods were measured to use, each no more than it held at that time.
        unmeasured: Of what was held, what no source measured. used + unmeasured <= held.
        burst: What pods used beyond what they held: others' slices, or free ones. In no sum.
        memory: MiB-seconds of GPU memory, as far as it was measured; `memory_held` is what the slices were
            meanwhile.
        cpu: Millicore-seconds that the pods asked for, and `ram` MiB-seconds of the machine's memory.
    """

    held: int = 0
    used: int = 0
    unmeasured: int = 0
    burst: int = 0
    memory: int = 0
    memory_held: int = 0
    cpu: int = 0
    ram: int = 0

    def add(self, other: Use) -> None:
        self.held += other.held
        self.used += other.used
        self.unmeasured += other.unmeasured
        self.burst += other.burst
        self.memory += other.memory
        self.memory_held += other.memory_held
        self.cpu += other.cpu
        self.ram += other.ram


@dataclass(slots=True)
class Hour:
    """
    Attributes:
        machine_seconds: From a machine's NodeClaim's creation to its deletion, or to the middle between two
            reconciles where it was gone at the second. GPUs offered 1000 * machine_seconds * gpus * n.
        use: Of all pods on them.
    """

    machine_seconds: int = 0
    use: Use = field(default_factory=Use)


class MachineType(NamedTuple):
    """Where the same pods would have run with a whole GPU for each slice that they hold."""

    node_pool: str
    instance_type: str
    capacity_type: str
    gpu: str
    gpus: int


class Change(NamedTuple):
    """
    Something that changed what GPUs cost, by the reconcile that saw it first.

    Attributes:
        at: Second.
        kind: "n" (of a NodePool), "class" (of a workload), "asleep" or "awake" (of a NodePool).
        what: The NodePool's name, or namespace/kind/name.
        before, after: N or class, as text; empty where there is none.
        why: The decision's reason.
    """

    at: int
    kind: str
    what: str
    before: str
    after: str
    why: str


class NodeLife(NamedTuple):
    """
    A machine that was seen.

    Attributes:
        instance: Its EC2 id; empty where it has none yet.
        begin: Second of its NodeClaim's creation; `end` is None while it is there.
    """

    instance: str
    machine: Machine
    begin: int
    end: int | None = None


class PodLife(NamedTuple):
    """
    A pod that was seen on a machine.

    Attributes:
        node: Its name in Roster.nodes.
        slices: What it held, from `begin` to `end`, in seconds; `end` is None while it is there.
        cpu: Millicores that it asked for; `ram` is MiB of the machine's memory.
    """

    node: str
    workload: Workload
    slices: int
    begin: int
    end: int | None = None
    cpu: int = 0
    ram: int = 0


class Span(NamedTuple):
    """In seconds; `end` is None while it lasts."""

    begin: int
    end: int | None = None


class Replicas(NamedTuple):
    """N of a NodePool; `why` is the reason of a change of it that is under way, else empty."""

    n: int
    why: str = ""


@dataclass(frozen=True)
class Roster:
    """
    Who was there at the newest reconcile, and who had gone but is not counted to its end yet: these have
    "@" and the second of their end behind their name.

    Attributes:
        seen_at: Second of that reconcile.
        nodes: By the Node's name, or the NodeClaim's while it has no Node.
        pods: By "namespace/name".
        pools: By the NodePool's name.
        asleep: NodePools that sleep.
    """

    seen_at: int
    nodes: Mapping[str, NodeLife] = field(default_factory=dict)
    pods: Mapping[str, PodLife] = field(default_factory=dict)
    pools: Mapping[str, Replicas] = field(default_factory=dict)
    asleep: Mapping[str, Span] = field(default_factory=dict)


@dataclass
class Day:
    """
    Attributes:
        begin: Second at which the day begins, in UTC.
        since: Second from which on it is counted: `begin`, but for the day on which counting began.
        through: Second up to which it is counted; a multiple of 600 s.
        hours: For each Machine, by hour of the day from 0 to 23.
        whole: Machine-seconds by hour that the same pods would have needed with whole GPUs.
        uncertain: Machine-seconds by which ends of machines may be wrong that were taken to be in the middle
            between two reconciles: half the time between these, on the day of the end.
        asleep: Seconds by hour that each NodePool was asleep.
        workloads: For each Machine and workload, of the day. Their sums by Machine equal those of `hours`.
        labels: Of each workload's pods, at most ten: what controllers add is left out.
        instances: Machine-seconds of each instance by its EC2 id.
        changes: In order of time.
        nights: Details of sleeps as off-hours records them (offhours/report/savings.py), by when each began.
        roster: In the newest day alone.
        folded: How many workloads and instances were put into others', since an item has 400 KB.
    """

    begin: int
    since: int
    through: int
    hours: dict[Machine, dict[int, Hour]] = field(default_factory=dict)
    whole: dict[MachineType, dict[int, int]] = field(default_factory=dict)
    uncertain: dict[MachineType, int] = field(default_factory=dict)
    asleep: dict[str, dict[int, int]] = field(default_factory=dict)
    workloads: dict[Machine, dict[Workload, Use]] = field(default_factory=dict)
    labels: dict[Workload, dict[str, str]] = field(default_factory=dict)
    instances: dict[str, tuple[MachineType, int]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    nights: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    roster: Roster | None = None
    folded: int = 0
