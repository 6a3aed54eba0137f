"""
Where EC2 has no machine of a pool's GPUs when people come: its fallback models are opened, and closed. Pure.

Onboarding makes their NodePools ahead, with overlays and N, and with a limit of no nodes. Opening one is to
take that limit away and to mark it, in one write: no writer is recorded of a field that is not there, so the
mark distinguishes what we opened from what a person did. What we mean to do is saved as a snapshot before, as
for all that we change.

    opened   pods wait for the pool, and EC2 has just refused Karpenter a machine of it
    closed   the cluster sleeps, or no policy names it any longer; or no machine was refused for a while, and
             nothing runs on its nodes

Karpenter tries the other NodePools of the pool first, each time (their weight), so an open one costs nothing
as long as the usual machines are to be had.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from slicewise.hardware import prices
from slicewise.hardware.gpus import GpuModel
from slicewise.kube import json_patch
from slicewise.kube import labels as kube_labels
from slicewise.kube.objects import annotations_of, being_deleted, labels, name, spec
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import targets as following
from slicewise.offhours.observation import Found, Observation
from slicewise.offhours.sleep_fields import OPENED
from slicewise.planning.actions import Action, DeleteSnapshot, Notify, Patch, SaveSnapshot
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Pool
from slicewise.pools import layout

# For 3 minutes Karpenter's AWS provider does not ask for what was refused, and then asks again (v1.14.1,
# pkg/cache, UnavailableOfferingsTTL): while it is so, there is always a refusal as young as this.
FRESH = timedelta(minutes=5)
# Longer than a machine takes to start: while one is on its way, nothing runs and nothing is refused either.
CALM = timedelta(minutes=20)
LOOK = timedelta(minutes=2)
_CLOSED = layout.NO_NODES["nodes"]
_MARK = ("metadata", "annotations", kube_labels.OPENED)
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"


@dataclass(frozen=True)
class Tended:
    """`wait`: when to reconcile again; None where nothing is pending."""

    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    wait: timedelta | None = None


@dataclass(frozen=True)
class _Fallback:
    pool: Pool
    gpu: GpuModel
    node_pool: Object
    snapshot: Snapshot | None

    @property
    def node_pool_name(self) -> str:
        return name(self.node_pool)


def closed(observation: Observation, found: Found, why: str) -> tuple[Action, ...]:
    """All that is open is closed."""
    return (
        *(action for snapshot in observation.opened for action in _close(found, snapshot, why)),
        *_close_unknown(observation, found),
    )


def are_open(observation: Observation, found: Found) -> frozenset[Ref]:
    """Those that are closed, not put to sleep."""
    marked = {ref_of(item) for item in found.node_pools if _is_marked(item)}
    return frozenset(marked | {snapshot.ref for snapshot in observation.opened})


def tended(observation: Observation, found: Found, until: str, now: datetime) -> Tended:
    """
    A pause, or a mode that only reports, has none opened; what is open is closed as ever.

    Args:
        until: When the cluster will sleep, or the night ends, as text for people.
    """
    fallbacks = {ref_of(one.node_pool): one for one in _fallbacks(observation, found)}
    actions: list[Action] = []
    findings: list[Finding] = []
    wait: timedelta | None = None
    for snapshot in observation.opened:
        one = fallbacks.get(snapshot.ref)
        if one is None:
            actions += _close(found, snapshot, "no policy names it as a fallback any more")
            continue
        state = _state(one.node_pool, snapshot)
        if state is _State.OPEN:
            # The reconcile that opened it may have been killed before it reported that. A part of its own: a
            # topic that refuses must not keep it open.
            waiting = [pod for pod in found.pods if _waits(pod, one.pool)]
            actions.append(replace(_notice(one, snapshot, len(waiting), observation, until), part=""))
        match state:
            case _State.GIVEN_BACK:
                actions.append(DeleteSnapshot(snapshot, "it is closed"))
            case _State.TAKEN:
                actions += _leave_alone(one.node_pool, snapshot)
            case _State.OPEN if not snapshot.done:
                actions.append(SaveSnapshot(snapshot.as_done(), "it is open"))
            case _State.OPEN if _is_calm(one, snapshot, found, now) and not _is_busy(one, found):
                why = "nothing runs there, and no other machine of the pool is refused"
                actions += _close(found, snapshot, why)
            case _State.OPEN:
                findings.append(_is_open(one, found, snapshot))
                wait = CALM / 2
    for one in fallbacks.values() if observation.may_sleep else ():
        waiting = [pod for pod in found.pods if _waits(pod, one.pool)]
        if waiting and not (one.snapshot and one.snapshot.done):
            wait = LOOK
            actions += _open(one, found, len(waiting), observation, until, now)
    return Tended((*actions, *_close_unknown(observation, found)), tuple(findings), wait)


class _State(Enum):
    """Of one that has a snapshot: what its limit and our mark, which we write together, say."""

    TO_OPEN = auto()
    OPEN = auto()
    GIVEN_BACK = auto()
    CLOSED_BY_A_PERSON = auto()  # which stays until the cluster sleeps
    TAKEN = auto()  # by a person, who gave it a limit of their own, or none


def _state(node_pool: Object, snapshot: Snapshot) -> _State:
    match OPENED.value(node_pool), _is_marked(node_pool):
        case None, True:
            return _State.OPEN
        case limit, True if limit == _CLOSED:
            return _State.CLOSED_BY_A_PERSON
        case limit, False if limit == _CLOSED:
            return _State.GIVEN_BACK if snapshot.done else _State.TO_OPEN
    return _State.TAKEN


def _is_marked(node_pool: Object) -> bool:
    return kube_labels.OPENED in annotations_of(node_pool)


def _fallbacks(observation: Observation, found: Found) -> Iterator[_Fallback]:
    live = {name(item): item for item in found.node_pools if not being_deleted(item)}
    opened = {one.ref: one for one in observation.snapshots if one.field == OPENED.field}
    for pool in (part for whole in observation.pools for part in whole.parts()):
        for gpu in pool.models():
            item = live.get(layout.node_pool_name(pool, gpu))
            if item and pool.is_fallback(gpu):
                yield _Fallback(pool, gpu, item, opened.get(ref_of(item)))


# Opening


def _open(
    one: _Fallback, found: Found, waiting: int, observation: Observation, until: str, now: datetime
) -> Iterator[Action]:
    snapshot, value = one.snapshot, OPENED.value(one.node_pool)
    if snapshot and snapshot in observation.opened:
        if _state(one.node_pool, snapshot) is _State.TO_OPEN:
            yield from _finish(one, snapshot, waiting, observation, until)
        return
    asleep = snapshot and not snapshot.woken
    # Another limit than ours is a person's, and stays.
    if asleep or value != _CLOSED or not _refusals(one, found, now - FRESH):
        return
    fresh = Snapshot(
        ref=ref_of(one.node_pool),
        field=OPENED.field,
        uid=str(one.node_pool["metadata"].get("uid") or ""),
        original=value,
        ours=OPENED.asleep,
        window=until,
        taken_at=now,
        version=snapshot.version + 1 if snapshot else 1,
    ).sealed()
    yield SaveSnapshot(fresh, "its limit is written down before it is taken away")
    yield from _finish(one, fresh, waiting, observation, until)


def _finish(
    one: _Fallback, snapshot: Snapshot, waiting: int, observation: Observation, until: str
) -> Iterator[Action]:
    """What is left of opening it."""
    operations = (
        *json_patch.set_value(one.node_pool, _MARK, until),
        *json_patch.remove(one.node_pool, OPENED.path),
    )
    message = f"take the limit of no nodes from NodePool {one.node_pool_name}, and mark it as open"
    yield Patch(snapshot.ref, operations, message, _why(one, waiting))
    yield SaveSnapshot(snapshot.as_done(), "it is open")
    yield _notice(one, snapshot, waiting, observation, until)


def _why(one: _Fallback, waiting: int) -> str:
    return f"{waiting} pods wait, and EC2 has no {_usual(one.pool)}"


def _notice(one: _Fallback, snapshot: Snapshot, waiting: int, observation: Observation, until: str) -> Notify:
    subject = f"Slicewise: {one.gpu.name} is opened for pool {one.pool.name} of {observation.cluster_name}"
    key = f"opened {snapshot.ref} {snapshot.taken_at.isoformat()}"
    return Notify(subject, _opens(one, waiting, until), _why(one, waiting), key, part=str(snapshot.ref))


def _opens(one: _Fallback, waiting: int, until: str) -> str:
    usual = one.pool.models()[0]
    return (
        f"EC2 has no {_usual(one.pool)}, and {waiting} pods of pool {one.pool.name} wait. So NodePool "
        f"{one.node_pool_name} may have nodes with {one.gpu.name}, until {until} at the latest.\n"
        f"A node-hour there costs {_from(one.pool, one.gpu)}; with {usual.name} {_from(one.pool, usual)} "
        f"(list prices, {prices.TERMS}).\n"
        f"To have none: remove {one.gpu.name} from fallbackGpus of the pool. To have it at all times: name "
        "it in gpus."
    )


def _from(pool: Pool, gpu: GpuModel) -> str:
    found = prices.cheapest(gpu.families)
    if found is None or min(gpu.counts) not in pool.counts(gpu):
        return "what its machine costs, which has no list price here"
    return f"from ${found[1]:g} ({found[0]})"


def _usual(pool: Pool) -> str:
    return " nor ".join(pool.gpus)


def _refusals(one: _Fallback, found: Found, since: datetime) -> list[str]:
    """NodePools of the pool, other than fallbacks, of which EC2 refused a machine since then."""
    names = [
        layout.node_pool_name(one.pool, gpu) for gpu in one.pool.models() if not one.pool.is_fallback(gpu)
    ]
    return [
        node_pool for node_pool in names if node_pool in found.refused and found.refused[node_pool] >= since
    ]


def _waits(pod: Object, pool: Pool) -> bool:
    if spec(pod).get("nodeName") or being_deleted(pod) or not following.chooses(spec(pod), pool.name):
        return False
    return layout.is_of_class(spec(pod), pool)


# Open, and closed again


def _is_calm(one: _Fallback, snapshot: Snapshot, found: Found, now: datetime) -> bool:
    return snapshot.taken_at <= now - CALM and not _refusals(one, found, now - CALM)


def _nodes(one: _Fallback, found: Found) -> list[Object]:
    return [node for node in found.nodes if labels(node).get(layout.NODE_POOL_LABEL) == one.node_pool_name]


def _is_busy(one: _Fallback, found: Found) -> bool:
    busy = {spec(pod).get("nodeName") for pod in found.pods if not following.goes_with_its_node(pod)}
    return any(name(node) in busy for node in _nodes(one, found))


def _is_open(one: _Fallback, found: Found, snapshot: Snapshot) -> Finding:
    kinds = [labels(node).get(_INSTANCE_TYPE, "") for node in _nodes(one, found)]
    cost = [f"{kinds.count(kind)} {_priced(kind)}" for kind in sorted(set(kinds))]
    usual = one.pool.models()[0]
    return Finding(
        "fallback-open",
        f"NodePool {one.node_pool_name} is open since {snapshot.taken_at:%d %b %H:%M} UTC, when EC2 had no "
        f"{_usual(one.pool)}: {', '.join(cost) or 'no node'} runs there; a node-hour with {usual.name} costs "
        f"{_from(one.pool, usual)}.",
        "It is closed when the cluster sleeps, or once the usual machines are to be had and it is empty.",
    )


def _priced(kind: str) -> str:
    price = prices.usd_an_hour(kind)
    return f"{kind} at ${price:g}" if price is not None else kind


def _close(found: Found, snapshot: Snapshot, why: str) -> Iterator[Action]:
    live = _live(found, snapshot.ref)
    if live is None:
        yield DeleteSnapshot(snapshot, "the NodePool is deleted")
    elif _state(live, snapshot) is _State.TAKEN:
        yield from _leave_alone(live, snapshot)
    else:
        yield from _give_back(live, why)
        yield DeleteSnapshot(snapshot, "it is closed")


def _close_unknown(observation: Observation, found: Found) -> Iterator[Action]:
    """Of which there is no snapshot, though it is marked: the table was emptied."""
    still = {snapshot.ref for snapshot in observation.opened}
    for item in found.node_pools:
        if _is_marked(item) and ref_of(item) not in still:
            if OPENED.value(item) is None:
                yield from _give_back(item, "nothing is known of why it is open")
            else:
                yield from _unmark(item)


def _give_back(node_pool: Object, why: str) -> Iterator[Action]:
    operations = (
        *json_patch.remove(node_pool, _MARK),
        *json_patch.set_value(node_pool, OPENED.path, _CLOSED),
    )
    if operations:
        yield Patch(ref_of(node_pool), operations, f"close NodePool {name(node_pool)}", why)


def _leave_alone(node_pool: Object, snapshot: Snapshot) -> Iterator[Action]:
    yield from _unmark(node_pool)
    yield DeleteSnapshot(snapshot, "a person or a tool has set another limit")


def _unmark(node_pool: Object) -> Iterator[Action]:
    if operations := json_patch.remove(node_pool, _MARK):
        ref = ref_of(node_pool)
        yield Patch(ref, operations, f"mark {ref} as not opened by us", "its limit is a person's")


def _live(found: Found, ref: Ref) -> Object | None:
    return next((item for item in found.node_pools if ref_of(item) == ref), None)
