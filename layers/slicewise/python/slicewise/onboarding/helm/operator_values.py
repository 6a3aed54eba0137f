"""
Joining a GPU Operator of another owner: three sides of helm's values become one. Pure.

The sides are the chart's own values, those of the release, and what slicing needs. What is in effect (the
release's values over the chart's) stays, unless no slices can come of it; then we change nothing and say why
(`CONTRADICTIONS`). What we add to the values is what slicing needs and the owner has not set.

What they were is saved in the very values, under a key that charts do not know (`MARK`): helm writes both in
one step, so that we cannot be killed between the two, and a tool that replaces the values replaces that as
well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from slicewise.model.cluster import Release
from slicewise.onboarding.helm.conflicts import conflicts
from slicewise.onboarding.helm.value_paths import ABSENT, at, edited, leaves, merged, spelled, with_value
from slicewise.planning.outcome import Finding
from slicewise.policy.model import MetricsSource, Policy
from slicewise.pools import layout

# Charts do not know this key and ignore it; a release's values are where helm stores what its owner wrote.
MARK = "slicewise"

_CONFIG = ("devicePlugin", "config")
_DRIVER = ("driver", "version")
_NAME, _DEFAULT, _CREATE = (*_CONFIG, "name"), (*_CONFIG, "default"), (*_CONFIG, "create")
# In both places: operands and NFD's workers each have their own list.
TOLERATION_LISTS = (("daemonsets", "tolerations"), ("node-feature-discovery", "worker", "tolerations"))
# The CloudWatch add-on brings an exporter of its own, which both versions of Container Insights read.
MEASURED_BY_THE_ADD_ON = (MetricsSource.CONTAINER_INSIGHTS, MetricsSource.CONTAINER_INSIGHTS_OTEL)
_MOST_SHOWN = 160


@dataclass(frozen=True)
class Difference:
    """
    One value that changes, as it is in effect.

    Attributes:
        why: Who changes it: we, or the chart's newer version.
    """

    path: tuple[str, ...]
    before: Any
    after: Any
    why: str

    def __str__(self) -> str:
        before, after = self.before, self.after
        if isinstance(before, list) and isinstance(after, list) and after[: len(before)] == before:
            added = ", ".join(shown(one) for one in after[len(before) :])
            return f"{spelled(self.path)}: {len(before)} stay, and more: {added} ({self.why})"
        return f"{spelled(self.path)}: {shown(before)} -> {shown(after)} ({self.why})"


@dataclass(frozen=True)
class Joined:
    """
    Attributes:
        values: For the release, with our mark.
        written: What of them is ours, without the mark: also what a tool's manifest lacks.
        differences: Key by key, what is in effect before and after.
        findings: Contradictions, which refuse, and what the owner should know.
    """

    values: Mapping[str, Any]
    written: Mapping[str, Any]
    differences: tuple[Difference, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Theirs:
    """
    What a release's owner wrote, without us.

    Attributes:
        values: As helm had them before us, with what the owner has changed since.
        chart_version: Of the release when we joined it; empty where that was not saved.
        revision: Its revision then; 0 where that was not saved.
        is_whole: Whether `values` are what they were: not so where an earlier release of ours saved nothing.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    chart_version: str = ""
    revision: int = 0
    is_whole: bool = True

    @property
    def config_map(self) -> str:
        """The name of the owner's ConfigMap for the device plugin, or empty."""
        name = at(self.values, _NAME)
        return name if isinstance(name, str) and name != layout.CONFIG_MAP.name else ""


def is_marked(release: Release) -> bool:
    """Whether this release was installed or joined by us."""
    return isinstance(release.values.get(MARK), Mapping)


def is_joined(release: Release) -> bool:
    return is_marked(release) and bool(release.values[MARK].get("adopted"))


