"""Reports of costs made by hand: a believable one of 30 days, and those that a page must bear as well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import pi, sin

from slicewise.costs.report import (
    BillCheck,
    BillLine,
    Cost,
    Effect,
    Interval,
    Moment,
    Night,
    Parts,
    Report,
    Row,
)

UNTIL = datetime(2026, 11, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PRICES = {"g6.xlarge": Fraction("0.8048"), "g6.12xlarge": Fraction("4.6016"), "g6e.xlarge": Fraction("1.861")}
GPUS = {"g6.xlarge": 1, "g6.12xlarge": 4, "g6e.xlarge": 1}


@dataclass(frozen=True)
class Fleet:
    """Machines of a NodePool; `by_day` and `by_night` are how many, `n` what N was in thirds of the span."""

    cluster: str
    pool: str
    node_pool: str
    machine: str
    by_day: int
    by_night: int
    n: tuple[int, int, int]
    busy: float
    workloads: tuple[tuple[str, str, str], ...]


def fleets(teams: int = 6, name: Callable[[str], str] = str) -> tuple[Fleet, ...]:
    """Workloads are (namespace, workload, team), dealt out to five NodePools of three clusters."""
    all_teams = ("search", "chat", "vision", "risk", "research", "platform")
    made = [
        (name(f"ns-{i // 2}" if i >= 6 else all_teams[i]), name(f"Deployment/model-{i}"),
         name(all_teams[i] if i < 6 else f"team-{i}"))
        for i in range(max(teams, 1))
    ]  # fmt: skip
    dealt = [tuple(made[i::5] or made[:1]) for i in range(5)]
    eu, us, dev = name("prod-eu"), name("prod-us"), name("dev")
    shared, whole, batch, notes = (name(f"slicewise-{one}") for one in ("shared", "whole", "batch", "notes"))
    return (
        Fleet(eu, "shared", shared, "g6.xlarge", 12, 0, (4, 5, 6), 0.41, dealt[0]),
        Fleet(eu, "whole", whole, "g6e.xlarge", 4, 4, (1, 1, 1), 0.66, dealt[1]),
        Fleet(us, "shared", shared, "g6.12xlarge", 5, 3, (4, 4, 3), 0.52, dealt[2]),
        Fleet(us, "batch", batch, "g6.xlarge", 3, 8, (2, 2, 2), 0.83, dealt[3]),
        Fleet(dev, "notebooks", notes, "g6.xlarge", 6, 0, (8, 8, 8), 0.07, dealt[4]),
    )  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """What one workload, or none, had of one NodePool in one hour or day."""

    at: datetime
    fleet: Fleet
    n: int
    workload: tuple[str, str, str] | None
    parts: Parts


def entries(times: list[datetime], step: timedelta, all_fleets: Iterable[Fleet]) -> Iterator[Entry]:
    for i, at in enumerate(times):
        for fleet in all_fleets:
            yield from _of_moment(i, len(times), at, step, fleet)


def _of_moment(i: int, count: int, at: datetime, step: timedelta, fleet: Fleet) -> Iterator[Entry]:
    n = fleet.n[i * 3 // count]
    weekend = at.weekday() >= 5
    day, night = (0, fleet.by_night) if weekend and fleet.by_night == 0 else (fleet.by_day, fleet.by_night)
    machine_hours = Fraction(int(step / HOUR)) * (day * 13 + night * 11) / 24
    gpu_hours = machine_hours * GPUS[fleet.machine]
    price = PRICES[fleet.machine] / GPUS[fleet.machine]
    held = gpu_hours * Fraction(78 + i * 7 % 17, 100)
    for j, workload in enumerate(fleet.workloads):
        mine = held * 2 * (j + 1) / (len(fleet.workloads) * (len(fleet.workloads) + 1))
        busy = Fraction(round(1000 * fleet.busy * (0.8 + 0.2 * sin(i + j))), 1000)
        unmeasured = mine / 8 if (i + j) % 9 == 0 else mine * 0
        used = (mine - unmeasured) * busy
        parts = (used, mine - unmeasured - used, unmeasured, mine * 0)
        yield Entry(at, fleet, n, workload, Parts(*(Cost(hours, hours * price) for hours in parts)))
    free = Cost(gpu_hours - held, (gpu_hours - held) * price)
    yield Entry(at, fleet, n, None, Parts(free=free))


def believable(days: int = 30, teams: int = 6, name: Callable[[str], str] = str) -> Report:
    """Three clusters, five NodePools; with nights, changes, and a bill that two machines are missing from."""
    times = [UNTIL - DAY * (days - i) for i in range(days)]
    return _report(times, DAY, fleets(teams, name))


def one_hour() -> Report:
    """An hour of one NodePool, as soon as counting has begun; nothing is measured yet."""
    at = datetime(2026, 11, 27, 14, tzinfo=UTC)
    base = _report([at], HOUR, fleets()[:1])
    tables = {
        table: tuple(
            replace(row, parts=_unmeasured(row.parts), busy=None, memory=None) for row in getattr(base, table)
        )
        for table in TABLES
    }
    return replace(
        base,
        **{**tables, "by_team": ()},
        team_label="",
        total=_unmeasured(base.total),
        busy=None,
        memory=None,
        by_hour=tuple(
            replace(one, parts=_unmeasured(one.parts), busy=dict.fromkeys(one.busy)) for one in base.by_hour
        ),
        hours_of_week=_one_hour_of_the_week(at),
        counted_since={"prod-eu": at},
    )


def _unmeasured(parts: Parts) -> Parts:
    return Parts(unmeasured=parts.allocated, free=parts.free)


def _one_hour_of_the_week(at: datetime) -> tuple[tuple[tuple[float | None, float], ...], ...]:
    gpus = [[0.0] * 24 for _ in range(7)]
    gpus[at.weekday()][at.hour] = 6.5
    return tuple(tuple((None, one) for one in day) for day in gpus)


def empty() -> Report:
    """Clusters that have no GPU machine."""
    return replace(
        _report([], DAY, ()), clusters=("dev",), regions={"dev": "eu-central-1"}, changes=(), nights=(),
        nights_usd=Fraction(0), headline=_interval(0), headline_share=_interval(0), bill=None,
        notes=("No GPU machine was seen in dev in this span.",),
    )  # fmt: skip


def unpriced() -> Report:
    """Hours alone: no machine type has a price, as with reservations."""
    base, none = believable(days=10), _interval(0)
    tables = {
        table: tuple(
            replace(row, parts=_hours_alone(row.parts), aws_split=None) for row in getattr(base, table)
        )
        for table in TABLES
    }
    return replace(
        base,
        **tables,
        total=_hours_alone(base.total),
        whole=_without_usd(base.whole),
        bound=_without_usd(base.bound),
        sharing=none,
        headline=none,
        headline_share=none,
        nights_usd=Fraction(0),
        nights=(),
        by_day=tuple(
            replace(one, parts=_hours_alone(one.parts), whole=_without_usd(one.whole)) for one in base.by_day
        ),
        unpriced=("g6.12xlarge reserved", "g6.xlarge reserved", "g6e.xlarge reserved"),
        notes=("No price is known of g6.12xlarge reserved and 2 more, so dollars are sums without them.",),
        bill=None,
    )


TABLES = ("by_cluster", "by_pool", "by_machine", "by_namespace", "by_team", "by_workload")
LONG = "a-name-that-goes-on-and-on-" * 5 + "end"
HOSTILE = "<script>alert(\"x\")</script> & 'quotes' </style>"


def long_names() -> Report:
    return believable(name=lambda text: f"{text}-{LONG}")


def hostile_names() -> Report:
    return believable(days=8, name=lambda text: f"{text}{HOSTILE}")


def _without_usd(cost: Cost) -> Cost:
    return Cost(cost.gpu_hours)


def _hours_alone(parts: Parts) -> Parts:
    return Parts(*map(_without_usd, parts))


def _interval(value: Fraction | int, spread: Fraction = Fraction(0)) -> Interval:
    middle = Fraction(value)
    return Interval(middle, middle * (1 - spread), middle * (1 + spread))


def _report(times: list[datetime], step: timedelta, all_fleets: tuple[Fleet, ...]) -> Report:
    found = list(entries(times, step, all_fleets))
    total = sum((one.parts for one in found), Parts())
    whole = Cost(total.allocated.gpu_hours * 2, total.total.usd * Fraction(163, 100))
    nights = tuple(_nights(times, all_fleets))
    nights_usd = sum((Fraction(one.usd).limit_denominator(100) for one in nights), Fraction(0))
    sharing = whole.usd - total.total.usd
    saved = sharing + nights_usd
    would = total.total.usd + saved
    clusters = tuple(dict.fromkeys(fleet.cluster for fleet in all_fleets))
    moments = tuple(_moments(times, found))
    return Report(
        clusters=clusters,
        regions={name: ("eu-central-1", "us-east-1", "eu-west-1")[i] for i, name in enumerate(clusters)},
        since=times[0] if times else UNTIL - DAY,
        until=times[-1] + step if times else UNTIL,
        counted_since={clusters[-1]: times[len(times) // 3] + HOUR * 14} if len(times) > 3 else {},
        terms="on demand in us-east-1, list prices of November 2026",
        unpriced=(),
        total=total,
        busy=_busy(total),
        memory=0.38 if times else None,
        whole=whole,
        bound=Cost(total.used.gpu_hours, total.total.usd * Fraction(44, 100)),
        sharing=_interval(sharing, Fraction(7, 100)),
        nights_usd=nights_usd,
        headline=Interval(saved, saved - sharing * Fraction(7, 100), saved + sharing * Fraction(7, 100)),
        headline_share=_interval(saved / would if would else 0, Fraction(5, 100)),
        by_cluster=_rows(found, lambda one: (one.fleet.cluster,)),
        by_pool=_rows(found, lambda one: (one.fleet.cluster, one.fleet.pool)),
        by_machine=_rows(
            found, lambda one: (one.fleet.cluster, one.fleet.node_pool, one.fleet.machine, str(one.n))
        ),
        by_namespace=_rows(found, lambda one: (one.workload[0] if one.workload else "",)),
        by_team=_rows(found, lambda one: (one.workload[2] if one.workload else "",)),
        team_label="team",
        by_workload=_rows(
            found,
            lambda one: (one.fleet.cluster, one.workload[0], one.workload[1]) if one.workload else ("",) * 3,
        ),
        by_day=moments if step == DAY else (),
        by_hour=moments if step == HOUR else (),
        hours_of_week=_week(bool(found)),
        nights=nights,
        changes=tuple(_changes(times, all_fleets)),
        machine_seconds={name: _seconds(found, name) for name in clusters},
        folded=0,
        notes=(
            *(f"{clusters[-1]} is counted since 2026-11-10 14:00 UTC." for _ in times[3:4]),
            "Machines whose end no reconcile saw count halfway to the next one: that is uncertain.",
        ),
        bill=_bill() if len(times) > 3 else None,
    )


def _busy(parts: Parts) -> float | None:
    measured = parts.used.gpu_hours + parts.idle.gpu_hours
    return float(parts.used.gpu_hours / measured) if measured else None


def _rows(found: list[Entry], key: Callable[[Entry], tuple[str, ...]]) -> tuple[Row, ...]:
    sums: dict[tuple[str, ...], Parts] = defaultdict(Parts)
    for one in found:
        sums[key(one)] += one.parts
    total = sum(sums.values(), Parts())
    is_of_pods = ("",) in sums or ("",) * 3 in sums
    return tuple(
        Row(key, parts, _busy(parts), (_busy(parts) or 0.0) * 0.9 + 0.05 if _busy(parts) else None,
            _aws_split(key, parts, total) if is_of_pods else None)
        for key, parts in sums.items()
    )  # fmt: skip


def _aws_split(key: tuple[str, ...], parts: Parts, total: Parts) -> Fraction:
    """All that was paid, by what is held, as if pods asked for CPU and memory alike."""
    return parts.allocated.usd * total.total.usd / total.allocated.usd if any(key) else Fraction(0)


def _moments(times: list[datetime], found: list[Entry]) -> Iterator[Moment]:
    by_time: dict[datetime, list[Entry]] = defaultdict(list)
    for one in found:
        by_time[one.at].append(one)
    for at in times:
        parts = sum((one.parts for one in by_time[at]), Parts())
        by_pool: dict[str, Parts] = defaultdict(Parts)
        n: dict[str, float] = {}
        for one in by_time[at]:
            if one.parts.total.gpu_hours:
                name = f"{one.fleet.cluster}/{one.fleet.node_pool}"
                by_pool[name] += one.parts
                n[name] = float(one.n)
        whole = Cost(parts.allocated.gpu_hours * 2, parts.total.usd * Fraction(163, 100))
        yield Moment(at, parts, whole, n, {name: _busy(one) for name, one in by_pool.items()}, asleep=0.4)


def _seconds(found: list[Entry], cluster: str) -> int:
    gpu_seconds = sum(
        (
            one.parts.total.gpu_hours / GPUS[one.fleet.machine]
            for one in found
            if one.fleet.cluster == cluster
        ),
        Fraction(0),
    )
    return int(gpu_seconds * 3600)


def _week(has_gpus: bool) -> tuple[tuple[tuple[float | None, float], ...], ...]:
    def hour(day: int, at: int) -> tuple[float | None, float]:
        if not has_gpus or (day == 6 and 1 <= at < 5):
            return (None, 0.0)
        if day == 2 and at == 4:
            return (None, 31.5)
        works = day < 5 and 7 <= at < 20
        curve = sin(pi * (at - 6) / 15) if works else 0.0
        return (0.12 + 0.75 * max(curve, 0.0) - 0.02 * day, 46.0 + day if works else 15.25)

    return tuple(tuple(hour(day, at) for at in range(24)) for day in range(7))


def _nights(times: list[datetime], all_fleets: tuple[Fleet, ...]) -> Iterator[Night]:
    sleepers = list(dict.fromkeys(fleet.cluster for fleet in all_fleets if fleet.by_night == 0))
    for i, at in enumerate(times[:-1]):
        for cluster in sleepers[: 1 + i % 2]:
            ended = None if i == len(times) - 2 else at + HOUR * 31
            yield Night(cluster, at + HOUR * 20, ended, 121.5 + i, round(98.0 + i * 1.37, 2))


def _changes(times: list[datetime], all_fleets: tuple[Fleet, ...]) -> Iterator[Effect]:
    if len(times) < 4:
        return
    third = len(times) // 3
    for fleet in all_fleets:
        for i in (1, 2):
            before, after = fleet.n[i - 1], fleet.n[i]
            if before != after:
                at = times[third * i] + HOUR * 9
                why = f"{fleet.workloads[0][1]} used {before * 9} % of its memory at most for 24 h"
                saved = (
                    Cost(Fraction(310), Fraction(24911, 100))
                    if after > before
                    else Cost(usd=Fraction(-1907, 100))
                )
                yield Effect(fleet.cluster, at, "n", fleet.node_pool, str(before), str(after), why, at, saved)
    first = all_fleets[0]
    namespace, workload, _ = first.workloads[0]
    at = times[third] + HOUR * 30
    yield Effect(
        first.cluster, at, "class", f"{namespace}/{workload}", "1", "3", "it is busy 4 % of the time", at
    )
    yield Effect(
        first.cluster, at + HOUR * 10, "asleep", first.node_pool, "", "", "off-hours", at + HOUR * 10
    )
    yield Effect(first.cluster, at + HOUR * 21, "awake", first.node_pool, "", "", "opening", at + HOUR * 21)


def _bill() -> BillCheck:
    hours, usd = Fraction(31, 2), Fraction("12.4744")
    return BillCheck(
        source="november.csv (FOCUS 1.2)",
        currency="USD",
        lines=(
            BillLine("i-0a1b2c3d4e5f60718", "g6.xlarge", None, None, hours * 4, usd * 4),
            BillLine(
                "i-0f9e8d7c6b5a49382",
                "g6.xlarge",
                hours,
                usd,
                hours + Fraction(1, 60),
                usd + Fraction(2, 100),
            ),
            BillLine("i-00112233445566778", "g6e.xlarge", hours, usd, None, None),
        ),
        equal=412,
        notes=("3 lines are credits, which belong to no instance; they are left out.",),
    )
