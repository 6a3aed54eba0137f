"""
What GPUs of clusters cost, in the table of state_store.py.

    pk                sk
    cluster#<arn>     cost#<day>        a day (costs/text.py), kept 400 days
    costs             cluster#<arn>     that it has days, kept as long as the newest of them

A day is its first second since 1970, in ten figures, so that keys sort by time. Days outlive the cluster:
state_store.py leaves them where it deletes all else.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.gateways.botocore_clients import client, own_errors
from slicewise.gateways.dynamodb_codec import Fields, item_of, values_of
from slicewise.model.costs import COST_PREFIX, VERSION, CostDay

_KEPT = timedelta(days=400)
_NEEDED = ("version", "day", "through")
_CLUSTERS, _CLUSTER = "costs", "cluster#"
# As of usage_store.py: what goes on longer than now was written by a clock that had jumped ahead. A release
# that was rolled back cannot read the day of a later one, and counts from the next day on; the later one,
# once it is back, goes on with its day.
_IS_REPLACED = (
    "attribute_not_exists(through) OR "
    "((through <= :through OR through > :now) AND (attribute_not_exists(#version) OR #version <= :version))"
)


class CostTable:
    """Implements ports.CostStore."""

    def __init__(self, table: str, session: Session, region: str):
        self._table = table
        self._session, self._region = session, region

    @cached_property
    def _db(self) -> Any:
        return client("dynamodb", self._session, self._region)

    def clusters(self) -> tuple[str, ...]:
        with own_errors("dynamodb:Query, the clusters that have costs"):
            pages = self._db.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues=item_of({":pk": _CLUSTERS}),
            )
            items = [values_of(item) for page in pages for item in page["Items"]]
        return tuple(str(item["sk"]).removeprefix(_CLUSTER) for item in items)

    def days(self, cluster: str, first: int, last: int) -> tuple[CostDay, ...]:
        with own_errors(f"dynamodb:Query, what {cluster} cost"):
            pages = self._db.get_paginator("query").paginate(**self._between(cluster, first, last))
            items = [values_of(item) for page in pages for item in page["Items"]]
        return tuple(day for item in items if (day := _day(item)))

    def newest(self, cluster: str, now: datetime) -> CostDay | None:
        asked = self._between(cluster, 0, int(now.timestamp()))
        with own_errors(f"dynamodb:Query, the newest day that {cluster} cost"):
            items = self._db.query(**asked, ScanIndexForward=False, Limit=1)["Items"]
        return _day(values_of(items[0])) if items else None

    def keep(self, cluster: str, day: CostDay, now: datetime) -> None:
        with own_errors(f"dynamodb:PutItem, what {cluster} cost"):
            before = self._db.put_item(
                TableName=self._table,
                Item=item_of(_item(cluster, day)),
                ConditionExpression=_IS_REPLACED,
                ExpressionAttributeNames={"#version": "version"},
                ExpressionAttributeValues=item_of(
                    {":through": day.through, ":now": int(now.timestamp()), ":version": VERSION}
                ),
                ReturnValues="ALL_OLD",
            )
        if not before.get("Attributes"):
            self._note(cluster, day)

    def _note(self, cluster: str, day: CostDay) -> None:
        """Once a day. Where that is lost, the next day's does."""
        noted = {"pk": _CLUSTERS, "sk": _CLUSTER + cluster, "expires": _expires(day)}
        with own_errors(f"dynamodb:PutItem, that {cluster} has costs"):
            self._db.put_item(TableName=self._table, Item=item_of(noted))

    def _between(self, cluster: str, first: int, last: int) -> dict[str, Any]:
        ends = {":first": _sort(first), ":last": _sort(last)}
        return {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": item_of({":pk": _pk(cluster), **ends}),
            "ConsistentRead": True,
        }


def _pk(cluster: str) -> str:
    return f"cluster#{cluster}"


def _sort(day: int) -> str:
    return f"{COST_PREFIX}{day:010}"


def _item(cluster: str, day: CostDay) -> dict[str, Any]:
    return {
        "pk": _pk(cluster),
        "sk": _sort(day.day),
        "version": VERSION,
        "day": day.day,
        "through": day.through,
        "content": day.content,
        "expires": _expires(day),
    }


def _expires(day: CostDay) -> int:
    return day.day + int(_KEPT.total_seconds())


def _day(item: dict[str, Any]) -> CostDay | None:
    """None of one that another release wrote otherwise: it costs history only."""
    fields, content = Fields(item, needed=_NEEDED), item.get("content")
    version, day, through = (fields.whole(name) for name in _NEEDED)
    if fields.unreadable or version != VERSION or not isinstance(content, bytes):
        return None
    return CostDay(day, through, content)
