"""
Recorded use of anybody's pods, from files to a trace: CSV, Parquet or a Prometheus range export.

Nothing is dropped in silence: a row that cannot be used is counted by its
reason, and the first ones are named by their place in the file.
"""

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.guarded import HOURS, RecordedTrace

COLUMNS = ("time", "pod", "busy", "memory_mib")
DAY = 86_400
# Windows that a recording is cut into: the finest that its samples fill.
STEPS = (600, 900, 1200, 1800, 3600)
LONGEST_DAYS = 366
# What exporters call the two signals, and what makes fractions and MiB of them.
SIGNALS = {
    "memory_mib": ("memory_mib", 1.0),
    "DCGM_FI_DEV_FB_USED": ("memory_mib", 1.0),
    "busy": ("busy", 1.0),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("busy", 1.0),
    "DCGM_FI_DEV_GPU_UTIL": ("busy", 0.01),
}
# Where Prometheus scrapes DCGM's exporter, `pod` is the exporter unless its own labels are honoured.
POD_LABELS = (("exported_namespace", "exported_pod"), ("namespace", "pod"))
NAMED = 3
# Pods of a ReplicaSet end in the hash of its template and five letters, all of Kubernetes' safe alphabet.
REPLICA = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$")


class BadFile(Exception):
    """The file cannot be back-tested; the message says why and what to do."""


@dataclass(frozen=True)
class Row:
    """One sample; busy or memory is NaN where the sample is of the other."""

    time: float
    pod: str
    busy: float
    memory_mib: float


@dataclass
class Recording:
    """Good rows, and the places of those left out by reason."""

    rows: list[Row] = field(default_factory=list)
    rejected: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def complaints(self) -> list[str]:
        """A line for each reason: how many rows, and where the first of them are."""
        return [
            f"{len(places)} {'row' if len(places) == 1 else 'rows'} left out: {reason} "
            f"({', '.join(places[:NAMED])}{', …' if len(places) > NAMED else ''})"
            for reason, places in sorted(self.rejected.items())
        ]


def read(path: Path, on_progress=lambda rows: None) -> Recording:
    """
    All rows of one file; `on_progress` hears how many were read, once in a while.

    Raises:
        BadFile: It is missing, of no known kind, broken, or lacks a column.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file: pass a CSV, a Parquet or a Prometheus range export in JSON")
    kind = path.suffix.lower()
    readers = {".csv": _csv, ".json": _prometheus, ".parquet": _parquet}
    if kind not in readers:
        raise BadFile(f"{path} ends in {kind or 'nothing'}: expected .csv, .parquet or .json")
    recording = Recording()
    try:
        for number, (place, raw) in enumerate(readers[kind](path), 1):
            row = _row(raw)
            if isinstance(row, str):
                recording.rejected[row].append(place)
            else:
                recording.rows.append(row)
            if number % 500_000 == 0:
                on_progress(number)
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not text in UTF-8: save it as a CSV in UTF-8") from error
    except csv.Error as error:
        raise BadFile(f"{path} is no CSV: {error}") from error
    return recording


def to_trace(rows: Iterable[Row], card_mib: int, usd_per_gpu_hour: float | None = None) -> RecordedTrace:
    """
    Samples to windows, a mean of what fell in each, from the first sample on.

    A pod is there from the day of its first sample to that of its last.

    Raises:
        BadFile: There are not two whole days to learn from and one to score.
    """
    rows = list(rows)
    if not rows:
        raise BadFile("no usable row: the columns are " + ", ".join(COLUMNS))
    names = sorted({row.pod for row in rows})
    samples = _samples(rows, names)
    days, samples_a_day = samples.days, samples.samples_a_day
    return RecordedTrace(
        tuple(names),
        _carried(samples.memory_by(samples_a_day, len(names), days)),
        samples.busy_by_window(len(names)),
        decide_day=max(2, min(7, days // 2)),
        card_mib=card_mib,
        samples_a_day=samples_a_day,
        alive=samples.alive(len(names)),
        usd_per_gpu_hour=usd_per_gpu_hour,
        # Others' names say nothing sure of who their siblings are.
        workloads=tuple(REPLICA.sub("", name) if REPLICA.search(name) else "" for name in names),
        memory_by_hour=samples.memory_by(samples_a_day // HOURS, len(names), days * HOURS),
    )


@dataclass(frozen=True)
class _Samples:
    """
    Of whole days, a value a sample: whose it is, in which window, what was measured.

    Attributes:
        pod: Number of the pod.
        window: Number of the window, from the first sample of all on.
        busy: Fraction of a GPU; NaN where it was not measured.
        memory: MiB; likewise.
    """

    pod: np.ndarray
    window: np.ndarray
    busy: np.ndarray
    memory: np.ndarray
    days: int
    samples_a_day: int

    def busy_by_window(self, pods: int) -> np.ndarray:
        """The mean of each window; NaN where there is no sample."""
        shape, known = (pods, self.days * self.samples_a_day), ~np.isnan(self.busy)
        sums, counts = np.zeros(shape), np.zeros(shape)
        np.add.at(sums, (self.pod[known], self.window[known]), self.busy[known])
        np.add.at(counts, (self.pod[known], self.window[known]), 1)
        return np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)

    def memory_by(self, windows: int, pods: int, columns: int) -> np.ndarray:
        """The most in so many windows together."""
        found = np.full((pods, columns), np.nan)
        np.fmax.at(found, (self.pod, self.window // windows), self.memory)
        return found

    def alive(self, pods: int) -> np.ndarray:
        """By pod and day, from the day of its first sample to that of its last."""
        found = np.zeros((pods, self.days), dtype=bool)
        for one in range(pods):
            if len(seen := self.window[self.pod == one]):
                found[one, seen.min() // self.samples_a_day : seen.max() // self.samples_a_day + 1] = True
        return found


def _samples(rows: list[Row], names: list[str]) -> _Samples:
    number = {name: index for index, name in enumerate(names)}
    pod = np.array([number[row.pod] for row in rows])
    at = np.array([row.time for row in rows])
    busy = np.array([row.busy for row in rows])
    memory = np.array([row.memory_mib for row in rows])

    step = _step(pod, at, busy)
    window = ((at - at.min()) // step).astype(int)
    samples_a_day = DAY // step
    days = (int(window.max()) + 1) // samples_a_day
    if days < 3:
        raise BadFile(f"{days} whole days of samples: at least 3 are needed, 2 to learn from and 1 to score")
    if days > LONGEST_DAYS:
        first, last = (
            datetime.fromtimestamp(t, UTC).date() if abs(t) < 1e11 else t for t in (at.min(), at.max())
        )
        raise BadFile(f"the samples span {days} days, {first} to {last}: are all times seconds or ISO 8601?")
    inside = window < days * samples_a_day
    return _Samples(pod[inside], window[inside], busy[inside], memory[inside], days, samples_a_day)


def gaps(trace: RecordedTrace) -> float:
    """Share of the windows in pods' lives that nobody measured: each counts as fully busy."""
    lives = np.repeat(trace.alive, trace.samples_a_day, axis=1)
    return float(np.isnan(trace.busy[lives]).mean()) if lives.any() else 0.0


