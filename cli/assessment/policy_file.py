"""The policy that an assessment suggests, as YAML, with the evidence for each line beside it. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from slicewise.hardware import gpus as catalog
from slicewise.kube.labels import CLASS_LABEL, POOL_LABEL
from slicewise.policy.model import CAPACITY_TYPES, MAX_REPLICAS, MetricsSource

from cli.assessment import rules
from cli.assessment.assessment import COULD_SHARE, Assessment, ModelAssessment, Part, WorkloadUse
from cli.assessment.evidence import NO_SOURCE
from cli.assessment.inventory import GpuNode, GpuPod
from cli.assessment.machines import Machines, PoolSize, whole_machines
from cli.assessment.sharing import EXCLUSIVE_MODE
from cli.output import plural

_WIDTH = 110
# Without measurements: the least that shares. `mode: recommend` keeps it from being applied.
_UNPROVEN = 2
_MOST_NAMED = 8
_HIGHEST = 8


def text(found: Assessment) -> str:
    """A whole policy, which `slicewise policy check` takes unless nothing could be a pool."""
    return "\n".join([*_head(found), *_pools(found), *_metrics(found), *_off_hours(found), ""])


def is_proven(found: Assessment) -> bool:
    """Whether every pool that shares rests on measurements."""
    return all(model.rules.choice for model in found.models if model.shareable_pods)


def _head(found: Assessment) -> Iterator[str]:
    yield "# yaml-language-server: $schema=policy.schema.json"
    yield from _comment(
        f"Suggested by slicewise assess for {found.cluster} on {found.at:%Y-%m-%d %H:%M} UTC. "
        f"Metrics: {found.evidence.source}. Prices: {found.prices.terms}."
    )
    yield from _comment(
        f"Pods choose a pool by nodeSelector: {{{POOL_LABEL}: <pool>}}, tolerate the taint "
        "nvidia.com/gpu, and ask for nvidia.com/gpu: 1. Which workloads each pool is for is said above it."
    )
    if is_proven(found):
        yield from _comment("With recommend the plan is made and reported; write act once you agree with it.")
    else:
        yield from _comment("Not everything was measured, so this only recommends. Measure a day before act.")
    yield "mode: recommend"
    yield ""


def has_pools(found: Assessment) -> bool:
    return any(not line.lstrip().startswith("#") for model in found.models for line in _of_model(model))


def _pools(found: Assessment) -> Iterator[str]:
    if has_pools(found):
        yield "pools:"
    else:
        yield from _comment("No pod asks for a GPU that EC2 sells, so no pool can be suggested.")
    for model in found.models:
        yield from _of_model(model)


def _of_model(model: ModelAssessment) -> Iterator[str]:
    if model.memory_mib is None:
        yield from _comment(f"{model.name}: EC2 sells no such GPU, so no pool can have it.", 2)
        return
    yield from _shared(model)
    yield from _mps(model)
    yield from _whole(model)
    yield from _mig(model)


def _shared(model: ModelAssessment) -> Iterator[str]:
    if not model.shareable_pods or _rule(model) == rules.WHOLE:
        return
    rule = _rule(model)
    estimate = next(one for one in model.rules.estimates if one.rule == rule)
    saved, under = model.saved_per_hour(rule), model.gpus_under(rule)
    money = "" if saved is None else f", {abs(saved):.2f} $ an hour {'less' if saved >= 0 else 'more'}"
    yield from _comment(
        f"{model.name}: {model.gpus} GPUs today, {under} under this rule ({estimate.title}){money}.", 2
    )
    yield from _comment(f"Evidence: {estimate.risk}.", 2)
    yield from _for(one for one in model.workloads if one.exclusion is None)
    if rule == rules.CLASSES:
        how = "classes: [1, 2, 3]"
        yield from _comment(f"Label workloads {CLASS_LABEL}: auto to have them moved to their class.", 2)
    else:
        n = estimate.n or _UNPROVEN
        how = f"replicas: {{start: {n}, max: {min(MAX_REPLICAS, max(n, _HIGHEST))}}}"
    # What is shared too much already needs more than it holds.
    machines = model.placement.sharing
    waited_for = model.placement.waited_for
    needed = max(Fraction(model.rules.gpus(rule) or 1), _held(model, (COULD_SHARE,)))
    limit = machines.whole(needed + waited_for)
    of_each = ", of each class" if rule == rules.CLASSES else ""
    waiting = f", and {plural(waited_for, 'GPU')} for pods that wait" if waited_for else ""
    yield f"  # maxGpus: what these pods hold today, or need by this rule{of_each}{waiting}."
    bounds = _bounds(model, PoolSize(limit, (machines.gpus,)), _hosts(model, (COULD_SHARE,)))
    yield f"  {model.name}: {{sharing: time-slicing, gpus: [{model.name}], {how}, {bounds}}}"


def _held(model: ModelAssessment, codes: Sequence[str]) -> Fraction:
    return sum((part.gpus for part in model.parts if part.what in codes), Fraction(0))


def _mps(model: ModelAssessment) -> Iterator[str]:
    part = next((part for part in model.parts if part.what == EXCLUSIVE_MODE), None)
    hosts = part.hosts if part else ()
    nodes = [node for node in hosts if node.mps and node.gpus and node.offered >= 2 * node.gpus]
    if part is None or not nodes:
        return
    n = min(MAX_REPLICAS, max(node.offered // (node.gpus or 1) for node in nodes))
    machines = Machines(min(node.gpus or 1 for node in nodes))
    yield from _comment(f"{plural(part.pods, 'pod')} with {float(part.gpus):g} GPUs: {part.message}.", 2)
    yield from _for(one for one in model.workloads if one.exclusion and one.exclusion.code == EXCLUSIVE_MODE)
    yield f"  # MPS keeps the {n} pods a GPU that its nodes have today."
    how = f"replicas: {{start: {n}, max: {max(n, _HIGHEST)}}}"
    limit = machines.whole(max(Fraction(1), part.gpus))
    bounds = _bounds(model, PoolSize(limit, (machines.gpus,)), nodes)
    yield f"  {model.name}-mps: {{sharing: mps, gpus: [{model.name}], {how}, {bounds}}}"


def _rule(model: ModelAssessment) -> str:
    """Of those that a policy can ask for, the one that needs the fewest GPUs; the simplest of equals."""
    if model.rules.choice is None:
        return rules.TWO
    choices = (rules.WHOLE, rules.ONE_N, rules.CLASSES)
    return min(choices, key=lambda rule: (model.gpus_under(rule) or model.gpus, choices.index(rule)))


def _whole(model: ModelAssessment) -> Iterator[str]:
    codes = ["more-than-one-gpu", "several-containers", "whole-by-policy", "daemon-set"]
    if not list(_mps(model)):
        codes.append(EXCLUSIVE_MODE)
    kept = [part for part in model.parts if part.what in codes]
    alone = bool(model.shareable_pods) and _rule(model) == rules.WHOLE
    if alone:
        kept += [part for part in model.parts if part.what == COULD_SHARE]
    if not kept:
        return
    for part in kept:
        held = f"{plural(part.pods, 'pod')} with {float(part.gpus):g} GPUs"
        yield from _comment(f"{held}: {part.message}.", 2)
    if alone and model.rules.choice:
        yield from _comment(f"Sharing would not help: {model.rules.choice.sentence}", 2)
    yield from _for(
        one for one in model.workloads if (one.exclusion.code in codes if one.exclusion else alone)
    )
    bounds = _bounds(model, _whole_size(model, kept), [node for part in kept for node in part.hosts])
    yield f"  {model.name}-whole: {{sharing: none, gpus: [{model.name}], {bounds}}}"


def _whole_size(model: ModelAssessment, parts: Sequence[Part]) -> PoolSize:
    """Pods that must not share keep their nodes; those that could come on the machines of their own kind."""
    sold = catalog.model(model.name).counts
    kept = [(node, pod.gpus) for part in parts if part.what != COULD_SHARE for node, pod in part.on]
    stay = {node.name for node, _ in kept if not node.is_sliced}
    moved = sum(node.name not in stay for part in parts if part.what == COULD_SHARE for node, _ in part.on)
    size, machines = whole_machines(kept, sold), model.placement.sharing
    return size.beside(PoolSize(machines.whole(moved), (machines.gpus,))) if moved else size


def _mig(model: ModelAssessment) -> Iterator[str]:
    """A GPU of a pool has instances of its one profile, so what pods request of each is what counts."""
    most = catalog.model(model.name).mig
    held = [(node, _instances(node, pod)) for part in model.parts for node, pod in part.on]
    asked = sum((Counter(instances) for _, instances in held), Counter[str]())
    for profile in sorted(asked.keys() & most.keys()):
        hosts = [node for node, instances in held if profile in instances]
        machines = Machines(min((node.gpus or 1) for node in hosts))
        size = PoolSize(machines.whole(Fraction(asked[profile], most[profile])), (machines.gpus,))
        yield from _comment(
            f"{plural(asked[profile], 'instance')}; pods ask for nvidia.com/mig-{profile}: 1.", 2
        )
        name = f"{model.name}-{profile}".replace(".", "-")
        bounds = _bounds(model, size, hosts)
        yield f"  {name}: {{sharing: mig, gpus: [{model.name}], profile: {profile}, {bounds}}}"


def _instances(node: GpuNode, pod: GpuPod) -> Mapping[str, int]:
    """Of each profile. With MIG's strategy `single` they hide behind the plain name."""
    if pod.mig or node.offered or len(node.mig) != 1:
        return pod.mig
    return {profile: pod.gpus for profile in node.mig if pod.gpus}


