"""A decision and its reasons in words, from what its record has. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.hardware import gpus as catalog
from slicewise.policy.model import Sharing
from slicewise.tuning.classes import explain as explain_classes
from slicewise.tuning.rule.replicas import memory_share

Detail = Mapping[str, Any]


def lines(detail: Detail) -> list[str]:
    """
    Args:
        detail: One of Record.details; of another release, or of a NodePool that was not decided on yet, it
            may lack fields.
    """
    try:
        return _lines(detail)
    except UNREADABLE as error:
        subject = detail.get("node_pool") or f"pool {detail.get('pool', 'unknown')}"
        return [
            f"{subject}: this decision was recorded by another release of Slicewise, and cannot be explained "
            f"here ({type(error).__name__}: {error})",
            "  Decide again: slicewise tune CLUSTER",
        ]


def _lines(detail: Detail) -> list[str]:
    if "classes" in detail:
        return explain_classes.lines(detail)
    if "node_pool" not in detail:
        return [str(detail.get("says", ""))]
    report = [f"{detail['node_pool']}: N is {detail.get('n', 'unknown')}"]
    report += [f"  {line}" for line in (*_decision(detail), *_why(detail), *_then(detail))]
    return report


def _decision(detail: Detail) -> list[str]:
    n, after = detail.get("n"), detail.get("after", detail.get("n"))
    report = []
    if detail.get("rollout"):
        report.append(f"It is being changed to {after}: {detail['rollout']}")
        if since := detail.get("since"):
            report.append(f"The change began at {since} because {detail.get('reason', '')}")
    elif reason := detail.get("reason"):
        report.append(f"It becomes {after}: {reason}" if after != n else f"It stays: {reason}")
    if canary := detail.get("canary"):
        report.append(f"The canary was {canary}")
    if failed := detail.get("failed"):
        report.append(f"A canary failed: {failed}")
    report += [f"Broken: {message}" for message in detail.get("broken", ())]
    report += [f"Asks for more than one GPU: {who}" for who in detail.get("asks_for_more", ())]
    if helps := detail.get("lets_them_run"):
        report.append(f"To let {'them run' if n and n > 1 else 'N rise'}: {helps}")
    return report


def _why(detail: Detail) -> list[str]:
    if "bounds" not in detail:
        return []
    report = [f"By the rule N is {detail['rule']}, bound by {detail['binding']}:"]
    report += [f"  {bound['what']:8} allows {bound['n']:2}: {bound['says']}" for bound in detail["bounds"]]
    report.append(_predicted(detail))
    report.append(f"Evidence: {detail['confidence']}; {detail['evidence']}")
    low, high = detail.get("allowed") or (detail["rule"], detail["rule"])
    if low != high:
        report.append(
            f"N may rise to {low} by what pods may use, and must fall to {high} by what they use for "
            "certain: what was not measured lies between"
        )
    if detail.get("doubt"):
        report.append(f"The evidence does not support a higher N: {detail['doubt']}")
    return report


def _predicted(detail: Detail) -> str:
    slowdown, budget = detail["slowdown"], detail["slowdown_budget"]
    slower = f"{slowdown:.1f}×" if slowdown is not None else "without limit"
    allowed = f"the budget is {budget:g}×" if budget else "there is no budget, for batch"
    return (
        f"Predicted: mean slowdown {slower} ({allowed}), {detail['slow_share']:.1%} of busy time over it; "
        f"{detail['pods']} pods on {detail['nodes']} nodes now, {detail['nodes_needed']} needed"
    )


def _then(detail: Detail) -> list[str]:
    report = [detail[key] for key in ("would_change", "advice") if detail.get(key)]
    history = detail.get("history") or {}
    if at := history.get("changed_at"):
        report.append(f"N changed last at {at}")
    if untried := history.get("untried"):
        report.append(
            "It was not tried before all nodes had it: consolidation removes one node at a time until a GPU "
            "has "
            f"has run more than {untried} pods for as long as a canary, a day at most"
        )
    for key, word in (("above", "higher"), ("below", "lower")):
        if since := history.get(f"{key}_since"):
            report.append(f"A {word} N has been right since {since}")
    report += [f"The canary of N = {n} failed at {at}" for n, at in sorted(history.get("failed", {}).items())]
    if consolidation := detail.get("consolidation"):
        report.append(f"Idle nodes go after {consolidation['after']}: {consolidation['why']}")
    n = detail.get("n")
    report += _servers(detail)
    if n and n > 1 and ("bounds" in detail or detail.get("rollout")):
        report.append(
            f"To keep {n}, or to come back to it: write replicas: {{start: {n}, max: {n}}} for pool "
            f"{detail.get('pool', '')} in the policy. No pod is killed by it. To stop here: pause the cluster"
        )
    return report


def _servers(detail: Detail) -> list[str]:
    """What a server that reserves memory when it starts may reserve, where the GPU limits none of it."""
    n, gpu = detail.get("after", detail.get("n")), detail.get("gpu")
    if detail.get("sharing") != Sharing.TIME_SLICING or not n or n < 2 or gpu not in catalog.names():
        return []
    share, card = memory_share(n), catalog.model(gpu).memory_mib
    return [
        f"For vLLM on one of {n} slices: --gpu-memory-utilization {share:.2f}, "
        f"{math.floor(share * card):,} of {card:,} MiB"
    ]
