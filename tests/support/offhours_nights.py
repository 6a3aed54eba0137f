"""
Nights in which anything happens, as hypothesis plays them: thousands on fakes, a few on a real API server.

Sleep, wake, edits (also between a pass's look and its writes), deletions, objects made anew, what people say,
passes that come late, twice or never, and that are killed or lose an answer at any call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from slicewise.errors import Unavailable
from slicewise.kube.labels import ASLEEP, ASLEEP_WAS, OPENED, SWITCHES
from slicewise.kube.objects import annotations_of
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours.sleep_fields import opens
from slicewise.planning.outcome import Plan, Stage

from tests.fakes.kube.controllers import PAUSED
from tests.fakes.sleeper import Reconciler

REPLICAS, SUSPEND, NODES = ("spec", "replicas"), ("spec", "suspend"), ("spec", "limits", "nodes")
PAUSED_OBJECT = ("metadata", "annotations", PAUSED)
PAUSED_JOB = ("metadata", "annotations", "autoscaling.keda.sh/paused")
STOPPED = ("metadata", "annotations", "kubeflow-resource-stopped")
STOP_POLICY, ACTIVE = ("spec", "stopPolicy"), ("spec", "active")
Steps = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class Thing:
    """
    One field that people edit and we change: `values` are what people write, the last one being ours.

    Attributes:
        scaled_by: What scales it, and is named to people in its place.
    """

    item: Object
    path: tuple[str, ...]
    values: tuple[Any, ...]
    absent: Any = None
    replaceable: bool = True
    scaled_by: Object | None = None

    @property
    def ref(self) -> Ref:
        return ref_of(self.item)


class Night:
    """
    Args:
        sleeper: Its cluster has the things already.
        pool: A NodePool that sleeps.

    Attributes:
        left: What the last person left in each field: a value, or several that are as good.
    """

    def __init__(self, sleeper: Reconciler, things: Sequence[Thing], pool: Ref) -> None:
        self.sleeper, self.pool = sleeper, pool
        self.deleted: dict[Thing, Object] = {}
        self.left: dict[Thing, tuple[Any, ...]] = {thing: (self.value(thing),) for thing in things}
        self._kinds = sleeper.off_hours.kinds if sleeper.off_hours else ()
        self.disruption = sleeper.value(pool, "spec", "disruption")

    def play(self, steps: Steps) -> None:
        self.time(9 * 60)  # from noon to 21:00, so that most of it happens asleep
        for name, *values in steps:
            getattr(self, name)(*values)
        self.check()

    def value(self, thing: Thing) -> Any:
        found = self.sleeper.value(thing.ref, *thing.path)
        return thing.absent if found is None else found

    # What happens

    def time(self, minutes: int) -> None:
        self.sleeper.later(minutes=minutes)

    def run(self, strike: tuple[str, int]) -> None:
        how, number = strike
        calls = self.sleeper.calls
        number += len(calls.made)
        match how:
            case "before":
                calls.kill_before = number
            case "after":
                calls.kill_after = number
            case "lost":
                calls.lose_answer = {number: Unavailable("no answer")}
        self.sleeper.reconcile_once()
        calls.kill_before = calls.kill_after = None
        calls.lose_answer = {}

    def edit(self, thing: Thing, choice: int, between: bool) -> None:
        def now() -> None:
            value = thing.values[choice % len(thing.values)]
            if thing in self.deleted or self.value(thing) == value:
                return
            if value == thing.values[-1] and self.recreated_unseen(thing):
                return
            self.sleeper.edit(thing.ref, thing.path, value)
            self.left[thing] = (value,)

        if between:
            self.sleeper.between = now
        else:
            now()

    def delete(self, thing: Thing) -> None:
        if thing.replaceable and thing not in self.deleted:
            self.deleted[thing] = self.sleeper.live(thing.ref)
            self.sleeper.delete(thing.ref)

    def _next_morning(self) -> Plan:
        while self.sleeper.calendar.is_asleep(self.sleeper.clock.now):
            self.sleeper.later(hours=1)
        return self.sleeper.settle()

    def _is_closed(self, kept: Snapshot) -> bool:
        return opens(kept) and self.sleeper.value(kept.ref, *NODES) == kept.original

    def make_anew(self, thing: Thing, choice: int) -> None:
        """As it was when it was deleted, or with a value that a person chose."""
        if thing not in self.deleted:
            return
        old = self.deleted.pop(thing)
        metadata = {key: old["metadata"][key] for key in ("name", "namespace")}
        if annotations_of(old):
            metadata["annotations"] = dict(annotations_of(old))
        self.sleeper.create({**thing.item, "metadata": metadata, "spec": old["spec"]})
        value = thing.values[choice % len(thing.values)]
        if value != thing.values[-1]:
            if self.value(thing) != value:
                self.sleeper.edit(thing.ref, thing.path, value)
            self.left[thing] = (value,)
            return
        kept = [
            one
            for one in self.sleeper.kept._kept.values()
            if one.ref == thing.ref and not one.woken and self.value(thing) == thing.values[-1]
        ]
        self.left[thing] = (*self.left[thing], kept[0].original) if kept else (self.value(thing),)

    def recreated_unseen(self, thing: Thing) -> bool:
        """
        Whether no pass has seen it awake since: of such an object nobody can tell whether it was copied
        asleep, or put to sleep by a person.
        """
        uid = self.sleeper.value(thing.ref, "metadata", "uid")
        return any(
            one.ref == thing.ref and one.uid != uid and not one.woken
            for one in self.sleeper.kept._kept.values()
        )

    def lose(self, thing: Thing) -> None:
        """
        The table loses what it has of an object that carries it as well. What was copied asleep carries it
        of another, and that a person closed a fallback stands nowhere else.
        """
        kept = self.sleeper.kept._kept
        uid = self.sleeper.value(thing.ref, "metadata", "uid")
        for key, one in list(kept.items()):
            noted = one.field != ".".join(REPLICAS) and not opens(one)
            if one.ref == thing.ref and one.uid == uid and noted:
                del kept[key]

    def change_policy(self) -> None:
        """It drops the kinds that have a switch of its own, or names them again."""
        sleeper = self.sleeper
        assert sleeper.off_hours
        sleeper.off_hours = replace(sleeper.off_hours, kinds=() if sleeper.off_hours.kinds else self._kinds)

    def refuse(self) -> None:
        self.sleeper.refuse()

    def put_override(self, asleep: bool, hours: int | None) -> None:
        now = self.sleeper.clock.now
        self.sleeper.put_override(asleep, now + timedelta(hours=hours) if hours else None)

    def be_quiet(self) -> None:
        self.sleeper.kept._overrides.clear()

    def check(self) -> None:
        """The night is over, at the latest on a Wednesday at noon, and nobody says anything any more."""
        sleeper = self.sleeper
        self.be_quiet()
        sleeper.between = None
        sleeper.later(minutes=25)  # longer than a refusal of EC2 counts
        end = self._next_morning()
        if sleeper.kept._kept and all(self._is_closed(one) for one in sleeper.kept._kept.values()):
            # That a person closed a fallback is remembered until the cluster sleeps again.
            while not sleeper.calendar.is_asleep(sleeper.clock.now):
                sleeper.later(hours=1)
            sleeper.settle()
            end = self._next_morning()

        assert end.outcome.stage is Stage.AWAKE
        assert sleeper.kept._kept == {}
        for thing, wanted in self.left.items():
            if thing in self.deleted:
                assert sleeper.live(thing.ref) is None
            else:
                assert self.value(thing) in wanted, (thing.ref, thing.path)
                self.check_notes(thing)
        assert sleeper.value(self.pool, "spec", "disruption") == self.disruption
        for mark in (ASLEEP, OPENED, SWITCHES):
            for ref in {self.pool, *(thing.ref for thing in self.left if thing.ref.kind == "NodePool")}:
                assert sleeper.value(ref, "metadata", "annotations", mark) is None

    def check_notes(self, thing: Thing) -> None:
        """Nothing that is awake says of itself that it sleeps; a copy may still say it of another."""
        note = self.sleeper.value(thing.ref, "metadata", "annotations", ASLEEP_WAS)
        uid = self.sleeper.value(thing.ref, "metadata", "uid")
        assert note is None or f'"uid":"{uid}"' not in note, (thing.ref, note)


def steps_with(things: Sequence[Thing], *more: str) -> st.SearchStrategy[tuple[Any, ...]]:
    thing, choice = st.sampled_from(things), st.integers(0, 3)
    strike = st.tuples(st.sampled_from(["", "", "before", "after", "lost"]), st.integers(0, 45))
    return st.one_of(
        st.tuples(st.just("time"), st.sampled_from([5, 45, 60, 300, 540, 720, 1440])),
        st.tuples(st.just("run"), strike),
        st.tuples(st.just("run"), strike),
        st.tuples(st.just("edit"), thing, choice, st.booleans()),
        st.tuples(st.just("delete"), thing),
        st.tuples(st.just("lose"), thing),
        st.tuples(st.just("make_anew"), thing, choice),
        st.tuples(st.just("put_override"), st.booleans(), st.sampled_from([None, 1, 12])),
        st.tuples(st.just("be_quiet")),
        *(st.tuples(st.just(name)) for name in more),
    )
