"""
What a reconcile of tuning observes of what GPUs cost, and the days that it has counted. Pure.

It is observed in every mode, of each NodePool whose nodes tuning reads: also of one that is not shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from slicewise.costs.count.collect import counted
from slicewise.costs.count.lives import UNMEASURED, CostObservation, Measured, name_of
from slicewise.costs.day import Machine, NodeLife, PodLife, Replicas, Workload
from slicewise.costs.text import load, to_keep
from slicewise.errors import UNREADABLE
from slicewise.kube import quantities
from slicewise.kube.labels import ASLEEP, CLASS_LABEL, POOL_LABEL
from slicewise.kube.objects import annotations_of, asked, created_at, labels, moment, name, spec, status
from slicewise.kube.ref import Object
from slicewise.model.cluster import ClusterContents
from slicewise.model.costs import CostDay
from slicewise.pools import layout
from slicewise.tuning.state.observation import Complete, Observed
from slicewise.tuning.state.pool_plan import PoolPlan
from slicewise.tuning.state.pool_state import PoolState
from slicewise.tuning.usage.history import settled
from slicewise.tuning.usage.owners import topmost_owner
from slicewise.tuning.usage.points import STEP_SECONDS
from slicewise.tuning.usage.pool_usage import Window, card_mib

# So long measurements that cannot be read are waited for; after that, what they would have shown is not
# known.
_PATIENCE_SECONDS = 6 * 3600
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_OF_MIG = "nvidia.com/mig-"
_MIB = 1024 * 1024
_MOST_LABELS = 10
# Controllers write these on the pods that they make; each pod or release has others.
_OF_CONTROLLERS = frozenset(
    {
        *("pod-template-hash", "pod-template-generation", "controller-revision-hash", "controller-uid"),
        *("job-name", "rollouts-pod-template-hash", "statefulset.kubernetes.io/pod-name"),
        *("apps.kubernetes.io/pod-index", "batch.kubernetes.io/controller-uid"),
        *("batch.kubernetes.io/job-name", "batch.kubernetes.io/job-completion-index"),
    }
)


def cost_days(seen: Observed, states: Iterable[PoolState], plans: Iterable[PoolPlan]) -> Iterator[CostDay]:
    """In the order in which they are kept; none where this reconcile has not read the whole."""
    if seen.costs is None:
        return iter(())
    newest = load(seen.costs.newest) if seen.costs.newest else None
    return to_keep(counted(newest, observation(seen, states, plans, seen.costs.at)))


def observation(
    seen: Observed, states: Iterable[PoolState], plans: Iterable[PoolPlan], at: datetime
) -> CostObservation:
    contents, node_pools = seen.contents, {state.name: state for state in states}
    nodes = dict(_nodes(contents, node_pools, _pools(seen)))
    pods = list(_pods(contents, set(nodes)))
    of_workloads = {life.workload: pod for pod, life in sorted(pods, key=lambda one: one[1].begin)}
    until = settled(at) + STEP_SECONDS - (_PATIENCE_SECONDS if seen.metrics_error else 0)
    details = {one.name: one.detail for one in plans}
    return CostObservation(
        at=int(at.timestamp()),
        until=until,
        cluster_since=int(seen.cluster.created_at.timestamp()),
        nodes=nodes,
        pods={_key(pod): life for pod, life in pods},
        pools={one.name: Replicas(one.n, _why(one, details)) for one in node_pools.values()},
        asleep={
            name(one): str(details.get(name(one), {}).get("reason", ""))
            for one in contents.node_pools
            if ASLEEP in annotations_of(one)
        },
        classes={name(one) for one in contents.node_pools if CLASS_LABEL in labels(one)},
        class_reasons=_class_reasons((*seen.recorded, *details.values())),
        labels={workload: _own_labels(pod) for workload, pod in of_workloads.items()},
        measured=_measurements(seen, nodes),
        nights={str(night["began"]): night for night in seen.costs.nights} if seen.costs else {},
    )


def _why(state: PoolState, details: Mapping[str, Mapping[str, Any]]) -> str:
    """Of the change of N that is under way, or begins."""
    if state.rollout:
        return state.rollout.reason
    detail = details.get(state.name, {})
    return str(detail.get("reason", "")) if "rollout" in detail else ""


def _class_reasons(details: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Of those that can be read: what a record before has may be of another release."""
    found: dict[str, str] = {}
    for detail in details:
        try:
            found |= dict(map(_class_reason, detail["workloads"]))
        except UNREADABLE:
            continue
    return found


def _class_reason(one: Mapping[str, Any]) -> tuple[str, str]:
    _, kind, called, namespace = one["ref"]
    return f"{namespace}/{kind}/{called}", str(one["reason"])


# Machines


def _pools(seen: Observed) -> Mapping[str, str]:
    """Of NodePools that were there before us, whose nodes may not have our label yet."""
    return {pool.adopt: pool.name for pool in seen.policy.pools if pool.adopt}


def _nodes(
    contents: ClusterContents, states: Mapping[str, PoolState], adopted: Mapping[str, str]
) -> Iterator[tuple[str, NodeLife]]:
    claims = {status(claim).get("nodeName") or name(claim): claim for claim in contents.node_claims}
    for node in contents.nodes:
        claim = claims.pop(name(node), None)
        yield name(node), _life(node, claim or node, _machine(node, states, adopted))
    for claim in claims.values():
        # Before it has an instance nothing is paid for.
        if status(claim).get("providerID"):
            yield name(claim), _life(claim, claim, _machine(claim, states, adopted))