def theirs(release: Release) -> Theirs:
    """The owner's side of a release, whether we have joined it or not; never ours."""
    mark = release.values.get(MARK)
    if not isinstance(mark, Mapping):
        return Theirs(release.values, release.chart_version, release.revision)
    now = {key: value for key, value in release.values.items() if key != MARK}
    before, written = mark.get("before"), mark.get("written")
    if not isinstance(before, Mapping) or not isinstance(written, Mapping):
        return Theirs(now, is_whole=False)
    values = edited(before, merged(before, written), now)
    revision = mark.get("revision")
    number = revision if isinstance(revision, int) else 0
    return Theirs(values, str(mark.get("chart") or ""), number, mark.get("whole") is not False)


def join(
    policy: Policy,
    release: Release,
    chart: Mapping[str, Any] | None = None,
    tolerations: Iterable[Mapping[str, Any]] = layout.TOLERATIONS,
) -> Joined:
    """
    Args:
        release: Another owner's, joined before or not.
        chart: The own values of the chart that it is to run; None where it runs that, or they are not known.
        tolerations: What operands must tolerate on our nodes.
    """
    owner = theirs(release)
    own = release.defaults if chart is None else chart
    effective = merged(own, owner.values)
    written: dict[str, Any] = {}
    for path, value in _needed(policy, effective, owner, release, tolerations):
        if at(effective, path) != value:
            written = with_value(written, path, value)
    values = merged(owner.values, written)
    mark = {"adopted": True, "before": owner.values, "written": written}
    if owner.chart_version:
        mark |= {"chart": owner.chart_version, "revision": owner.revision}
    if not owner.is_whole:
        mark["whole"] = False
    live = {key: value for key, value in release.values.items() if key != MARK}
    return Joined(
        {**values, MARK: mark},
        written,
        tuple(_differences(release.defaults, live, own, values, written)),
        (*conflicts(policy, effective), *_notes(policy, effective)),
    )


