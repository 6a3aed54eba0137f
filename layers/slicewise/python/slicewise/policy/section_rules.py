"""
Rules over several fields of one section. Pure.

`rule_out` names fields that another field rules out, before any is read: then only that is reported of them.
`check` is asked after all fields were read. It notes what cannot be together, and gives fields whose default
depends on others theirs. What is each fine and together void is in pairs.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from slicewise.hardware import gpus as catalog
from slicewise.hardware.gpus import GpuModel
from slicewise.policy import fields
from slicewise.policy.model import (
    ENDPOINTS,
    MIN_REPLICAS,
    Classes,
    Consolidation,
    KarpenterPlace,
    Metrics,
    MetricsSource,
    NodeClass,
    Policy,
    Pool,
    Replicas,
    Sharing,
    TimeSlice,
)
from slicewise.policy.reader import Table

# What was read of a table, by the names of its dataclass: a rule may put another value there.
Values = dict[str, Any]
# What answers there is the machine itself, such as EC2's metadata: never a server of measurements.
_LINK_LOCAL = re.compile(r"https?://(169\.254\.|\[fe80:|0\.0\.0\.0|\[::\])", re.IGNORECASE)


def rule_out(section: type, table: Table) -> None:
    if section in _RULED_OUT:
        _RULED_OUT[section](table)


def check(section: type, table: Table, values: Values) -> None:
    for rule in _RULES.get(section, ()):
        rule(table, values)


# Of a pool


def _rule_out(table: Table) -> None:
    sharing = _sharing(table)
    if table.has("classes"):
        table.rule_out(
            "replicas", "remove it, or remove `classes`: each class has its own number, which never changes"
        )
    else:
        table.rule_out("movesADay", "remove it, or split the pool: classes: [1, 2, 3]")
    if table.has("adopt"):
        table.rule_out("fallbackGpus", "remove it: an adopted NodePool is the pool's only one")
    if sharing is None:
        table.skip("profile")  # that `sharing` is missing or wrong is reported already
        return
    if sharing is Sharing.NONE:
        table.rule_out("replicas", "remove it, or write `sharing: time-slicing` or mps")
    if sharing is Sharing.MIG:
        table.rule_out("replicas", "remove it: the MIG profile says how many slices a GPU has")
    else:
        table.rule_out("profile", f"remove it, or write `sharing: mig` instead of {sharing}")
    if not sharing.has_replicas:
        table.rule_out(
            "slowdownBudget", f"remove it: with `sharing: {sharing}` there is no N to choose by it"
        )


def _sharing(table: Table) -> Sharing | None:
    """None where it is not written, or wrong."""
    try:
        return Sharing(table.value["sharing"]) if table.has("sharing") else None
    except ValueError:
        return None


def _classes(table: Table, values: Values) -> None:
    if values["classes"] is None:
        return
    written, sharing = table.take("classes"), _sharing(table)
    if table.is_sound("classes"):
        values["classes"] = replace(values["classes"], sizes=_sizes(table, values["classes"]))
    if sharing and not sharing.has_replicas:
        remedy = "remove it, or write `sharing: time-slicing` or mps: only these divide a GPU by a number"
        table.note("classes", written, remedy)
    if table.has("adopt"):
        remedy = "remove it, or remove `classes`: nodes that run cannot be split without replacing them"
        table.note("adopt", table.take("adopt"), remedy)


def _sizes(table: Table, classes: Classes) -> tuple[int, ...]:
    written, sizes = table.take("classes"), tuple(sorted(classes.sizes))
    if sizes[0] != 1:
        table.note("classes", written, "add 1: a pod that is not known yet needs a GPU to itself")
    elif len(sizes) == 1:
        table.note("classes", written, "add another, such as 2; for whole GPUs only write `sharing: none`")
    return sizes


def _replicas(table: Table, values: Values) -> None:
    sharing = _sharing(table)
    if table.has("classes") or not (sharing is None or sharing.has_replicas):
        values["replicas"] = None
        return
    found = values["replicas"] or (Replicas() if sharing else None)
    if found and table.has("replicas") and table.is_sound("replicas"):
        found = _with_defaults(table, found)
    values["replicas"] = found


def _with_defaults(table: Table, found: Replicas) -> Replicas:
    written = table.take("replicas")
    if table.has("adopt") and "start" not in written:
        found = replace(found, start=MIN_REPLICAS)  # an adopted NodePool begins at one pod a GPU
    if "max" not in written:
        found = replace(found, max=max(found.max, found.start))
    if found.start > found.max:
        table.note("replicas.start", found.start, f"this is above max ({found.max}); lower it, or raise max")
    return found


def _profile(table: Table, values: Values) -> None:
    if _sharing(table) is not Sharing.MIG:
        return
    models, value = [catalog.model(name) for name in values["gpus"]], values["profile"]
    if value is None and all(gpu.mig for gpu in models):
        choices = " or ".join(one for one in mig_profiles() if all(one in gpu.mig for gpu in models))
        table.missing("profile", f"write the MIG profile that one pod gets: {choices}")
    for gpu in models:
        if not gpu.mig:
            able = ", ".join(one.name for one in catalog.MODELS if one.mig)
            table.note("profile", value, f"{gpu.name} has no MIG; use time-slicing there, or a GPU of {able}")
        elif value is not None and not (isinstance(value, str) and value in gpu.mig):
            table.note("profile", value, f"{gpu.name} lacks this profile; it has {', '.join(gpu.mig)}")


def mig_profiles() -> tuple[str, ...]:
    """Of all models."""
    return tuple(dict.fromkeys(profile for gpu in catalog.MODELS for profile in gpu.mig))


def _gpu_counts(table: Table, values: Values) -> None:
    if not table.has("gpuCounts") or not table.is_sound("gpuCounts"):
        return
    for gpu in (catalog.model(name) for name in values["gpus"]):
        if not set(values["gpu_counts"]) & set(gpu.counts):
            sold = ", ".join(map(str, gpu.counts))
            remedy = f"EC2 sells {gpu.name} only in machines with {sold}; add one of these"
            table.note("gpuCounts", table.take("gpuCounts"), remedy)


def _time_slice(table: Table, values: Values) -> None:
    found, sharing = values["time_slice"], _sharing(table)
    if found is not TimeSlice.DEFAULT and sharing not in (None, Sharing.TIME_SLICING):
        table.note("timeSlice", str(found), f"remove it: under `sharing: {sharing}` pods take no turns")


def _adopt(table: Table, values: Values) -> None:
    value, sharing = values["adopt"], _sharing(table)
    if value is None:
        return
    if value.startswith("slicewise-"):
        table.note("adopt", value, "NodePools of such names are made by us: name one that you or a tool made")
    if sharing not in (None, Sharing.TIME_SLICING):
        table.note(
            "adopt",
            value,
            "write `sharing: time-slicing`: only that reaches nodes that run without replacing them",
        )
    if len(values["gpus"]) > 1:
        table.note("adopt", value, "name one model in gpus: one N serves all nodes of a NodePool")
    for key in ("capacityTypes", "gpuCounts"):
        if table.has(key):
            table.note(key, table.take(key), "remove it: the adopted NodePool says so itself")
    written = table.take("replicas")
    if isinstance(written, Mapping) and "start" in written:
        remedy = "remove it: an adopted NodePool begins at one pod a GPU"
        table.note("replicas.start", written["start"], remedy)


def _fallback_gpus(table: Table, values: Values) -> None:
    """A model that cannot replace the pool's own is named."""
    if table.has("adopt") or not values["fallback_gpus"]:
        return
    for index, name in enumerate(table.take("fallbackGpus")):
        gpu = catalog.find(name) if isinstance(name, str) else None
        if gpu and (problem := _no_fallback(table, values, gpu)):
            table.note(f"fallbackGpus[{index}]", name, problem)


