"""What is kept about clusters that sleep, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from slicewise.errors import Conflict
from slicewise.model.opening import Opening
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.policy.off_hours import Override

from tests.fakes.aws.refusals import as_kept, check_item
from tests.fakes.calls import Calls

_Key = tuple[str, str]


class FakeSleepStore:
    """Implements ports.SleepStore."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._kept: dict[_Key, Snapshot] = {}
        self._overrides: dict[str, Override] = {}
        self._openings: dict[str, Opening] = {}

    def snapshots(self, cluster: str) -> tuple[Snapshot, ...]:
        with self._calls.call("sleep.snapshots"):
            return tuple(kept for key, kept in sorted(self._kept.items()) if key[0] == cluster)

    def keep(self, cluster: str, snapshot: Snapshot) -> None:
        with self._calls.call(f"sleep.keep {snapshot.ref} {snapshot.field}"):
            key = _key(cluster, snapshot)
            kept = replace(snapshot, original=as_kept(snapshot.original), ours=as_kept(snapshot.ours))
            check_item(pk=f"cluster#{cluster}", sk=key[1], all=str(vars(kept)))
            before = self._kept.get(key)
            if (before.version if before else 0) != snapshot.version - 1:
                raise Conflict(f"{snapshot.ref} was kept otherwise")
            self._kept[key] = kept

    def delete_snapshot(self, cluster: str, snapshot: Snapshot) -> None:
        with self._calls.call(f"sleep.delete_snapshot {snapshot.ref} {snapshot.field}"):
            key = _key(cluster, snapshot)
            if key in self._kept and self._kept[key].version != snapshot.version:
                raise Conflict(f"{snapshot.ref} was kept otherwise")
            self._kept.pop(key, None)

    def override(self, cluster: str) -> Override | None:
        with self._calls.call("sleep.override"):
            return self._overrides.get(cluster)

    def put_override(self, cluster: str, override: Override) -> None:
        with self._calls.call("sleep.put_override"):
            check_item(pk=f"cluster#{cluster}", sk="override", all=str(vars(override)))
            self._overrides[cluster] = override

    def delete_override(self, cluster: str) -> None:
        with self._calls.call("sleep.delete_override"):
            self._overrides.pop(cluster, None)

    def opening(self, cluster: str) -> Opening | None:
        with self._calls.call("sleep.opening"):
            return self._openings.get(cluster)

    def put_opening(self, cluster: str, opening: Opening) -> None:
        with self._calls.call(f"sleep.put_opening {opening.due:%H:%M}"):
            self._openings[cluster] = Opening(_whole(opening.due), _whole(opening.opens))

    def delete_opening(self, cluster: str) -> None:
        with self._calls.call("sleep.delete_opening"):
            self._openings.pop(cluster, None)

    def openings(self, until: datetime) -> Mapping[str, Opening]:
        with self._calls.call("sleep.openings"):
            return {key: one for key, one in self._openings.items() if one.due <= _whole(until)}

    def delete_state(self, cluster: str) -> None:
        """All of a cluster, which is gone: it is in the table that the store clears."""
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != cluster}
        self._overrides.pop(cluster, None)
        self._openings.pop(cluster, None)


def _whole(at: datetime) -> datetime:
    """Times are kept in UTC, to the second."""
    return at.astimezone(UTC).replace(microsecond=0)


def _key(cluster: str, snapshot: Snapshot) -> _Key:
    """In the order in which the table tells them: by its sort key."""
    ref = snapshot.ref
    return cluster, "#".join(("snapshot", ref.api_version, ref.kind, ref.namespace, ref.name, snapshot.field))
