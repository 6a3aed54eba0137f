"""
`slicewise backtest FILE…`: what each rule would have done with your own pods, before anything is installed.

A FILE is a CSV or Parquet with the columns time (seconds, or ISO 8601 in UTC
unless it says otherwise), pod, busy (0 to 1) and memory_mib, or a Prometheus
range export (JSON) whose series carry the label `pod` and are named, by
`__name__` or by a label `signal`, `busy` or `memory_mib`, or as DCGM's exporter
names them. Several files are read as one. A pod keeps its place from the day of
its first sample to that of its last. One sample an hour is the least.

The daily rules look at memory every hour, as they do in a cluster, and move who
would fill its card: "by guard" counts those moves a day. Memory risk counts pods
that shared a GPU in an hour whose peaks do not fit on it together.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

from bench.contestants import lower_bound
from bench.guarded import RecordedTrace, run
from bench.html_report import page
from bench.tables import as_bars, as_text
from bench.tracks.serving import ORDERS, progress, table
from bench.usage_files import BadFile, Recording, gaps, read, to_trace
from traces.serving import L4_MIB

# From here on it is worth a word that gaps count as fully busy.
MANY_GAPS = 0.01
_STANDARD_OUTPUT = Path("-")
_EXAMPLES = """\
examples:
  slicewise backtest usage.csv
  slicewise backtest usage.csv --html backtest.html
  slicewise backtest monday.parquet tuesday.parquet --card-mib 40960 --json

exit status: 0 done; 2 a file cannot be used, or an option is wrong"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="slicewise backtest",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--card-mib", type=_positive, default=L4_MIB, help="memory of one GPU (default: L4)")
    parser.add_argument("--usd-per-gpu-hour", type=_positive, help="price of one GPU (default: g6.xlarge)")
    parser.add_argument("--html", type=Path, help="write a page with a chart here")
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=_STANDARD_OUTPUT,
        metavar="FILE",
        help="write the figures to a file; without one, print them, and nothing else",
    )
    arguments = parser.parse_args(argv)
    try:
        recording = _read(arguments.files)
        trace = to_trace(recording.rows, int(arguments.card_mib), arguments.usd_per_gpu_hour)
    except BadFile as problem:
        print(f"slicewise backtest: {problem}", file=sys.stderr)
        return 2
    if gaps(trace) > MANY_GAPS:
        print(f"{gaps(trace):.0%} of busy time was not measured and counts as fully busy", file=sys.stderr)
    found = backtest(trace)
    if arguments.json == _STANDARD_OUTPUT:
        print(json.dumps({"policies": found}, indent=1))
    else:
        _print(trace, found)
    if arguments.json and arguments.json != _STANDARD_OUTPUT:
        _write(arguments.json, json.dumps({"policies": found}, indent=1))
    if arguments.html:
        _write(arguments.html, page({"Your pods": found}))
    return 0


def _print(trace: RecordedTrace, found: dict[str, dict]) -> None:
    print(
        f"{len(trace.names)} pods, {trace.days} days: "
        f"{trace.decide_day} to learn from, {len(trace.scored_days)} scored"
    )
    print(as_text(found))
    for line in looked(found):
        print(line)
    print(f"\nGPUs\n{as_bars({name: row['gpus'] for name, row in found.items()})}")


def backtest(trace: RecordedTrace) -> dict[str, dict]:
    """The table of the serving track, for recorded pods, with looks; progress goes to stderr."""
    began = time.monotonic()
    scores, looks = run(trace, ORDERS, on_progress=lambda done, of: progress(done, of, began))
    rows = table([scores], [lower_bound(trace)])
    days = max(1, len(trace.scored_days))
    for name, runs in looks.items():
        rows[name] |= {
            "guard_moves_per_day": sum(one.moves for one in runs) / len(runs) / days,
            "looks": sum(one.taken for one in runs),
            "looks_acted": sum(one.acted for one in runs),
        }
    return rows


def looked(rows: dict[str, dict]) -> list[str]:
    """How often pods were moved between mornings, a line for each rule that looks."""
    return [
        f"{name}: memory and GPUs without rest were looked at every hour, and at {row['looks_acted']} of "
        f"{row['looks']} looks pods were moved, {row['guard_moves_per_day']:.1f} a day"
        for name, row in rows.items()
        if "looks" in row
    ]


def _read(files: list[Path]) -> Recording:
    """All files as one; what was left out is told even if the rest cannot be used."""
    whole = Recording()
    for file in files:
        found = read(file, lambda rows, file=file: print(f"  {file}: {rows:,} rows", file=sys.stderr))
        whole.rows += found.rows
        for complaint in found.complaints():
            print(f"{file}: {complaint}" if len(files) > 1 else complaint, file=sys.stderr)
    return whole


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
