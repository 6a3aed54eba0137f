"""The sections of a policy beside its pools: consolidation, metrics, tuning, NodeClass."""

from __future__ import annotations

import re
from collections.abc import Mapping

from slicewise.kube.quantities import NEVER
from slicewise.policy import switches
from slicewise.policy.bounds import all_bounds, spelt
from slicewise.policy.model import (
    LEARNED,
    BusinessHours,
    Consolidation,
    ConsolidationPolicy,
    Metrics,
    MetricsSource,
    NodeClass,
    Tuning,
)
from slicewise.policy.off_hours import BarePods, Jobs, MissedRuns, OffHours, Volumes
from slicewise.policy.reader import DURATION, Table
from slicewise.policy.switches import Switch
from slicewise.schedule import weekly_hours
from slicewise.schedule.entries import entry, zone_problem

# NodePool CRD v1, spec.disruption.consolidateAfter; the last word is ours.
_AFTER = re.compile(rf"{DURATION.pattern}|{NEVER}|{LEARNED}")
_CONSOLIDATION = {
    "policy": "policy",
    "after": "after",
    "idle_after": "idleAfter",
    "business_hours": "businessHours",
}
# Each may take four of Karpenter's 50 budgets in the week of a clock change.
_MOST_HOURS = 12
_NODES = re.compile(r"[0-9]{1,4}|([0-9]|[1-9][0-9]|100)%")  # NodePool CRD v1, spec.disruption.budgets
_ZONES = "write an IANA time zone such as Europe/Berlin"
_LISTS = 'write a list, such as ["Mon-Fri 08:00-18:00"]'
_SLEEPS = 'write a list, such as ["Mon-Fri 20:00-07:00", "Sat-Sun"]'
_SWITCHES = (
    "write a list, such as [{group: example.com, kind: ModelServer, path: spec.suspend, asleep: true}]"
)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ENDPOINTS = "write the URL of a Prometheus-compatible server or of an AMP workspace"
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
# What answers there is the machine itself, such as EC2's metadata: never a server of measurements.
_LINK_LOCAL = re.compile(r"https?://(169\.254\.|\[fe80:|0\.0\.0\.0|\[::\])", re.IGNORECASE)
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]*")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_FILE = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")  # as synthesis takes them, cdk_app/assets/policies.py


def consolidation(table: Table, adopts: bool = False) -> Consolidation:
    """`adopts` says that a pool takes a NodePool over: there it matters which of the fields were written."""
    written = tuple(sorted(name for name, key in _CONSOLIDATION.items() if adopts and table.has(key)))
    default = Consolidation()
    policy = table.choice("policy", ConsolidationPolicy, default.policy)
    bounds = all_bounds(Consolidation)
    after = table.duration(
        "after",
        default.after,
        bounds["after"],
        _AFTER,
        "write a duration such as 30s, 10m or 1h30m, or learned, or Never",
    )
    idle_after = table.duration(
        "idleAfter",
        default.idle_after,
        bounds["idle_after"],
        DURATION,
        "write a duration such as 1m: it is for idle clusters",
    )
    hours = _business_hours(table.table("businessHours")) if table.has("businessHours") else None
    table.close(_CONSOLIDATION.values())
    return Consolidation(policy or default.policy, after, idle_after, hours, written)


def _business_hours(table: Table) -> BusinessHours:
    for key, remedy in (("timeZone", _ZONES), ("hours", _LISTS)):
        if not table.has(key):
            table.missing(key, remedy)
    hours = table.listed("hours", _LISTS) if table.has("hours") else ()
    if hours and len(hours) > _MOST_HOURS:
        table.note(
            "hours", len(hours), f"write at most {_MOST_HOURS} lines; several days may share one: Mon-Fri"
        )
    for index, item in enumerate(hours or ()):
        try:
            weekly_hours.spans(str(item))
        except ValueError as error:
            table.note(f"hours[{index}]", item, str(error))
    nodes = table.text("nodes", "0", _NODES, 'write a text such as "0", "1" or "5%", in quotes')
    zone = _time_zone(table) if table.has("timeZone") else "UTC"
    table.close(("timeZone", "hours", "nodes"))
    return BusinessHours(zone, tuple(map(str, hours or ())), nodes)


def _time_zone(table: Table) -> str:
    value = table.take("timeZone")
    if problem := zone_problem(value):
        table.note("timeZone", value, problem)
        return "UTC"
    return str(value)


