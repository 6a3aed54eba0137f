"""What `--help` shows beside a command's own options: examples, what the exit status means, and `--json`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

EXIT_STATUS = """\
exit status:
  0    done, or the answer is yes
  1    the answer is no: a policy is wrong, a cluster was never reconciled, or what was asked for cannot be
  2    it could not be done: wrong arguments, no deployment, AWS or a cluster refused or did not answer;
       the reason is on standard error
  130  interrupted with Ctrl-C"""

# By command: lines to copy. Each is parsed by a test.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "policy check": (
        "slicewise policy check policies/default.yaml",
        "slicewise policy check --json policies/default.yaml",
        "slicewise policy check -",
    ),
    "policy explain": ("slicewise policy explain", "slicewise policy explain pools.shared.replicas"),
    "policy schema": ("slicewise policy schema",),
    "status": (
        "slicewise status",
        "slicewise status gpu-1",
        "slicewise status --watch",
        "slicewise status gpu-1 --watch 30",
        "slicewise status --json",
    ),
    "report": (
        "slicewise report",
        "slicewise report gpu-1 --since 2w --team-label team --html gpus.html",
        "slicewise report --since 2026-10-01 --until 2026-10-31 --bill october.csv.gz",
    ),
    "onboard": ("slicewise onboard gpu-1",),
    "tune": ("slicewise tune gpu-1",),
    "explain": (
        "slicewise explain gpu-1",
        "slicewise explain gpu-1 shared",
        "slicewise explain --snapshot gpu-1.json",
    ),
    "plan": ("slicewise plan gpu-1", "slicewise plan --snapshot gpu-1.json"),
    "snapshot": ("slicewise snapshot gpu-1",),
    "sleep": (
        "slicewise sleep gpu-1",
        "slicewise sleep gpu-1 --until 22:30 --reason 'a demo tomorrow'",
        "slicewise sleep gpu-1 --for 2h",
    ),
    "wake": ("slicewise wake gpu-1", "slicewise wake gpu-1 --for 90m --reason 'a release'"),
    "snooze": ("slicewise snooze gpu-1", "slicewise snooze gpu-1 --until 2026-12-24T08:00"),
    "follow-calendar": ("slicewise follow-calendar gpu-1",),
    "calendar": (
        "slicewise calendar policies/default.yaml",
        "slicewise calendar policies/default.yaml --from 2026-12-21 --days 21",
    ),
    "pause": (
        "slicewise pause gpu-1 --reason 'the network is being moved'",
        "slicewise pause --all --keep-asleep",
    ),
    "resume": ("slicewise resume gpu-1", "slicewise resume --all"),
    "offboard": (
        "slicewise offboard gpu-1 --dry-run",
        "slicewise offboard gpu-1",
        "slicewise offboard --all",
    ),
    "assess": (
        "slicewise assess --context my-cluster",
        "slicewise assess --context my-cluster --prometheus http://localhost:9090 --write-policy gpus.yaml",
        "slicewise assess --rights",
    ),
    # Its own parser shows them (bench/backtest.py); a test compares.
    "backtest": ("slicewise backtest usage.csv", "slicewise backtest usage.csv --html backtest.html"),
    "completion": (
        "source <(slicewise completion bash)",
        "slicewise completion zsh > ~/.zfunc/_slicewise",
        "slicewise completion fish > ~/.config/fish/completions/slicewise.fish",
    ),
}


def finish(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Gives every command `--json`, its examples and the exit status."""
    _end_with(parser, EXIT_STATUS)
    for name, leaf in leaves(parser).items():
        if "--json" not in leaf._option_string_actions:
            leaf.add_argument("--json", action="store_true", help="print JSON")
        examples = "\n".join(("examples:", *(f"  {line}" for line in EXAMPLES.get(name, ()))))
        _end_with(leaf, f"{examples}\n\n{EXIT_STATUS}" if name in EXAMPLES else EXIT_STATUS)
    return parser


def leaves(parser: argparse.ArgumentParser, before: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every command that does something, by its words: such as "policy check"."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found |= leaves(below, f"{before} {name}".strip())
    return found or {before: parser}


def _end_with(parser: argparse.ArgumentParser, text: str) -> None:
    parser.epilog = text
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
