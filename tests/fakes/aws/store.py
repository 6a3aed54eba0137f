"""The state table in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Self

from slicewise.errors import LeaseHeld, Unavailable
from slicewise.model import sweeps
from slicewise.planning import retries
from slicewise.planning.record import Record
from slicewise.ports import Begun, Lease

from tests.fakes.aws.refusals import check_item
from tests.fakes.aws.sleep_store import FakeSleepStore
from tests.fakes.aws.usage_store import FakeUsageStore
from tests.fakes.calls import Calls
from tests.fakes.copies import twin


class FakeStore:
    """
    Implements ports.Store. `history` holds every line that was kept for people.

    Args:
        sleep, usage: What is kept in the same table about clusters that sleep, and of what was measured.
    """

    def __init__(
        self, calls: Calls, sleep: FakeSleepStore | None = None, usage: FakeUsageStore | None = None
    ) -> None:
        self._calls, self._sleep, self._usage = calls, sleep, usage
        self._leases: dict[str, tuple[int, datetime | None]] = {}
        self._waiting: dict[tuple[str, str], datetime] = {}
        self._records: dict[tuple[str, str], tuple[Record, int]] = {}
        self._pauses: dict[str | None, str] = {}
        self._keeping: set[str | None] = set()
        self._begun: dict[tuple[str, str], Begun] = {}
        self._sweeps: tuple[datetime, ...] = ()
        self._fleet_size = 0
        self.history: list[Record] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return twin(self, memo, logs="history")

    def acquire(
        self, cluster: str, holder: str, now: datetime, length: timedelta, capability: str = ""
    ) -> Lease:
        taken: list[Lease] = []
        try:
            with self._calls.call("store.acquire"):
                taken.append(self._taken(cluster, holder, now, length, capability))
        except Unavailable:
            # As the gateway's client does by itself, it asks again where an answer is lost; what is sent
            # twice is one attempt.
            if not taken:
                raise
        return taken[0]

    def _taken(self, cluster: str, holder: str, now: datetime, length: timedelta, capability: str) -> Lease:
        token, until = self._leases.get(cluster, (int(now.timestamp() * 1000), None))
        if until is not None and until > now:
            raise LeaseHeld(f"another reconcile works on {cluster}")
        self._leases[cluster] = token + 1, now + length
        self._waiting.pop((cluster, capability), None)
        if capability:
            self._begun[cluster, capability] = Begun(capability, now, now + length, holder)
        return Lease(cluster, holder, token + 1, now + length, capability)

    def begun(self, cluster: str) -> tuple[Begun, ...]:
        with self._calls.call("store.begun"):
            return tuple(begun for key, begun in sorted(self._begun.items()) if key[0] == cluster)

    def waiting(self, cluster: str, capability: str) -> datetime | None:
        with self._calls.call("store.waiting"):
            return self._waiting.get((cluster, capability))

    def note_waiting(self, cluster: str, capability: str, comes: datetime) -> None:
        with self._calls.call("store.note_waiting"):
            if cluster in self._leases:
                self._waiting[cluster, capability] = comes

    def renew(self, lease: Lease, now: datetime, length: timedelta) -> Lease:
        with self._calls.call("store.renew"):
            if self._leases.get(lease.cluster, (0,))[0] != lease.token:
                raise LeaseHeld(f"another reconcile has taken over {lease.cluster}")
            self._leases[lease.cluster] = lease.token, now + length
            return replace(lease, until=now + length)

    def release(self, lease: Lease) -> None:
        with self._calls.call("store.release"):
            if self._leases.get(lease.cluster, (0,))[0] == lease.token:
                self._leases[lease.cluster] = lease.token, None
                self._begun.pop((lease.cluster, lease.capability), None)

    def paused(self, cluster: str) -> str | None:
        with self._calls.call("store.paused"):
            return self._pauses.get(None) or self._pauses.get(cluster)

    def keeps_asleep(self, cluster: str) -> bool:
        with self._calls.call("store.keeps_asleep"):
            return bool(self._keeping & {None, cluster})

    def pause(self, cluster: str | None, reason: str, keep_asleep: bool = False) -> None:
        with self._calls.call("store.pause"):
            check_item(pk=f"cluster#{cluster}", sk="pause", reason=reason)
            self._pauses[cluster] = reason
            self._keeping = self._keeping - {cluster} | ({cluster} if keep_asleep else set())

    def resume(self, cluster: str | None) -> None:
        with self._calls.call("store.resume"):
            self._pauses.pop(cluster, None)
            self._keeping -= {cluster}

    def record(self, cluster: str, capability: str) -> Record | None:
        with self._calls.call("store.record"):
            return self._records.get((cluster, capability), (None, 0))[0]

    def save(self, record: Record, lease: Lease, *, history: bool) -> None:
        with self._calls.call("store.save"):
            record = _kept(record)
            if history:
                self.history.append(record)
            key = record.cluster, record.capability
            if self._records.get(key, (None, 0))[1] > lease.token:
                raise LeaseHeld(f"a later reconcile has recorded {record.cluster} already")
            self._records[key] = record, lease.token

    def delete_state(self, cluster: str) -> None:
        with self._calls.call("store.delete_state"):
            self._pauses.pop(cluster, None)
            self._keeping -= {cluster}
            for key in [key for key in self._records if key[0] == cluster]:
                del self._records[key]
            self.history = [record for record in self.history if record.cluster != cluster]
            if self._sleep:
                self._sleep.delete_state(cluster)
            if self._usage:
                self._usage.delete_state(cluster)

    def records(self) -> tuple[Record, ...]:
        with self._calls.call("store.records"):
            return tuple(replace(record, details=()) for record, _ in self._records.values())

    def note_sweep(self, at: datetime, clusters: int) -> None:
        with self._calls.call("store.note_sweep"):
            self._sweeps, self._fleet_size = sweeps.noted(self._sweeps, at), clusters

    def fleet_size(self) -> int:
        with self._calls.call("store.fleet_size"):
            return self._fleet_size

    def sweeps(self) -> tuple[datetime, ...]:
        with self._calls.call("store.sweeps"):
            return self._sweeps


def _kept(record: Record) -> Record:
    """
    As the table gives it back; details have items of their own.

    Raises:
        Refused: What is left is too large for an item.
    """
    texts = [json.dumps(detail) for detail in record.details]
    check_item(
        pk=f"cluster#{record.cluster}",
        sk=f"record#{record.capability}",
        findings=[dict(vars(finding)) for finding in record.findings],
        changed=record.changed,
        notified=record.notified,
        retries=[json.dumps(retries.as_json(retry)) for retry in record.retries],
        rest=[record.reason, record.policy, record.fingerprint, record.cluster_fingerprint],
    )
    return replace(record, details=tuple(map(json.loads, texts)))
