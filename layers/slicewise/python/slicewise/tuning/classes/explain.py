"""Which class each workload belongs in, and why, in words, from what a record has. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicewise.kube.labels import CLASS_LABEL
from slicewise.kube.ref import Ref
from slicewise.pools import layout

Detail = Mapping[str, Any]


def lines(detail: Detail) -> list[str]:
    """`detail` is one of Record.details, about a pool that is split into classes."""
    sizes = ", ".join(map(str, detail["classes"]))
    report = [f"pool {detail['pool']}: split into classes of {sizes} pods a GPU"]
    return report + [f"  {line}" for line in (*_decision(detail), *_workloads(detail))]


def _decision(detail: Detail) -> list[str]:
    report = [f"Nothing is decided now: {detail['frozen']}"] if detail.get("frozen") else []
    if not detail["decided_at"]:
        return report
    now, then = detail["gpus"]
    report.append(f"Decided each day, last at {detail['decided_at']}: see docs/tuning.md")
    report.append(f"A GPU may have {detail['threshold']:.2f} of expected busy time, learnt from past days")
    report.append(
        f"At the classes that its workloads have they need {now:g} GPUs; where they belong, {then:g}"
    )
    if detail["contended"]:
        days = ", ".join(_contended(*shares) for _, *shares in detail["contended"])
        report.append(f"Contended on the last days, where 1 % is promised: {days} of GPU time")
    return report


def _contended(lower: float | None, upper: float | None = None) -> str:
    """Releases before wrote one figure a day, and none where nothing was measured."""
    if lower is None or (lower, upper) == (0.0, 1.0):
        return "unmeasured"
    if upper is None or round(upper, 3) == round(lower, 3):
        return f"{lower:.1%}"
    return f"{lower:.1%} (up to {upper:.1%} with what was not measured)"


def _workloads(detail: Detail) -> list[str]:
    report = [_workload(one) for one in detail["workloads"]]
    left = detail["count"] - len(detail["workloads"])
    report += [f"{left} more stay where they are"] if left > 0 else []
    if any(one["class"] != one["recommended"] and "auto" not in one for one in detail["workloads"]):
        report.append(
            f"Moved automatically, {detail['moves_a_day']} a day at most, are workloads with the label "
            f"{CLASS_LABEL}: {layout.AUTO}"
        )
        report.append(
            f'To move one by hand: nodeSelector {CLASS_LABEL}: "N" beside the pool\'s, and the '
            f'toleration {{key: {CLASS_LABEL}, value: "N"}}; for class 1, neither'
        )
    return report


def _workload(one: Detail) -> str:
    pods = f"{one['pods']} pod{'s' if one['pods'] != 1 else ''}"
    before, after = one["class"], one["recommended"]
    step = f"class {before}→{after}" if before != after else f"class {before}"
    auto = f" (auto: {one['auto']})" if one.get("auto") else " (auto)" if "auto" in one else ""
    owner = f" of {one['owner']}" if one.get("owner") else ""
    return f"{Ref(*one['ref'])}{owner}, {pods}: {step}{auto}: {one['reason']}"
