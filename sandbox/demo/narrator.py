"""A story told in plain words while it happens, with claims that hold or do not, kept for machines too."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

WIDTH, INDENT = 100, 15


@dataclass(frozen=True)
class Claim:
    """One thing that the story says is so: what was expected, and what was seen."""

    id: str
    says: str
    expected: object
    observed: object
    holds: bool


class Narrator:
    """
    Prints a story to `out`; `seconds` counts from the first line.

    Args:
        promised: Ids of claims that the story must come to: one that ends without them does not hold.
    """

    def __init__(self, out: TextIO, promised: Collection[str]):
        self.out, self.promised, self.started = out, frozenset(promised), time.monotonic()
        self.claims: list[Claim] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def chapter(self, title: str) -> None:
        self._print(f"\n{title}\n{'-' * len(title)}")

    def show(self, text: str) -> None:
        self._print(textwrap.fill(" ".join(text.split()), WIDTH))

    def aside(self, text: str) -> None:
        """As `show`, set off from the lines of what happens."""
        self._print(textwrap.indent(textwrap.fill(" ".join(text.split()), WIDTH - INDENT), " " * INDENT))

    def quote(self, line: str) -> None:
        """What a command prints, below an aside."""
        self._print(
            textwrap.fill(
                line,
                WIDTH + INDENT,
                initial_indent=" " * INDENT + "| ",
                subsequent_indent=" " * INDENT + "|     ",
            )
        )

    def saw(self, line: str) -> None:
        """A line of what happens, with the second at which it was seen."""
        self._print(f"  {self.seconds:6.1f} s  {line}")

    def claim(self, id: str, says: str, *, expected: object, observed: object) -> bool:
        """Compare, print and keep; the story goes on either way, so that one run tells all that is wrong."""
        holds = expected == observed
        self.claims.append(Claim(id, says, expected, observed, holds))
        verdict = "holds" if holds else f"DOES NOT HOLD: expected {expected!r}, saw {observed!r}"
        self._print(f"  {self.seconds:6.1f} s  {'✓' if holds else '✗'} {id}: {says}: {verdict}")
        return holds

    @property
    def all_hold(self) -> bool:
        return self.promised <= {claim.id for claim in self.claims} and all(c.holds for c in self.claims)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        story = {"claims": [asdict(claim) for claim in self.claims], "seconds": round(self.seconds, 1)}
        path.write_text(json.dumps(story, indent=2, default=str) + "\n")

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)