def _no_fallback(table: Table, values: Values, gpu: GpuModel) -> str:
    """Why a model cannot replace the pool's own; empty where it can."""
    is_mig, profile = _sharing(table) is Sharing.MIG, values["profile"]
    if gpu.name in values["gpus"]:
        return "it is in gpus already, and serves there at all times; remove it here"
    if is_mig and not gpu.mig:
        return (
            f"{gpu.name} has no MIG; name one of {', '.join(one.name for one in catalog.MODELS if one.mig)}"
        )
    if is_mig and isinstance(profile, str) and profile not in gpu.mig:
        return f"{gpu.name} lacks profile {profile}; it has {', '.join(gpu.mig)}"
    if table.is_sound("gpuCounts") and not set(values["gpu_counts"]) & set(gpu.counts):
        sold = ", ".join(map(str, gpu.counts))
        return f"EC2 sells {gpu.name} only in machines with {sold}; add one of these to gpuCounts"
    return ""


def _fits_a_machine(table: Table, values: Values) -> None:
    """Karpenter starts no machine that would exceed the limit, so a limit below the smallest starts none."""
    if not table.has("maxGpus") or not table.is_sound("maxGpus"):
        return
    most = values["max_gpus"]
    for gpu in (catalog.model(name) for name in (*values["gpus"], *values["fallback_gpus"])):
        smallest = min((count for count in gpu.counts if count in values["gpu_counts"]), default=0)
        if most < smallest:
            table.note(
                "maxGpus",
                most,
                f"the smallest machine with {gpu.name} here has {smallest} GPUs, so none would ever start; "
                f"write {smallest} or more, or remove {gpu.name}",
            )


