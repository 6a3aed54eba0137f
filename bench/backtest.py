"""
`slicewise backtest FILE`: what each rule would have done with your own pods, before anything is installed.

FILE is a CSV or Parquet with the columns time (seconds or ISO 8601), pod, busy
(0 to 1) and memory_mib, or a Prometheus range export (JSON) whose series carry
the labels `pod` and `signal` (`busy` or `memory_mib`; a `__name__` that ends
in one of them does as well). A pod keeps its place from the first day to the last.
"""

import argparse
import csv
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from bench.page import page
from bench.policies import lower_bound
from bench.serving import ORDERS, run_trace, table
from bench.tables import as_text
from bench.trace import L4_MIB, SAMPLES_A_DAY, Trace

STEP_SECONDS = 600
COLUMNS = ("time", "pod", "busy", "memory_mib")


class BadFile(Exception):
    """The file cannot be back-tested; the message says why and what to do."""


@dataclass(frozen=True)
class Row:
    """One sample; busy or memory is NaN where the sample is of the other."""

    time: float
    pod: str
    busy: float
    memory_mib: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="slicewise backtest", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--card-mib", type=int, default=L4_MIB, help="device memory of one GPU (default: L4)")
    parser.add_argument("--html", type=Path, help="write a page with a chart here")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args(argv)
    try:
        rows, rejected = read(arguments.file)
        trace = to_trace(rows, arguments.card_mib)
    except BadFile as problem:
        print(f"slicewise backtest: {problem}", file=sys.stderr)
        return 2
    for reason, count in sorted(rejected.items()):
        print(f"{count} rows left out: {reason}", file=sys.stderr)
    found = backtest(trace)
    print(
        f"{len(trace.names)} pods, {trace.days} days: "
        f"{trace.decide_day} to learn from, {len(trace.scored_days)} scored"
    )
    print(as_text(found))
    if arguments.json:
        arguments.json.write_text(json.dumps({"policies": found}, indent=1))
    if arguments.html:
        arguments.html.write_text(page({"Your pods": found}), encoding="utf-8")
    return 0


def backtest(trace: Trace) -> dict[str, dict]:
    """The table of the serving track, for any trace. Dollars are those of an L4."""
    return table([run_trace(trace, orders=ORDERS)], [lower_bound(trace)])


def read(path: Path) -> tuple[list[Row], Counter]:
    """
    Good rows, and how many were left out by reason.

    Raises:
        BadFile: It is missing, of no known kind, or lacks a column.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file: pass a CSV, a Parquet or a Prometheus range export in JSON")
    kind = path.suffix.lower()
    readers = {".csv": _csv, ".json": _prometheus, ".parquet": _parquet}
    if kind not in readers:
        raise BadFile(f"{path} ends in {kind or 'nothing'}: expected .csv, .parquet or .json")
    rows, rejected = [], Counter()
    for raw in readers[kind](path):
        row = _row(raw)
        if isinstance(row, str):
            rejected[row] += 1
        else:
            rows.append(row)
    return rows, rejected


def to_trace(rows: Iterable[Row], card_mib: int) -> Trace:
    """
    Samples to ten-minute windows, a mean of what fell in each, from the first sample on.

    Raises:
        BadFile: There are not two whole days to learn from and one to score.
    """
    rows = list(rows)
    if not rows:
        raise BadFile("no usable row: the columns are " + ", ".join(COLUMNS))
    names = sorted({row.pod for row in rows})
    number = {name: index for index, name in enumerate(names)}
    first, last = min(row.time for row in rows), max(row.time for row in rows)
    days = int((last - first) // STEP_SECONDS + 1) // SAMPLES_A_DAY
    if days < 3:
        raise BadFile(f"{days} whole days of samples: at least 3 are needed, 2 to learn from and 1 to score")
    if days > 366:
        raise BadFile(f"the samples span {days} days: are the times seconds or ISO 8601?")
    sums = np.zeros((len(names), days * SAMPLES_A_DAY))
    counts, memory = np.zeros_like(sums), np.full(len(names), np.nan)
    for row in rows:
        pod, window = number[row.pod], int((row.time - first) // STEP_SECONDS)
        if window < sums.shape[1] and not math.isnan(row.busy):
            sums[pod, window] += row.busy
            counts[pod, window] += 1
        if not math.isnan(row.memory_mib):
            memory[pod] = np.fmax(memory[pod], row.memory_mib)
    busy = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    # A pod whose memory nobody measured may fill the card.
    memory = np.where(np.isnan(memory), card_mib, memory)
    return Trace(tuple(names), memory, busy, decide_day=max(2, min(7, days // 2)), card_mib=card_mib)


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
    if isinstance(value, datetime):
        return value.timestamp()
    number = _number(value)
    if not math.isnan(number):
        return number
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return None


def _number(value) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _csv(path: Path) -> Iterator[dict]:
    with open(path, newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        _require(reader.fieldnames or ())
        yield from reader


def _parquet(path: Path) -> Iterator[dict]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise BadFile("reading Parquet needs pyarrow: pip install pyarrow, or pass a CSV") from error
    table = parquet.read_table(path)
    _require(table.column_names)
    yield from table.to_pylist()


def _prometheus(path: Path) -> Iterator[dict]:
    try:
        series = json.loads(path.read_text(encoding="utf-8"))["data"]["result"]
        samples = [(one["metric"], one["values"]) for one in series]
    except (ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{path} is no Prometheus range export: expected data.result[].values") from error
    for labels, values in samples:
        name = labels.get("signal") or labels.get("__name__", "")
        signal = next((s for s in ("busy", "memory_mib") if name.endswith(s)), None)
        for time, value in values:
            yield {"time": time, "pod": labels.get("pod"), **({signal: value} if signal else {})}


def _require(columns: Iterable[str]) -> None:
    missing = [name for name in COLUMNS if name not in set(columns)]
    if missing:
        raise BadFile(f"the column {missing[0]} is missing: expected {', '.join(COLUMNS)}")


if __name__ == "__main__":
    sys.exit(main())
