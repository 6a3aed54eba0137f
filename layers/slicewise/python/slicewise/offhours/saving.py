"""
What a sleep has saved, in node-hours: what would have run, less what did. Pure.

What would have run are the nodes that stood when the sleep began, for as long as it lasts: a night's load is
taken to be the evening's. What did run is counted from pass to pass, as the nodes that each of them sees.
People read it; nothing is decided by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slicewise.model import Object
from slicewise.objects import labels

METHOD = "nodes that ran when the sleep began, for its length, less the node-hours that ran in it"
_TYPE = "node.kubernetes.io/instance-type"


def counted(
    known: Sequence[Mapping[str, Any]], window: str, nodes: Iterable[Object], now: datetime
) -> dict[str, Any]:
    """The details of a sleep after a look at it; `known` are those of the record before."""
    there = Counter(labels(node).get(_TYPE, "unknown") for node in nodes)
    before = next((one for one in known if one.get("window") == window), None)
    if before is None:
        moment = now.isoformat()
        return {
            "window": window,
            "began": moment,
            "counted": moment,
            "nodes": dict(there),
            "ran": {},
            "saved": {},
            "method": METHOD,
        }
    hours = _hours(before["counted"], now)
    ran = {kind: float(value) for kind, value in before["ran"].items()}
    for kind, number in there.items():
        ran[kind] = round(ran.get(kind, 0.0) + number * hours, 3)
    length = _hours(before["began"], now)
    saved = {kind: round(int(n) * length - ran.get(kind, 0.0), 3) for kind, n in before["nodes"].items()}
    return {**before, "counted": now.isoformat(), "ran": ran, "saved": saved}


def told(detail: Mapping[str, Any]) -> str:
    """In words; empty where nothing would have run."""
    saved = {kind: hours for kind, hours in detail.get("saved", {}).items() if float(hours) > 0}
    return ", ".join(f"{float(hours):.1f} node-hours of {kind}" for kind, hours in sorted(saved.items()))


def _hours(begin: str, end: datetime) -> float:
    return (end - datetime.fromisoformat(begin)).total_seconds() / 3600