def _life(item: Object, claim: Object, machine: Machine) -> NodeLife:
    provider = spec(item).get("providerID") or status(claim).get("providerID") or ""
    began = created_at(claim) or created_at(item)
    return NodeLife(str(provider).rpartition("/")[2], machine, int(began.timestamp()) if began else 0)


def _machine(item: Object, states: Mapping[str, PoolState], adopted: Mapping[str, str]) -> Machine:
    found = labels(item)
    node_pool, count = found.get(layout.NODE_POOL_LABEL, ""), found.get(layout.GPU_COUNT_LABEL, "")
    gpus = int(count) if count.isdecimal() and int(count) else 1
    return Machine(
        node_pool,
        found.get(POOL_LABEL) or adopted.get(node_pool, ""),
        found.get(_INSTANCE_TYPE, ""),
        found.get(layout.CAPACITY_TYPE_LABEL, "on-demand"),
        found.get(layout.GPU_NAME_LABEL, ""),
        gpus,
        _n(item, gpus, states.get(node_pool)),
    )


def _n(item: Object, gpus: int, state: PoolState | None) -> int:
    """
    By what it offers; before it does, by its key, or its NodePool's. Rounded up: a GPU that has failed is
    paid for as before.
    """
    offered = status(item).get("allocatable") or {}
    slices = sum(quantities.whole(offered[one]) for one in offered if _is_of_a_gpu(one))
    promised = layout.slices_of_key(labels(item).get(layout.CONFIG_LABEL, ""))
    return -(-slices // gpus) or promised or (state.n if state else 1)


def _is_of_a_gpu(resource: str) -> bool:
    return resource == layout.GPU_RESOURCE or resource.startswith(_OF_MIG)


def _is_split(node: Object) -> bool:
    """
    Whether by MIG: a source measures each instance by itself, as if it were a GPU
    (github.com/NVIDIA/DCGM/issues/138).
    """
    return any(one.startswith(_OF_MIG) for one in status(node).get("allocatable") or ())


# Pods


def _pods(contents: ClusterContents, nodes: set[str]) -> Iterator[tuple[Object, PodLife]]:
    """Those on the machines that hold slices; `begin` is 0 where no kubelet has taken it yet."""
    for pod in contents.pods:
        node = spec(pod).get("nodeName")
        if node in nodes and (slices := _slices(pod)):
            began = moment(status(pod).get("startTime"))
            begin = int(began.timestamp()) if began else 0
            cpu, ram = (_requested(pod, resource, unit) for resource, unit in _REQUESTS)
            yield pod, PodLife(node, _workload(pod), slices, begin, None, cpu, ram)


# With how much of it is one of a PodLife's units, in thousandths.
_REQUESTS = (("cpu", 1), ("memory", 1000 * _MIB))


def _slices(pod: Object) -> int:
    return sum(asked(pod, resource) for resource in set(_resources(pod)))


def _resources(pod: Object) -> Iterator[str]:
    for container in _containers(pod):
        for amounts in (container.get("resources") or {}).values():
            yield from (one for one in amounts or () if _is_of_a_gpu(one))


def _containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    yield from spec(pod).get("containers") or ()
    yield from spec(pod).get("initContainers") or ()


def _requested(pod: Object, resource: str, unit: int) -> int:
    """By its containers together, or the largest initial one."""
    side_by_side = sum(_of(one, resource, unit) for one in spec(pod).get("containers") or ())
    return max([side_by_side, *(_of(one, resource, unit) for one in spec(pod).get("initContainers") or ())])


def _of(container: Mapping[str, Any], resource: str, unit: int) -> int:
    amounts = container.get("resources") or {}
    found = (amounts.get("requests") or {}).get(resource) or (amounts.get("limits") or {}).get(resource)
    return math.ceil(quantities.number(found) * 1000 / unit) if found else 0


def _workload(pod: Object) -> Workload:
    owner = topmost_owner(pod)
    return Workload(owner.api_version.rpartition("/")[0], owner.kind, owner.namespace, owner.name)


def _own_labels(pod: Object) -> dict[str, str]:
    """Those of people first, such as team: the recommended ones of Kubernetes name what is known anyway."""
    own = [key for key in labels(pod) if key not in _OF_CONTROLLERS]
    own.sort(key=lambda key: ("kubernetes.io/" in key, key))
    return {key: labels(pod)[key] for key in own[:_MOST_LABELS]}


def _key(pod: Object) -> str:
    return f"{pod['metadata'].get('namespace', 'default')}/{name(pod)}"


# What was measured


def _measurements(seen: Observed, nodes: Mapping[str, NodeLife]) -> Callable[[str, PodLife], Measured]:
    if not isinstance(seen.measurement, Complete):
        return lambda key, life: UNMEASURED
    node_pools = frozenset(life.machine.node_pool for life in nodes.values())
    at, history = seen.measurement.at, seen.measurement.history
    window = Window(seen.readings, seen.contents, node_pools, at, history)
    cards = {name(node): card_mib(node) or 0 for node in seen.contents.nodes}
    parts = {name(node): nodes[name(node)].machine.n for node in seen.contents.nodes if _is_split(node)}

    def measured(key: str, life: PodLife) -> Measured:
        namespace, _, called = name_of(key).partition("/")
        node = name_of(life.node)
        busy, memory = window.certain((namespace, called), node, life.slices)
        if part := parts.get(node):
            busy = {at: value / part for at, value in busy.items()}
        return Measured(busy, memory, cards.get(node, 0))

    return measured
