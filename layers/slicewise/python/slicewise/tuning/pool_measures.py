"""What is reported of each NodePool as metrics (planning/measures.py). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from slicewise.kube.labels import ASLEEP
from slicewise.kube.objects import annotations_of
from slicewise.model.measures import PoolMeasures
from slicewise.tuning.state.observation import Observed
from slicewise.tuning.state.pool_state import PoolState
from slicewise.tuning.usage.points import since
from slicewise.tuning.usage.readings import Device

_RECENT = timedelta(hours=1)


def pool_measures(states: Sequence[PoolState], seen: Observed, now: datetime) -> tuple[PoolMeasures, ...]:
    begin = (now - _RECENT).timestamp()
    busy = _busy_by_node(seen.readings.devices, begin)
    return tuple(_of(state, busy) for state in states)


def _of(state: PoolState, busy: Mapping[str, Sequence[float]]) -> PoolMeasures:
    measured = [share for node in state.nodes for share in busy.get(node.name, ())]
    return PoolMeasures(
        node_pool=state.name,
        n=state.n,
        slices_in_use=sum(node.slots_in_use for node in state.nodes),
        gpus=sum(node.gpus for node in state.nodes),
        busy=sum(measured) / len(measured) if measured else None,
        asleep=ASLEEP in annotations_of(state.node_pool),
    )


def _busy_by_node(devices: Iterable[Device], begin: float) -> dict[str, list[float]]:
    """Of each GPU the mean since then, in seconds, where anything was measured."""
    found: dict[str, list[float]] = {}
    for device in devices:
        if values := since(device.busy, begin):
            found.setdefault(device.node, []).append(sum(values) / len(values))
    return found
