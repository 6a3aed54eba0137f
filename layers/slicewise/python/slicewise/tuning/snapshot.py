"""What a reconcile of tuning observed, as text that a person can save, send and plan from again. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.kube.ref import ref_of
from slicewise.model.cluster import Alarm, ClusterContents, EksCluster, Series
from slicewise.model.usage import Page
from slicewise.policy.model import MetricsSource, Policy, parse
from slicewise.pools import layout
from slicewise.tuning.state.observation import (
    Complete,
    Deleted,
    Measurement,
    MetricsUnreadable,
    NotRead,
    NotReady,
    Observation,
    Observed,
    Offboarding,
    Partial,
    Paused,
    PolicyInvalid,
    Unmanaged,
)
from slicewise.tuning.usage.pages import history_of, pages
from slicewise.tuning.usage.points import points_of
from slicewise.tuning.usage.pool_usage import read
from slicewise.tuning.usage.readings import Device, Fault, PodPoints, Points, Readings

VERSION = 1
_LISTS = (
    *("node_pools", "node_overlays", "node_claims", "nodes"),
    *("pods", "failed_pods", "disruption_budgets", "workloads", "templates", "publishers"),
)


class Unreadable(Exception):
    """The text is no snapshot that this release can read; says why."""


# What a state lacks.
_NOTHING: Mapping[str, Any] = {
    "cluster": None,
    "policy_name": None,
    "policy": "",
    "paused": None,
    "contents": None,
    "objects": [],
    "series": [],
    "found": None,
    "series_error": "",
    "measured": [],
    "measured_at": None,
    "alarms": [],
    "known": [],
}


def dump(found: Observation, now: datetime) -> str:
    """Pods have only what tuning reads of them: no environment, no images, no secrets."""
    plain = {"slicewise_snapshot": VERSION, "taken_at": now.isoformat(), **_NOTHING, **_dumped(found)}
    return json.dumps(plain, default=_plain)


def _dumped(found: Observation) -> dict[str, Any]:
    match found:
        case Deleted(alarms):
            return {"alarms": list(map(_of, alarms))}
        case Paused():
            of_state: dict[str, Any] = {"policy_name": found.policy_name, "paused": found.why}
            of_state |= {"known": list(found.recorded)}
        case PolicyInvalid():
            of_state = {"policy_name": found.policy_name, "known": list(found.recorded)}
            of_state |= _dumped_contents(found.contents)
        case Unmanaged():
            of_state = {"alarms": list(map(_of, found.alarms)), **_dumped_contents(found.contents)}
        case Offboarding():
            of_state = {"policy_name": found.policy_name, "policy": found.policy_text}
            of_state |= {"alarms": list(map(_of, found.alarms)), **_dumped_contents(found.contents)}
        case NotReady():
            of_state = {"policy_name": found.policy_name, "policy": found.policy_text}
            of_state |= {"alarms": list(map(_of, found.alarms)), "known": list(found.recorded)}
        case Observed():
            of_state = {"policy_name": found.policy_name, "policy": found.policy_text}
            of_state |= {"alarms": list(map(_of, found.alarms)), "known": list(found.recorded)}
            of_state |= {**_dumped_contents(found.contents), **_dumped_measurement(found.measurement)}
    return {"cluster": _of(found.cluster), **of_state}


def _dumped_contents(contents: ClusterContents | None) -> dict[str, Any]:
    if contents is None:
        return {}
    lists = {name: list(getattr(contents, name) or ()) for name in _LISTS}
    return {"contents": lists, "objects": list(contents.objects.values())}


def _dumped_measurement(measurement: Measurement) -> dict[str, Any]:
    match measurement:
        case Complete(found, history, at):
            kept = [_of(page) for page in pages(history, 0, "")]
            return {"found": _readings(found), "measured": kept, "measured_at": at}
        case Partial(found):
            return {"found": _readings(found)}
        case MetricsUnreadable(why):
            return {"series_error": why}
        case NotRead():
            return {}


def load(text: str) -> tuple[Observation, datetime]:
    """
    What was observed, and when. Fields that only another release writes are left out.

    Raises:
        Unreadable: It is no snapshot.
        InvalidPolicy: Its policy is none for this release.
    """
    try:
        found = json.loads(text)
        # In any version: what can be read of another one is what this one needs.
        found["slicewise_snapshot"]
        return _observation(found), _time(found["taken_at"])
    except UNREADABLE as error:
        raise Unreadable(f"it is no snapshot ({type(error).__name__}: {error})") from error


def version(text: str) -> object:
    """Of a snapshot that can be loaded."""
    return json.loads(text)["slicewise_snapshot"]


def _observation(found: dict[str, Any]) -> Observation:
    """That it is offboarded, or its policy wrong, is not written down: what else is there decides."""
    alarms = tuple(_alarm(one) for one in found.get("alarms") or ())
    known = tuple(one for one in found.get("known") or () if isinstance(one, dict))
    text, policy_name = found.get("policy") or "", found.get("policy_name")
    policy = parse(text, found["policy_name"]) if text else None
    contents = _contents(found) if found.get("contents") else None
    if not found.get("cluster"):
        return Deleted(alarms)
    cluster = _cluster(found["cluster"])
    if paused := found.get("paused"):
        return Paused(cluster, paused, policy_name, known)
    if policy is None:
        return Unmanaged(cluster, alarms, contents)
    if contents is None:
        return NotReady(cluster, policy.name, policy, text, alarms, known)
    measurement = _measurement(found, policy, contents)
    return Observed(
        cluster, policy.name, policy, contents, measurement, policy_text=text, alarms=alarms, recorded=known
    )


def _measurement(found: dict[str, Any], policy: Policy, contents: ClusterContents) -> Measurement:
    """What an earlier release read was series, and the whole week each time."""
    source = policy.metrics.source
    if why := found.get("series_error"):
        return MetricsUnreadable(why)
    if source is MetricsSource.NONE:
        return NotRead()
    at = _time(found.get("measured_at") or found["taken_at"])
    history = history_of(_page(one) for one in found.get("measured") or ())
    if found.get("found"):
        return Complete(_readings_of(found["found"]), history, at)
    series = tuple(_series(one) for one in found.get("series") or ())
    return Complete(read(series, source.value, contents), history, at)


def _cluster(found: dict[str, Any]) -> EksCluster:
    groups = tuple(found.get("bottlerocket_node_groups") or ())
    given = _known(EksCluster, found) | {"bottlerocket_node_groups": groups}
    return EksCluster(**{**given, "created_at": _time(found["created_at"])})


def _contents(found: dict[str, Any]) -> ClusterContents:
    lists: dict[str, Any] = {name: tuple(found["contents"].get(name) or ()) for name in _LISTS}
    objects = {ref_of(item): item for item in found.get("objects") or ()}
    known = {ref: item for ref, item in objects.items() if ref == layout.CONFIG_MAP}
    return ClusterContents(version="", objects=known, **lists)


def _series(found: dict[str, Any]) -> Series:
    given = _known(Series, found)
    return Series(**{**given, "times": tuple(given["times"]), "values": tuple(given["values"])})


_POINTS = ("busy", "memory_mib", "xid", "sharers", "fewest", "most")


def _readings(readings: Readings) -> dict[str, Any]:
    """Points as pairs of a second and a value, since JSON's keys are texts."""

    def plain(one: Any) -> dict[str, Any]:
        of_one = _of(one)
        points = {name: list(of_one[name].items()) for name in _POINTS if name in of_one}
        return {**of_one, **points, **({"fault": one.fault and one.fault.name} if "fault" in of_one else {})}

    slots = {name: getattr(readings, name) for name in ("slots_in_use", "most_slots")}
    return {
        **_of(readings),
        "devices": list(map(plain, readings.devices)),
        "gone": list(map(plain, readings.gone)),
        "pods": list(map(plain, readings.pods)),
        "away": sorted(readings.away),
        **{
            name: {node: list(points.items()) for node, points in found.items()}
            for name, found in slots.items()
        },
    }


