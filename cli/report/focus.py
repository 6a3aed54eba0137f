"""
A report's amounts as rows of FOCUS 1.2: one for each day, cluster and workload, and one for what no pod held.

All columns that FOCUS 1.2 demands are there, under its names; those that are ours begin with x_Slicewise. It
is no bill: costs are machine-hours at the report's prices, so that all four costs of a row are one.
Source: FinOps Open Cost and Usage Specification 1.2.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TextIO

from slicewise.costs.day import Day, Hour, Machine, Workload
from slicewise.costs.moments import at
from slicewise.costs.report import Parts, Row
from slicewise.costs.tables import pod_rows, workload_sums
from slicewise.costs.tally import ClusterDays, Rates, add_hours, sum_of

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "Tags",
    "x_SlicewiseCluster",
    "x_SlicewiseNamespace",
    "x_SlicewiseWorkload",
    "x_SlicewiseUsedCost",
    "x_SlicewiseIdleCost",
    "x_SlicewiseUnmeasuredCost",
    "x_SlicewiseFreeCost",
    "x_SlicewiseAwsSplitCost",
)
_AWS, _SERVICE, _UNIT = "AWS", "Amazon Elastic Compute Cloud", "GPU-Hours"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# A cent divided by this many is seen by no sum of a year.
_PLACES = Decimal(1).scaleb(-12)


def write(file: TextIO, clusters: Sequence[ClusterDays], rates: Rates, account: str) -> None:
    rows = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    rows.writeheader()
    rows.writerows(focus_rows(clusters, rates, account))


def focus_rows(clusters: Sequence[ClusterDays], rates: Rates, account: str) -> Iterator[Mapping[str, str]]:
    for cluster in clusters:
        for day in cluster.days:
            alone = replace(cluster, days=(day,))
            known = {f"{one.namespace}/{one.kind}/{one.name}": one for one in _workloads(day)}
            for row in _rows(alone, day, rates):
                yield _focus(row, cluster, day, known.get("/".join(row.key)), account)


def _rows(alone: ClusterDays, day: Day, rates: Rates) -> tuple[Row, ...]:
    tallies: dict[Machine, Hour] = {}
    for machine, hours in day.hours.items():
        add_hours(tallies, machine, hours.values())
    sums, total = workload_sums([alone], rates), sum_of(tallies, rates)
    return pod_rows(sums, rates, total, lambda _, one: (one.namespace, one.kind, one.name))


def _workloads(day: Day) -> Iterator[Workload]:
    for uses in day.workloads.values():
        yield from uses


def _focus(
    row: Row, cluster: ClusterDays, day: Day, workload: Workload | None, account: str
) -> dict[str, str]:
    cost, hours = _decimal(row.parts.total.usd), _decimal(row.parts.total.gpu_hours)
    named = "/".join(row.key) if workload else ""
    return {
        **dict.fromkeys(COLUMNS, ""),
        **_of_time(day),
        **_of_parts(row.parts),
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), hours),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit"), _UNIT),
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), _AWS),
        "BillingAccountId": account,
        "BillingAccountType": "AWS account",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeDescription": f"GPUs held by {named}" if workload else "GPUs that no pod held",
        "ChargeFrequency": "Usage-Based",
        "RegionId": cluster.region,
        "ResourceId": f"{cluster.name}/{named}" if workload else cluster.name,
        "ResourceName": _inert(workload.name) if workload else cluster.name,
        "ResourceType": _inert(workload.kind) if workload else "Cluster",
        "ServiceCategory": "Compute",
        "ServiceName": _SERVICE,
        "Tags": json.dumps(day.labels.get(workload, {}) if workload else {}, sort_keys=True),
        "x_SlicewiseCluster": cluster.name,
        "x_SlicewiseNamespace": workload.namespace if workload else "",
        "x_SlicewiseWorkload": _inert(f"{workload.kind}/{workload.name}") if workload else "",
        "x_SlicewiseAwsSplitCost": "" if row.aws_split is None else _decimal(row.aws_split),
    }


def _inert(text: str) -> str:
    """
    As text where a spreadsheet would take it for a formula. Kubernetes checks the name of a pod and of its
    namespace, but not what the pod says that its owner's kind and name are.
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def _of_time(day: Day) -> dict[str, str]:
    """From when it was counted; a billing period is AWS's, the month."""
    month = at(day.begin).replace(day=1)
    return {
        "BillingPeriodStart": _iso(month),
        "BillingPeriodEnd": _iso((month + timedelta(days=31)).replace(day=1)),
        "ChargePeriodStart": _iso(at(day.since)),
        "ChargePeriodEnd": _iso(at(day.through)),
    }


def _of_parts(parts: Parts) -> dict[str, str]:
    return {
        f"x_Slicewise{name.capitalize()}Cost": _decimal(part.usd)
        for name, part in zip(Parts._fields, parts, strict=True)
    }


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _decimal(value: Fraction) -> str:
    """FOCUS takes plain decimals, without an exponent."""
    found = (Decimal(value.numerator) / Decimal(value.denominator)).quantize(_PLACES)
    return f"{found.normalize():f}" if found else "0"
