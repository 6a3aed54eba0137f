"""
slicewise: check policies, see the fleet, and ask for things by hand.

Commands that touch AWS use the caller's own credentials and Region, and find the deployment by its functions'
names; nothing has to be configured.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache

from slicewise.app import App
from slicewise.errors import Refused, SlicewiseError

from cli import assess, fleet, local, offhours, policy_reference, policy_schema, tuning
from cli import offboard as offboarding
from cli import status as clusters
from cli.deployment import NotDeployed
from cli.deployment import app as deployed
from cli.output import Answer, show
from cli.report import command as report
from cli.terminal import completion
from cli.terminal.columns import screen_of
from cli.terminal.help import finish
from cli.terminal.watch import watch

_LONGEST_WATCH = 3600


def main(argv: Sequence[str] | None = None, find_app: Callable[[], App] = deployed) -> int:
    """Returns the exit status (cli/terminal/help.py)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["backtest"]:
        # Its options are its own: argparse would take `--help` and what it does not know.
        return local.backtest(arguments[1:])
    parsed = _parser(cache(find_app)).parse_args(arguments)
    try:
        return _run(parsed)
    except KeyboardInterrupt:
        print("slicewise: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Such as `head`, which has seen enough. Python would complain of it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except NotDeployed as error:
        print(f"slicewise: {error}", file=sys.stderr)
    except SlicewiseError as error:
        print(f"slicewise: {type(error).__name__}: {error}", file=sys.stderr)
    return 2


def _run(parsed: argparse.Namespace) -> int:
    """A command answers, or has printed what it found and returns the exit status."""
    answer: Answer | int = parsed.run(parsed)
    return show(answer, parsed.json) if isinstance(answer, Answer) else answer


def _parser(app: Callable[[], App]) -> argparse.ArgumentParser:
    """Every command; `run` of what it parses returns an Answer or an exit status."""
    whole = argparse.ArgumentParser(
        prog="slicewise",
        description="GPUs on Amazon EKS, sliced: check policies, see the fleet, ask for things by hand.",
    )
    commands = whole.add_subparsers(metavar="COMMAND", required=True)

    policy = commands.add_parser("policy", help="work with policies; needs no AWS")
    with_policies = policy.add_subparsers(metavar="COMMAND", required=True)
    check = with_policies.add_parser("check", help="report everything that is wrong in a policy")
    check.add_argument("files", metavar="FILE", nargs="+", help="a policy's YAML; - reads standard input")
    check.set_defaults(run=lambda a: local.check_policies(a.files))
    field = with_policies.add_parser("explain", help="what a field of a policy takes, and what it is for")
    field.add_argument(
        "field", metavar="FIELD", nargs="?", help="such as maxGpus or tuning.dwell; all without"
    )
    field.set_defaults(
        run=lambda a: policy_reference.explain(a.field) if a.field else policy_reference.list_all()
    )
    schema = with_policies.add_parser("schema", help="print the JSON Schema of policies, for editors")
    schema.set_defaults(run=lambda a: policy_schema.schema())

    status = commands.add_parser("status", help="the stage of clusters, and why")
    status.add_argument("cluster", metavar="CLUSTER", nargs="?", help="a cluster's name or ARN; all without")
    status.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds,
        const=5.0,
        help="show it again each few seconds, 5 without, until Ctrl-C",
    )
    status.set_defaults(run=lambda a: _status(app(), a))

    onboard = commands.add_parser("onboard", help="reconcile a cluster now, also a blocked one")
    onboard.add_argument("cluster", metavar="CLUSTER", help="its name or ARN")
    onboard.set_defaults(run=lambda a: fleet.onboard(app(), a.cluster))

    tune = commands.add_parser("tune", help="decide on a cluster's N now")
    tune.add_argument("cluster", metavar="CLUSTER", help="its name or ARN")
    tune.set_defaults(run=lambda a: tuning.tune(app(), a.cluster))

    explain = commands.add_parser("explain", help="why N is what it is, and what would change it")
    _add_cluster_or_snapshot(explain)
    explain.add_argument("pool", metavar="POOL", nargs="?", help="one pool of it; all without")
    explain.set_defaults(
        run=lambda a: (
            tuning.explain_snapshot(a.snapshot, a.cluster)
            if a.snapshot
            else tuning.explain(app(), _named(explain, a), a.pool)
        )
    )

    plan = commands.add_parser(
        "plan", help="what the next reconciles would do; reads with your own rights, changes nothing"
    )
    _add_cluster_or_snapshot(plan)
    plan.set_defaults(
        run=lambda a: tuning.plan_snapshot(a.snapshot) if a.snapshot else fleet.plan(app(), _named(plan, a))
    )

    snapshot = commands.add_parser(
        "snapshot", help="print what tuning sees of a cluster, to explain and plan from later, anywhere"
    )
    snapshot.add_argument("cluster", metavar="CLUSTER", help="its name or ARN")
    snapshot.set_defaults(run=lambda a: tuning.snapshot(app(), a.cluster))

    for name, asleep, message in (
        ("sleep", True, "put a cluster's GPU workloads to sleep now"),
        ("wake", False, "wake a cluster's GPU workloads now"),
        ("snooze", False, "not tonight: keep a cluster awake"),
    ):
        override = commands.add_parser(
            name,
            help=message,
            description=f"{message}; until the calendar says the same, where no end is named",
        )
        override.add_argument("cluster", metavar="CLUSTER", help="its name or ARN")
        end = override.add_mutually_exclusive_group()
        end.add_argument("--until", metavar="TIME", help="such as 22:30 in the cluster's time zone")
        end.add_argument("--for", dest="span", metavar="SPAN", help="such as 90m, 2h or 3d")
        override.add_argument("--reason", default="", help="shown by slicewise status")
        override.set_defaults(run=lambda a, asleep=asleep: offhours.put_override(app(), asleep, a))

    follow = commands.add_parser("follow-calendar", help="clear a cluster's override and follow the calendar")
    follow.add_argument("cluster", metavar="CLUSTER", help="its name or ARN")
    follow.set_defaults(run=lambda a: offhours.delete_override(app(), a.cluster))

    calendar = commands.add_parser("calendar", help="when a policy's clusters sleep; needs no AWS")
    calendar.add_argument("file", metavar="POLICY", help="a policy's YAML")
    calendar.add_argument("--from", dest="start", metavar="DATE", help="such as 2026-12-21; today without")
    calendar.add_argument("--days", type=int, default=14, help="how many; 14 without")
    calendar.set_defaults(run=lambda a: offhours.calendar(a.file, a.start, a.days))

    for name, run, message in (
        (
            "pause",
            fleet.pause,
            "change nothing until resumed, but for waking what sleeps: one cluster, or all",
        ),
        ("resume", fleet.resume, "go on: one cluster, or all"),
    ):
        switch = commands.add_parser(name, help=message)
        which = switch.add_mutually_exclusive_group(required=True)
        which.add_argument("cluster", metavar="CLUSTER", nargs="?", help="its name or ARN")
        which.add_argument("--all", action="store_true", help="the whole fleet")
        if name == "pause":
            switch.add_argument("--reason", default="", help="shown by slicewise status")
            switch.add_argument(
                "--keep-asleep",
                action="store_true",
                help="what sleeps stays asleep past its opening, too, until resumed",
            )
        switch.set_defaults(run=lambda a, run=run: run(app(), a))

    leave = commands.add_parser(
        "offboard",
        help="have everything of Slicewise leave a cluster",
        description="Wakes what sleeps, restores what was adopted, empties and deletes our NodePools, and "
        "removes all else that is ours. Evicts no pod: pods that can run nowhere else are listed.",
    )
    which = leave.add_mutually_exclusive_group(required=True)
    which.add_argument("cluster", metavar="CLUSTER", nargs="?", help="its name or ARN")
    which.add_argument(
        "--all", action="store_true", help="every cluster of which anything is recorded; before cdk destroy"
    )
    leave.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    leave.set_defaults(run=lambda a: offboarding.offboard(app(), a))

    assess.add_to(commands)
    report.add_to(commands, app)

    # Only for the list of commands: `main` passes it on before anything is parsed.
    backtest = commands.add_parser(
        "backtest", help="the figures of a policy on recorded use; needs no AWS", add_help=False
    )
    backtest.add_argument("files", metavar="FILE", nargs="+")
    backtest.add_argument("--html", metavar="FILE")

    complete = commands.add_parser("completion", help="print what completes this command in a shell")
    complete.add_argument("shell", choices=completion.SHELLS)
    complete.set_defaults(run=lambda a: completion.script(whole, a.shell))
    return finish(whole)


