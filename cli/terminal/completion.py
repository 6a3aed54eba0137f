"""`slicewise completion SHELL`: the script that completes commands, options and files in a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from cli.output import Answer
from cli.terminal.help import leaves

SHELLS = ("bash", "zsh", "fish")
_FILES = frozenset({"FILE", "POLICY"})


def script(parser: argparse.ArgumentParser, shell: str) -> Answer:
    """Written by shtab from the very parser, so that it knows each command and option there is."""
    try:
        import shtab
    except ModuleNotFoundError:
        print("slicewise: completion needs shtab, which is not installed: pip install shtab", file=sys.stderr)
        return Answer(None, status=2)
    for action in _with_files(parser):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    text = shtab.complete(parser, shell)
    return Answer({"shell": shell, "script": text}, (text.rstrip("\n"),))


def _with_files(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for leaf in leaves(parser).values():
        yield from (action for action in leaf._actions if action.metavar in _FILES)
