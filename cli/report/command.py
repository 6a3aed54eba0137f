"""`slicewise report`: what GPUs cost, who held them and what was saved."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from slicewise.app import App

from cli import prices


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser], app: Callable[[], App]) -> None:
    command = commands.add_parser(
        "report",
        help="what GPUs cost, who held and used them, and what was saved",
        description="Of what reconciles have counted of clusters, also of deleted ones; docs/savings.md has "
        "each formula.",
    )
    command.add_argument("cluster", metavar="CLUSTER", nargs="*", help="names or ARNs; all without")
    command.add_argument(
        "--since",
        metavar="WHEN",
        default="30d",
        help="days or weeks that end today, such as 30d or 2w, or a day, such as 2026-11-01; 30d without",
    )
    command.add_argument("--until", metavar="DAY", default="", help="the last day that counts; today without")
    command.add_argument(
        "--team-label", metavar="KEY", default="", help="of pods, that names their team; a usual one without"
    )
    command.add_argument(
        "--bill",
        metavar="FILE",
        action="append",
        default=[],
        type=Path,
        help="an export of FOCUS 1.2 or CUR 2.0, CSV or Parquet, to compare with; may be repeated",
    )
    prices.add_options(command)
    command.add_argument("--html", metavar="FILE", type=Path, help="write one page that stands alone")
    command.add_argument(
        "--csv", metavar="FILE", type=Path, help="write rows by day and workload, with FOCUS' columns"
    )
    command.add_argument("--json", action="store_true", help="print every figure, as exact fractions too")
    command.set_defaults(run=lambda a: _run(app(), a))


def _run(app: App, arguments: argparse.Namespace) -> int:
    """Imported only here: other commands reckon nothing."""
    from cli.report import reporter

    return reporter.run(app, arguments)
