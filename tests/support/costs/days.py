"""Days of GPUs for tests: one made by hand, of which docs/savings.md tells, and random ones."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st
from slicewise.costs.day import (
    DAY_SECONDS,
    OTHERS,
    Change,
    Day,
    Hour,
    Machine,
    MachineType,
    Use,
    Workload,
)
from slicewise.costs.tally import ClusterDays

# A Monday.
BEGIN = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp())
SINCE, UNTIL = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 9, tzinfo=UTC)
HOUR_MS = 3_600_000

L4 = Machine("slicewise-shared-l4", "shared", "g6.xlarge", "on-demand", "l4", 1, 4)
WHOLE_L4 = MachineType(L4.node_pool, L4.instance_type, L4.capacity_type, L4.gpu, L4.gpus)
CHAT = Workload("apps", "Deployment", "serving", "chat")
BATCH = Workload("batch", "Job", "research", "embed")
NIGHT = {
    "began": "2026-11-02T20:00:00+00:00",
    "ended": "2026-11-02T23:00:00+00:00",
    "saved": {"g6.xlarge": 5.5},
    "usd": 4.43,
}


def example() -> ClusterDays:
    """
    Two machines for ten hours, each with one L4 in four slices. Chat has five pods all the time, busy for a
    fifth of their slices; a job has one for five hours, of which no metrics are there. Whole GPUs would have
    been six for five hours and five for five.
    """
    chat = Use(
        held=50 * HOUR_MS, used=10 * HOUR_MS, memory=40_000_000, memory_held=286_000_000, cpu=90_000_000
    )
    chat.ram = 120_000_000
    batch = Use(held=5 * HOUR_MS, unmeasured=5 * HOUR_MS, cpu=18_000_000, ram=24_000_000)
    return ClusterDays(
        "gpu-1",
        "eu-west-1",
        (
            Day(
                BEGIN,
                BEGIN,
                BEGIN + DAY_SECONDS,
                hours={L4: {8 + hour: Hour(7200, _tenth(chat, batch, hour)) for hour in range(10)}},
                whole={WHOLE_L4: {8 + hour: (6 if hour < 5 else 5) * 3600 for hour in range(10)}},
                asleep={L4.node_pool: {20: 3600, 21: 3600, 22: 3600}},
                workloads={L4: {CHAT: chat, BATCH: batch}},
                labels={CHAT: {"app": "chat", "team": "assistants"}},
                instances={f"i-0{one}": (WHOLE_L4, 36_000) for one in range(2)},
                changes=[Change(BEGIN + 13 * 3600, "n", L4.node_pool, "2", "4", "memory allows 4")],
                nights={NIGHT["began"]: NIGHT},
            ),
        ),
    )


def _tenth(chat: Use, batch: Use, hour: int) -> Use:
    """Of chat in each hour, of the job in the first five."""
    found = Use(
        held=chat.held // 10,
        used=chat.used // 10,
        memory=chat.memory // 10,
        memory_held=chat.memory_held // 10,
        cpu=chat.cpu // 10,
        ram=chat.ram // 10,
    )
    if hour < 5:
        found.add(Use(batch.held // 5, unmeasured=batch.unmeasured // 5, cpu=batch.cpu // 5))
        found.ram += batch.ram // 5
    return found


_MACHINES = st.builds(
    Machine,
    node_pool=st.sampled_from(["np-a", "np-b"]),
    pool=st.sampled_from(["shared", "whole"]),
    instance_type=st.sampled_from(["g6.xlarge", "g6.12xlarge", "g5.xlarge", "p5.48xlarge", "g99.odd"]),
    capacity_type=st.sampled_from(["on-demand", "spot"]),
    gpu=st.sampled_from(["l4", "a10g"]),
    gpus=st.integers(1, 8),
    n=st.integers(1, 5),
)
_WORKLOADS = st.builds(
    Workload,
    group=st.just("apps"),
    kind=st.just("Deployment"),
    namespace=st.sampled_from(["one", "two"]),
    name=st.sampled_from(["a", "b", OTHERS]),
)


@st.composite
def random_days(draw: st.DrawFn) -> tuple[ClusterDays, ...]:
    """Of one or two clusters, that keep what reconciles promise of a Day."""
    counts = draw(st.lists(st.integers(0, 2), min_size=1, max_size=2))
    return tuple(_cluster(draw, f"gpu-{number}", count) for number, count in enumerate(counts))


def _cluster(draw: st.DrawFn, name: str, days: int) -> ClusterDays:
    begins = [BEGIN + day * DAY_SECONDS for day in range(days)]
    return ClusterDays(name, "eu-west-1", tuple(_day(draw, begin) for begin in begins))


def _day(draw: st.DrawFn, begin: int) -> Day:
    day = Day(begin, begin, begin + DAY_SECONDS)
    for machine in draw(st.lists(_MACHINES, max_size=3, unique=True)):
        workloads = draw(st.lists(_WORKLOADS, max_size=3, unique=True))
        day.workloads[machine] = {workload: Use() for workload in workloads}
        hours = draw(st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True))
        day.hours[machine] = {hour: _hour(draw, day, machine) for hour in hours}
    for kind in {MachineType(*one[:1], *one[2:6]) for one in day.hours}:
        day.whole[kind] = {draw(st.integers(0, 23)): draw(st.integers(0, 9000))}
    day.labels = {CHAT: {"team": "x"}} | {
        one: {"team": draw(st.sampled_from("xy"))} for uses in day.workloads.values() for one in uses
    }
    day.instances = {f"i-{place}": (kind, 3600) for place, kind in enumerate(day.whole)}
    return day


def _hour(draw: st.DrawFn, day: Day, machine: Machine) -> Hour:
    hour = Hour(draw(st.integers(1, 20_000)))
    left = 1000 * hour.machine_seconds * machine.gpus * machine.n
    for use in day.workloads[machine].values():
        held = draw(st.integers(0, left))
        used = draw(st.integers(0, held))
        unmeasured = draw(st.integers(0, held - used))
        one = Use(held, used, unmeasured, memory=used // 3, memory_held=held, cpu=draw(st.integers(0, 9)))
        left -= held
        use.add(one)
        hour.use.add(one)
    return hour
