"""
What we keep about clusters that sleep, in the table of state_store.py.

    pk                sk
    cluster#<arn>     snapshot#<api version>#<kind>#<namespace>#<name>#<field>
    cluster#<arn>     override                     a person's last override
    cluster#<arn>     opening                      when it must be awake; also in the index `openings`

An item a field of an object: some hundred bytes each, where a list of all would not fit into one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.errors import Conflict
from slicewise.gateways.botocore_clients import client, own_errors
from slicewise.gateways.dynamodb_codec import Fields, item_of, values_of
from slicewise.kube.ref import Ref
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot, count_of
from slicewise.planning.record import UNKNOWN_TIME
from slicewise.policy.off_hours import Override

# Only openings have its keys, so that it has one item a cluster that sleeps. All are in one partition.
INDEX = "openings"
_WATCH = {"watch": "openings"}


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

    def delete_snapshot(self, cluster: str, snapshot: Snapshot) -> None:
        key = item_of(_key(cluster, snapshot))
        try:
            with own_errors(f"dynamodb:DeleteItem, a snapshot of {snapshot.ref}"):
                self._db.delete_item(TableName=self._table, Key=key, **_is_version(snapshot.version))
        except Conflict:
            with own_errors(f"dynamodb:GetItem, a snapshot of {snapshot.ref}"):
                if "Item" in self._db.get_item(TableName=self._table, Key=key, ConsistentRead=True):
                    raise

    def override(self, cluster: str) -> Override | None:
        with own_errors(f"dynamodb:GetItem, the override of {cluster}"):
            found = self._db.get_item(
                TableName=self._table, Key=item_of(_override_key(cluster)), ConsistentRead=True
            )
        return _override(values_of(found["Item"])) if "Item" in found else None

    def put_override(self, cluster: str, override: Override) -> None:
        fields = {
            "asleep": override.asleep,
            "said_at": override.set_at.isoformat(),
            "until": override.until.isoformat(),
            "by": override.by,
            "reason": override.reason,
        }
        with own_errors(f"dynamodb:PutItem, the override of {cluster}"):
            self._db.put_item(TableName=self._table, Item=item_of(_override_key(cluster) | fields))

    def delete_override(self, cluster: str) -> None:
        with own_errors(f"dynamodb:DeleteItem, the override of {cluster}"):
            self._db.delete_item(TableName=self._table, Key=item_of(_override_key(cluster)))

    def opening(self, cluster: str) -> Opening | None:
        with own_errors(f"dynamodb:GetItem, the opening of {cluster}"):
            found = self._db.get_item(
                TableName=self._table, Key=item_of(_opening_key(cluster)), ConsistentRead=True
            )
        return _opening(values_of(found["Item"])) if "Item" in found else None

    def put_opening(self, cluster: str, opening: Opening) -> None:
        times = {"due": _text(opening.due), "opens": _text(opening.opens)}
        with own_errors(f"dynamodb:PutItem, the opening of {cluster}"):
            self._db.put_item(TableName=self._table, Item=item_of(_opening_key(cluster) | _WATCH | times))

    def delete_opening(self, cluster: str) -> None:
        with own_errors(f"dynamodb:DeleteItem, the opening of {cluster}"):
            self._db.delete_item(TableName=self._table, Key=item_of(_opening_key(cluster)))

    def openings(self, until: datetime) -> Mapping[str, Opening]:
        with own_errors(f"dynamodb:Query of the index {INDEX}"):
            pages = self._db.get_paginator("query").paginate(
                TableName=self._table,
                IndexName=INDEX,
                KeyConditionExpression="watch = :watch AND due <= :until",
                ExpressionAttributeValues=item_of({":watch": _WATCH["watch"], ":until": _text(until)}),
            )
            items = [values_of(item) for page in pages for item in page["Items"]]
        return {item["pk"].removeprefix("cluster#"): _opening(item) for item in items if _is_opening(item)}


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
        **({"resume_at": snapshot.resume_at} if snapshot.resume_at else {}),
        **({"made": snapshot.made} if snapshot.made else {}),
    }


# What a restoration rests on, or the table's own writes: an item without one of them is damaged.
_NEEDED = ("uid", "original", "ours", "window", "checksum", "version")


def _snapshot(item: Mapping[str, Any]) -> Snapshot:
    """
    Another release, or a person, may have written it. What we cannot read counts as damaged
    (Snapshot.intact), so that it is neither used nor lost; of which object and field it is, the key says.
    """
    found = Fields(item, _NEEDED)
    ref, field = _of_key(item["sk"])
    snapshot = Snapshot(
        ref=ref,
        field=field,
        uid=found.text("uid"),
        window=found.text("window"),
        checksum=found.text("checksum"),
        original=found.json("original"),
        ours=found.json("ours"),
        taken_at=found.time("taken_at") or UNKNOWN_TIME,
        done=found.flag("done"),
        earlier=found.each("earlier", json.loads),
        woken=found.text("woken"),  # items of before have none
        priority=found.whole("priority"),
        slices=found.whole("slices"),
        version=found.whole("version"),
        resume_at=count_of(found.text("resume_at")),
        made=found.whole("made"),
    )
    is_damaged = not set(_NEEDED).isdisjoint(found.unreadable)
    return replace(snapshot, checksum="") if is_damaged else snapshot


def _of_key(sort_key: str) -> tuple[Ref, str]:
    """A key of another shape counts as it is: no object has an empty kind."""
    parts = sort_key.split("#")
    if len(parts) != 6:
        return Ref("", "", sort_key), ""
    _, api_version, kind, namespace, name, field = parts
    return Ref(api_version, kind, name, namespace), field


def _override(item: Mapping[str, Any]) -> Override:
    """
    Without an end that can be read, the calendar counts. With one, but without its direction, the cluster is
    awake until then: one that runs too long costs less than one that cannot be used.
    """
    found = Fields(item, needed=("asleep", "said_at", "until"))
    override = Override(
        asleep=found.flag("asleep"),
        set_at=found.time("said_at") or UNKNOWN_TIME,
        until=found.time("until") or UNKNOWN_TIME,
        by=found.text("by") or "an unknown user",
        reason=found.text("reason"),
    )
    return replace(override, unreadable=tuple(found.unreadable))


def _opening_key(cluster: str) -> dict[str, str]:
    return {"pk": f"cluster#{cluster}", "sk": "opening"}


def _is_opening(item: Mapping[str, Any]) -> bool:
    """Another release may keep other items in the index, too."""
    return bool(item["pk"].startswith("cluster#") and item["sk"] == "opening")


def _opening(item: Mapping[str, Any]) -> Opening:
    """No reconcile wants one whose times are equal, or unknown: the next one writes it again."""
    found = Fields(item, needed=("due", "opens"))
    due = found.time("due") or UNKNOWN_TIME
    return Opening(due, found.time("opens") or due)


def _text(at: datetime) -> str:
    """Texts of one length and zone: the index puts them in order as texts."""
    return at.astimezone(UTC).isoformat(timespec="seconds")
