"""
Who was there, and from when to when: a roster, continued by what the next reconcile observes. Pure.

When something ended that is there no longer is not known: the middle between the reconcile that saw it last
and the one that did not is wrong by half an hour at most where they come each hour, and as often too early as
too late. So is the middle taken where a machine offers another N than before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from slicewise.costs.day import NodeLife, PodLife, Replicas, Roster, Span, Workload

Life = TypeVar("Life", NodeLife, PodLife, Span)


class Measured(NamedTuple):
    """
    What a pod used for certain, by the second at which a step of 600 s begins.

    Attributes:
        busy: GPUs: 1.5 of a pod that has two, one of them half the time.
        memory: MiB of all its GPUs.
        card_mib: Memory of one GPU of its machine; 0 where that is not known.
    """

    busy: Mapping[int, float]
    memory: Mapping[int, float]
    card_mib: int


UNMEASURED = Measured({}, {}, 0)


@dataclass(frozen=True)
class CostObservation:
    """
    What a reconcile observes of what GPUs cost. All times are seconds.

    Attributes:
        at: When.
        cluster_since: When the cluster was created: names of clusters come again.
        until: Up to where it can be counted: measurements of later steps may still come. A multiple of 600.
        nodes, pods, pools: As in a Roster, all of them without an end. A pod that no kubelet has taken yet
            begins at 0.
        asleep: The reason by each NodePool that sleeps.
        classes: NodePools that are one class of a pool.
        class_reasons: Why a workload belongs into its class, by namespace/kind/name.
        labels: Of each workload's newest pod.
        measured: What was measured of a pod, by its name in `pods` and the name of its node.
        nights: As Day.nights.
    """

    at: int
    until: int
    nodes: Mapping[str, NodeLife] = field(default_factory=dict)
    pods: Mapping[str, PodLife] = field(default_factory=dict)
    pools: Mapping[str, Replicas] = field(default_factory=dict)
    cluster_since: int = 0
    asleep: Mapping[str, str] = field(default_factory=dict)
    classes: Collection[str] = ()
    class_reasons: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[Workload, Mapping[str, str]] = field(default_factory=dict)
    measured: Callable[[str, PodLife], Measured] = lambda key, life: UNMEASURED
    nights: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def begun(seen: CostObservation, since: int) -> Roster:
    """Of the first reconcile."""
    asleep = {name: Span(since) for name in seen.asleep}
    return Roster(seen.at, seen.nodes, seen.pods, seen.pools, asleep)


def continued(before: Roster, seen: CostObservation) -> Roster:
    middle = (before.seen_at + seen.at) // 2
    nodes, moved = _nodes(before.nodes, seen.nodes, middle)
    pods = _pods(before.pods, seen.pods, moved, middle)
    pods |= _on_both({key: life for key, life in pods.items() if seen.pods.get(key) == life}, nodes, moved)
    pools = {name: _replicas(before.pools.get(name), now) for name, now in seen.pools.items()}
    return Roster(seen.at, nodes, pods, pools, _asleep(before.asleep, seen.asleep, middle))


def closed(roster: Roster) -> Roster:
    """Of a cluster that is deleted: all that it had ended when it was seen last, for all that is known."""
    nodes: dict[str, NodeLife] = {}
    pods: dict[str, PodLife] = {}
    asleep: dict[str, Span] = {}
    moved = {key: _closed(nodes, key, life, roster.seen_at) for key, life in roster.nodes.items()}
    for key, life in roster.pods.items():
        _closed(pods, key, life._replace(node=moved.get(life.node, life.node)), roster.seen_at)
    for name, span in roster.asleep.items():
        _closed(asleep, name, span, roster.seen_at)
    return Roster(roster.seen_at, nodes, pods, asleep=asleep)


def without_past(roster: Roster, through: int) -> Roster:
    """Without what ended by then, where all up to then is counted."""
    return Roster(
        roster.seen_at,
        _going_on(roster.nodes, through),
        _going_on(roster.pods, through),
        roster.pools,
        _going_on(roster.asleep, through),
    )


def name_of(key: str) -> str:
    """The name that is in a roster's key; no name in Kubernetes has an @."""
    return key.partition("@")[0]


