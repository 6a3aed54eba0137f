"""What is kept about clusters that sleep, in memory."""

from __future__ import annotations

from slicewise.errors import Conflict
from slicewise.off_hours import Override
from slicewise.snapshots import Snapshot

from tests.fakes.calls import Calls


class FakeSleepStore:
    """Implements ports.SleepStore."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._kept: dict[tuple[str, ...], Snapshot] = {}
        self._said: dict[str, Override] = {}

    def snapshots(self, cluster: str) -> tuple[Snapshot, ...]:
        with self._calls.call("sleep.snapshots"):
            return tuple(kept for key, kept in sorted(self._kept.items()) if key[0] == cluster)

    def keep(self, cluster: str, snapshot: Snapshot) -> None:
        with self._calls.call(f"sleep.keep {snapshot.ref} {snapshot.field}"):
            key = cluster, *snapshot.ref, snapshot.field
            before = self._kept.get(key)
            if (before.version if before else 0) != snapshot.version - 1:
                raise Conflict(f"{snapshot.ref} was kept otherwise")
            self._kept[key] = snapshot

    def forget_snapshot(self, cluster: str, snapshot: Snapshot) -> None:
        with self._calls.call(f"sleep.forget_snapshot {snapshot.ref} {snapshot.field}"):
            key = cluster, *snapshot.ref, snapshot.field
            if key in self._kept and self._kept[key].version != snapshot.version:
                raise Conflict(f"{snapshot.ref} was kept otherwise")
            self._kept.pop(key, None)

    def override(self, cluster: str) -> Override | None:
        with self._calls.call("sleep.override"):
            return self._said.get(cluster)

    def say(self, cluster: str, override: Override) -> None:
        with self._calls.call("sleep.say"):
            self._said[cluster] = override

    def unsay(self, cluster: str) -> None:
        with self._calls.call("sleep.unsay"):
            self._said.pop(cluster, None)