# Of the other sections


def _endpoint(table: Table, values: Values) -> None:
    source, endpoint = values["source"], values["endpoint"]
    is_prometheus = source is MetricsSource.PROMETHEUS
    if _LINK_LOCAL.match(endpoint):
        table.note("endpoint", endpoint, f"no server can be reached there from a function; {ENDPOINTS}")
    if is_prometheus and not table.has("endpoint"):
        table.missing("endpoint", ENDPOINTS)
    if not is_prometheus and table.has("endpoint") and table.is_sound("source"):
        table.note("endpoint", endpoint, "remove it, or write `source: prometheus`")
    values["endpoint"] = endpoint.rstrip("/")


def _create(table: Table, values: Values) -> None:
    group, kind, name = NodeClass.group, NodeClass.kind, NodeClass.name
    ours = (values["group"], values["kind"]) == (group, kind)
    if not table.has("create") or not table.is_sound("create"):
        values["create"] = ours and values["name"] == name
    elif values["create"] and not ours:
        table.note("create", True, f"only an {kind} of {group} can be made by us; write false")


def _image(table: Table, values: Values) -> None:
    if table.has("image") and table.is_sound("image") and not values["create"]:
        remedy = "it is for the NodeClass that Slicewise makes: write it into yours, or remove it here"
        table.note("image", values["image"], remedy)


def _adopted_once(table: Table, values: Values) -> None:
    adopted = Counter(pool.adopt for pool in values["pools"] if pool.adopt)
    for pool in values["pools"]:
        if pool.adopt and adopted[pool.adopt] > 1:
            remedy = "another pool adopts it as well: leave it to one"
            table.note(f"pools.{pool.name}.adopt", pool.adopt, remedy)


def _what_was_written(table: Table, values: Values) -> None:
    """Where a NodePool is taken over, it matters which fields of `consolidation` a person wrote."""
    if not table.has("consolidation") or not any(pool.adopt for pool in values["pools"]):
        return
    written = table.take("consolidation")
    known = {one.path: one.attribute for one in fields.declared(Consolidation)}
    found = sorted(known[key] for key in written if key in known) if isinstance(written, Mapping) else ()
    values["consolidation"] = replace(values["consolidation"], written=tuple(found))


def _fallbacks_have_mornings(table: Table, values: Values) -> None:
    for pool in values["pools"] if not table.has("offHours") else ():
        if pool.fallback_gpus:
            table.note(
                f"pools.{pool.name}.fallbackGpus",
                list(pool.fallback_gpus),
                "only clusters that sleep open them, when they wake: write offHours, or name them in gpus",
            )


def _only_where_installed(table: Table, values: Values) -> None:
    if values["install_karpenter"]:
        return
    if values["karpenter_on"] is KarpenterPlace.FARGATE:
        table.note(
            "karpenter.on",
            "fargate",
            "only a Karpenter that Slicewise installs is put there: write install: true, or remove it",
        )
    if values["karpenter_interruptions"]:
        table.note(
            "karpenter.interruptions",
            True,
            "only a Karpenter that Slicewise installs gets a queue: write install: true, or remove it, and "
            "set settings.interruptionQueue in your chart's values",
        )


_RULED_OUT: Mapping[type, Callable[[Table], None]] = {Pool: _rule_out}
_RULES: Mapping[type, tuple[Callable[[Table, Values], None], ...]] = {
    Metrics: (_endpoint,),
    NodeClass: (_create, _image),
    Policy: (_adopted_once, _what_was_written, _fallbacks_have_mornings, _only_where_installed),
    Pool: (
        *(_classes, _replicas, _profile, _gpu_counts),
        *(_time_slice, _adopt, _fallback_gpus, _fits_a_machine),
    ),
}
