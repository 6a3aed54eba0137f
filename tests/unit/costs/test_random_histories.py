"""Of any history, what is counted is what a count second by second comes to, once each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.costs import text
from slicewise.costs.count.collect import STEP_SECONDS, counted, counted_to
from slicewise.costs.count.lives import CostObservation, Measured
from slicewise.costs.day import DAY_SECONDS, Day, Machine, NodeLife, PodLife, Workload

# So that histories of some hours pass midnight.
FIRST = 20_600 * DAY_SECONDS - 5400
LAST = 4 * 3600
TEAMS = tuple(Workload("apps", "Deployment", f"team-{number}", "llm") for number in range(2))


def machine(n: int, gpus: int = 2) -> Machine:
    return Machine("slicewise-shared-l4", "shared", "g6.12xlarge", "on-demand", "l4", gpus, n)


@dataclass(frozen=True)
class TrueNode:
    """`n` by the second from which on it is so."""

    name: str
    begin: int
    end: int
    n: dict[int, int]

    def seen(self, at: int) -> NodeLife | None:
        if not self.begin <= at < self.end:
            return None
        n = [value for since, value in sorted(self.n.items()) if since <= at or since == min(self.n)][-1]
        return NodeLife(f"i-{self.name}-{self.begin}", machine(n), self.begin)


@dataclass(frozen=True)
class TruePod:
    name: str
    node: str
    workload: Workload
    slices: int
    begin: int
    end: int

    def seen(self, at: int) -> PodLife | None:
        life = PodLife(self.node, self.workload, self.slices, self.begin, None, 500, 100)
        return life if self.begin <= at < self.end else None


@dataclass
class History:
    nodes: list[TrueNode]
    pods: list[TruePod]
    nights: list[tuple[int, int]]
    reconciles: list[int]
    busy: dict[str, float | None] = field(default_factory=dict)

    def observed(self, at: int) -> CostObservation:
        nodes = {one.name: life for one in self.nodes if (life := one.seen(at))}
        pods = {one.name: life for one in self.pods if (life := one.seen(at)) and life.node in nodes}
        asleep = {"slicewise-shared-l4": "night"} if self.is_night(at) else {}
        until = at // STEP_SECONDS * STEP_SECONDS - STEP_SECONDS
        return CostObservation(at, until, nodes, pods, asleep=asleep, measured=self.measured)

    def is_night(self, at: int) -> bool:
        return any(begin <= at < end for begin, end in self.nights)

    def measured(self, key: str, life: PodLife) -> Measured:
        busy = self.busy.get(key.partition("@")[0])
        steps = range(FIRST // 600 * 600, FIRST + LAST + 1200, STEP_SECONDS)
        return Measured({} if busy is None else {at: busy for at in steps if at % 1800}, {}, 24_000)


times = st.integers(FIRST, FIRST + LAST)


@st.composite
def histories(draw, pods: int = 5) -> History:
    nodes: list[TrueNode] = []
    for number in range(draw(st.integers(1, 2))):
        begin, end = sorted((draw(times), draw(times)))
        begin = FIRST - 100 if draw(st.booleans()) else begin
        turn = draw(times)
        nodes.append(
            TrueNode(
                f"n{number}", begin, end + 1, {0: draw(st.integers(1, 4)), turn: draw(st.integers(1, 4))}
            )
        )
        if draw(st.booleans()):  # another machine of the same name
            nodes.append(TrueNode(f"n{number}", end + 1, end + 1 + draw(st.integers(1, 9000)), {0: 2}))
    found = []
    for number in range(draw(st.integers(0, pods))):
        on = draw(st.sampled_from(nodes))
        begin, end = sorted(draw(st.integers(on.begin, on.end)) for _ in range(2))
        name = draw(st.sampled_from(["ns/a", "ns/b", f"ns/p{number}"]))
        slices, team = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from(TEAMS))
        if not any(one.name == name and one.begin <= end and begin <= one.end for one in found):
            found.append(TruePod(name, on.name, team, slices, begin, end))
    reconciles = [FIRST, *sorted(draw(st.lists(times, min_size=1, max_size=8))), FIRST + LAST + 1200]
    nights = [tuple(sorted((draw(times), draw(times))))] if draw(st.booleans()) else []
    busy = {one.name: draw(st.sampled_from([None, 0.0, 0.25, 0.5, 1.0])) for one in found}
    return History(nodes, found, nights, reconciles, busy=busy)


@dataclass
class Table:
    """As the store keeps days: bytes, in order; `most` writes are done before the reconcile is killed."""

    kept: dict[int, Day] = field(default_factory=dict)

    def reconcile(self, seen: CostObservation, most: int = 99) -> bool:
        newest = self.kept[max(self.kept)] if self.kept else None
        days = counted(newest, seen)
        writes = list(text.to_keep(days))
        assert [text.load(one) for one in writes[: len(days)]] == list(days)
        for one in writes[:most]:
            day = text.load(one)
            assert day
            self.kept[one.day] = day
        return bool(writes[:most])

    @property
    def days(self) -> list[Day]:
        return [self.kept[day] for day in sorted(self.kept)]


class Stretch(NamedTuple):
    at: int
    seconds: int
    nodes: dict[str, NodeLife]
    pods: dict[str, PodLife]
    asleep: bool


@dataclass
class Naive:
    """
    What was true at each second, as far as reconciles at these times can know; each stretch of seconds that
    are alike is looked at once.
    """

    history: History
    reconciles: list[int]

    def stretches(self, since: int, through: int) -> Iterator[Stretch]:
        for before, after in [(since, self.reconciles[0]), *pairwise(self.reconciles)]:
            then = self.history.observed(before if before in self.reconciles else after)
            now, middle = self.history.observed(after), (before + after) // 2
            lives = (*then.nodes.values(), *now.nodes.values(), *then.pods.values(), *now.pods.values())
            steps = range(before // 600 * 600, after, 600)
            moments = {before, after, middle, since, through, *(one.begin for one in lives), *steps}
            inside = [one for one in moments if max(before, since) <= one <= min(after, through)]
            for begin, end in pairwise(sorted(inside)):
                nodes = self.there(then.nodes, now.nodes, begin, middle, lambda one: one.instance)
                pods = self.there(then.pods, now.pods, begin, middle, lambda one: (one.node, one.begin))
                on = {key: pod for key, pod in pods.items() if self.is_on(pod, then, now, nodes)}
                asleep = bool((then if begin < middle else now).asleep)
                yield Stretch(begin, end - begin, nodes, on, asleep)

    @staticmethod
    def is_on(pod: PodLife, then: CostObservation, now: CostObservation, nodes: dict[str, NodeLife]) -> bool:
        """On the machine on which it was seen, and not on another of that name."""
        seen = then if pod in then.pods.values() else now
        return pod.node in nodes and nodes[pod.node].instance == seen.nodes[pod.node].instance

    @staticmethod
    def there(then, now, at: int, middle: int, identity: Callable):
        found = {}
        for key in {*then, *now}:
            was, is_ = then.get(key), now.get(key)
            if was and is_ and identity(was) == identity(is_):
                if at >= is_.begin:
                    found[key] = was if at < middle else is_
            elif is_ and at >= is_.begin:
                found[key] = is_
            elif was and at < middle:
                found[key] = was
        return found


def sums(days: list[Day]) -> dict[Machine, list[int]]:
    found: dict[Machine, list[int]] = {}
    for day in days:
        for kind, hours in day.hours.items():
            total = found.setdefault(kind, [0] * 5)
            for one in hours.values():
                for place, value in enumerate(
                    (one.machine_seconds, one.use.held, one.use.cpu, one.use.used, one.use.burst)
                ):
                    total[place] += value
    return found


@given(histories(), st.data())
@settings(max_examples=60)
def test_what_is_counted_is_what_a_count_second_by_second_comes_to(history, data):
    table, accepted = Table(), []
    for at in history.reconciles:
        if not accepted or at > accepted[-1]:
            seen = history.observed(at)
            killed = data.draw(st.sampled_from([99, 99, 0, 1])) if at != history.reconciles[-1] else 99
            if table.reconcile(seen, killed):
                accepted.append(at)
            if accepted and data.draw(st.booleans()):
                assert not table.reconcile(history.observed(accepted[-1]))  # an event comes twice
                table.reconcile(history.observed(accepted[-1] - data.draw(st.integers(1, 3000))), 0)

    days = table.days
    wanted: dict[Machine, list[int]] = {}
    over, asleep, whole = False, 0, 0
    for one in Naive(history, accepted).stretches(days[0].since, days[-1].through):
        asleep += one.seconds * one.asleep
        slices = [pod.slices for pod in one.pods.values()]
        whole += one.seconds * (slices.count(2) + -(-slices.count(1) // 2))
        for name, node in one.nodes.items():
            on = {key: pod for key, pod in one.pods.items() if pod.node == name}
            offered, asked = node.machine.gpus * node.machine.n, sum(pod.slices for pod in on.values())
            over = over or asked > offered
            total = wanted.setdefault(node.machine, [0] * 5)
            total[0] += one.seconds
            total[1] += 1000 * one.seconds * min(asked, offered)
            total[2] += 500 * one.seconds * len(on)
            for key, pod in on.items():
                busy = history.measured(key, pod).busy.get(one.at // 600 * 600) or 0
                beyond = int(busy * node.machine.n * 1000) - 1000 * pod.slices
                total[3] += one.seconds * (1000 * pod.slices + min(beyond, 0))
                total[4] += one.seconds * max(beyond, 0)

    found = sums(days)
    exact = 3 if over else 5
    assert {kind: total[:exact] for kind, total in found.items()} == {
        kind: total[:exact] for kind, total in wanted.items()
    }
    for day in days:
        for kind, hours in day.hours.items():
            uses = [one.use for one in hours.values()]
            for part in ("held", "used", "unmeasured", "burst", "memory", "memory_held", "cpu", "ram"):
                of_workloads = [getattr(use, part) for use in day.workloads.get(kind, {}).values()]
                assert sum(getattr(use, part) for use in uses) == sum(of_workloads)
            for one in hours.values():
                assert one.use.held <= 1000 * one.machine_seconds * kind.gpus * kind.n
                assert one.use.used + one.use.unmeasured <= one.use.held
        seconds = sum(one.machine_seconds for hours in day.hours.values() for one in hours.values())
        assert sum(of_one for _, of_one in day.instances.values()) == seconds
    if not over:
        assert sum(value for day in days for hours in day.whole.values() for value in hours.values()) == whole
    assert sum(value for day in days for hours in day.asleep.values() for value in hours.values()) == asleep
    assert [day.roster is None for day in days] == [True] * (len(days) - 1) + [False]


@given(histories(), st.lists(times, max_size=6))
@settings(max_examples=40)
def test_reconciles_that_see_what_those_around_them_see_change_nothing(history, more):
    few, many = Table(), Table()
    for before, after in pairwise(history.reconciles):
        few.reconcile(history.observed(before))
        many.reconcile(history.observed(before))
        now, then = (replace(history.observed(one), at=0, until=0) for one in (before, after))
        for at in sorted(one for one in more if before < one < after and now == then):
            many.reconcile(replace(now, at=at, until=at // 600 * 600 - 600))
    for table in (few, many):
        table.reconcile(history.observed(history.reconciles[-1]))

    assert many.days == few.days


@given(histories())
@settings(max_examples=20)
def test_a_report_adds_who_was_there_up_to_the_newest_reconcile(history):
    table = Table()
    for at in history.reconciles[:-1]:
        table.reconcile(history.observed(at))
    newest = table.days[-1]
    assert newest.roster

    days = counted_to(newest, newest.roster.seen_at + 3600)

    assert days[-1].through == max(newest.roster.seen_at, newest.through)
    assert table.days[-1] == newest
    used = sum(total[3] for total in sums(list(days)).values())
    assert used == sum(total[3] for total in sums([newest]).values())
