"""Which of Karpenter's budgets lets no node go, and until when."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from slicewise.pools.disruption_budgets import allowed, blocking

TUESDAY_NOON = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
BY_DAY = {"nodes": "0", "schedule": "0 6 * * 1-5", "duration": "14h"}


@pytest.mark.parametrize(
    ("budget", "until"),
    [
        (BY_DAY, datetime(2026, 11, 24, 20, tzinfo=UTC)),
        ({**BY_DAY, "schedule": "0 6 * * mon-fri"}, datetime(2026, 11, 24, 20, tzinfo=UTC)),
        ({**BY_DAY, "schedule": "0 6 * * sat,0"}, None),
        ({**BY_DAY, "duration": "6h"}, None),
        (
            {**BY_DAY, "schedule": "*/30 * * * *", "duration": "10m"},
            datetime(2026, 11, 24, 12, 10, tzinfo=UTC),
        ),
        ({**BY_DAY, "schedule": "@daily", "duration": "13h"}, datetime(2026, 11, 24, 13, tzinfo=UTC)),
        ({**BY_DAY, "schedule": "0 0 24 * 0", "duration": "24h"}, datetime(2026, 11, 25, tzinfo=UTC)),
        ({**BY_DAY, "nodes": "1"}, None),
        ({**BY_DAY, "schedule": "no cron"}, None),
    ],
)
def test_a_budget_with_hours_blocks_within_them(budget, until):
    assert [one.until for one in blocking((budget,), "Drifted", 5, TUESDAY_NOON)] == (
        [until] if until else []
    )


@pytest.mark.parametrize(
    ("budget", "blocks"),
    [
        ({"nodes": "0"}, True),
        ({"nodes": "0%"}, True),
        ({"nodes": "1%"}, False),
        ({"nodes": "0", "reasons": ["Drifted", "Empty"]}, True),
        ({"nodes": "0", "reasons": ["Underutilized"]}, False),
    ],
)
def test_one_without_hours_blocks_always_for_the_reasons_that_it_names(budget, blocks):
    found = blocking((budget,), "Drifted", 5, TUESDAY_NOON)

    assert [one.until for one in found] == ([None] if blocks else [])


def test_a_percentage_is_rounded_up_as_karpenter_does():
    assert [allowed("10%", nodes) for nodes in (0, 1, 10, 11)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("schedule", "duration", "until"),
    [
        pytest.param("@daily", "24h", None, id="one day follows the other"),
        pytest.param("*/30 * * * *", "30m", None, id="each half hour"),
        pytest.param(
            "0 6,13 * * *", "8h", datetime(2026, 11, 24, 21, tzinfo=UTC), id="another begins before"
        ),
        pytest.param("0 6,15 * * *", "8h", datetime(2026, 11, 24, 14, tzinfo=UTC), id="another begins later"),
    ],
)
def test_it_blocks_until_what_follows_at_once_is_over_too(schedule, duration, until):
    [found] = blocking(
        ({"nodes": "0", "schedule": schedule, "duration": duration},), "Drifted", 5, TUESDAY_NOON
    )

    assert found.until == until
