"""What was measured, as both stores keep it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from slicewise.errors import Conflict, Refused
from slicewise.model.usage import Page

ARN = "arn:aws:eks:eu-west-1:111122223333:cluster/gpu-1"
OTHER = "arn:aws:eks:eu-west-1:111122223333:cluster/gpu"
DAY, BY = 86_400, "prometheus"
MONDAY = 20_000 * DAY
NOW = datetime.fromtimestamp(MONDAY + 2 * DAY, UTC)


@pytest.fixture
def usage(table):
    return table.usage


def page(day: int, number: int = 0, content: bytes = b"\x00\xff of a day", of: int = 1) -> Page:
    return Page(BY, day, number, of, MONDAY + 600, content)


def in_order(pages):
    return sorted(pages, key=lambda one: (one.day, one.number))


def test_of_a_cluster_that_nobody_measured_nothing_is_kept(usage):
    assert usage.pages(ARN, BY, 0) == ()


def test_pages_come_back_as_they_were_by_cluster(usage):
    pages = [page(0), page(MONDAY, 0, of=2), page(MONDAY, 1, of=2), page(MONDAY + DAY)]
    usage.keep(ARN, pages, NOW)
    usage.keep(OTHER, [page(MONDAY, content=b"another's")], NOW)

    assert in_order(usage.pages(ARN, BY, MONDAY)) == pages
    assert usage.pages(OTHER, BY, 0) == (page(MONDAY, content=b"another's"),)


def test_of_days_before_only_the_gpus_are_read(usage):
    usage.keep(ARN, [page(0), page(MONDAY), page(MONDAY + DAY)], NOW)

    assert in_order(usage.pages(ARN, BY, MONDAY + DAY)) == [page(0), page(MONDAY + DAY)]


def test_a_page_replaces_that_of_its_day_and_number(usage):
    usage.keep(ARN, [page(MONDAY, content=b"before")], NOW)
    usage.keep(ARN, [page(MONDAY, content=b"after")], NOW)

    assert usage.pages(ARN, BY, MONDAY) == (page(MONDAY, content=b"after"),)


def test_of_another_number_of_pages_the_old_ones_stay(usage):
    old, new = [page(MONDAY)], [page(MONDAY, number, of=2) for number in (0, 1)]
    usage.keep(ARN, old, NOW)
    usage.keep(ARN, new, NOW)

    assert sorted(usage.pages(ARN, BY, MONDAY), key=lambda one: (one.of, one.number)) == [*old, *new]


def test_a_page_that_goes_on_longer_is_not_written_over(usage):
    newer = replace(page(MONDAY), through=MONDAY + 1200)
    usage.keep(ARN, [newer], NOW)

    with pytest.raises(Conflict):
        usage.keep(ARN, [page(MONDAY, content=b"late")], NOW)

    assert usage.pages(ARN, BY, MONDAY) == (newer,)


def test_a_page_that_goes_on_beyond_now_gives_way(usage):
    """A pass whose clock had jumped ahead wrote it: else nothing would be kept until that time comes."""
    ahead = replace(page(MONDAY), through=MONDAY + 3 * DAY)
    usage.keep(ARN, [ahead], NOW + timedelta(days=2))

    usage.keep(ARN, [page(MONDAY)], NOW)

    assert usage.pages(ARN, BY, MONDAY) == (page(MONDAY),)


def test_pages_of_more_than_a_query_returns_all_come_back(usage):
    large = [page(MONDAY, number, bytes([number]) * 250_000, of=6) for number in range(6)]
    usage.keep(ARN, large, NOW)

    assert in_order(usage.pages(ARN, BY, MONDAY)) == large


def test_what_another_source_said_is_none_of_it(usage):
    usage.keep(ARN, [page(0), page(MONDAY)], NOW)

    assert usage.pages(ARN, "prom", 0) == usage.pages(ARN, "container-insights", 0) == ()


def test_a_page_that_no_item_holds_is_refused(usage):
    with pytest.raises(Refused):
        usage.keep(ARN, [page(MONDAY, content=bytes(410_000))], NOW)


def test_a_cluster_that_is_forgotten_was_never_measured(table):
    table.usage.keep(ARN, [page(0), page(MONDAY)], NOW)
    table.usage.keep(OTHER, [page(MONDAY)], NOW)

    table.store.delete_state(ARN)

    assert table.usage.pages(ARN, BY, 0) == ()
    assert table.usage.pages(OTHER, BY, 0) == (page(MONDAY),)
