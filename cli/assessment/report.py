"""An assessment for people, as lines of text, and for programs, as JSON values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from slicewise.tuning.usage.quality import FEWER_DAYS

from cli.assessment.assessment import Assessment, ModelAssessment, WorkloadUse
from cli.assessment.evidence import NO_SOURCE
from cli.assessment.rules import Estimate
from cli.output import plural

HOURS_A_MONTH = 730
MOST_WORKLOADS = 12


def lines(found: Assessment) -> Iterator[str]:
    yield f"{found.cluster} (context {found.context}), {found.at:%Y-%m-%d %H:%M} UTC"
    if not found.nodes_read:
        yield "  Its nodes were not read, so nothing is known of its GPUs (below)."
    elif not found.models:
        yield "  No node with a GPU was found, so there is nothing to save."
    else:
        nodes = sum(len(model.nodes) for model in found.models)
        yield f"  {plural(found.gpus, 'GPU')} on {plural(nodes, 'node')}: {_bill(found)}"
        yield f"  Prices: {found.prices.terms}{', or as given' if found.prices.given else ''}"
        yield f"  {_measured(found)}"
    if not found.pods_read:
        yield "  Its pods were not read, so who holds the GPUs and what would be saved is not known (below)."
    for model in found.models:
        yield ""
        yield from _model(model)
    yield ""
    yield from _hours(found)
    if found.waiting:
        asked = sum(pod.gpus for pod in found.waiting)
        pods = plural(len(found.waiting), "pod")
        yield f"Waiting for a node: {pods} with {plural(asked, 'GPU')} asked for."
        yield "  As many GPUs that no pod holds stay under every rule."
    if found.ending:
        yield f"Being deleted: {plural(found.ending, 'pod')}; what they hold counts as held by no pod."
    if found.has_karpenter is False and found.models:
        yield "No Karpenter NodePool was found. Slicewise needs Karpenter 1.14 or later."
    if found.unknown:
        yield "Not known:"
        yield from (f"  {one}" for one in found.unknown)


def _bill(found: Assessment) -> str:
    return _money(found.usd_per_hour, _is_least(found))


def _is_least(found: Assessment) -> bool:
    """Whether something of it has no price, or was not read."""
    return not found.nodes_read or any(model.unpriced for model in found.models)


def _money(usd: float, is_least: bool) -> str:
    least = "at least " if is_least else ""
    return f"{least}{_usd(usd)} an hour, {least}{usd * HOURS_A_MONTH:,.0f} $ a month"


def _measured(found: Assessment) -> str:
    if found.evidence.trouble:
        return "Metrics: unreadable (below). What follows rests on what pods ask for."
    if found.evidence.source == NO_SOURCE:
        return (
            "Metrics: none were named, so what follows rests on what pods ask for. "
            "Pass --prometheus URL, --amp URL, --container-insights or --recorded FILE."
        )
    measured, pods = (
        sum(getattr(model, what) for model in found.models) for what in ("measured_pods", "shareable_pods")
    )
    line = f"Metrics: {found.evidence.source}; {measured} of {pods} pods that could share have a full day"
    if pods and not found.evidence.readings.devices:
        line += f". If the source calls this cluster otherwise than {found.cluster}, pass --cluster-name"
    # Reconciles make up for days that one did not read; here they are read once.
    problems = [
        one.message if one.code == FEWER_DAYS else f"{one.message} {one.remedy}"
        for one in found.evidence.problems
    ]
    return "\n  ".join([line, *(f"  note: {one}" for one in problems)])


def _model(model: ModelAssessment) -> Iterator[str]:
    machines = Counter(node.instance_type or "?" for node in model.nodes)
    types = ", ".join(f"{count} {machine}" for machine, count in sorted(machines.items()))
    memory = f", {model.memory_mib / 1024:.1f} GiB each" if model.memory_mib else ""
    yield f"{model.name}: {plural(model.gpus, 'GPU')} on {types}{memory}"
    if model.busy is not None:
        peak = f"; at most {model.memory:.0%} of their memory was used" if model.memory is not None else ""
        yield f"  They were busy {model.busy:.0%} of the time{peak}."
    if not model.parts:
        return
    yield from _table(
        ("held by", "pods", "GPUs", "$/hour"),
        [
            *(
                [part.what, str(part.pods), _count(part.gpus), f"{part.usd_per_hour:.2f}"]
                for part in model.parts
            ),
            [
                "all",
                str(sum(part.pods for part in model.parts)),
                str(model.gpus),
                f"{model.usd_per_hour:.2f}",
            ],
        ],
    )
    for part in model.parts:
        yield f"  {part.what}: {part.message}. {part.remedy}".rstrip()
    yield ""
    yield from _table(
        ("rule", "GPUs", "$/hour", "saves $/month", ""), [_row(model, one) for one in model.rules.estimates]
    )
    yield from _risks(model.rules.estimates)
    if model.rules.choice and model.rules.choice.advice:
        yield f"  {model.rules.choice.advice}"
    yield ""
    yield from _workloads(model.workloads)


def _risks(estimates: Sequence[Estimate]) -> Iterator[str]:
    """Rules with the same text share one line."""
    alike: dict[str, list[str]] = {}
    for one in estimates:
        alike.setdefault(one.risk, []).append(one.title)
    yield from (f"  {'; '.join(titles)}: {risk}." for risk, titles in alike.items())


def _row(model: ModelAssessment, one: Estimate) -> list[str]:
    under, usd, saved = model.gpus_under(one.rule), model.usd_under(one.rule), model.saved_per_hour(one.rule)
    if under is None:
        return [one.title, "?", "?", "?", ""]
    share = f"{1 - under / model.gpus:.0%} fewer GPUs" if under < model.gpus else ""
    return [
        one.title,
        str(under),
        "?" if usd is None else f"{usd:.2f}",
        "?" if saved is None else f"{saved * HOURS_A_MONTH:,.0f}",
        share,
    ]


def _workloads(found: Sequence[WorkloadUse]) -> Iterator[str]:
    rows = [
        [
            f"{one.workload.kind} {one.workload.namespace}/{one.workload.name}",
            str(one.pods),
            _count(one.gpus),
            "?" if one.peak_mib is None else f"{one.peak_mib / 1024:.1f}",
            "?" if one.busy is None else f"{one.busy:.0%}",
            one.exclusion.code if one.exclusion else "greedy allocator" if one.is_greedy else "could share",
        ]
        for one in found[:MOST_WORKLOADS]
    ]
    yield from _table(("workload", "pods", "GPUs", "peak GiB", "busy", ""), rows)
    if len(found) > MOST_WORKLOADS:
        yield f"  and {len(found) - MOST_WORKLOADS} more, which --json has"


def _hours(found: Assessment) -> Iterator[str]:
    unused = found.unused
    if unused is None:
        if found.models:
            yield "Unused hours: not known without measurements."
        return
    usd = found.unused_usd_per_hour * HOURS_A_MONTH
    yield (
        f"Unused hours: in {unused.unused} of {unused.measured} measured hours none of the "
        f"{unused.gpus} GPUs that were measured was busy. "
        f"In a month like that their nodes cost {usd:,.0f} $ then."
    )
    if found.nodes_gone:
        gone = plural(found.nodes_gone, "node")
        yield f"  This includes {gone} that no longer exist, while they ran, at today's price of such GPUs."
    if unused.strangers:
        nodes = plural(unused.strangers, "node")
        yield (
            f"  The metrics have {nodes} that this cluster has not, and its hours may be used by them. "
            "Put the label `cluster` on the metrics of each cluster."
        )
    if unused.asleep:
        yield f"  Each week: {', '.join(unused.asleep)} ({unused.time_zone}), as offHours.asleep takes it."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first and the last column to the left, figures to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        if not head[-1]:
            rest[-1] = row[-1]
        yield "  " + "  ".join([first, *rest]).rstrip()


def _count(gpus: Any) -> str:
    return str(gpus) if gpus.denominator == 1 else f"{float(gpus):.2f}"


def _usd(amount: float) -> str:
    return f"{amount:,.2f} $"


def as_json(found: Assessment) -> dict[str, Any]:
    """Dollars an hour throughout, with all digits: parts add up to their model, and models to the cluster."""
    return {
        "context": found.context,
        "cluster": found.cluster,
        "at": found.at.isoformat(timespec="seconds"),
        "metrics": found.evidence.source,
        "prices": found.prices.terms,
        "nodes_read": found.nodes_read,
        "pods_read": found.pods_read,
        "gpus": found.gpus,
        "usd_per_hour": found.usd_per_hour,
        "models": [_model_json(model) for model in found.models],
        "waiting_pods": [pod.key for pod in found.waiting],
        "unused_hours": asdict(found.unused) if found.unused else None,
        "unused_usd_per_hour": found.unused_usd_per_hour if found.unused else None,
        "has_karpenter": found.has_karpenter,
        "notes": [
            {"code": one.code, "message": one.message, "remedy": one.remedy}
            for one in found.evidence.problems
        ],
        "unknown": list(found.unknown),
    }


def _model_json(model: ModelAssessment) -> dict[str, Any]:
    choice = model.rules.choice
    return {
        "model": model.name,
        "gpus": model.gpus,
        "nodes": len(model.nodes),
        "usd_per_hour": model.usd_per_hour,
        "unpriced": list(model.unpriced),
        "busy": model.busy,
        "memory": model.memory,
        "shareable_pods": model.shareable_pods,
        "measured_pods": model.measured_pods,
        "parts": [
            {
                "what": p.what,
                "reason": p.message,
                "pods": p.pods,
                "gpus": float(p.gpus),
                "usd_per_hour": p.usd_per_hour,
            }
            for p in model.parts
        ],
        "rules": [
            {
                "rule": one.rule,
                "n": one.n or None,
                "doubt": one.doubt or None,
                "gpus": model.gpus_under(one.rule),
                "saved_usd_per_hour": model.saved_per_hour(one.rule),
                "risk": one.risk,
            }
            for one in model.rules.estimates
        ],
        "n": choice.sentence if choice else None,
        "workloads": [_workload_json(one) for one in model.workloads],
    }


def _workload_json(one: WorkloadUse) -> dict[str, Any]:
    return {
        "kind": one.workload.kind,
        "namespace": one.workload.namespace,
        "name": one.workload.name,
        "pods": one.pods,
        "gpus": float(one.gpus),
        "peak_mib": one.peak_mib,
        "busy": one.busy,
        "greedy": one.is_greedy,
        "must_not_share": one.exclusion.code if one.exclusion else None,
    }


def text(found: Iterable[Assessment]) -> str:
    """Several clusters, one after the other, and what they come to."""
    found = tuple(found)
    reports = ["\n".join(lines(one)) for one in found]
    return "\n\n".join([*reports, *_together(found)])


def _together(found: Sequence[Assessment]) -> Iterator[str]:
    if len(found) < 2:
        return
    usd = sum(one.usd_per_hour for one in found)
    gpus = plural(sum(one.gpus for one in found), "GPU")
    yield f"{len(found)} clusters: {gpus}, {_money(usd, any(map(_is_least, found)))}"
