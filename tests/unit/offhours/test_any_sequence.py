"""
Whatever happens at night, in the end each object is as the last person who touched it left it, or as it was.

Sleep, wake, edits (also between a pass's look and its writes), deletions, objects made anew, what people say,
passes that come late, twice or never, and that are killed or lose an answer at any call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slicewise.actions import Stage
from slicewise.errors import Unavailable
from slicewise.model import Object, Ref, ref_of
from slicewise.objects import annotations

from tests.fakes.controllers import PAUSED, cron_job, scaled, scaled_job, scaled_object
from tests.fakes.sleeper import NODE_POOL, Sleeper

_TARGET = scaled("Deployment", "of-keda", 2)
_ANNOTATIONS = ("metadata", "annotations")


@dataclass(frozen=True, eq=False)
class Thing:
    """One field that people edit and we change: `values` are what people write, the last one being ours."""

    item: Object
    path: tuple[str, ...]
    values: tuple[Any, ...]
    absent: Any = None
    replaceable: bool = True

    @property
    def ref(self) -> Ref:
        return ref_of(self.item)


_POOL = {"apiVersion": NODE_POOL.api_version, "kind": "NodePool", "metadata": {"name": NODE_POOL.name}}
_REPLICAS = ("spec", "replicas")
THINGS = (
    Thing(scaled("Deployment", "server", 3), _REPLICAS, (1, 3, 4, 0)),
    Thing(scaled("StatefulSet", "store", 2), _REPLICAS, (1, 2, 5, 0)),
    Thing(scaled("Rollout", "web", 3, version="argoproj.io/v1alpha1"), _REPLICAS, (2, 3, 0)),
    Thing(scaled("LeaderWorkerSet", "llm", 1, version="leaderworkerset.x-k8s.io/v1"), _REPLICAS, (1, 2, 0)),
    Thing(cron_job("nightly"), ("spec", "suspend"), (False, True), absent=False),
    Thing(scaled_object("keda", _TARGET, "2"), (*_ANNOTATIONS, PAUSED), (None, "1", "2", "0")),
    Thing(scaled_job("queue"), (*_ANNOTATIONS, "autoscaling.keda.sh/paused"), (None, "false", "true")),
    Thing(_POOL, ("spec", "limits", "nodes"), (None, "7", "0"), replaceable=False),
)


@dataclass
class Night:
    """`left` is what the last person left in each field: a value, or several that are as good."""

    sleeper: Sleeper = field(default_factory=Sleeper)
    left: dict[Thing, tuple[Any, ...]] = field(default_factory=dict)
    deleted: dict[Thing, Object] = field(default_factory=dict)
    copied: set[Thing] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sleeper.create(_TARGET, *(thing.item for thing in THINGS if thing.replaceable))
        self.left = {thing: (self.value(thing),) for thing in THINGS}

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
        self.sleeper.run_pass()
        calls.kill_before = calls.kill_after = None
        calls.lose_answer = {}

    def edit(self, thing: Thing, choice: int, between: bool) -> None:
        def now() -> None:
            value = thing.values[choice % len(thing.values)]
            if thing in self.deleted or self.value(thing) == value:
                return
            # Of an object that was copied asleep nobody can tell that a person put it to sleep once more.
            if thing in self.copied and value == thing.values[-1]:
                return
            self.sleeper.edit(thing.ref, thing.path, value)
            self.left[thing] = (value,)

        if between:
            self.sleeper.between = now
        else:
            now()

    def delete(self, thing: Thing) -> None:
        if thing.replaceable and thing not in self.deleted:
            self.deleted[thing] = self.sleeper.server.objects[thing.ref]
            self.sleeper.delete(thing.ref)

    def make_anew(self, thing: Thing, choice: int) -> None:
        """As it was when it was deleted, or with a value that a person chose."""
        if thing not in self.deleted:
            return
        old = self.deleted.pop(thing)
        metadata = {key: old["metadata"][key] for key in ("name", "namespace")}
        if annotations(old):
            metadata["annotations"] = dict(annotations(old))
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
            if one.ref == thing.ref and self.value(thing) == thing.values[-1]
        ]
        if kept:
            self.copied.add(thing)
        self.left[thing] = (*self.left[thing], kept[0].original) if kept else (self.value(thing),)

    def say(self, asleep: bool, hours: int | None) -> None:
        now = self.sleeper.clock.now
        self.sleeper.say(asleep, now + timedelta(hours=hours) if hours else None)

    def be_quiet(self) -> None:
        self.sleeper.kept._said.clear()

    def check(self) -> None:
        """The night is over, at the latest on a Wednesday at noon, and nobody says anything any more."""
        sleeper = self.sleeper
        self.be_quiet()
        sleeper.between = None
        while sleeper.calendar.is_asleep(sleeper.clock.now):
            sleeper.later(hours=1)
        end = sleeper.settle()

        assert end.outcome.stage is Stage.AWAKE
        assert sleeper.kept._kept == {}
        for thing, wanted in self.left.items():
            if thing in self.deleted:
                assert thing.ref not in sleeper.server.objects
            else:
                assert self.value(thing) in wanted, (thing.ref, thing.path)
        pool = sleeper.server.objects[NODE_POOL]
        assert pool["spec"]["disruption"]["consolidateAfter"] == "10m"
        assert "slicewise.dev/asleep" not in annotations(pool)


_THING = st.sampled_from(THINGS)
_CHOICE = st.integers(0, 3)
_STRIKE = st.tuples(st.sampled_from(["", "", "before", "after", "lost"]), st.integers(0, 45))
STEPS = st.one_of(
    st.tuples(st.just("time"), st.sampled_from([5, 60, 300, 540, 720, 1440])),
    st.tuples(st.just("run"), _STRIKE),
    st.tuples(st.just("run"), _STRIKE),
    st.tuples(st.just("edit"), _THING, _CHOICE, st.booleans()),
    st.tuples(st.just("delete"), _THING),
    st.tuples(st.just("make_anew"), _THING, _CHOICE),
    st.tuples(st.just("say"), st.booleans(), st.sampled_from([None, 1, 12])),
    st.tuples(st.just("be_quiet")),
)


def play(steps: list[tuple[Any, ...]]) -> None:
    night = Night()
    night.time(9 * 60)  # from noon to 21:00, so that most of it happens asleep
    for name, *values in steps:
        getattr(night, name)(*values)
    night.check()


_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)


@given(st.lists(STEPS, max_size=14))
@settings(max_examples=150, deadline=None, suppress_health_check=_SLOW)
def test_the_last_person_wins(steps):
    play(steps)


@pytest.mark.exhaustive
@given(st.lists(STEPS, min_size=3, max_size=14))
@settings(max_examples=2_000, deadline=None, suppress_health_check=_SLOW)
def test_the_last_person_wins_two_thousand_times(steps):
    play(steps)


@pytest.mark.exhaustive
@pytest.mark.soak
@given(st.lists(STEPS, min_size=3, max_size=14))
@settings(max_examples=10_000, deadline=None, suppress_health_check=_SLOW)
def test_the_last_person_wins_ten_thousand_times(steps):
    play(steps)


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_pass_may_end_at_any_call_of_a_sleep_and_a_wake(how):
    """And every pass after it as well, each at the same call: the next that lives finishes."""
    whole = Night()
    whole.time(9 * 60)
    whole.run(("", 0))
    calls = len(whole.sleeper.calls.made)

    for number in range(calls + 1):
        play(
            [
                ("run", (how, number)),
                ("time", 60),
                ("run", (how, number)),
                ("time", 600),
                ("run", (how, number)),
            ]
        )
