"""
What a sleep has saved, in node-hours and at list prices: what would have run, less what did. Pure.

What would have run are the nodes that were there when the sleep began, for as long as it lasts: a night's
load is taken to be the evening's. What did run is counted from reconcile to reconcile, as the nodes that each
of them sees. People read it; nothing is decided by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.hardware import prices
from slicewise.kube.objects import labels
from slicewise.kube.ref import Object

METHOD = (
    "nodes that ran when the sleep began, for its length, less the node-hours that ran in it; "
    f"at list prices, {prices.TERMS}, Spot and reservations without one"
)
_TYPE, _CAPACITY = "node.kubernetes.io/instance-type", "karpenter.sh/capacity-type"
_ON_DEMAND = "on-demand"


def counted(known: Sequence[Mapping[str, Any]], nodes: Iterable[Object], now: datetime) -> dict[str, Any]:
    """
    The details of a sleep after a reconcile.

    Args:
        known: Details of the record before: a sleep that has no end there goes on, also when its end was
            changed meanwhile.
    """
    there = Counter(map(_kind, nodes))
    before = next((one for one in known if "began" in one and not one.get("ended")), None)
    try:
        return _counted_on(before, there, now) if before else _begun(there, now)
    except UNREADABLE:
        return {**_begun(there, now), "note": "what was counted before cannot be read, and is not in it"}


def _begun(there: Mapping[str, int], now: datetime) -> dict[str, Any]:
    moment = now.isoformat()
    began = {"began": moment, "counted": moment, "nodes": dict(there), "ran": {}, "saved": {}}
    return {**began, "usd": 0.0, "method": METHOD}


def _counted_on(before: Mapping[str, Any], there: Mapping[str, int], now: datetime) -> dict[str, Any]:
    hours = _hours(before["counted"], now)
    ran = {kind: float(value) for kind, value in before["ran"].items()}
    for kind, number in there.items():
        ran[kind] = round(ran.get(kind, 0.0) + number * hours, 3)
    length = _hours(before["began"], now)
    # Less than nothing where machines ran that did not when the sleep began.
    kinds = {kind: int(number) for kind, number in before["nodes"].items()} | dict.fromkeys(
        ran.keys() - before["nodes"].keys(), 0
    )
    saved = {kind: round(n * length - ran.get(kind, 0.0), 3) for kind, n in sorted(kinds.items())}
    usd = round(sum(hours * (_price(kind) or 0.0) for kind, hours in saved.items()), 2)
    return {**before, "counted": now.isoformat(), "ran": ran, "saved": saved, "usd": usd}


def message(detail: Mapping[str, Any]) -> str:
    """In words; empty where nothing would have run."""
    saved = {kind: float(hours) for kind, hours in detail.get("saved", {}).items() if float(hours) > 0}
    words = [
        f"{hours:.{_digits(hours)}f} node-hours of {_priced(kind)}" for kind, hours in sorted(saved.items())
    ]
    usd = float(detail.get("usd", 0.0))
    total = f": ${usd:,.2f} ({prices.TERMS})" if words and usd > 0 else ""
    note = f"; {detail['note']}" if words and detail.get("note") else ""
    return ", ".join(words) + total + note


def _digits(hours: float) -> int:
    """After the point: a sleep of minutes has saved something, too."""
    return 1 if hours >= 1 else 2


def _priced(kind: str) -> str:
    price = _price(kind)
    return f"{kind} at ${price:g}" if price is not None else f"{kind}, which has no list price"


def _price(kind: str) -> float | None:
    machine, _, capacity = kind.partition(" ")
    return None if capacity else prices.usd_an_hour(machine)


def _kind(node: Object) -> str:
    """Its machine's type; of Spot and reservations, which cost something else, that too."""
    found = labels(node)
    capacity = found.get(_CAPACITY, _ON_DEMAND)
    machine = found.get(_TYPE, "unknown")
    return machine if capacity == _ON_DEMAND else f"{machine} {capacity}"


def _hours(begin: str, end: datetime) -> float:
    return (end - datetime.fromisoformat(begin)).total_seconds() / 3600
