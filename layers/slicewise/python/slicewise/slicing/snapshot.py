"""What a tuning pass observed, as text that a person can keep, send and plan from again. Pure."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from typing import Any

from slicewise import layout
from slicewise.model import Alarm, ClusterContents, EksCluster, Series, ref_of
from slicewise.policy import parse
from slicewise.slicing.world import TuningWorld

VERSION = 1
_LISTS = (
    *("node_pools", "node_overlays", "node_claims", "nodes"),
    *("pods", "failed_pods", "disruption_budgets", "workloads"),
)


class Unreadable(Exception):
    """The text is no snapshot of this release; says why."""


def dump(world: TuningWorld, now: datetime) -> str:
    """Pods hold only what tuning reads of them: no environment, no images, no secrets."""
    contents = world.contents
    return json.dumps(
        {
            "slicewise_snapshot": VERSION,
            "taken_at": now.isoformat(),
            "cluster": _of(world.cluster) if world.cluster else None,
            "policy_name": world.policy_name,
            "policy": world.policy_text,
            "paused": world.paused,
            "contents": {name: list(getattr(contents, name)) for name in _LISTS} if contents else None,
            "objects": list(contents.objects.values()) if contents else [],
            "series": [_of(series) for series in world.series],
            "series_error": world.series_error,
            "alarms": [_of(alarm) for alarm in world.alarms],
            "known": list(world.known),
        },
        default=_plain,
    )


def load(text: str) -> tuple[TuningWorld, datetime]:
    """
    The world again, and when it was.

    Raises:
        Unreadable: It is no snapshot.
    """
    try:
        found = json.loads(text)
        if found["slicewise_snapshot"] != VERSION:
            raise Unreadable(f"it is of version {found['slicewise_snapshot']}; this release reads {VERSION}")
        return _world(found), datetime.fromisoformat(found["taken_at"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unreadable(f"it is no snapshot ({type(error).__name__}: {error})") from error


def _world(found: dict[str, Any]) -> TuningWorld:
    policy = parse(found["policy"], found["policy_name"]) if found["policy"] else None
    return TuningWorld(
        cluster=_cluster(found["cluster"]) if found["cluster"] else None,
        policy_name=found["policy_name"],
        policy=policy,
        policy_text=found["policy"],
        paused=found["paused"],
        contents=_contents(found) if found["contents"] else None,
        series=tuple(_series(one) for one in found["series"]),
        series_error=found["series_error"],
        alarms=tuple(_alarm(one) for one in found["alarms"]),
        known=tuple(found.get("known") or ()),  # releases before this one left it out
    )


def _cluster(found: dict[str, Any]) -> EksCluster:
    known = {field.name for field in fields(EksCluster)} & found.keys()
    groups = tuple(found.get("bottlerocket_node_groups") or ())
    given = {name: found[name] for name in known} | {"bottlerocket_node_groups": groups}
    return EksCluster(**{**given, "created_at": datetime.fromisoformat(found["created_at"])})


def _contents(found: dict[str, Any]) -> ClusterContents:
    lists = {name: tuple(found["contents"].get(name) or ()) for name in _LISTS}
    objects = {ref_of(item): item for item in found["objects"]}
    assert set(objects) <= {layout.CONFIG_MAP}
    return ClusterContents(version="", objects=objects, **lists)


def _series(found: dict[str, Any]) -> Series:
    return Series(**{**found, "times": tuple(found["times"]), "values": tuple(found["values"])})


def _alarm(found: dict[str, Any]) -> Alarm:
    since = found["state_since"]
    return Alarm(**{**found, "state_since": datetime.fromisoformat(since) if since else None})


def _of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in a snapshot")
