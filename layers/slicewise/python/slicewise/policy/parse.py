"""
From YAML to a Policy: strict, and with every problem told at once.

Each reader takes a value and its path, notes what is wrong, and returns something usable, so that one mistake
does not hide the next. Whether a policy is good is decided once, at the end: by whether a problem was noted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from slicewise.errors import InvalidPolicy, PolicyProblem
from slicewise.hardware import gpus as catalog
from slicewise.policy import fallback_gpus as fallbacks
from slicewise.policy import pairs as policy_pairs
from slicewise.policy import sections, strict_yaml
from slicewise.policy.bounds import all_bounds, bounds_of
from slicewise.policy.model import (
    MAX_REPLICAS,
    MIN_REPLICAS,
    Classes,
    Consolidation,
    Drift,
    Metrics,
    Mode,
    NodeClass,
    Policy,
    Pool,
    Replicas,
    Sharing,
    TimeSlice,
    Tuning,
)
from slicewise.policy.reader import Table

_POOL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?")
_NODE_POOL_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_CAPACITY_TYPES = ("on-demand", "spot", "reserved")
_COUNTS = (1, 2, 4, 8)


def parse(text: str, name: str) -> Policy:
    """See policy.parse."""
    problems: list[PolicyProblem] = []
    try:
        document = strict_yaml.load(text)
    except strict_yaml.Unreadable as error:
        raise InvalidPolicy(name, (error.problem,)) from error
    policy = _policy(Table(document, "", problems), name)
    # Only of fields that are right: of others nobody knows what they would do together.
    problems += [] if problems else policy_pairs.problems(document, policy)
    if problems:
        raise InvalidPolicy(name, tuple(problems))
    return policy


def _policy(table: Table, name: str) -> Policy:
    mode = table.choice("mode", Mode, Mode.ACT)
    pools = _pools(table)
    consolidation = (
        sections.consolidation(table.table("consolidation"), any(pool.adopt for pool in pools))
        if table.has("consolidation")
        else Consolidation()
    )
    node_class = sections.node_class(table.table("nodeClass")) if table.has("nodeClass") else NodeClass()
    install = _only_flag(table, "karpenter", "install")
    adopt = _only_flag(table, "gpuOperator", "adopt")
    metrics = sections.metrics(table.table("metrics")) if table.has("metrics") else Metrics()
    tuning = sections.tuning(table.table("tuning")) if table.has("tuning") else Tuning()
    drift = table.choice("drift", Drift, Drift.REPAIR) or Drift.REPAIR
    off_hours = sections.off_hours(table.table("offHours")) if table.has("offHours") else None
    fallbacks.have_mornings(table, pools)
    table.close(
        (
            "mode",
            "pools",
            "consolidation",
            "nodeClass",
            "karpenter",
            "gpuOperator",
            "metrics",
            "tuning",
            "drift",
            "offHours",
        )
    )
    return Policy(
        name,
        pools,
        mode or Mode.ACT,
        consolidation,
        node_class,
        install,
        adopt,
        metrics,
        tuning,
        drift,
        off_hours,
    )


def _only_flag(table: Table, section: str, flag: str) -> bool:
    if not table.has(section):
        return False
    inner = table.table(section)
    value = inner.flag(flag, False)
    inner.close((flag,))
    return value


def _pools(table: Table) -> tuple[Pool, ...]:
    example = "write at least one, such as `shared: {sharing: time-slicing, gpus: [l4], maxGpus: 8}`"
    if not table.has("pools"):
        table.missing("pools", example)
        return ()
    value = table.take("pools")
    if not isinstance(value, Mapping) or not value:
        table.note("pools", value, f"a policy needs pools by name; {example}")
        return ()
    pools = []
    for name, body in value.items():
        path = f"pools.{name}"
        if not isinstance(name, str) or not _POOL_NAME.fullmatch(name):
            table.problems.append(
                PolicyProblem(path, name, "a pool's name has 1 to 30 of a-z, 0-9 and - (not first or last)")
            )
        pools.append(_pool(Table(body, path, table.problems), str(name)))
    _adopted_once(table, pools)
    return tuple(sorted(pools, key=lambda pool: pool.name))


def _pool(table: Table, name: str) -> Pool:
    sharing = table.choice("sharing", Sharing, None)
    gpus = _gpus(table)
    pool = Pool(
        name=name,
        sharing=sharing or Sharing.NONE,
        gpus=gpus,
        max_gpus=_max_gpus(table),
        classes=_classes(table, sharing),
        replicas=_replicas(table, sharing),
        profile=_profile(table, sharing, gpus),
        capacity_types=_capacity_types(table),
        gpu_counts=_gpu_counts(table, gpus),
        slowdown_budget=_slowdown_budget(table, sharing),
        time_slice=_time_slice(table, sharing),
        adopt=_adopt(table, sharing, gpus),
        fallback_gpus=fallbacks.models(table, sharing, gpus),
    )
    _fits_a_machine(table, pool)
    table.close(
        (
            *("sharing", "gpus", "replicas", "profile", "maxGpus", "capacityTypes", "gpuCounts"),
            *("slowdownBudget", "timeSlice", "adopt", "classes", "movesADay", "fallbackGpus"),
        )
    )
    return pool


def _fits_a_machine(table: Table, pool: Pool) -> None:
    """Karpenter starts no machine that would exceed the limit, so a limit below the smallest starts none."""
    if not table.has("maxGpus") or pool.max_gpus is None:
        return
    for gpu in pool.models():
        smallest = min(pool.counts(gpu), default=0)
        if pool.max_gpus < smallest:
            table.note(
                "maxGpus",
                pool.max_gpus,
                f"the smallest machine with {gpu.name} here has {smallest} GPUs, so none would ever start; "
                f"write {smallest} or more, or remove {gpu.name}",
            )


def _gpus(table: Table) -> tuple[str, ...]:
    if not table.has("gpus"):
        table.missing("gpus", f"write a list of models; EC2 sells {', '.join(catalog.names())}")
        return ()
    value = table.listed(
        "gpus", f"write a list of models, such as [l4]; EC2 sells {', '.join(catalog.names())}"
    )
    known = []
    for index, item in enumerate(value or ()):
        if isinstance(item, str) and catalog.find(item):
            known.append(item)
        else:
            table.note(f"gpus[{index}]", item, catalog.suggestion(str(item)))
    return tuple(known)


def _max_gpus(table: Table) -> int | None:
    bounds = bounds_of(Pool, "max_gpus")
    if not table.has("maxGpus") and table.has("adopt"):
        return None
    if not table.has("maxGpus"):
        table.missing("maxGpus", f"write a whole number; {bounds.why}")
        return 1
    return table.whole("maxGpus", bounds) or 1


def _classes(table: Table, sharing: Sharing | None) -> Classes | None:
    if not table.has("classes"):
        if table.has("movesADay"):
            remedy = "remove it, or split the pool: classes: [1, 2, 3]"
            table.note("movesADay", table.take("movesADay"), remedy)
        return None
    written = table.listed("classes", "write a list such as [1, 2, 3]: pods that share a GPU, of each class")
    sizes = _sizes(table, written or [])
    if sharing and not sharing.has_replicas:
        remedy = "remove it, or write `sharing: time-slicing` or mps: only these divide a GPU by a number"
        table.note("classes", written, remedy)
    for other, remedy in _NOT_WITH_CLASSES.items():
        if table.has(other):
            table.note(other, table.take(other), remedy)
    bounds = bounds_of(Classes, "moves_a_day")
    moves = table.whole("movesADay", bounds) if table.has("movesADay") else Classes.moves_a_day
    return Classes(sizes, moves or 0)


_NOT_WITH_CLASSES = {
    "replicas": "remove it, or remove `classes`: each class has its own number, which never changes",
    "adopt": "remove it, or remove `classes`: nodes that run cannot be split without replacing them",
}


def _sizes(table: Table, written: Sequence[object]) -> tuple[int, ...]:
    before = len(table.problems)
    bounds = bounds_of(Classes, "sizes")
    for index, item in enumerate(written):
        if not isinstance(item, int) or isinstance(item, bool) or not bounds.allow(item):
            table.note(f"classes[{index}]", item, f"write a whole number {bounds}: {bounds.why}")
    if not written or len(table.problems) > before:
        return Classes.sizes
    sizes = tuple(sorted({item for item in written if isinstance(item, int)}))
    if sizes[0] != 1:
        table.note("classes", written, "add 1: a pod that is not known yet needs a GPU to itself")
    elif len(sizes) == 1:
        table.note("classes", written, "add another, such as 2; for whole GPUs only write `sharing: none`")
    return sizes


def _replicas(table: Table, sharing: Sharing | None) -> Replicas | None:
    if table.has("classes"):
        table.take("replicas")
        return None
    if not table.has("replicas"):
        return Replicas() if sharing and sharing.has_replicas else None
    if sharing is Sharing.NONE:
        table.note("replicas", table.take("replicas"), "remove it, or write `sharing: time-slicing` or mps")
        return None
    if sharing is Sharing.MIG:
        table.note(
            "replicas", table.take("replicas"), "remove it: the MIG profile says how many slices a GPU has"
        )
        return None
    value = table.take("replicas")
    if not isinstance(value, Mapping):
        table.note("replicas", value, "write {start: 4, max: 8}: the slices of a GPU at first, and at most")
        return Replicas()
    inner = Table(value, table.at("replicas"), table.problems)
    bounds = all_bounds(Replicas)
    start = inner.whole("start", bounds["start"]) if inner.has("start") else Replicas.start
    highest = (
        inner.whole("max", bounds["max"]) if inner.has("max") else max(Replicas.max, start or MIN_REPLICAS)
    )
    if table.has("adopt") and not inner.has("start"):
        start = MIN_REPLICAS  # nobody's wish: an adopted NodePool begins at one pod a GPU
    if start and highest and start > highest:
        inner.note("start", start, f"this is above max ({highest}); lower it, or raise max")
    inner.close(("start", "max"))
    return Replicas(start or MIN_REPLICAS, highest or MAX_REPLICAS)


def _profile(table: Table, sharing: Sharing | None, gpus: tuple[str, ...]) -> str | None:
    if sharing is not Sharing.MIG:
        if table.has("profile") and sharing:
            table.note(
                "profile", table.take("profile"), f"remove it, or write `sharing: mig` instead of {sharing}"
            )
        elif table.has("profile"):
            table.take("profile")  # the missing sharing is told already
        return None
    models = [catalog.model(gpu) for gpu in gpus]
    value = table.take("profile")
    if value is None and all(gpu.mig for gpu in models):
        choices = " or ".join(p for p in _mig_profiles() if all(p in gpu.mig for gpu in models))
        table.missing("profile", f"write the MIG profile that one pod gets: {choices}")
    for gpu in models:
        if not gpu.mig:
            able = ", ".join(m.name for m in catalog.MODELS if m.mig)
            table.note("profile", value, f"{gpu.name} has no MIG; use time-slicing there, or a GPU of {able}")
        elif value is not None and not (isinstance(value, str) and value in gpu.mig):
            table.note("profile", value, f"{gpu.name} lacks this profile; it has {', '.join(gpu.mig)}")
    return value if isinstance(value, str) else None


def _mig_profiles() -> list[str]:
    return list(dict.fromkeys(profile for gpu in catalog.MODELS for profile in gpu.mig))


def _capacity_types(table: Table) -> tuple[str, ...]:
    if not table.has("capacityTypes"):
        return ("on-demand",)
    options = ", ".join(_CAPACITY_TYPES)
    value = table.listed("capacityTypes", f"write a list with some of {options}")
    for index, item in enumerate(value or ()):
        if item not in _CAPACITY_TYPES:
            table.note(f"capacityTypes[{index}]", item, f"Karpenter knows {options}")
    return tuple(item for item in _CAPACITY_TYPES if item in (value or ()))


def _gpu_counts(table: Table, gpus: tuple[str, ...]) -> tuple[int, ...]:
    if not table.has("gpuCounts"):
        return _COUNTS
    value = (
        table.listed("gpuCounts", "write a list with some of 1, 2, 4, 8: GPUs that one machine may have")
        or []
    )
    before = len(table.problems)
    for index, item in enumerate(value):
        if item not in _COUNTS or isinstance(item, bool):
            table.note(f"gpuCounts[{index}]", item, "EC2 sells machines with 1, 2, 4 or 8 GPUs")
    for gpu in (catalog.model(name) for name in gpus) if len(table.problems) == before else ():
        if value and not set(value) & set(gpu.counts):
            sold = ", ".join(str(count) for count in gpu.counts)
            table.note(
                "gpuCounts", value, f"EC2 sells {gpu.name} only in machines with {sold}; add one of these"
            )
    return tuple(count for count in _COUNTS if count in value)


def _slowdown_budget(table: Table, sharing: Sharing | None) -> float | None:
    if not table.has("slowdownBudget"):
        return Pool.slowdown_budget
    value, bounds = table.take("slowdownBudget"), bounds_of(Pool, "slowdown_budget")
    if sharing and not sharing.has_replicas:
        table.note(
            "slowdownBudget", value, f"remove it: with `sharing: {sharing}` there is no N to choose by it"
        )
    elif value == "none":
        return None
    elif not isinstance(value, int | float) or isinstance(value, bool) or not bounds.allow(value):
        table.note("slowdownBudget", value, f"write a number {bounds}, such as 2.0: {bounds.why}")
    else:
        return float(value)
    return Pool.slowdown_budget


def _time_slice(table: Table, sharing: Sharing | None) -> TimeSlice:
    found = table.choice("timeSlice", TimeSlice, TimeSlice.DEFAULT) or TimeSlice.DEFAULT
    if found is not TimeSlice.DEFAULT and sharing not in (None, Sharing.TIME_SLICING):
        table.note("timeSlice", str(found), f"remove it: under `sharing: {sharing}` pods take no turns")
    return found


def _adopt(table: Table, sharing: Sharing | None, gpus: tuple[str, ...]) -> str | None:
    if not table.has("adopt"):
        return None
    value = table.take("adopt")
    if not isinstance(value, str) or not _NODE_POOL_NAME.fullmatch(value):
        table.note("adopt", value, "write the name of the NodePool that is there, such as gpu")
        return None
    if value.startswith("slicewise-"):
        table.note("adopt", value, "NodePools of such names are made by us: name one that somebody else made")
    if sharing not in (None, Sharing.TIME_SLICING):
        table.note(
            "adopt",
            value,
            "write `sharing: time-slicing`: only that reaches nodes that run without replacing them",
        )
    if len(gpus) > 1:
        table.note("adopt", value, "name one model in gpus: one N serves all nodes of a NodePool")
    for field in ("capacityTypes", "gpuCounts"):
        if table.has(field):
            table.note(field, table.take(field), "remove it: the adopted NodePool says so itself")
    replicas = table.take("replicas")
    if isinstance(replicas, Mapping) and "start" in replicas:
        table.note(
            "replicas.start", replicas["start"], "remove it: an adopted NodePool begins at one pod a GPU"
        )
    return value


def _adopted_once(table: Table, pools: Sequence[Pool]) -> None:
    adopted = Counter(pool.adopt for pool in pools if pool.adopt)
    for pool in pools:
        if pool.adopt and adopted[pool.adopt] > 1:
            table.problems.append(
                PolicyProblem(
                    f"pools.{pool.name}.adopt", pool.adopt, "another pool adopts it as well: leave it to one"
                )
            )
