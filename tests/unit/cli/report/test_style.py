"""Colours of the page: each text can be read on its ground, in light, in dark and on paper."""

from __future__ import annotations

import re

import pytest

from cli.report.html.style import STYLE
from tests.support.nonempty import nonempty

# WCAG 2.2: 4.5 for text, 3 for what only has to be told from its ground.
TEXT, SHAPE = 4.5, 3.0
PAIRS = [
    ("ink", "paper", TEXT), ("soft", "paper", TEXT), ("accent", "paper", TEXT), ("paper", "ink", TEXT),
    *((("ink", f"h{i}", TEXT)) for i in range(4)), ("on-dark", "h4", TEXT), ("on-dark", "h5", TEXT),
    *((f"{part}-line", "paper", SHAPE) for part in ("used", "idle", "unmeasured", "free", "saved", "asleep")),
]  # fmt: skip
LIGHT, DARK, PRINT = (
    dict(re.findall(r"--([\w-]+):#([0-9a-f]+)", block))
    for block in nonempty(re.findall(r":root\{([^}]*)\}", STYLE))
)


@pytest.mark.parametrize(
    "palette",
    [pytest.param(LIGHT, id="light"), pytest.param(DARK, id="dark"), pytest.param(PRINT, id="print")],
)
def test_each_text_and_shape_can_be_told_from_its_ground(palette):
    faint = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in PAIRS}

    assert {pair: ratio for pair, ratio in faint.items() if ratio < pair[2]} == {}


def contrast(one: str, other: str) -> float:
    """WCAG's ratio, 1 to 21."""
    lower, higher = sorted((luminance(one), luminance(other)))
    return (higher + 0.05) / (lower + 0.05)


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_ratio_is_wcags():
    assert contrast("000", "fff") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)
