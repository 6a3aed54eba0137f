"""Rows in aligned columns, with colours where a terminal shows them. Pure, but for `colours_of`."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from slicewise.planning.outcome import Stage

_GREEN, _YELLOW, _RED, _DIM, _BOLD, _PLAIN = "32", "33", "31", "2", "1", "0"
_OF_STAGES: Mapping[str, str] = {
    **dict.fromkeys((Stage.ONBOARDED, Stage.AWAKE), _GREEN),
    **dict.fromkeys((Stage.WAITING, Stage.INSTALLING, Stage.VERIFYING, Stage.TUNING), _YELLOW),
    **dict.fromkeys((Stage.GOING_TO_SLEEP, Stage.WAKING, Stage.OFFBOARDING), _YELLOW),
    **dict.fromkeys((Stage.BLOCKED, Stage.FAILED), _RED),
    **dict.fromkeys((Stage.UNMANAGED, Stage.ASLEEP, Stage.PAUSED, Stage.DELETED), _DIM),
}
_GAP = "  "
# A narrower last column is harder to read than lines that the terminal wraps.
_LEAST_LAST = 30


@dataclass(frozen=True)
class Screen:
    """
    Attributes:
        width: In characters; None where lines may be of any length, as in a file.
        colours: Whether escape sequences may be written.
    """

    width: int | None = None
    colours: bool = False

    def stage(self, text: str) -> str:
        return self.painted(text, _OF_STAGES.get(text.strip(), ""))

    def title(self, text: str) -> str:
        return self.painted(text, _BOLD)

    def alert(self, text: str) -> str:
        return self.painted(text, _RED)

    def painted(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[{_PLAIN}m" if self.colours and code and text else text


def screen_of(stream: TextIO, environ: Mapping[str, str] | None = None) -> Screen:
    """Colours where the stream is a terminal, unless NO_COLOR is set (no-color.org) or it is a dumb one."""
    environ = os.environ if environ is None else environ
    if not stream.isatty():
        return Screen()
    plain = environ.get("NO_COLOR") or environ.get("TERM") == "dumb"
    return Screen(shutil.get_terminal_size().columns, not plain)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], screen: Screen, stage: int) -> list[list[str]]:
    """
    The lines of the head, then those of each row, as wide as the widest entry of each column.

    Args:
        stage: Index of the column that has stages. The last column is wrapped to the screen.
    """
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head) - 1)]
    first = [_GAP.join((*_padded(head, widths), head[-1]))]
    return [[screen.title(first[0])], *(_row(row, widths, screen, stage) for row in rows)]


def _row(row: Sequence[str], widths: Sequence[int], screen: Screen, stage: int) -> list[str]:
    cells = _padded(row, widths)
    before = len(_GAP.join(cells)) + len(_GAP)
    cells[stage] = screen.stage(cells[stage])
    last = _wrapped(row[-1], before, screen)
    return [_GAP.join((*cells, last[0])).rstrip(), *(" " * before + line for line in last[1:])]


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [text.ljust(width) for text, width in zip(row, widths, strict=False)]


def _wrapped(text: str, before: int, screen: Screen) -> list[str]:
    if screen.width is None or screen.width - before < _LEAST_LAST:
        return [text]
    # Names stay in one piece, to be copied.
    wrapper = textwrap.TextWrapper(screen.width - before, break_on_hyphens=False, break_long_words=False)
    return wrapper.wrap(text) or [""]
