"""
From YAML to a Policy: strict, and with every problem told at once.

Each reader takes a value and its path, notes what is wrong, and returns something usable, so that one mistake
does not hide the next. Whether a policy is good is decided once, at the end: by whether a problem was noted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from slicewise import catalog, strict_yaml
from slicewise.errors import InvalidPolicy, PolicyProblem
from slicewise.policy import (
    MAX_REPLICAS,
    MIN_REPLICAS,
    Consolidation,
    ConsolidationPolicy,
    Mode,
    NodeClass,
    Policy,
    Pool,
    Replicas,
    Sharing,
)

Choice = TypeVar("Choice", bound=StrEnum)

_DURATION = re.compile(r"([0-9]+(s|m|h))+|Never")  # NodePool CRD v1, spec.disruption.consolidateAfter
_POOL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?")
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]*")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_CAPACITY_TYPES = ("on-demand", "spot", "reserved")
_COUNTS = (1, 2, 4, 8)

_NOT_YET = {
    "offHours": "sleeping off-hours is not in this release; remove it",
    "metrics": "metrics are not in this release; remove it",
    "slowdownBudget": "tuning by a slowdown budget is not in this release; remove it",
    "timeSlice": "the length of a time slice is not in this release; remove it",
}
_NO_PERIOD = (
    "the device plugin has no such setting and would ignore it without a word; remove it. "
    "The driver alone decides how long a time slice is"
)
_NEVER = {
    "period": _NO_PERIOD,
    "interval": _NO_PERIOD,
    "defaultTimeSlice": _NO_PERIOD,
    "timeSlicing": "write `sharing: time-slicing` and `replicas: {start: 4, max: 8}`; "
    "the device plugin's own settings, `period` least of all (it does not exist), are not yours to set",
}


def parse(text: str, name: str) -> Policy:
    """See policy.parse."""
    problems: list[PolicyProblem] = []
    try:
        document = strict_yaml.load(text)
    except strict_yaml.Unreadable as error:
        raise InvalidPolicy(name, (error.problem,)) from error
    policy = _policy(_Table(document, "", problems), name)
    if problems:
        raise InvalidPolicy(name, tuple(problems))
    return policy


@dataclass
class _Table:
    """A mapping under a path. Fields are taken one by one; `close` complains about those nobody asked for."""

    value: Any
    path: str
    problems: list[PolicyProblem]
    taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not isinstance(self.value, Mapping):
            what = "is empty" if self.value is None else "is not a table"
            self.note("", self.value, f"this {what}; write fields, such as `name: value`, under it")
            self.value = None

    def at(self, key: object) -> str:
        return ".".join(part for part in (self.path, str(key)) if part) or strict_yaml.WHOLE

    def note(self, key: object, value: object, remedy: str) -> None:
        self.problems.append(PolicyProblem(self.at(key), value, remedy))

    def has(self, key: str) -> bool:
        return self.value is not None and key in self.value

    def take(self, key: str) -> Any:
        self.taken.add(key)
        return self.value.get(key) if self.value is not None else None

    def table(self, key: str) -> _Table:
        return _Table(self.take(key), self.at(key), self.problems)

    def missing(self, key: str, remedy: str) -> None:
        if self.value is not None:
            self.note(key, None, f"this is missing; {remedy}")

    def choice(self, key: str, kind: type[Choice], default: Choice | None, why: str = "") -> Choice | None:
        options = " or ".join(kind)
        if not self.has(key):
            if default is None:
                self.missing(key, f"write one of {options}")
            return default
        value = self.take(key)
        try:
            return kind(value)
        except ValueError:
            self.note(key, value, f"write one of {options}{why}")
            return None

    def flag(self, key: str, default: bool) -> bool:
        if not self.has(key):
            return default
        value = self.take(key)
        if not isinstance(value, bool):
            self.note(key, value, "write true or false")
            return default
        return value

    def whole(self, key: str, low: int, high: int, why: str) -> int | None:
        """A whole number in [low, high]; None where it is something else, which is then noted."""
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.note(key, value, f"write a whole number from {low} to {high}; {why}")
            return None
        return value

    def text(self, key: str, default: str, pattern: re.Pattern[str], remedy: str) -> str:
        if not self.has(key):
            return default
        value = self.take(key)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.note(key, value, remedy)
            return default
        return value

    def listed(self, key: str, remedy: str) -> list[Any] | None:
        """A list that is not empty and holds nothing twice."""
        value = self.take(key)
        if not isinstance(value, list) or not value:
            self.note(key, value, remedy)
            return None
        for index, item in enumerate(value):
            if item in value[:index]:
                self.note(f"{key}[{index}]", item, "this stands twice; remove it")
        return value

    def close(self, known: Iterable[str]) -> None:
        """`known` are all the fields of this table, also those that another field rules out."""
        if self.value is None:
            return
        for key, value in self.value.items():
            if key in self.taken:
                continue
            remedy = _NEVER.get(key) or _NOT_YET.get(key)
            if remedy is None:
                close = difflib.get_close_matches(str(key), list(known), n=1)
                hint = f"did you mean {close[0]}? " if close else ""
                remedy = f"there is no such field; {hint}known here: {', '.join(known)}"
            self.note(key, value, remedy)


def _policy(table: _Table, name: str) -> Policy:
    mode = table.choice("mode", Mode, Mode.ACT)
    pools = _pools(table)
    consolidation = (
        _consolidation(table.table("consolidation")) if table.has("consolidation") else Consolidation()
    )
    node_class = _node_class(table.table("nodeClass")) if table.has("nodeClass") else NodeClass()
    install = _only_flag(table, "karpenter", "install")
    adopt = _only_flag(table, "gpuOperator", "adopt")
    table.close(("mode", "pools", "consolidation", "nodeClass", "karpenter", "gpuOperator"))
    return Policy(name, pools, mode or Mode.ACT, consolidation, node_class, install, adopt)


def _only_flag(table: _Table, section: str, flag: str) -> bool:
    if not table.has(section):
        return False
    inner = table.table(section)
    value = inner.flag(flag, False)
    inner.close((flag,))
    return value


def _pools(table: _Table) -> tuple[Pool, ...]:
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
        pools.append(_pool(_Table(body, path, table.problems), str(name)))
    return tuple(sorted(pools, key=lambda pool: pool.name))


def _pool(table: _Table, name: str) -> Pool:
    sharing = table.choice("sharing", Sharing, None)
    gpus = _gpus(table)
    pool = Pool(
        name=name,
        sharing=sharing or Sharing.NONE,
        gpus=gpus,
        max_gpus=_max_gpus(table),
        replicas=_replicas(table, sharing),
        profile=_profile(table, sharing, gpus),
        capacity_types=_capacity_types(table),
        gpu_counts=_gpu_counts(table, gpus),
    )
    _fits_a_machine(table, pool)
    table.close(("sharing", "gpus", "replicas", "profile", "maxGpus", "capacityTypes", "gpuCounts"))
    return pool


def _fits_a_machine(table: _Table, pool: Pool) -> None:
    """Karpenter starts no machine that would exceed the limit, so a limit below the smallest starts none."""
    if not table.has("maxGpus"):
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


def _gpus(table: _Table) -> tuple[str, ...]:
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


def _max_gpus(table: _Table) -> int:
    why = "it is the most GPUs of each model that this pool may run at once, and so bounds the bill"
    if not table.has("maxGpus"):
        table.missing("maxGpus", f"write a whole number; {why}")
        return 1
    return table.whole("maxGpus", 1, 10_000, why) or 1


def _replicas(table: _Table, sharing: Sharing | None) -> Replicas | None:
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
    inner = _Table(value, table.at("replicas"), table.problems)
    why = "for one pod a GPU write `sharing: none`"
    start = inner.whole("start", MIN_REPLICAS, MAX_REPLICAS, why) if inner.has("start") else Replicas.start
    highest = (
        inner.whole("max", MIN_REPLICAS, MAX_REPLICAS, why)
        if inner.has("max")
        else max(Replicas.max, start or MIN_REPLICAS)
    )
    if start and highest and start > highest:
        inner.note("start", start, f"this is above max ({highest}); lower it, or raise max")
    inner.close(("start", "max"))
    return Replicas(start or MIN_REPLICAS, highest or MAX_REPLICAS)


def _profile(table: _Table, sharing: Sharing | None, gpus: tuple[str, ...]) -> str | None:
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


def _capacity_types(table: _Table) -> tuple[str, ...]:
    if not table.has("capacityTypes"):
        return ("on-demand",)
    options = ", ".join(_CAPACITY_TYPES)
    value = table.listed("capacityTypes", f"write a list with some of {options}")
    for index, item in enumerate(value or ()):
        if item not in _CAPACITY_TYPES:
            table.note(f"capacityTypes[{index}]", item, f"Karpenter knows {options}")
    return tuple(item for item in _CAPACITY_TYPES if item in (value or ()))


def _gpu_counts(table: _Table, gpus: tuple[str, ...]) -> tuple[int, ...]:
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


def _consolidation(table: _Table) -> Consolidation:
    default = Consolidation()
    policy = table.choice("policy", ConsolidationPolicy, default.policy)
    after = table.text(
        "after", default.after, _DURATION, "write a duration such as 30s, 10m or 1h30m, or Never"
    )
    table.close(("policy", "after"))
    return Consolidation(policy or default.policy, after)


def _node_class(table: _Table) -> NodeClass:
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
