"""The same answer again and again, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from slicewise.errors import SlicewiseError

from cli.output import Answer

# Clears the screen and what was scrolled off it, and goes to its first line.
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"


def watch(
    answer: Callable[[], Answer],
    every_seconds: float,
    screen: TextIO,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """
    Draws the answer until it is interrupted: then its last exit status.

    What could not be read is shown, and read again: a person who watches waits for just that.
    """
    status = 0
    try:
        while True:
            status = _draw(answer, every_seconds, screen)
            sleep(every_seconds)
    except KeyboardInterrupt:
        screen.write("\n")
        return status


def _draw(answer: Callable[[], Answer], every_seconds: float, screen: TextIO) -> int:
    found = _read(answer)
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}, every {every_seconds:g} s; Ctrl-C ends"
    # In one write: a screen that is cleared first and drawn later flickers.
    text = "\n".join((head, "", *found.lines, ""))
    screen.write(_CLEAR + text if screen.isatty() else text)
    screen.flush()
    return found.status


def _read(answer: Callable[[], Answer]) -> Answer:
    try:
        return answer()
    except SlicewiseError as error:
        return Answer(None, (f"slicewise: {type(error).__name__}: {error}",), 2)
