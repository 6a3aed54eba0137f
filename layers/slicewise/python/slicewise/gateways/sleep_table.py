"""
What we keep about clusters that sleep, in the table of dynamodb.py.

    pk                sk
    cluster#<arn>     snapshot#<api version>#<kind>#<namespace>#<name>#<field>
    cluster#<arn>     override                     what a person said last

An item a field of an object: some hundred bytes each, where a list of all would not fit into one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.errors import Conflict
from slicewise.gateways.aws import client, own_errors
from slicewise.gateways.dynamodb_values import item_of, values_of
from slicewise.model import Ref
from slicewise.off_hours import Override
from slicewise.snapshots import Snapshot


class SleepTable:
    """Implements ports.SleepStore."""

    def __init__(self, table: str, session: Session, region: str):
        self._table, self._session, self._region = table, session, region

    @cached_property
    def _db(self) -> Any:
        return client("dynamodb", self._session, self._region)

    def snapshots(self, cluster: str) -> tuple[Snapshot, ...]:
        with own_errors(f"dynamodb:Query, the snapshots of {cluster}"):
            pages = self._db.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
                ExpressionAttributeValues=item_of({":pk": f"cluster#{cluster}", ":sk": "snapshot#"}),
                ConsistentRead=True,
            )
            return tuple(_snapshot(values_of(item)) for page in pages for item in page["Items"])

    def keep(self, cluster: str, snapshot: Snapshot) -> None:
        before = (
            {"ConditionExpression": "attribute_not_exists(pk)"}
            if snapshot.version == 1
            else _is_version(snapshot.version - 1)
        )
        with own_errors(f"dynamodb:PutItem, a snapshot of {snapshot.ref}"):
            self._db.put_item(
                TableName=self._table, Item=item_of(_key(cluster, snapshot) | _fields(snapshot)), **before
            )

    def forget_snapshot(self, cluster: str, snapshot: Snapshot) -> None:
        key = item_of(_key(cluster, snapshot))
        try:
            with own_errors(f"dynamodb:DeleteItem, a snapshot of {snapshot.ref}"):
                self._db.delete_item(TableName=self._table, Key=key, **_is_version(snapshot.version))
        except Conflict:
            with own_errors(f"dynamodb:GetItem, a snapshot of {snapshot.ref}"):
                if "Item" in self._db.get_item(TableName=self._table, Key=key, ConsistentRead=True):
                    raise

    def override(self, cluster: str) -> Override | None:
        with own_errors(f"dynamodb:GetItem, what was said about {cluster}"):
            found = self._db.get_item(
                TableName=self._table, Key=item_of(_override_key(cluster)), ConsistentRead=True
            )
        if "Item" not in found:
            return None
        item = values_of(found["Item"])
        times = {name: datetime.fromisoformat(item[name]) for name in ("said_at", "until")}
        return Override(asleep=item["asleep"], by=item["by"], reason=item["reason"], **times)

    def say(self, cluster: str, override: Override) -> None:
        fields = asdict(override) | {
            "said_at": override.said_at.isoformat(),
            "until": override.until.isoformat(),
        }
        with own_errors(f"dynamodb:PutItem, what was said about {cluster}"):
            self._db.put_item(TableName=self._table, Item=item_of(_override_key(cluster) | fields))

    def unsay(self, cluster: str) -> None:
        with own_errors(f"dynamodb:DeleteItem, what was said about {cluster}"):
            self._db.delete_item(TableName=self._table, Key=item_of(_override_key(cluster)))


def _is_version(version: int) -> dict[str, Any]:
    return {
        "ConditionExpression": "#version = :version",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": item_of({":version": version}),
    }


def _key(cluster: str, snapshot: Snapshot) -> dict[str, str]:
    ref = snapshot.ref
    name = "#".join(("snapshot", ref.api_version, ref.kind, ref.namespace, ref.name, snapshot.field))
    return {"pk": f"cluster#{cluster}", "sk": name}


def _override_key(cluster: str) -> dict[str, str]:
    return {"pk": f"cluster#{cluster}", "sk": "override"}


def _fields(snapshot: Snapshot) -> dict[str, Any]:
    return {
        **snapshot.ref._asdict(),
        "field": snapshot.field,
        "uid": snapshot.uid,
        # As JSON: DynamoDB has no whole numbers, and the checksum is over what came in.
        "original": json.dumps(snapshot.original),
        "ours": json.dumps(snapshot.ours),
        "earlier": [json.dumps(value) for value in snapshot.earlier],
        "window": snapshot.window,
        "taken_at": snapshot.taken_at.isoformat(),
        "done": snapshot.done,
        "woken": snapshot.woken,
        "priority": snapshot.priority,
        "slices": snapshot.slices,
        "version": snapshot.version,
        "checksum": snapshot.checksum,
    }


def _snapshot(item: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        ref=Ref(*(item[name] for name in Ref._fields)),
        **{name: item[name] for name in ("field", "uid", "window", "done", "checksum")},
        original=json.loads(item["original"]),
        ours=json.loads(item["ours"]),
        taken_at=datetime.fromisoformat(item["taken_at"]),
        earlier=tuple(json.loads(value) for value in item.get("earlier", ())),
        woken=item.get("woken", ""),  # items of before have none
        priority=int(item["priority"]),
        slices=int(item["slices"]),
        version=int(item["version"]),
    )