def _needed(
    policy: Policy,
    effective: Mapping[str, Any],
    owner: Theirs,
    release: Release,
    tolerations: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield _NAME, layout.CONFIG_MAP.name
    if at(effective, _CREATE, False):
        yield _CREATE, False
    if not owner.config_map and not at(effective, _DEFAULT, ""):
        yield _DEFAULT, layout.EXCLUSIVE
    # Rendered objects do not show what NFD's workers tolerate.
    for path in TOLERATION_LISTS if release.revision else TOLERATION_LISTS[:1]:
        yield path, union(at(effective, path, ()), tolerations)
    # Another chart may bring another driver, which nodes that restart would get: theirs stays for good.
    pinned = at(release.values, (MARK, "written", *_DRIVER))
    driver = pinned if pinned is not ABSENT else at(merged(release.defaults, owner.values), _DRIVER)
    said = at(owner.values, _DRIVER) is not ABSENT
    if at(effective, ("driver", "enabled"), False) and isinstance(driver, str) and not said:
        yield _DRIVER, driver


def union(there: Iterable[Any], more: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Tolerations: those that are there, in their order, and of the others what they do not cover."""
    found = list(there or ())
    for one in more:
        if not any(isinstance(other, Mapping) and _covers(other, one) for other in found):
            found.append(dict(one))
    return found


def _covers(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether all that `other` tolerates is tolerated by `one`, for ever."""
    if one.get("tolerationSeconds") is not None or one.get("effect") not in (None, "", other.get("effect")):
        return False
    exists = one.get("operator", "Equal") == "Exists"
    if not one.get("key"):
        return bool(exists)
    if one["key"] != other.get("key"):
        return False
    return bool(exists or (other.get("operator", "Equal"), one.get("value")) == ("Equal", other.get("value")))


def _differences(
    own_before: Mapping[str, Any],
    live: Mapping[str, Any],
    own_after: Mapping[str, Any],
    values: Mapping[str, Any],
    written: Mapping[str, Any],
) -> Iterator[Difference]:
    before, after = merged(own_before, live), merged(own_after, values)
    ours = {path for path, _ in leaves(written)}
    paths = {path: None for side in (before, after) for path, _ in leaves(side)}
    if not own_before:
        paths = dict.fromkeys(ours)  # what the chart had until now is not known
    for path in sorted(paths, key=lambda path: (path not in ours, path)):
        was, becomes = at(before, path), at(after, path)
        if was != becomes and not (isinstance(was, Mapping) or isinstance(becomes, Mapping)):
            yield Difference(path, was, becomes, "slicing needs it" if path in ours else "the chart's own")


def shown(value: Any) -> str:
    """A value on one line."""
    if value is ABSENT:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


# What the owner should know


def _notes(policy: Policy, effective: Mapping[str, Any]) -> Iterator[Finding]:
    brings = [part for part in ("driver", "toolkit") if at(effective, (part, "enabled"), False)]
    if brings:
        yield Finding(
            "operator-brings-driver",
            f"GPU Operator continues to set up {' and '.join(brings)} on nodes, as its values say; AL2023's "
            "accelerated images, which our nodes run, bring both.",
            "Nothing, as long as a node of yours needs them. Else set "
            f"{' and '.join(f'{part}.enabled: false' for part in brings)}, when no pod uses a GPU.",
        )
    if at(effective, ("nfd", "enabled"), True) is False:
        yield Finding(
            "nfd-elsewhere",
            "GPU Operator's values say nfd.enabled: false, so another node-feature-discovery labels the "
            "nodes that its operands run on.",
            f"See that its workers tolerate {_keys(layout.TOLERATIONS)}, or our nodes get no slices.",
        )
    yield from _exporter(policy, effective)


def _keys(tolerations: Iterable[Mapping[str, Any]]) -> str:
    return " and ".join(str(one["key"]) for one in tolerations)


def _exporter(policy: Policy, effective: Mapping[str, Any]) -> Iterator[Finding]:
    """Whose dashboards and alarms read it, we cannot know: so it stays as it is."""
    runs = bool(at(effective, ("dcgmExporter", "enabled"), True))
    source = policy.metrics.source
    if source in MEASURED_BY_THE_ADD_ON and runs:
        yield Finding(
            "two-exporters",
            f"The policy measures by {source}, whose CloudWatch add-on brings an exporter of GPUs, and GPU "
            "Operator runs one, too: two on a node fight over its profiling counters.",
            "Turn one off where it is not used: dcgmExporter.enabled: false in GPU Operator's values, or "
            "the add-on's. We leave yours as it is.",
        )
    if source is not MetricsSource.PROMETHEUS:
        return
    lacking = [
        f"{spelled(path)}: {shown(value)}"
        for path, value in leaves({"dcgmExporter": EXPORTER_FOR_PROMETHEUS})
        if not _has(at(effective, path), value)
    ]
    if not runs or lacking:
        needed = ["dcgmExporter.enabled: true"] if not runs else []
        yield Finding(
            "exporter-not-as-needed",
            "The policy measures by prometheus, and GPU Operator's exporter does not show whose pod uses "
            f"what of a GPU: its values lack {'; '.join((*needed, *lacking))}.",
            "Write that into GPU Operator's values where nothing of yours reads the labels as they are. "
            "Until then N is only lowered, or stays.",
        )


# Our own exporter's, too: it distinguishes the pods of a shared GPU.
EXPORTER_FOR_PROMETHEUS: Mapping[str, Any] = {
    "hostPID": True,  # or use by process, and so by pod, cannot be measured
    "serviceMonitor": {
        "enabled": True,
        "honorLabels": True,
        # The exporter's own label has the name of its pod where it is not given that of its node.
        "relabelings": [
            {
                "sourceLabels": ["__meta_kubernetes_pod_node_name"],
                "targetLabel": "node",
                "action": "replace",
            }
        ],
    },
    # Without it all slices of a GPU count as one, and the last pod is named for them.
    "env": [{"name": "KUBERNETES_VIRTUAL_GPUS", "value": "true"}],
}


def _has(there: Any, needed: Any) -> bool:
    if isinstance(needed, list):
        return isinstance(there, list) and all(one in there for one in needed)
    return bool(there == needed)