def _step(pod: np.ndarray, at: np.ndarray, busy: np.ndarray) -> int:
    """The window to cut into: no shorter than the time from one sample of a pod to its next."""
    known = ~np.isnan(busy)
    order = np.lexsort((at[known], pod[known]))
    pods, times = pod[known][order], at[known][order]
    between = np.diff(times)[(np.diff(pods) == 0) & (np.diff(times) > 0)]
    usual = float(np.median(between)) if len(between) else 0.0
    for step in STEPS:
        if usual <= step:
            return step
    raise BadFile(
        f"a pod's samples are {usual:,.0f} s apart: at least one an hour is needed; export it finer"
    )


def _carried(by_day: np.ndarray) -> np.ndarray:
    """A day without memory samples takes the memory of the day before."""
    carried = by_day.copy()
    for day in range(1, carried.shape[1]):
        unknown = np.isnan(carried[:, day])
        carried[unknown, day] = carried[unknown, day - 1]
    return carried


def _row(raw: dict) -> Row | str:
    pod = str(raw.get("pod") or "").strip()
    if not pod:
        return "no pod"
    time = _time(raw.get("time"))
    if time is None:
        return "time is neither seconds nor ISO 8601"
    busy, memory = _number(raw.get("busy")), _number(raw.get("memory_mib"))
    if math.isnan(busy) and math.isnan(memory):
        return "neither busy nor memory_mib is a number"
    if busy < 0 or busy > 1:
        return "busy is not between 0 and 1"
    if memory < 0:
        return "memory_mib is negative"
    return Row(time, pod, busy, memory)


def _time(value) -> float | None:
    number = _number(value)
    if not math.isnan(number):
        return number
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        # Without a zone it is UTC: the machine that reads a file must not change what it says.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(value) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _csv(path: Path) -> Iterator[tuple[str, dict]]:
    with open(path, newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        _require(path, reader.fieldnames or ())
        for raw in reader:
            yield f"line {reader.line_num}", raw


def _parquet(path: Path) -> Iterator[tuple[str, dict]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise BadFile("reading Parquet needs pyarrow: pip install pyarrow, or pass a CSV") from error
    try:
        file = parquet.ParquetFile(path)
        _require(path, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(columns=list(COLUMNS)):
            for raw in batch.to_pylist():
                number += 1
                yield f"row {number}", raw
    except (pyarrow.ArrowException, OSError) as error:
        raise BadFile(f"{path} is no Parquet: {error}") from error


def _prometheus(path: Path) -> Iterator[tuple[str, dict]]:
    expected = f"{path} is no Prometheus range export: expected data.result[].metric and .values"
    try:
        series = json.loads(path.read_text(encoding="utf-8"))["data"]["result"]
        samples = [(dict(one["metric"]), list(one["values"])) for one in series]
    except (ValueError, KeyError, TypeError) as error:
        raise BadFile(expected) from error
    for count, (labels, values) in enumerate(samples, 1):
        signal, factor = _signal(labels)
        for sample in values:
            if not isinstance(sample, list) or len(sample) != 2:
                raise BadFile(expected)
            raw = {"time": sample[0], "pod": _pod(labels)}
            if signal:
                raw[signal] = _number(sample[1]) * factor
            yield f"series {count} at {sample[0]}", raw


def _signal(labels: dict) -> tuple[str | None, float]:
    name = str(labels.get("signal") or labels.get("__name__") or "")
    return next((found for suffix, found in SIGNALS.items() if name.endswith(suffix)), (None, 1.0))


def _pod(labels: dict) -> str | None:
    for namespace, pod in POD_LABELS:
        if labels.get(pod):
            return "/".join(filter(None, (labels.get(namespace), labels[pod])))
    return None


def _require(path: Path, columns: Iterable[str]) -> None:
    columns = list(columns)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise BadFile(f"{path}: the column {missing[0]} is missing: expected {', '.join(COLUMNS)}")