def _status(app: App, arguments: argparse.Namespace) -> Answer | int:
    if arguments.watch is None:
        return clusters.status(app, arguments.cluster, screen_of(sys.stdout))
    if arguments.json:
        raise Refused("--watch redraws the screen, for people. Leave out --json, or call it again and again.")
    return watch(
        lambda: clusters.status(app, arguments.cluster, screen_of(sys.stdout)), arguments.watch, sys.stdout
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 1 <= seconds <= _LONGEST_WATCH:
        what = f"{text} is not a number of seconds from 1 to {_LONGEST_WATCH}"
        raise argparse.ArgumentTypeError(f"{what}; a cluster is named before --watch")
    return seconds


def _add_cluster_or_snapshot(command: argparse.ArgumentParser) -> None:
    command.add_argument("cluster", metavar="CLUSTER", nargs="?", help="its name or ARN")
    command.add_argument(
        "--snapshot",
        metavar="FILE",
        help="of `slicewise snapshot`, in place of a cluster; - reads standard input",
    )


def _named(command: argparse.ArgumentParser, arguments: argparse.Namespace) -> str:
    if not arguments.cluster:
        command.error("name a cluster, or pass --snapshot FILE")
    return str(arguments.cluster)


if __name__ == "__main__":
    sys.exit(main())
