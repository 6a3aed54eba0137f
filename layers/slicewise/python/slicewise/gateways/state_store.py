"""
What we keep about clusters, in one DynamoDB table.

    pk                sk
    cluster#<arn>     lease                        holder, token (grows, never reset), until, attempt (of a
                                                   request, however often it is sent);
                                                   began#<capability> of each reconcile that has not ended;
                                                   and waits#<capability>, when a trigger that waits comes
                                                   back
    cluster#<arn>     record#<capability>          the newest record; also in the index `records`
    cluster#<arn>     detail#<capability>#…        its details, by record_details.py
    cluster#<arn>     pass#<capability>#<time>#<token>   a line of history, kept 90 days
    cluster#<arn>     cost#<day>                   what its GPUs cost (cost_store.py)
    cluster#<arn>     pause                        why, and whether what sleeps stays asleep
    fleet             pause                        likewise
    fleet             sweep                        when the newest ran, and how many clusters there were

Times are ISO 8601 in UTC, but for `until` (milliseconds since 1970) and `expires` (seconds), which conditions
and DynamoDB's time to live compare.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.errors import Conflict, LeaseHeld
from slicewise.gateways import record_details
from slicewise.gateways.botocore_clients import client, own_errors
from slicewise.gateways.dynamodb_codec import Fields, item_of, table_of, text_of, utc_of, values_of
from slicewise.model import sweeps
from slicewise.model.costs import COST_PREFIX
from slicewise.planning import retries
from slicewise.planning.outcome import Finding, stage_of
from slicewise.planning.record import UNKNOWN_TIME, Record
from slicewise.planning.retries import Retry
from slicewise.ports import Begun, Lease

INDEX = "records"
_FLEET = "fleet"
_SWEEP = {"pk": _FLEET, "sk": "sweep"}
_BEGAN, _WAITS = "began#", "waits#"
_KEPT = timedelta(days=90)
# A record may be written while it is read, by people alone: a reconcile that reads has the lease.
_READS = 3
_RECORD = "record#"
# A lease whose end is no number counts as free: it would keep all others out for ever.
_LEASE_IS_FREE = (
    "attribute_not_exists(#until) OR NOT attribute_type(#until, :number) "
    "OR #until <= :now OR attempt = :attempt"
)
# A lease that DynamoDB let expire begins at the clock: each token of before is smaller, since no two
# reconciles of a cluster begin in one millisecond.
_TAKE_LEASE = (
    "SET holder = :holder, #until = :until, expires = :expires, attempt = :attempt, "
    "#token = if_not_exists(#token, :now) + :one"
)

Item = dict[str, Any]


class StateTable:
    """Implements ports.Store."""

    def __init__(self, table: str, session: Session, region: str):
        self._table = table
        self._session, self._region = session, region

    @cached_property
    def _db(self) -> Any:
        return client("dynamodb", self._session, self._region)

    def acquire(
        self, cluster: str, holder: str, now: datetime, length: timedelta, capability: str = ""
    ) -> Lease:
        until = now + length
        began = {"at": now.isoformat(), "until": until.isoformat(), "holder": holder}
        values = {
            ":holder": holder,
            ":until": _milliseconds(until),
            ":now": _milliseconds(now),
            ":expires": _epoch(now + _KEPT),
            ":one": 1,
            ":number": "N",
            # A caller whose answer got lost asks again, botocore without our knowledge: it must not be
            # stopped by its own lease, which would keep all others out for as long as a function may run.
            ":attempt": os.urandom(8).hex(),
            **({":began": began} if capability else {}),
        }
        names = {"#until": "until", "#token": "token"} | _began(capability) | _waits(capability)
        try:
            with own_errors(f"dynamodb:UpdateItem, the lease of {cluster}"):
                answer = self._db.update_item(
                    TableName=self._table,
                    Key=item_of(_key(cluster, "lease")),
                    UpdateExpression=_TAKE_LEASE + (", #began = :began REMOVE #waits" if capability else ""),
                    ConditionExpression=_LEASE_IS_FREE,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=item_of(values),
                    ReturnValues="UPDATED_NEW",
                )
        except Conflict as error:
            raise LeaseHeld(f"another reconcile works on {cluster}") from error
        token = int(values_of(answer["Attributes"])["token"])
        return Lease(cluster, holder, token, until, capability)

    def begun(self, cluster: str) -> tuple[Begun, ...]:
        lease = self._lease(cluster)
        return tuple(
            _begun(name.removeprefix(_BEGAN), found)
            for name, found in sorted(lease.items())
            if name.startswith(_BEGAN) and isinstance(found, Mapping)
        )

    def waiting(self, cluster: str, capability: str) -> datetime | None:
        return Fields(self._lease(cluster)).time(f"{_WAITS}{capability}")

    def _lease(self, cluster: str) -> Item:
        with own_errors(f"dynamodb:GetItem, the lease of {cluster}"):
            found = self._db.get_item(
                TableName=self._table, Key=item_of(_key(cluster, "lease")), ConsistentRead=True
            )
        return values_of(found.get("Item", {}))

    def note_waiting(self, cluster: str, capability: str, comes: datetime) -> None:
        try:
            with own_errors(f"dynamodb:UpdateItem, the pending trigger of {cluster}"):
                self._db.update_item(
                    TableName=self._table,
                    Key=item_of(_key(cluster, "lease")),
                    UpdateExpression="SET #waits = :comes",
                    # Else an item would be made that never expires.
                    ConditionExpression="attribute_exists(#token)",
                    ExpressionAttributeNames={"#token": "token"} | _waits(capability),
                    ExpressionAttributeValues=item_of({":comes": comes.isoformat()}),
                )
        except Conflict:
            return

    def renew(self, lease: Lease, now: datetime, length: timedelta) -> Lease:
        self._set_until(lease, now + length)
        return replace(lease, until=now + length)

    def release(self, lease: Lease) -> None:
        try:
            self._set_until(lease, None)
        except LeaseHeld:
            return

    def _set_until(self, lease: Lease, until: datetime | None) -> None:
        """
        The token stays: the next holder's must be greater.

        Args:
            until: None ends it.
        """
        ends = until is None and lease.capability
        try:
            with own_errors(f"dynamodb:UpdateItem, the lease of {lease.cluster}"):
                self._db.update_item(
                    TableName=self._table,
                    Key=item_of(_key(lease.cluster, "lease")),
                    UpdateExpression="SET #until = :until" + (" REMOVE #began" if ends else ""),
                    ConditionExpression="#token = :token",
                    ExpressionAttributeNames={"#until": "until", "#token": "token"}
                    | (_began(lease.capability) if ends else {}),
                    ExpressionAttributeValues=item_of(
                        {":until": _milliseconds(until) if until else 0, ":token": lease.token}
                    ),
                )
        except Conflict as error:
            raise LeaseHeld(f"another reconcile has taken over {lease.cluster}") from error

    def paused(self, cluster: str) -> str | None:
        # A pause whose reason cannot be read is a pause.
        reasons = (pause.text("reason") or "no reason was given" for pause in self._pauses(cluster))
        return next(reasons, None)

    def keeps_asleep(self, cluster: str) -> bool:
        """Where that cannot be read, what sleeps gets its morning."""
        return any(pause.flag("keep_asleep") for pause in self._pauses(cluster))

    def _pauses(self, cluster: str) -> Iterator[Fields]:
        """Of the fleet, then of the cluster."""
        for key in (_pause_key(None), _pause_key(cluster)):
            with own_errors("dynamodb:GetItem, the pause"):
                found = self._db.get_item(TableName=self._table, Key=item_of(key), ConsistentRead=True)
            if "Item" in found:
                yield Fields(values_of(found["Item"]))

    def pause(self, cluster: str | None, reason: str, keep_asleep: bool = False) -> None:
        self._put(_pause_key(cluster) | {"reason": reason, "keep_asleep": keep_asleep})

    def resume(self, cluster: str | None) -> None:
        self._delete(_pause_key(cluster))

    def record(self, cluster: str, capability: str) -> Record | None:
        item, details = None, record_details.NONE
        for _ in range(_READS):
            item = self._record_item(cluster, capability)
            details = self._details(cluster, capability, item) if item else record_details.NONE
            if item is None or len(details.whole) >= Fields(item).whole("details_count"):
                break
        return _record(item, details) if item else None

    def _record_item(self, cluster: str, capability: str, only: str = "") -> Item | None:
        key = _key(cluster, f"record#{capability}")
        part = {"ProjectionExpression": only} if only else {}
        with own_errors(f"dynamodb:GetItem, the record of {cluster}"):
            found = self._db.get_item(TableName=self._table, Key=item_of(key), ConsistentRead=True, **part)
        return values_of(found["Item"]) if "Item" in found else None

    def _details(self, cluster: str, capability: str, item: Item) -> record_details.Read:
        found = Fields(item)
        count, half, token = (found.whole(name) for name in ("details_count", "details_half", "token"))
        if "details_count" not in item:  # written by a release that kept them in the record itself
            return record_details.Read(found.each("details", table_of), tuple(found.unreadable))
        if not count or found.unreadable:
            return record_details.Read(unreadable=tuple(found.unreadable))
        sort = record_details.prefix(capability, half)
        with own_errors(f"dynamodb:Query, the details of {cluster}"):
            pages = self._db.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
                ExpressionAttributeValues=item_of({":pk": _key(cluster, "")["pk"], ":sk": sort}),
                ConsistentRead=True,
            )
            items = [values_of(one) for page in pages for one in page["Items"]]
        return record_details.read(items, token)

    def save(self, record: Record, lease: Lease, *, history: bool) -> None:
        # History first: killed in between, the line is written twice, which is true; never not at all.
        if history:
            line = f"pass#{record.capability}#{record.at.isoformat()}#{lease.token}"
            kept = {"expires": _epoch(record.at + _KEPT)}
            # Without `capability`, which would put every line of history into the index of records.
            history_fields = {k: v for k, v in _fields(record).items() if k not in ("cluster", "capability")}
            history_fields["details"] = record_details.in_history(record.details)
            self._put(_key(record.cluster, line) | history_fields | kept)
        half = self._free_half(record) if record.details else 0
        details = [
            _key(record.cluster, item["sk"]) | item
            for item in record_details.items(record.details, record.capability, half, lease.token)
        ]
        counted = {"details_half": half, "details_count": len(record.details), "token": lease.token}
        item = _key(record.cluster, f"record#{record.capability}") | _fields(record) | counted
        try:
            for one in (*details, item):
                self._put(one, only_over=lease.token)
        except Conflict as error:
            raise LeaseHeld(f"a later reconcile has recorded {record.cluster} already") from error

    def _free_half(self, record: Record) -> int:
        before = self._record_item(record.cluster, record.capability, "details_half") or {}
        return (Fields(before).whole("details_half") + 1) % record_details.HALVES

    def delete_state(self, cluster: str) -> None:
        with own_errors(f"dynamodb:Query of {cluster}"):
            pages = self._db.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues=item_of({":pk": _key(cluster, "")["pk"]}),
                ProjectionExpression="pk, sk",
                ConsistentRead=True,
            )
            keys = [values_of(item) for page in pages for item in page["Items"]]
        # The lease stays, and with it the growing token, until DynamoDB lets it expire; and so does what the
        # cluster cost, which is still to be reported.
        for key in keys:
            if key["sk"] != "lease" and not str(key["sk"]).startswith(COST_PREFIX):
                self._delete(key)

    def records(self) -> tuple[Record, ...]:
        # The whole index, which has nothing but records: a query takes a capability's name, and a list of
        # names would lack the next one. Each costs what the items cost that are read.
        with own_errors(f"dynamodb:Scan of the index {INDEX}"):
            pages = self._db.get_paginator("scan").paginate(TableName=self._table, IndexName=INDEX)
            found = (values_of(item) for page in pages for item in page["Items"])
            return tuple(_record(item, record_details.NONE) for item in found if _is_record(item))

    def note_sweep(self, at: datetime, clusters: int) -> None:
        kept = sweeps.noted(self.sweeps(), at)
        self._put(_SWEEP | {"times": [one.isoformat() for one in kept], "clusters": clusters})

    def fleet_size(self) -> int:
        return max(self._swept().whole("clusters"), 0)  # items of before have none

    def sweeps(self) -> tuple[datetime, ...]:
        return self._swept().each("times", utc_of)

    def _swept(self) -> Fields:
        with own_errors("dynamodb:GetItem, the sweeps"):
            found = self._db.get_item(TableName=self._table, Key=item_of(_SWEEP), ConsistentRead=True)
        return Fields(values_of(found.get("Item", {})))

    def _put(self, item: Item, only_over: int | None = None) -> None:
        """With `only_over`, only where no later token has written."""
        condition: dict[str, Any] = {}
        if only_over is not None:
            condition = {
                "ConditionExpression": "attribute_not_exists(#token) OR #token <= :token",
                "ExpressionAttributeNames": {"#token": "token"},
                "ExpressionAttributeValues": item_of({":token": only_over}),
            }
        with own_errors(f"dynamodb:PutItem {item['sk']}"):
            self._db.put_item(TableName=self._table, Item=item_of(item), **condition)

    def _delete(self, key: Item) -> None:
        with own_errors(f"dynamodb:DeleteItem {key['sk']}"):
            self._db.delete_item(TableName=self._table, Key=item_of(key))


def _key(cluster: str, sort: str) -> Item:
    return {"pk": f"cluster#{cluster}", "sk": sort}


def _began(capability: str) -> dict[str, str]:
    return {"#began": f"{_BEGAN}{capability}"} if capability else {}


def _waits(capability: str) -> dict[str, str]:
    return {"#waits": f"{_WAITS}{capability}"} if capability else {}


def _begun(capability: str, item: Mapping[str, Any]) -> Begun:
    found = Fields(item)
    at, until = found.time("at") or UNKNOWN_TIME, found.time("until") or UNKNOWN_TIME
    return Begun(capability, at, until, found.text("holder"))


def _pause_key(cluster: str | None) -> Item:
    return _key(cluster, "pause") if cluster else {"pk": _FLEET, "sk": "pause"}


def _epoch(time: datetime) -> int:
    return int(time.timestamp())


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _fields(record: Record) -> Item:
    """The names are the table's: they stay when an attribute is renamed. Details are items of their own."""
    fields = {
        "cluster": record.cluster,
        "capability": record.capability,
        "stage": str(record.stage),
        "reason": record.reason,
        "at": record.at.isoformat(),
        "since": record.since.isoformat(),
        "findings": list(map(_finding_item, record.findings)),
        "changed": list(record.changed),
        "policy": record.policy,
        "fingerprint": record.fingerprint,
        "world": record.cluster_fingerprint,
        "looked_at": record.observed_at and record.observed_at.isoformat(),
        "next_look": record.requeue_at and record.requeue_at.isoformat(),
        "conflicts": record.conflicts,
        "notified": list(record.notified),
        "retries": [json.dumps(retries.as_json(retry)) for retry in record.retries],
        "next_try": record.next_try,
        "skew_since": record.skew_since and record.skew_since.isoformat(),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _is_record(item: Mapping[str, Any]) -> bool:
    """Another release may keep other items under a capability, too."""
    return bool(item["pk"].startswith("cluster#") and item["sk"].startswith(_RECORD))


def _record(item: Mapping[str, Any], details: record_details.Read) -> Record:
    """There is one, no matter what is in the item: its key says of which cluster and capability it is."""
    found = Fields(item, needed=("stage", "reason", "at", "since", "findings", "changed"))
    at, since = found.time("at"), found.time("since")
    record = Record(
        cluster=item["pk"].removeprefix("cluster#"),
        capability=item["sk"].removeprefix(_RECORD),
        reason=found.text("reason"),
        policy=found.text("policy"),
        fingerprint=found.text("fingerprint"),
        cluster_fingerprint=found.text("world"),
        next_try=found.text("next_try"),
        stage=stage_of(found.text("stage")),
        at=at or since or UNKNOWN_TIME,
        since=since or at or UNKNOWN_TIME,
        observed_at=found.time("looked_at"),
        requeue_at=found.time("next_look"),
        skew_since=found.time("skew_since"),
        findings=found.each("findings", _finding),
        changed=found.each("changed", text_of),
        conflicts=found.whole("conflicts"),
        details=details.whole,
        notified=found.each("notified", text_of),
        retries=found.each("retries", _retry),
    )
    return replace(record, unreadable=(*found.unreadable, *details.unreadable))


def _retry(text: Any) -> Retry:
    return retries.from_json(json.loads(text))


def _finding_item(finding: Finding) -> Item:
    """The names are the table's: they stay when an attribute is renamed."""
    return {
        "code": finding.code,
        "says": finding.message,
        "remedy": finding.remedy,
        "refuses": finding.blocking,
    }


def _finding(item: Mapping[str, Any]) -> Finding:
    """What another release adds to it is left out."""
    found = Fields(item, needed=("code", "says"))
    code, message, remedy = (found.text(name) for name in ("code", "says", "remedy"))
    if found.unreadable:
        raise ValueError(f"a finding without {', '.join(found.unreadable)}")
    return Finding(code, message, remedy, blocking=found.flag("refuses"))
