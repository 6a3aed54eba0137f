"""
One cluster's assessment: what its GPUs cost, who holds them, and what each rule would save. Pure.

What a model's GPUs cost is split into parts that add up to all of them: held by pods that could share, held
by pods that must not, by reason, and held by no pod.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from fractions import Fraction

from slicewise.costs.prices import RESERVED, SPOT, Prices, key_of
from slicewise.kube.ref import Object, Ref
from slicewise.model.cluster import ClusterContents
from slicewise.tuning.rule.decision import host_of
from slicewise.tuning.rule.replicas import is_greedy
from slicewise.tuning.usage.evidence import Grade, PodUse

from cli.assessment import rules
from cli.assessment.evidence import NOTHING_MEASURED, Evidence, as_pools
from cli.assessment.inventory import GpuNode, GpuPod, gpu_nodes, gpu_pods, held, is_ending
from cli.assessment.machines import Placement, placement
from cli.assessment.rules import Rules
from cli.assessment.sharing import DRA_CLAIM, Exclusion, exclusion
from cli.assessment.unused_hours import UnusedHours, UnusedNode, unused_hours
from cli.output import plural

# Of parts: who holds the GPUs.
COULD_SHARE, UNALLOCATED, UNCOUNTED = "could-share", "unallocated", "uncounted"


@dataclass(frozen=True)
class ClusterListing:
    """
    What was read of one cluster.

    Attributes:
        context: Of the kubeconfig; `cluster` is the name by which metrics know it.
        region: Of an EKS cluster; "" where nothing says so.
        nodes, pods: None where they could not be read: then nothing is known of them.
        node_pools: Karpenter's; None where they could not be read, or there is no Karpenter.
        unread: What could not be read, why, and what to do, in sentences.
        profile: Of AWS, as the kubeconfig names it; "" where the environment's counts.
    """

    context: str
    cluster: str
    region: str = ""
    nodes: tuple[Object, ...] | None = ()
    pods: tuple[Object, ...] | None = ()
    node_pools: tuple[Object, ...] | None = None
    unread: tuple[str, ...] = ()
    profile: str = ""

    @property
    def node_uids(self) -> frozenset[str]:
        """Which no other cluster has."""
        return frozenset(node["metadata"]["uid"] for node in self.nodes or () if "uid" in node["metadata"])


@dataclass(frozen=True)
class Part:
    """
    GPUs of one model that are held alike.

    Attributes:
        what: COULD_SHARE, UNALLOCATED, or the code of an exclusion.
        gpus: Physical ones; a slice is a part of one.
        usd_per_hour: Of the nodes that have a price.
        on: Its pods, each with its node.
    """

    what: str
    message: str
    pods: int
    gpus: Fraction
    usd_per_hour: float
    remedy: str = ""
    on: tuple[tuple[GpuNode, GpuPod], ...] = ()

    @property
    def hosts(self) -> tuple[GpuNode, ...]:
        return tuple({node.name: node for node, _ in self.on}.values())


@dataclass(frozen=True)
class WorkloadUse:
    """
    What the pods of one workload request and use.

    Attributes:
        gpus: Physical ones that they hold.
        peak_mib: The most device memory that one of them used; None where that is not known.
        busy: Mean busy fraction of a GPU of the busiest of them; None likewise.
        is_greedy: They reserve the card when they start, no matter what they do with it.
        exclusion: Why they must not share; None where they could.
    """

    workload: Ref
    pods: int
    gpus: Fraction
    peak_mib: float | None
    busy: float | None
    is_greedy: bool
    exclusion: Exclusion | None


@dataclass(frozen=True)
class ModelAssessment:
    """
    All nodes with one model of GPU.

    Attributes:
        memory_mib: Of one GPU; None for a GPU that EC2 does not sell.
        gpus: Physical ones; those of `uncounted` nodes are not among them.
        usd_per_hour: Of the nodes that have a price.
        unpriced: Nodes that have none, by instance type.
        uncounted: Nodes of which nothing says how many GPUs they have.
        overstated: Nodes that are not on demand and are counted at that price, by what `--price` calls them.
        placement: On which machines its pods would run.
        measured_pods: Of the `shareable_pods`, those with a full day of measurements.
        estimated_pods: Of these, those that are known by their GPU alone.
        busy: Mean busy fraction of its GPUs; None where nothing was measured.
        memory: Mean over its GPUs of the most that was used of each, as a share of the card; None likewise.
    """

    name: str
    memory_mib: int | None
    nodes: tuple[GpuNode, ...]
    gpus: int
    usd_per_hour: float
    unpriced: tuple[str, ...]
    uncounted: int
    overstated: tuple[str, ...]
    placement: Placement
    parts: tuple[Part, ...]
    workloads: tuple[WorkloadUse, ...]
    rules: Rules
    measured_pods: int
    estimated_pods: int
    shareable_pods: int
    busy: float | None = None
    memory: float | None = None

    def gpus_under(self, rule: str) -> int | None:
        """Of the whole model under a rule, with the nodes that stay, in whole machines."""
        pools = self._pools(rule)
        return None if pools is None else self.placement.gpus(pools)

    def usd_under(self, rule: str) -> float | None:
        """Dollars an hour under a rule; None where that, or a price, is not known."""
        pools = self._pools(rule)
        return None if pools is None or self.unpriced else self.placement.usd_per_hour(pools)

    def _pools(self, rule: str) -> Sequence[int] | None:
        pools = self.rules.pools(rule)
        if pools is None or rule != rules.WHOLE:
            return pools
        return [sum(pools) - self.placement.staying]

    def saved_per_hour(self, rule: str) -> float | None:
        """Dollars; below zero where the rule needs more GPUs than there are."""
        under = self.usd_under(rule)
        # Sums of the same prices in another order differ by less than a cent in a century.
        return None if under is None else round(self.usd_per_hour - under, 9) + 0.0


@dataclass(frozen=True)
class Assessment:
    """
    Attributes:
        waiting: Pods that request GPUs and have no node.
        unknown: What could not be found out, in sentences.
        node_uids: By which a cluster that was read by two contexts is recognised.
        ending: Pods that are being deleted: their GPUs count as held by no pod.
        unused: None where nothing was measured.
        nodes_read, pods_read: Whether they could be listed; without pods nothing is reported of who holds
            what.
    """

    context: str
    cluster: str
    at: datetime
    evidence: Evidence
    prices: Prices
    models: tuple[ModelAssessment, ...]
    waiting: tuple[GpuPod, ...]
    unknown: tuple[str, ...]
    unused: UnusedHours | None = None
    has_karpenter: bool | None = None
    nodes_read: bool = True
    pods_read: bool = True
    node_uids: frozenset[str] = frozenset()
    ending: int = 0

    @property
    def unused_usd_per_hour(self) -> float:
        """Of what a measured hour costs, what the nodes cost that were there while no GPU was busy."""
        if self.unused is None:
            return 0.0
        usd = sum(node.hours * self._usd_an_hour(node) for node in self.unused.nodes)
        return usd / self.unused.measured

    def _usd_an_hour(self, node: UnusedNode) -> float:
        """Of a deleted node, as its GPUs cost today where others of their model are there."""
        known = {one.name: one for model in self.models for one in model.nodes}
        if node.name in known:
            return self.prices.usd_an_hour(*known[node.name].paid) or 0.0
        alike = {device.node for device in self.evidence.readings.devices if device.model == node.model}
        nodes = [one for one in known.values() if one.name in alike] or list(known.values())
        gpus = sum(one.gpus or 0 for one in nodes)
        return node.gpus * sum(self.prices.usd_an_hour(*one.paid) or 0.0 for one in nodes) / max(1, gpus)

    @property
    def nodes_gone(self) -> int:
        """Nodes that were measured, and are there no more."""
        known = {one.name for model in self.models for one in model.nodes}
        return sum(node.name not in known for node in self.unused.nodes) if self.unused else 0

    @property
    def usd_per_hour(self) -> float:
        return sum(model.usd_per_hour for model in self.models)

    @property
    def gpus(self) -> int:
        return sum(model.gpus for model in self.models)


def contents_of(found: ClusterListing) -> ClusterContents:
    """As the readers of metrics take the cluster."""
    return as_pools(gpu_nodes(found.nodes or ()), found.nodes or (), found.pods or ())


def groups_of(found: ClusterListing) -> tuple[str, ...]:
    return tuple(sorted({node.group for node in gpu_nodes(found.nodes or ())}))


def assess(
    found: ClusterListing,
    now: datetime,
    zone: tzinfo,
    measured: Evidence = NOTHING_MEASURED,
    prices: Prices | None = None,
) -> Assessment:
    """
    Args:
        zone: In which hours of the week are reported.
        measured: Of this cluster, by the same nodes and pods.
    """
    prices = prices or Prices()
    nodes, pods = gpu_nodes(found.nodes or (), found.node_pools or ()), gpu_pods(found.pods or ())
    on = {node.name for node in nodes}
    models = _models(found, nodes, pods, measured, prices)
    return Assessment(
        found.context,
        found.cluster,
        now,
        measured,
        prices,
        models,
        tuple(pod for pod in pods if not pod.node),
        (
            *found.unread,
            *_unknown(models, measured, [pod for pod in pods if pod.node and pod.node not in on]),
        ),
        unused_hours((*measured.readings.devices, *measured.readings.gone), zone, on),
        None if found.node_pools is None else bool(found.node_pools),
        found.nodes is not None,
        found.pods is not None,
        found.node_uids,
        sum(map(is_ending, found.pods or ())),
    )


def _models(
    found: ClusterListing,
    nodes: Sequence[GpuNode],
    pods: Sequence[GpuPod],
    measured: Evidence,
    prices: Prices,
) -> tuple[ModelAssessment, ...]:
    on = {node.name: node for node in nodes}
    live = {item["metadata"]["name"]: item for item in found.nodes or ()}
    bound = {f"{_namespace(pod)}/{pod['metadata']['name']}": pod for pod in found.pods or ()}
    waiting = sum(max(pod.gpus, 1) for pod in pods if not pod.node)
    return tuple(
        _model(
            group,
            [node for node in nodes if node.group == group],
            [pod for pod in pods if pod.node in on and on[pod.node].group == group],
            live,
            bound,
            measured,
            prices,
            found.pods is not None,
            waiting,
        )
        for group in sorted({node.group for node in nodes})
    )


def _namespace(pod: Object) -> str:
    return str(pod["metadata"].get("namespace", "default"))


def _model(
    group: str,
    nodes: Sequence[GpuNode],
    pods: Sequence[GpuPod],
    live: Mapping[str, Object],
    bound: Mapping[str, Object],
    measured: Evidence,
    prices: Prices,
    pods_read: bool,
    waiting: int,
) -> ModelAssessment:
    on = {node.name: node for node in nodes}
    uses = {use.name: use for use in measured.uses[group].pods} if group in measured.uses else {}
    why = {pod.key: exclusion(pod, on[pod.node]) for pod in pods}
    sharing = [pod for pod in pods if why[pod.key] is None]
    kept = {pod.key for pod in pods if why[pod.key] is not None}
    counted = [node for node in nodes if node.gpus is not None]
    known = [uses[pod.key] for pod in sharing if pod.key in uses]
    card = nodes[0].model.memory_mib if nodes[0].model else None
    return ModelAssessment(
        name=group,
        memory_mib=card,
        nodes=tuple(nodes),
        gpus=sum(node.gpus or 0 for node in nodes),
        usd_per_hour=sum(prices.usd_an_hour(*node.paid) or 0.0 for node in nodes),
        unpriced=tuple(
            sorted({n.instance_type or "?" for n in nodes if prices.usd_an_hour(*n.paid) is None})
        ),
        uncounted=len(nodes) - len(counted),
        overstated=tuple(key_of(*node.paid) for node in nodes if prices.is_overstated(*node.paid)),
        placement=placement(nodes, pods, kept, prices, waiting),
        parts=_parts(nodes, pods, why, prices) if pods_read else (),
        workloads=_workloads(pods, on, why, uses, card),
        rules=_rules(group, sharing, uses, card, measured, counted, live, bound) if pods_read else Rules(()),
        measured_pods=sum(use.has_history for use in known),
        estimated_pods=sum(use.grade is Grade.DEVICE for use in known),
        shareable_pods=len(sharing),
        **_used(on, measured, card),
    )


def _rules(
    group: str,
    sharing: Sequence[GpuPod],
    uses: Mapping[str, PodUse],
    card: int | None,
    measured: Evidence,
    nodes: Sequence[GpuNode],
    live: Mapping[str, Object],
    bound: Mapping[str, Object],
) -> Rules:
    known = [uses[pod.key] for pod in sharing if pod.key in uses]
    if measured.trouble:
        return rules.unmeasured(len(sharing), "the metrics cannot be read")
    if group not in measured.uses:
        return rules.unmeasured(len(sharing), "no metrics were named")
    if card is None:
        return rules.unmeasured(len(sharing), "nothing says how much memory this GPU has")
    if sharing and not any(use.has_history for use in known):
        return rules.unmeasured(len(sharing), "no pod has a full day of measurements")
    # What the machines have on which they run today: those that they are taken to come in.
    on = {pod.node for pod in sharing}
    machines = [(live[node.name], node.gpus or 0) for node in nodes if node.name in on]
    return rules.rules(group, known, card, host_of(machines, [bound[pod.key] for pod in sharing]))


def _parts(
    nodes: Sequence[GpuNode],
    pods: Sequence[GpuPod],
    why: Mapping[str, Exclusion | None],
    prices: Prices,
) -> tuple[Part, ...]:
    """In dollars each GPU of a node costs the same part of it."""
    found: dict[str, list[tuple[Fraction, float]]] = {}
    reasons = {COULD_SHARE: Exclusion(COULD_SHARE, "ask for one GPU each and could share one")}
    unallocated: list[tuple[Fraction, float]] = []
    uncounted: list[tuple[Fraction, float]] = []
    on: dict[str, list[GpuPod]] = {}
    for pod in pods:
        on.setdefault(pod.node, []).append(pod)
    for node in nodes:
        a_gpu = (prices.usd_an_hour(*node.paid) or 0.0) / (node.gpus or 1)
        left = Fraction(node.gpus or 0)
        for pod in on.get(node.name, ()):
            reason = why[pod.key] or reasons[COULD_SHARE]
            reasons[reason.code] = reason
            has = min(left, held(pod, node))
            left -= has
            found.setdefault(reason.code, []).append((has, float(has) * a_gpu))
        if node.gpus is None:
            uncounted.append((left, prices.usd_an_hour(*node.paid) or 0.0))
            continue
        claimed = any(pod.has_claims for pod in on.get(node.name, ()))
        (found[DRA_CLAIM] if claimed else unallocated).append((left, float(left) * a_gpu))
    counts = Counter(_code(why[pod.key]) for pod in pods)
    its = {node.name: node for node in nodes}
    where = {code: tuple((its[p.node], p) for p in pods if _code(why[p.key]) == code) for code in counts}
    parts = [_part(reasons[code], counts[code], found[code], where[code]) for code in sorted(counts)]
    if uncounted:
        parts.append(
            _part(Exclusion(UNCOUNTED, "are on nodes that do not say how many they have"), 0, uncounted)
        )
    return (*parts, _part(Exclusion(UNALLOCATED, "are held by no pod"), 0, unallocated))


def _code(why: Exclusion | None) -> str:
    return why.code if why else COULD_SHARE


def _part(
    reason: Exclusion,
    pods: int,
    of_it: Sequence[tuple[Fraction, float]],
    on: tuple[tuple[GpuNode, GpuPod], ...] = (),
) -> Part:
    return Part(
        reason.code,
        reason.message,
        pods,
        sum((gpus for gpus, _ in of_it), Fraction(0)),
        sum(usd for _, usd in of_it),
        reason.remedy,
        on,
    )


def _workloads(
    pods: Sequence[GpuPod],
    on: Mapping[str, GpuNode],
    why: Mapping[str, Exclusion | None],
    uses: Mapping[str, PodUse],
    card: int | None,
) -> tuple[WorkloadUse, ...]:
    """The largest first."""
    found: dict[tuple[Ref, str], list[GpuPod]] = {}
    for pod in pods:
        reason = why[pod.key]
        found.setdefault((pod.workload, reason.code if reason else ""), []).append(pod)
    rows = [_workload(ref, of_it, on, why, uses, card) for (ref, _), of_it in found.items()]
    return tuple(sorted(rows, key=lambda one: (-one.gpus, one.workload)))


def _workload(
    ref: Ref,
    pods: Sequence[GpuPod],
    on: Mapping[str, GpuNode],
    why: Mapping[str, Exclusion | None],
    uses: Mapping[str, PodUse],
    card: int | None,
) -> WorkloadUse:
    known = [use for pod in pods if (use := uses.get(pod.key)) and use.has_history]
    peaks = [use.memory_mib for use in known if use.can_share]
    busy = [sum(day.mean for day in use.days) / len(use.days) for use in known]
    return WorkloadUse(
        ref,
        len(pods),
        sum((held(pod, on[pod.node]) for pod in pods), Fraction(0)),
        max(peaks, default=None),
        max(busy, default=None),
        card is not None and any(is_greedy(use, card) for use in known),
        why[pods[0].key],
    )


def _used(on: Mapping[str, GpuNode], measured: Evidence, card: int | None) -> dict[str, float | None]:
    devices = [device for device in measured.readings.devices if device.node in on]
    busy = [sum(found) / len(found) for device in devices if (found := device.busy.values())]
    memory = [max(found) for device in devices if (found := device.memory_mib.values())]
    return {
        "busy": sum(busy) / len(busy) if busy else None,
        "memory": sum(memory) / len(memory) / card if memory and card else None,
    }


def _unknown(
    models: Sequence[ModelAssessment], measured: Evidence, elsewhere: Sequence[GpuPod]
) -> Iterable[str]:
    if measured.trouble:
        yield f"The metrics cannot be read: {measured.trouble}"
    for model in models:
        if model.unpriced:
            types = ", ".join(model.unpriced)
            yield (
                f"{model.name}: no price is known of {types}, so nothing is said of dollars saved. "
                f"Pass --price {model.unpriced[0]}=DOLLARS_AN_HOUR."
            )
        if model.estimated_pods:
            yield (
                f"{model.name}: what each of {plural(model.estimated_pods, 'pod')} needs alone, for whole "
                "GPUs are measured, not pods. N rises once each workload has had one to itself for a day."
            )
        if model.uncounted:
            yield (
                f"{model.name}: nothing says how many GPUs {plural(model.uncounted, 'node')} of it have, so "
                "they are not counted. Install GPU feature discovery, or start them by Karpenter."
            )
        for term, title in ((SPOT, "Spot node"), (RESERVED, "reserved node")):
            of_term = [key for key in model.overstated if key.endswith(f":{term}")]
            if of_term:
                yield (
                    f"{model.name}: {plural(len(of_term), title)} at the price on demand. "
                    f"Pass --price {of_term[0]}=DOLLARS_AN_HOUR."
                )
    if elsewhere:
        asking = plural(len(elsewhere), "pod")
        yield f"On which GPUs {asking} run, such as {elsewhere[0].key}: their nodes were not read."
    yield (
        "Whether a GPU was set to exclusive compute mode by hand: no label and no metric shows it. "
        "Check with nvidia-smi -q -d COMPUTE."
    )
