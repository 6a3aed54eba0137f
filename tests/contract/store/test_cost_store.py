"""What GPUs cost, as both stores keep it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from slicewise.errors import Conflict, Refused
from slicewise.model.costs import CostDay

ARN = "arn:aws:eks:eu-west-1:111122223333:cluster/gpu-1"
OTHER = "arn:aws:eks:eu-west-1:111122223333:cluster/gpu"
DAY = 86_400
MONDAY = 20_000 * DAY
NOW = datetime.fromtimestamp(MONDAY + 2 * DAY, UTC)


@pytest.fixture
def costs(table):
    return table.costs


def day(begin: int, content: bytes = b"\x00\xff of a day", through: int = 1200) -> CostDay:
    return CostDay(begin, begin + through, content)


def keep(costs, *days: CostDay, cluster: str = ARN) -> None:
    for one in days:
        costs.keep(cluster, one, NOW)


def test_of_a_cluster_that_nobody_counted_there_is_no_day(costs):
    assert costs.days(ARN, 0, MONDAY) == ()
    assert costs.newest(ARN, NOW) is None
    assert costs.clusters() == ()


def test_days_come_back_as_they_were_by_cluster_the_oldest_first(costs):
    days = day(MONDAY), day(MONDAY + DAY)
    keep(costs, *reversed(days))
    keep(costs, day(MONDAY, b"another's"), cluster=OTHER)

    assert costs.days(ARN, 0, MONDAY + DAY) == days
    assert costs.days(OTHER, 0, MONDAY + DAY) == (day(MONDAY, b"another's"),)
    assert costs.clusters() == (OTHER, ARN)


def test_both_ends_of_what_is_asked_for_are_in_it(costs):
    days = [day(MONDAY + number * DAY) for number in range(-2, 2)]
    keep(costs, *days)

    assert costs.days(ARN, MONDAY - DAY, MONDAY) == tuple(days[1:3])


def test_the_newest_day_is_the_last_that_has_begun(costs):
    """One of a clock that had jumped ahead is none until its time comes."""
    keep(costs, day(MONDAY - DAY), day(MONDAY), day(MONDAY + 9 * DAY))

    assert costs.newest(ARN, NOW) == day(MONDAY)
    assert costs.newest(ARN, NOW + timedelta(days=9)) == day(MONDAY + 9 * DAY)


def test_a_day_replaces_what_was_counted_less_far_or_as_far(costs):
    keep(costs, day(MONDAY, b"first"), day(MONDAY, b"second"), day(MONDAY, b"third", through=1800))

    assert costs.days(ARN, MONDAY, MONDAY) == (day(MONDAY, b"third", through=1800),)


def test_a_day_that_is_counted_further_is_not_written_over(costs):
    newer = day(MONDAY, b"newer", through=1800)
    keep(costs, newer)

    with pytest.raises(Conflict):
        keep(costs, day(MONDAY, b"late"))

    assert costs.days(ARN, MONDAY, MONDAY) == (newer,)


def test_a_day_that_is_counted_beyond_now_gives_way(costs):
    keep(costs, day(MONDAY, b"ahead", through=3 * DAY))

    keep(costs, day(MONDAY))

    assert costs.days(ARN, MONDAY, MONDAY) == (day(MONDAY),)


def test_days_of_more_than_a_query_returns_all_come_back(costs):
    large = tuple(day(MONDAY + number * DAY, bytes([number]) * 350_000) for number in range(6))
    keep(costs, *large)

    assert costs.days(ARN, MONDAY, MONDAY + 5 * DAY) == large


def test_a_day_that_no_item_holds_is_refused(costs):
    with pytest.raises(Refused):
        keep(costs, day(MONDAY, bytes(410_000)))


def test_what_a_cluster_that_is_forgotten_cost_is_still_known(table):
    keep(table.costs, day(MONDAY))

    table.store.delete_state(ARN)

    assert table.costs.days(ARN, 0, MONDAY) == (day(MONDAY),)
    assert table.costs.clusters() == (ARN,)
