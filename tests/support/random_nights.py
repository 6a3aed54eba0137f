"""
Whole nights with up to three mishaps at random moments, through the real loop (queues, dead letters,
schedules and the hourly sweep), on fakes or with a real API server.

What must hold: five minutes after the opening everything runs as it did before, or a person was told before
the opening what does not. A night is made by its seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from slicewise.app import OFF_HOURS, ONBOARDING, TUNING
from slicewise.errors import Conflict, Refused, SlicewiseError, Unauthorized, Unavailable
from slicewise.kube.labels import POLICY_TAG
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.planning.outcome import Stage

from tests.fakes.account import HOME, VISIBILITY, Account
from tests.fakes.calls import Killed
from tests.scenarios.offhours.test_mornings import live, set_status
from tests.scenarios.offhours.test_offhours import berlin
from tests.support.offhours_nights import REPLICAS, Thing

NAME = "gpu-1"
GPU_1 = HOME.arn(NAME)
MINUTE = timedelta(minutes=1)
OPENING = berlin(7, 1)
# Of one priority of pods, and of two.
WAKES = (OPENING - 10 * MINUTE, OPENING - 15 * MINUTE)
PATIENCE, SWEEP = 5 * MINUTE, 60 * MINUTE
# A pass that is killed while it looks is followed once its function would have ended; where the message that
# asked for it was lost before, that comes on top. Three in a row would take the whole waking.
KILLED_PATIENCE = VISIBILITY[OFF_HOURS]
MOST_KILLS = 2
TIMEOUT = "read timed out"
ANSWERS: Mapping[str, type[SlicewiseError]] = {
    "403 forbidden": Refused,
    "401 unauthorized": Unauthorized,
    "409 it has changed": Conflict,
    "422 a policy denies it": Refused,
    "429 slow down": Unavailable,
    "500 internal error": Unavailable,
    TIMEOUT: Unavailable,
}


class NightlyAccount(Account):
    """Whose functions that no queue feeds are called again where they fail, as Lambda does twice."""

    def sweep(self) -> None:
        self._up_to_three_times(super().sweep)

    def watch_openings(self) -> None:
        self._up_to_three_times(super().watch_openings)

    def _up_to_three_times(self, function: Callable[[], None]) -> None:
        for _ in range(3):
            try:
                return function()
            except (SlicewiseError, Killed):
                self.calls.revive()


@dataclass
class World:
    """
    A cluster in the evening, and where to find what sleeps in it.

    Attributes:
        dusk: When it sleeps. It wakes at OPENING.
        asleep: Those hours, as the policy `default` has them.
        pools: The YAML of that policy, without its off-hours.
        forgotten: What slept when the table was emptied.
    """

    account: Account
    things: Sequence[Thing]
    find: Callable[[Ref], Object | None]
    dusk: datetime
    asleep: str
    pools: str
    forgotten: set[Ref] = field(default_factory=set)

    def policy(self, mode: str = "act") -> str:
        calendar = f"{{timeZone: Europe/Berlin, volumes: retain, asleep: ['Mon-Fri {self.asleep}', Sat-Sun]}}"
        return f"mode: {mode}\n{self.pools}offHours: {calendar}\n"

    def values(self) -> dict[Thing, Any]:
        return {thing: _value(self.find(thing.ref), thing) for thing in self.things}


def _value(item: Any, thing: Thing) -> Any:
    for key in thing.path:
        item = (item or {}).get(key)
    return thing.absent if item is None else item


@dataclass(frozen=True)
class Mishap:
    """
    Attributes:
        at: When it happens.
        says: What, for people.
        then: When something else happens, and what.
        kills: Whether a process ends with it.
        asks_nothing: Whether no policy asks for off-hours from then on.
        loses: Whether what was to ask for a look is gone: the look at openings asks within five minutes.
        empties: Whether what the look at openings reads is gone: where both are, the hourly sweep is left.
    """

    at: datetime
    message: str
    happen: Callable[[Account], object]
    then: tuple[datetime, Callable[[Account], object]] | None = None
    kills: bool = False
    asks_nothing: bool = False
    loses: bool = False
    empties: bool = False

    def __str__(self) -> str:
        return f"{self.at + timedelta(hours=1):%H:%M} {self.message}"


class Night:
    """
    Args:
        seed: All that happens follows from it.
    """

    def __init__(self, seed: int, world: World, kinds: Sequence[Kind]) -> None:
        self.seed, self.world = seed, world
        self.wanted = world.values()
        self.mishaps = tuple(_mishaps(world, kinds, Random(seed)))

    def play(self) -> str:
        """What of it must not be, with its story; empty where all is well."""
        self._until(OPENING)
        reported = self._notices()
        self._until(OPENING + PATIENCE)
        broken = self._broken(reported, lambda ref: ref.kind != "CronJob")
        # They are woken at the opening, so before it nobody can know what becomes of them.
        kills = sum(one.kills for one in self.mishaps)
        loses, empties = (any(getattr(one, what) for one in self.mishaps) for what in ("loses", "empties"))
        asked = SWEEP + PATIENCE if loses and empties else PATIENCE if loses else MINUTE
        self._until(OPENING + max(PATIENCE, kills * KILLED_PATIENCE + asked))
        broken += self._broken(self._notices(), lambda ref: ref.kind == "CronJob")
        dead = [one for one in self.world.account.queues.dead if one.capability == OFF_HOURS]
        broken += [f"dead letter: {one.body}" for one in dead]
        return "\n  ".join((*self.story(), *broken)) if broken else ""

    def _until(self, moment: datetime) -> None:
        account = self.world.account
        now = account.clock.now
        happenings = [
            (at, lambda happen=happen: happen(account))
            for one in self.mishaps
            for at, happen in ((one.at, one.happen), *([one.then] if one.then else ()))
            if now <= at < moment
        ]
        live(account, moment, happenings)

    def _notices(self) -> str:
        return "\n".join("\n".join(notice) for notice in self.world.account.notices.sent)

    def _broken(self, reported: str, asked: Callable[[Ref], bool]) -> list[str]:
        """What runs otherwise than it did, and no notice names."""
        if f"{NAME} cannot be read" in reported:
            return []
        return [
            f"{thing.ref} has {'.'.join(thing.path)} {value!r} and had {self.wanted[thing]!r}"
            for thing, value in self.world.values().items()
            if asked(thing.ref) and value != self.wanted[thing]
            if not _is_named(thing, reported) and not any(map(self._is_forgotten, _refs(thing)))
        ]

    def _is_forgotten(self, ref: Ref) -> bool:
        """
        Replicas have no annotation, and what says that volumes are retained waits for them. Where no policy
        asks for off-hours, nobody looks for annotations.
        """
        scaled = {thing.ref for thing in self.world.things if thing.path == REPLICAS}
        asks_nothing = any(one.asks_nothing for one in self.mishaps)
        return ref in self.world.forgotten and (ref in scaled or asks_nothing)

    def story(self) -> list[str]:
        record = self.world.account.record(capability=OFF_HOURS)
        last = [f"now {record.at:%H:%M} UTC {record.stage}: {record.reason}"] if record else []
        return [f"seed {self.seed}:", *map(str, sorted(self.mishaps, key=lambda one: one.at)), *last]


def _refs(thing: Thing) -> list[Ref]:
    """The object, and what scales it: where that one is forgotten, nobody brings its replicas back."""
    return [thing.ref, *([ref_of(thing.scaled_by)] if thing.scaled_by else [])]


def _is_named(thing: Thing, told: str) -> bool:
    return any(str(ref) in told for ref in _refs(thing))


# What may happen

Kind = Callable[[World, Random, datetime], Mishap]


def _mishaps(world: World, kinds: Sequence[Kind], chance: Random) -> Iterator[Mishap]:
    kills = 0
    for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 3))):
        kind = chance.choice([one for one in kinds if one is not killed or kills < MOST_KILLS])
        kills += kind is killed
        yield _mishap(kind, world, chance)


def _mishap(kind: Kind, world: World, chance: Random) -> Mishap:
    """Half of all is near an edge, and half of that in its very minute: there things happen."""
    begin = world.account.clock.now
    edge = chance.choice((world.dusk, *WAKES, OPENING)) + chance.choice((0, 0, 0, -3, -1, 1)) * MINUTE
    other = begin + chance.randrange(int((OPENING - begin) / MINUTE)) * MINUTE
    return kind(world, chance, min(chance.choice((edge, other)), OPENING))


def answered(world: World, chance: Random, at: datetime) -> Mishap:
    answer, number = chance.choice(list(ANSWERS)), _number(chance)

    def refuse(account: Account) -> None:
        account.calls.refuse[len(account.calls.made) + number] = ANSWERS[answer](answer)

    return Mishap(at, f"call {number} from now on is answered by {answer}", refuse)


def answer_lost(world: World, chance: Random, at: datetime) -> Mishap:
    number = _number(chance)

    def lose(account: Account) -> None:
        account.calls.lose_answer[len(account.calls.made) + number] = Unavailable(TIMEOUT)

    return Mishap(at, f"the answer to call {number} from now on gets lost", lose)


def killed(world: World, chance: Random, at: datetime) -> Mishap:
    number = _number(chance)

    def kill(account: Account) -> None:
        account.calls.kill_after = len(account.calls.made) + number

    return Mishap(at, f"the process is killed after call {number} from now on", kill, kills=True)


def _number(chance: Random) -> int:
    """A pass makes some twenty calls to look, and four an object that it changes."""
    return chance.randrange(80)


def denied(world: World, chance: Random, at: datetime) -> Mishap:
    ref = chance.choice(world.things).ref

    def deny(account: Account) -> None:
        writes = (f"kubernetes.scale {ref}", f"kubernetes.patch {ref}")
        denial = Refused("422 ValidatingAdmissionPolicy 'floor' with binding 'all' denied request: no")
        account.calls.fails = lambda call: denial if call.startswith(writes) else None

    return Mishap(at, f"a policy denies each change of {ref} from now on", deny)


def onboarding_refuses(world: World, chance: Random, at: datetime) -> Mishap:
    def refuse(account: Account) -> None:
        account.eks.clusters[NAME] = replace(account.eks.clusters[NAME], auto_mode=True)

    return Mishap(at, "somebody switches EKS Auto Mode on, which onboarding refuses", refuse)


def onboarding_is_stuck(world: World, chance: Random, at: datetime) -> Mishap:
    stage = chance.choice([one for one in Stage if one is not Stage.DELETED])

    def stick(account: Account) -> None:
        if (GPU_1, ONBOARDING) in account.store._records:
            record, token = account.store._records[GPU_1, ONBOARDING]
            account.store._records[GPU_1, ONBOARDING] = replace(record, stage=stage), token
        account._apps[ONBOARDING] = Idle(account._apps[TUNING])

    return Mishap(at, f"onboarding is {stage} from now on", stick)


class Idle:
    """A function that does nothing with its messages; for all else there is `other`."""

    def __init__(self, other: Any) -> None:
        self._other = other

    def answer(self, *_: Any) -> Any:
        return {"batchItemFailures": []}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


def updating(world: World, chance: Random, at: datetime) -> Mishap:
    begin = OPENING - chance.randrange(20) * MINUTE
    return Mishap(
        begin,
        "EKS updates the cluster, for 20 min",
        lambda account: set_status(account, "UPDATING")(),
        then=(begin + 20 * MINUTE, lambda account: set_status(account, "ACTIVE")()),
    )


def schedule_lost(world: World, chance: Random, at: datetime) -> Mishap:
    return Mishap(at, "the schedule gets lost", lambda account: account.schedules.waiting.clear(), loses=True)


def messages_lost(world: World, chance: Random, at: datetime) -> Mishap:
    """With a schedule that fires in this minute, its message."""

    def lose(account: Account) -> None:
        waiting = account.queues.waiting
        waiting[:] = [one for one in waiting if one.capability != OFF_HOURS]
        due = account.schedules.waiting.get(NAME)
        if due and due[0] <= account.clock.now:
            account.schedules.waiting.clear()

    return Mishap(at, "off-hours' messages get lost", lose, loses=True)


def paused(world: World, chance: Random, at: datetime) -> Mishap:
    whom = chance.choice((GPU_1, None))

    def pause(account: Account) -> None:
        account.store._pauses[whom] = "a person said so"

    return Mishap(at, f"a person pauses {'the cluster' if whom else 'all'}", pause)


def paused_for_a_while(world: World, chance: Random, at: datetime) -> Mishap:
    end = at + chance.choice((1, 5, 60)) * MINUTE

    def pause(account: Account) -> None:
        account.store._pauses[GPU_1] = "a person said so"

    def resume(account: Account) -> None:
        account.store._pauses.pop(GPU_1, None)

    until = f"{end + timedelta(hours=1):%H:%M}"
    return Mishap(at, f"a person pauses the cluster, and resumes it at {until}", pause, then=(end, resume))


def other_mode(world: World, chance: Random, at: datetime) -> Mishap:
    mode = chance.choice(("observe", "recommend"))
    return Mishap(
        at, f"the policy's mode becomes {mode}", lambda account: _publish(account, world.policy(mode))
    )


def wrong_policy(world: World, chance: Random, at: datetime) -> Mishap:
    nowhere = "offHours: {timeZone: Europe/Nowhere, asleep: [Sat]}\n"
    text = chance.choice(("pools: {", f"{world.pools}{nowhere}", f"{world.pools}offHours: {{}}\n", ""))
    return Mishap(
        at,
        f"the policy is made wrong: …{text[-40:]!r}",
        lambda account: _publish(account, text),
        asks_nothing=True,
    )


def no_off_hours(world: World, chance: Random, at: datetime) -> Mishap:
    return Mishap(
        at,
        "the policy asks for off-hours no more",
        lambda account: _publish(account, world.pools),
        asks_nothing=True,
    )


def _publish(account: Account, text: str) -> None:
    account.policies["default"] = text


def renamed_policy(world: World, chance: Random, at: datetime) -> Mishap:
    is_tagged = chance.random() < 0.5

    def rename(account: Account) -> None:
        account.policies["renamed"] = account.policies.pop("default", "")
        if is_tagged:
            _tag(account, {POLICY_TAG: "renamed"})

    return Mishap(
        at,
        f"the policy is renamed, {'with' if is_tagged else 'without'} the cluster's tag",
        rename,
        asks_nothing=not is_tagged,
    )


def untagged(world: World, chance: Random, at: datetime) -> Mishap:
    return Mishap(at, "the cluster's tag is removed", lambda account: _tag(account, {}), asks_nothing=True)


def _tag(account: Account, tags: Mapping[str, str]) -> None:
    account.eks.clusters[NAME] = replace(account.eks.clusters[NAME], tags=tags)


def emptied(world: World, chance: Random, at: datetime) -> Mishap:
    def empty(account: Account) -> None:
        store, sleep = account.store, account.sleep
        world.forgotten |= {kept.ref for kept in sleep._kept.values() if not kept.woken}
        of_people = store._records, store._leases, store._pauses, store._begun
        for kept in (*of_people, sleep._kept, sleep._overrides, sleep._openings):
            kept.clear()

    return Mishap(at, "the table is emptied", empty, empties=True)


CALLS: Sequence[Kind] = (answered, answered, answered, answered, answer_lost, killed, killed, killed)
WORLD: Sequence[Kind] = (
    *(denied, updating, schedule_lost, messages_lost, paused, paused_for_a_while, other_mode),
    *(wrong_policy, no_off_hours, renamed_policy, untagged, emptied),
)
KINDS: Sequence[Kind] = (*CALLS, *WORLD, onboarding_refuses, onboarding_is_stuck)


def judge(seeds: Collection[int], night: Callable[[int], Night]) -> None:
    """Fails with the stories of nights that must not be."""
    stories = [story for seed in seeds if (story := night(seed).play())]
    assert not stories, "\n".join((f"{len(stories)} of {len(seeds)} nights", *stories))