def _readings_of(found: dict[str, Any]) -> Readings:
    def of(kind: type[Any], one: dict[str, Any]) -> Any:
        points = {name: _points(one[name]) for name in _POINTS if name in one}
        fault = {"fault": Fault[one["fault"]]} if one.get("fault") else {}
        return kind(**{**_known(kind, one), **_known(kind, points), **fault})

    return Readings(
        **{
            **_known(Readings, found),
            "devices": tuple(of(Device, one) for one in found["devices"]),
            "gone": tuple(of(Device, one) for one in found.get("gone") or ()),
            "pods": tuple(of(PodPoints, one) for one in found["pods"]),
            "slots_in_use": {node: _points(of_one) for node, of_one in found["slots_in_use"].items()},
            "most_slots": {node: _points(of_one) for node, of_one in found["most_slots"].items()},
            "away": frozenset(found["away"]),
            "incomplete": tuple(found["incomplete"]),
        }
    )


def _points(found: list[tuple[int, float]]) -> Points:
    return points_of(tuple(at for at, _ in found), [value for _, value in found])


def _page(found: dict[str, Any]) -> Page:
    return Page(**{**_known(Page, found), "content": base64.b64decode(found["content"])})


def _alarm(found: dict[str, Any]) -> Alarm:
    since = found.get("state_since")
    return Alarm(**{**_known(Alarm, found), "state_since": _time(since) if since else None})


def _known(kind: type[Any], found: dict[str, Any]) -> dict[str, Any]:
    """What another release adds is left out; what it lacks has its default, or is missed by name."""
    return {field.name: found[field.name] for field in fields(kind) if field.name in found}


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return at


def _of(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} in a snapshot")