def off_hours(table: Table) -> OffHours:
    for key, remedy in (("timeZone", _ZONES), ("asleep", _SLEEPS)):
        if not table.has(key):
            table.missing(key, remedy)
    found = OffHours(
        time_zone=_time_zone(table) if table.has("timeZone") else "UTC",
        asleep=_entries(table, "asleep"),
        awake=_entries(table, "awake"),
        holidays=table.text(
            "holidays", "", _FILE, "write the name of a file of policies/holidays, without .ics"
        ),
        namespaces=_namespaces(table),
        bare_pods=table.choice("barePods", BarePods, BarePods.KEEP) or BarePods.KEEP,
        volumes=table.choice("volumes", Volumes, Volumes.LEAVE) or Volumes.LEAVE,
        missed_runs=table.choice("missedRuns", MissedRuns, MissedRuns.RUN) or MissedRuns.RUN,
        kinds=_switches(table) if table.has("kinds") else (),
        jobs=table.choice("jobs", Jobs, Jobs.FINISH) or Jobs.FINISH,
    )
    table.close(
        (
            *("timeZone", "asleep", "awake", "holidays", "namespaces"),
            *("barePods", "volumes", "missedRuns", "kinds", "jobs"),
        )
    )
    return found


def _entries(table: Table, key: str) -> tuple[str, ...]:
    """Weekly hours and dates; YAML reads a bare 2026-12-24 as a date."""
    texts = tuple(map(str, table.listed(key, _SLEEPS) or ())) if table.has(key) else ()
    for index, text in enumerate(texts):
        try:
            entry(text)
        except ValueError as error:
            table.note(f"{key}[{index}]", text, str(error))
    return texts


def _namespaces(table: Table) -> tuple[str, ...]:
    names = (
        table.listed("namespaces", "write a list of namespaces, such as [ml]")
        if table.has("namespaces")
        else ()
    )
    for index, name in enumerate(names or ()):
        if not isinstance(name, str) or not _NAMESPACE.fullmatch(name) or name.startswith("kube-"):
            table.note(f"namespaces[{index}]", name, "write the name of a namespace of yours")
    return tuple(map(str, names or ()))


def _switches(table: Table) -> tuple[Switch, ...]:
    items = table.listed("kinds", _SWITCHES) or []
    if len(items) > switches.MOST:
        table.note("kinds", len(items), f"write at most {switches.MOST} kinds")
    found: list[Switch] = []
    for index, item in enumerate(items):
        inner = Table(item, table.at(f"kinds[{index}]"), table.problems)
        if switch := _switch(inner):
            if any((one.group, one.kind) == (switch.group, switch.kind) for one in found):
                inner.note("kind", switch.kind, "this kind has a switch above; remove one of them")
            found.append(switch)
    return tuple(found)


def _switch(table: Table) -> Switch | None:
    """None where a field of it is wrong, which is then noted."""
    item = {field: table.take(field) for field in switches.FIELDS}
    wrong = dict(switches.problems(item)) if isinstance(table.value, Mapping) else {"": ""}
    for field, remedy in wrong.items():
        if table.has(field):
            table.note(field, item[field], remedy)
        else:
            table.missing(field, remedy)
    table.close(switches.FIELDS)
    return None if wrong else switches.of(item)


def metrics(table: Table) -> Metrics:
    source = table.choice("source", MetricsSource, MetricsSource.CONTAINER_INSIGHTS)
    endpoint = table.text(
        "endpoint",
        "",
        _URL,
        f"{_ENDPOINTS}, without user, query or fragment",
    )
    if _LINK_LOCAL.match(endpoint):
        table.note("endpoint", endpoint, f"no server can be reached there from a function; {_ENDPOINTS}")
    if source is MetricsSource.PROMETHEUS and not table.has("endpoint"):
        table.missing("endpoint", _ENDPOINTS)
    if source not in (None, MetricsSource.PROMETHEUS) and table.has("endpoint"):
        table.note("endpoint", endpoint, "remove it, or write `source: prometheus`")
    table.close(("source", "endpoint"))
    return Metrics(source or MetricsSource.CONTAINER_INSIGHTS, endpoint.rstrip("/"))


def tuning(table: Table) -> Tuning:
    trial = table.flag("trial", False)
    spans = {}
    for name, bounds in all_bounds(Tuning).items():
        allowed = bounds.of_a_trial() if trial else bounds
        spans[name] = table.span(spelt(name), getattr(Tuning, name), allowed)
    table.close((*map(spelt, spans), "trial"))
    return Tuning(**spans, trial=trial)


def node_class(table: Table) -> NodeClass:
    default = NodeClass()
    group = table.text("group", default.group, _GROUP, f"write an API group such as {default.group}")
    kind = table.text("kind", default.kind, _KIND, f"write a kind such as {default.kind}")
    name = table.text("name", default.name, _NAME, "write the name of a Kubernetes object: a-z, 0-9, - and .")
    ours = (group, kind) == (default.group, default.kind)
    create = table.flag("create", ours and name == default.name)
    if create and not ours:
        table.note(
            "create", create, f"only an {default.kind} of {default.group} can be made by us; write false"
        )
    table.close(("group", "kind", "name", "create"))
    return NodeClass(group, kind, name, create)