def _hosts(model: ModelAssessment, codes: Sequence[str]) -> list[GpuNode]:
    return [node for part in model.parts if part.what in codes for node in part.hosts]


def _bounds(model: ModelAssessment, size: PoolSize, hosts: Sequence[GpuNode]) -> str:
    """On machines and at terms like those on which the pool's own pods run today."""
    sold = catalog.model(model.name).counts
    terms = [term for term in CAPACITY_TYPES if any(node.term == term for node in hosts)]
    counts = [count for count in size.counts if count in sold]
    written = [f"maxGpus: {max(size.gpus, min(counts, default=1))}"]
    # Of larger ones Karpenter would start one for the pods of a few GPUs, and leave the rest of it idle.
    if len(sold) > 1 and counts:
        written.append(f"gpuCounts: [{', '.join(map(str, counts))}]")
    if terms not in ([], ["on-demand"]):
        written.append(f"capacityTypes: [{', '.join(terms)}]")
    return ", ".join(written)


def _for(workloads: Iterable[WorkloadUse]) -> Iterator[str]:
    named = [f"{one.workload} ({one.pods})" for one in workloads]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    yield from _comment(f"For {', '.join(named[:_MOST_NAMED])}{more}.", 2)


def _metrics(found: Assessment) -> Iterator[str]:
    source, endpoint = found.evidence.source, found.evidence.endpoint
    yield ""
    if source == MetricsSource.PROMETHEUS.value and endpoint:
        yield from _comment("What this assessment read. The functions must reach it, too: no port-forward.")
        yield f"metrics: {{source: prometheus, endpoint: '{endpoint}'}}"
    elif source in (NO_SOURCE, MetricsSource.PROMETHEUS.value):
        yield from _comment("Say where measured use is read; docs/metrics.md has the sources.")
        yield "# metrics: {source: prometheus, endpoint: 'https://prometheus.example.com'}"
    else:
        yield from _comment("What this assessment read.")
        yield f"metrics: {{source: {source}}}"


def _off_hours(found: Assessment) -> Iterator[str]:
    unused = found.unused
    yield ""
    if unused is None:
        yield from _comment("offHours: which hours are unused is not known without measurements.")
        return
    yield from _comment(f"In {unused.unused} of {unused.measured} measured hours no GPU was busy.")
    if unused.asleep:
        hours = ", ".join(f'"{hours}"' for hours in unused.asleep)
        yield from _comment("Never used in these. Take the # away to have workloads sleep then:")
        yield f"# offHours: {{timeZone: {unused.time_zone}, asleep: [{hours}]}}"


def _comment(said: str, indent: int = 0) -> Iterator[str]:
    lead = f"{' ' * indent}# "
    yield from textwrap.wrap(
        said,
        _WIDTH,
        initial_indent=lead,
        subsequent_indent=lead,
        break_long_words=False,
        break_on_hyphens=False,
    )
