"""Reads what is recorded, reckons the report of `slicewise report`, and writes what its options ask for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from slicewise.app import App
from slicewise.costs.day import Day
from slicewise.costs.reckon import reckon
from slicewise.costs.report import Report
from slicewise.costs.tally import ClusterDays, Rates
from slicewise.costs.wastes import wastes
from slicewise.errors import Refused

from cli import prices
from cli.report import bill_check, bill_file, focus, history, numbers, text
from cli.report.period import period


def run(app: App, arguments: argparse.Namespace) -> int:
    """0: it is of all clusters that were asked for; 1: nothing is recorded; 2: one could not be read."""
    now, given = app.clock(), _given(arguments.price)
    found = history.read(app, arguments.cluster, when := period(arguments.since, arguments.until, now))
    _tell(found.failed)
    if not found.clusters:
        _tell([] if found.failed else [history.NOTHING_YET])
        return 2 if found.failed else 1
    types = _types(found.clusters)
    paid, trouble = prices.read(arguments.prices, given, types, lambda: _place(app))
    report = reckon(found.clusters, paid, when.since, when.until, arguments.team_label)
    report = replace(report, notes=(*found.notes, *trouble, *report.notes))
    report = _with_bill(report, arguments.bill, found.clusters, Rates(paid))
    misspelled = prices.unknown(given, types)
    _tell(f"--price {kind}: no machine is of that type; correct it" for kind in misspelled)
    if arguments.html:
        from cli.report.page import page

        _write(arguments.html, "--html", lambda file: file.write(page(report, now)))
    if arguments.csv:
        rates, account = Rates(paid), app.scope.account
        _write(arguments.csv, "--csv", lambda file: focus.write(file, found.clusters, rates, account))
    _print(report, arguments.json)
    return 2 if found.failed or misspelled else 0


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        print(json.dumps(numbers.as_json(report, wastes(report)), indent=1, ensure_ascii=False))
    else:
        print("\n".join(text.lines(report)))


def _tell(messages: Any) -> None:
    for message in messages:
        print(f"slicewise report: {message}", file=sys.stderr)


def _given(texts: list[str]) -> dict[str, float]:
    try:
        return prices.given(texts)
    except ValueError as error:
        raise Refused(str(error)) from error


def _types(clusters: list[ClusterDays]) -> set[str]:
    """Of machines that are to have a price: that were there, slept or were not needed."""
    days: list[Day] = [day for cluster in clusters for day in cluster.days]
    nights = [night for day in days for night in day.nights.values()]
    kinds = {machine.instance_type for day in days for machine in day.hours}
    kinds |= {kind.instance_type for day in days for kind in day.whole}
    kinds |= {kind.partition(" ")[0] for night in nights for kind in _saved(night)}
    return {kind for kind in kinds if "." in kind}


def _saved(night: Any) -> list[str]:
    saved = night.get("saved")
    return list(saved) if isinstance(saved, dict) else []


def _place(app: App) -> tuple[Any, str]:
    from botocore.session import Session

    return Session(), app.scope.region


def _with_bill(report: Report, files: list[Path], clusters: list[ClusterDays], rates: Rates) -> Report:
    """Without it where a file is none: what can be said is said all the same."""
    if not files:
        return report
    try:
        bill = bill_file.read_all(files, frozenset(report.regions.values()))
    except Refused as error:
        return replace(report, notes=(f"No bill is compared: {error}", *report.notes))
    return replace(report, bill=bill_check.check(bill, clusters, rates))


def _write(path: Path, option: str, act: Callable[[TextIO], object]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            act(file)
    except OSError as error:
        why = error.strerror or str(error)
        raise Refused(f"{option} {path} cannot be written: {why}. Name another file.") from error
    print(f"slicewise report: wrote {path}", file=sys.stderr)
