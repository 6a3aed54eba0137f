"""`slicewise assess`: what a cluster's GPUs cost and what sharing would save, with nothing deployed."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli import prices


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "assess",
        help="what a cluster's GPUs cost, and what sharing would save; nothing has to be deployed",
        description="Reads clusters by the kubeconfig, as kubectl would, and changes nothing in them. "
        "--rights prints the rights that it needs.",
    )
    command.add_argument("--context", action="append", default=[], help="of the kubeconfig; may be repeated")
    command.add_argument(
        "--cluster-name", metavar="NAME", help="as metrics call it; else as the context names it"
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument("--prometheus", metavar="URL", help="that has the metrics of dcgm-exporter")
    source.add_argument("--amp", metavar="URL", help="of a workspace of Amazon Managed Prometheus")
    source.add_argument(
        "--container-insights",
        nargs="?",
        const="classic",
        choices=("classic", "otel"),
        help="of CloudWatch; classic unless otel is written",
    )
    source.add_argument("--recorded", metavar="FILE", type=Path, help="an answer of Prometheus' query_range")
    command.add_argument("--since", metavar="SPAN", default="7d", help="such as 3d or 36h; 7d without")
    prices.add_options(command)
    command.add_argument(
        "--time-zone", metavar="ZONE", default="UTC", help="in which unused hours are reported; UTC without"
    )
    command.add_argument(
        "--write-policy", metavar="FILE", type=Path, help="write the policy that it suggests"
    )
    command.add_argument("--json", action="store_true", help="print JSON, with all workloads")
    command.add_argument("--rights", action="store_true", help="print the ClusterRole that it needs")
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Imported only here: other commands need neither the rules nor what reads clusters."""
    from cli import assessor

    return assessor.run(arguments)
