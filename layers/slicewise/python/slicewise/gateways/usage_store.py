"""
What was measured of a cluster, in the table of state_store.py.

    pk                sk
    cluster#<arn>     usage#<source>#<day>#<of>#<number>    a page (tuning/usage/pages.py), kept 35 days

A day is its first second since 1970, in ten figures, so that keys sort by time; what is of no day has less
than 600. Where a day has another number of pages than before, the old ones stay until they expire.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.gateways.botocore_clients import client, own_errors
from slicewise.gateways.dynamodb_codec import Fields, item_of, values_of
from slicewise.model.usage import OF_NO_DAY, VERSION, Page

_KEPT = timedelta(days=35)
_NEEDED = ("version", "day", "number", "of", "through")


class UsageTable:
    """Implements ports.UsageStore."""

    def __init__(self, table: str, session: Session, region: str):
        self._table = table
        self._session, self._region = session, region

    @cached_property
    def _db(self) -> Any:
        return client("dynamodb", self._session, self._region)

    def pages(self, cluster: str, source: str, since: int) -> tuple[Page, ...]:
        found: list[Page] = []
        # What is of no day sorts before all days.
        for first, last in ((0, OF_NO_DAY), (since, 10**10 - 1)):
            ends = {":first": f"usage#{source}#{first:010}#", ":last": f"usage#{source}#{last:010}#~"}
            between = {":pk": _pk(cluster), **ends}
            with own_errors(f"dynamodb:Query, what was measured of {cluster}"):
                answers = self._db.get_paginator("query").paginate(
                    TableName=self._table,
                    KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                    ExpressionAttributeValues=item_of(between),
                    ConsistentRead=True,
                )
                items = [values_of(item) for answer in answers for item in answer["Items"]]
            found += (page for item in items if (page := _page(item)))
        return tuple(found)

    def keep(self, cluster: str, pages: Iterable[Page], now: datetime) -> None:
        for page in pages:
            with own_errors(f"dynamodb:PutItem, what was measured of {cluster}"):
                self._db.put_item(
                    TableName=self._table,
                    Item=item_of(_item(cluster, page)),
                    # A reconcile that was slow writes over nothing newer. What goes on longer than now was
                    # not written by a newer one: its clock had jumped ahead.
                    ConditionExpression=(
                        "attribute_not_exists(through) OR through <= :through OR through > :now"
                    ),
                    ExpressionAttributeValues=item_of(
                        {":through": page.through, ":now": int(now.timestamp())}
                    ),
                )


def _pk(cluster: str) -> str:
    return f"cluster#{cluster}"


def _item(cluster: str, page: Page) -> dict[str, Any]:
    return {
        "pk": _pk(cluster),
        "sk": f"usage#{page.source}#{page.day:010}#{page.of:04}#{page.number:04}",
        "version": VERSION,
        "source": page.source,
        "day": page.day,
        "number": page.number,
        "of": page.of,
        "through": page.through,
        "content": page.content,
        "expires": page.through + int(_KEPT.total_seconds()),
    }


def _page(item: dict[str, Any]) -> Page | None:
    """None of one that another release wrote otherwise: it costs history only."""
    fields, content = Fields(item, needed=_NEEDED), item.get("content")
    version, day, number, of, through = (fields.whole(name) for name in _NEEDED)
    source = fields.text("source")
    if fields.unreadable or version != VERSION or not isinstance(content, bytes):
        return None
    return Page(source, day, number, of, through, content)