def _going_on(lives: Mapping[str, Life], through: int) -> dict[str, Life]:
    return {key: life for key, life in lives.items() if life.end is None or life.end > through}


def _nodes(
    before: Mapping[str, NodeLife], seen: Mapping[str, NodeLife], middle: int
) -> tuple[dict[str, NodeLife], dict[str, str]]:
    """With the new key of each that has another one than before."""
    found: dict[str, NodeLife] = {}
    moved: dict[str, str] = {}
    at = {life.instance: key for key, life in seen.items() if life.instance}
    for key, life in before.items():
        if life.end is not None:
            found[key] = life
            continue
        # It gets its Node's name when it has one, and keeps its NodeClaim's when the Node is deleted first.
        place = at.get(life.instance, key)
        now = seen.get(place)
        if now and not _is_another(life, now) and now.machine == life.machine:
            found[place] = life._replace(instance=now.instance or life.instance)
            moved |= {key: place} if place != key else {}
            continue
        end = max(life.begin, min(middle, now.begin) if now and _is_another(life, now) else middle)
        moved[key] = _ended(found, key, life, end)
        if now and not _is_another(life, now):
            found[place] = now._replace(begin=end)
    return {**seen, **found}, moved


def _is_another(life: NodeLife, now: NodeLife) -> bool:
    """Names of machines come again."""
    if life.instance and now.instance:
        return life.instance != now.instance
    return now.begin > life.begin


def _pods(
    before: Mapping[str, PodLife], seen: Mapping[str, PodLife], moved: Mapping[str, str], middle: int
) -> dict[str, PodLife]:
    found: dict[str, PodLife] = {}
    for key, life in before.items():
        life, now = life._replace(node=moved.get(life.node, life.node)), seen.get(key)
        if life.end is not None or (now and _goes_on(life, now)):
            found[key] = life
            continue
        is_another = now is not None and now.begin > life.begin
        end = max(life.begin, min(middle, now.begin) if now and is_another else middle)
        _ended(found, key, life, end)
        if now and not is_another:
            found[key] = now._replace(begin=end)
    return {**{key: _come(life, middle) for key, life in seen.items()}, **found}


def _come(life: PodLife, middle: int) -> PodLife:
    """One that its kubelet has not taken yet was put on its machine since the reconcile before."""
    return life if life.begin else life._replace(begin=middle)


def _on_both(
    seen: Mapping[str, PodLife], nodes: Mapping[str, NodeLife], moved: Mapping[str, str]
) -> dict[str, PodLife]:
    """Of those that have come: with the time on their machine before that offered another N."""
    found: dict[str, PodLife] = {}
    for key, life in seen.items():
        turn, ended = nodes[life.node].begin, moved.get(life.node, "")
        if ended in nodes and life.begin < turn == nodes[ended].end:
            _ended(found, key, life._replace(node=ended), turn)
            life = life._replace(begin=turn)
        found[key] = life
    return found


def _goes_on(life: PodLife, now: PodLife) -> bool:
    """It may count from later on than it began."""
    return now.begin <= life.begin and now._replace(begin=life.begin) == life


def _ended(found: dict[str, Life], key: str, life: Life, end: int) -> str:
    ended = f"{name_of(key)}@{end}"
    found[ended] = life._replace(end=end)
    return ended


def _closed(found: dict[str, Life], key: str, life: Life, end: int) -> str:
    if life.end is None:
        return _ended(found, key, life, max(life.begin, end))
    found[key] = life
    return key


def _asleep(before: Mapping[str, Span], seen: Collection[str], middle: int) -> dict[str, Span]:
    found = {name: Span(middle) for name in seen}
    for name, span in before.items():
        if span.end is not None or name in seen:
            found[name] = span
        else:
            _ended(found, name, span, max(span.begin, middle))
    return found


def _replicas(before: Replicas | None, now: Replicas) -> Replicas:
    """The reason of a change is known while it is under way, and needed when it is done."""
    return now if now.why or before is None or before.n != now.n else before
