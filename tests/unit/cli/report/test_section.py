"""A span of time in words: both ends, and no day, month or year twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.report.html.section import span


@pytest.mark.parametrize(
    ("since", "until", "words"),
    [
        ((2026, 11, 1), (2026, 12, 1), "1 to 30 November 2026 (30 days)"),
        ((2026, 10, 31), (2026, 11, 30, 10, 22), "31 October to 30 November 2026 (31 days)"),
        ((2025, 11, 30), (2026, 11, 30), "30 November 2025 to 29 November 2026 (365 days)"),
        ((2025, 11, 30), (2026, 11, 1), "30 November 2025 to 31 October 2026 (336 days)"),
        ((2026, 11, 29), (2026, 11, 30), "29 November 2026"),
        ((2026, 11, 27, 14), (2026, 11, 27, 15, 30), "27 November 2026, 14:00 to 15:30 UTC"),
        ((2026, 11, 27, 14), (2026, 11, 28, 15), "27 Nov 2026, 14:00 to 28 Nov 2026, 15:00 UTC"),
    ],
)
def test_a_span_is_named_by_its_ends(since, until, words):
    assert span(datetime(*since, tzinfo=UTC), datetime(*until, tzinfo=UTC)) == words
