"""The state table in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.errors import LeaseHeld, Refused
from slicewise.outcomes import Finding
from slicewise.ports import Lease, Waiting
from slicewise.records import Record

from tests.fakes.calls import Calls

# DynamoDB's quota: 400 KB an item, names and values together.
MOST_BYTES = 400 * 1024


class FakeStore:
    """Implements ports.Store. `history` holds every line that was kept for people."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._leases: dict[str, tuple[int, datetime | None]] = {}
        self._waiting: dict[str, frozenset[str]] = {}
        self._records: dict[tuple[str, str], tuple[Record, int]] = {}
        self._pauses: dict[str | None, str] = {}
        self.history: list[Record] = []

    def acquire(
        self, cluster: str, holder: str, now: datetime, length: timedelta, capability: str = ""
    ) -> Lease:
        with self._calls.call("store.acquire"):
            token, until = self._leases.get(cluster, (0, None))
            if until is not None and until > now:
                raise LeaseHeld(f"another pass works on {cluster}")
            self._leases[cluster] = token + 1, now + length
            self._waiting[cluster] = self._waiting.get(cluster, frozenset()) - {capability}
            return Lease(cluster, holder, token + 1, now + length)

    def waiting(self, cluster: str) -> Waiting:
        with self._calls.call("store.waiting"):
            return Waiting(self._leases.get(cluster, (0,))[0], self._waiting.get(cluster, frozenset()))

    def note_waiting(self, cluster: str, capability: str, token: int) -> None:
        with self._calls.call("store.note_waiting"):
            if self._leases.get(cluster, (0,))[0] == token:
                self._waiting[cluster] = self._waiting.get(cluster, frozenset()) | {capability}

    def renew(self, lease: Lease, now: datetime, length: timedelta) -> Lease:
        with self._calls.call("store.renew"):
            if self._leases[lease.cluster][0] != lease.token:
                raise LeaseHeld(f"another pass has taken over {lease.cluster}")
            self._leases[lease.cluster] = lease.token, now + length
            return replace(lease, until=now + length)

    def release(self, lease: Lease) -> None:
        with self._calls.call("store.release"):
            if self._leases[lease.cluster][0] == lease.token:
                self._leases[lease.cluster] = lease.token, None

    def paused(self, cluster: str) -> str | None:
        with self._calls.call("store.paused"):
            return self._pauses.get(None) or self._pauses.get(cluster)

    def pause(self, cluster: str | None, reason: str) -> None:
        with self._calls.call("store.pause"):
            self._pauses[cluster] = reason

    def resume(self, cluster: str | None) -> None:
        with self._calls.call("store.resume"):
            self._pauses.pop(cluster, None)

    def record(self, cluster: str, capability: str) -> Record | None:
        with self._calls.call("store.record"):
            return self._records.get((cluster, capability), (None, 0))[0]

    def save(self, record: Record, lease: Lease, *, history: bool) -> None:
        with self._calls.call("store.save"):
            if history:
                self.history.append(record)
            _fits_into_an_item(record)
            key = record.cluster, record.capability
            if self._records.get(key, (None, 0))[1] > lease.token:
                raise LeaseHeld(f"a later pass has recorded {record.cluster} already")
            self._records[key] = record, lease.token

    def forget(self, cluster: str) -> None:
        with self._calls.call("store.forget"):
            self._pauses.pop(cluster, None)
            for key in [key for key in self._records if key[0] == cluster]:
                del self._records[key]
            self.history = [record for record in self.history if record.cluster != cluster]

    def records(self) -> tuple[Record, ...]:
        with self._calls.call("store.records"):
            return tuple(replace(record, details=()) for record, _ in self._records.values())


def _fits_into_an_item(record: Record) -> None:
    """Details have items of their own."""
    size = sum(len(name) + _bytes(value) for name, value in vars(record).items() if name != "details")
    if size > MOST_BYTES:
        raise Refused(f"the record of {record.cluster} has {size} bytes; an item holds {MOST_BYTES}")


def _bytes(value: Any) -> int:
    """As DynamoDB counts (developer guide, "Item sizes and formats"), but for numbers, which are few."""
    match value:
        case tuple():
            return 3 + sum(1 + _bytes(one) for one in value)
        case Finding():
            return 3 + sum(1 + len(name) + _bytes(one) for name, one in vars(value).items())
        case datetime():
            return len(value.isoformat())
        case str():
            return len(value.encode())
    return 1
