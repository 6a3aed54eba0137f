"""
`python -m bench serving|memory|requests|dollars|calibration|sensitivity|all [--json FILE] [--html FILE]`: the
rule.

`python -m bench frontier`: GPUs against pods at memory risk by quantile, with and without looks between
mornings; half an hour, and not part of `all`.

`python -m bench pass|assess|coldstart|nights [--json FILE]`: what runs it, on the sandbox; minutes each,
and not part of `all`. `pass --nodes 5000` has the largest cluster; to fill it takes minutes.

`python -m bench openings [--json FILE]`: 1,000 clusters that open at the same minute, reckoned in seconds;
`python -m bench points [--json FILE]`: points of metrics that a pass reads, in half a minute; with
`--gpus 5000 [--workloads 1000]` memory and CPU of such a pass, in minutes;
`python -m bench cost [--json FILE]`: dollars that Slicewise itself costs a cluster and month. None is part of
`all`.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.html_report import page
from bench.tables import as_text
from bench.tracks import calibration, costs, memory, requests, serving

TRACKS = ("serving", "memory", "requests", "dollars", "calibration", "sensitivity")
# With their modules, which are imported when they are run: some need the sandbox.
REPORTS = {
    "pass": "tuning_pass",
    "nights": "offhours_night",
    "cost": "own_cost",
    "assess": "assessing",
    **{track: track for track in ("coldstart", "openings", "points")},
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("track", choices=(*TRACKS, "frontier", *REPORTS, "all"))
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write a page with charts here")
    parser.add_argument("--seeds", type=int, default=serving.SEEDS, help="mappings of clients to models")
    parser.add_argument("--first-seed", type=int, default=0, help="serving, memory: begin with this seed")
    parser.add_argument("--remembered", type=int, help="memory: days of history that a rule is given at most")
    parser.add_argument("--gpus", type=int, help="points: memory and CPU of a pass over so many GPUs")
    parser.add_argument("--workloads", type=int, default=1000, help="points: with --gpus, so many")
    parser.add_argument("--only", nargs="+", metavar="POLICY", help="serving: these policies alone")
    parser.add_argument(
        "--beside", type=Path, metavar="FOLDER", help="coldstart: in turns with this checkout"
    )
    parser.add_argument("--nodes", type=int, help="pass: GPU nodes, each with ten pods")
    arguments = parser.parse_args(argv)
    if arguments.track == "points" and arguments.gpus:
        size = {"gpus": arguments.gpus, "workloads": arguments.workloads}
        return _reported("points of a large cluster", "large_metrics", arguments.json, **size)
    if arguments.track in REPORTS:
        return _reported(arguments.track, REPORTS[arguments.track], arguments.json, **_settings(arguments))
    tracks = TRACKS if arguments.track == "all" else (arguments.track,)
    results = {track: _run(track, arguments) for track in tracks}
    tables = _tables(results)
    for heading, policies in tables.items():
        print(f"\n{heading}\n{as_text(policies)}")
    if arguments.json:
        _write(arguments.json, json.dumps(_document(results), indent=1))
    if arguments.html:
        _write(arguments.html, page(tables))
    return 0


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was said of the track that is run; each has sizes of its own for the rest."""
    said = {"beside": arguments.beside and arguments.beside.resolve(), "nodes": arguments.nodes}
    of_track = {"coldstart": ("beside",), "pass": ("nodes",), "assess": ("nodes",)}.get(arguments.track, ())
    return {name: said[name] for name in of_track if said[name]}


def _reported(track: str, module: str, out: Path | None, **settings: Any) -> int:
    print(f"{track}:", file=sys.stderr)
    found = import_module(f"bench.tracks.{module}").run(**settings)
    print(json.dumps({key: value for key, value in found.items() if key != "runs"}, indent=1))
    if out:
        _write(out, json.dumps(found, indent=1))
    return 0 if found["holds"] else 1


def _run(track: str, chosen: argparse.Namespace) -> dict:
    print(f"{track}:", file=sys.stderr)
    if track == "serving":
        return serving.run(chosen.seeds, only=chosen.only, first_seed=chosen.first_seed)
    if track == "memory":
        return memory.run(chosen.seeds, first_seed=chosen.first_seed, remembered=chosen.remembered)
    if track == "frontier":
        return memory.run(chosen.seeds, memory.FRONTIER, first_seed=chosen.first_seed)
    if track == "sensitivity":
        rows = serving.sensitivity(min(chosen.seeds, 2))
        return {"policies": {f"{r['policy']} {r['constant']} × {r['factor']:g}": r for r in rows}}
    return {"requests": requests, "dollars": costs, "calibration": calibration}[track].run()


def _document(results: dict[str, dict]) -> dict:
    """One track as it is; of all tracks, serving at the top and the others by name."""
    if len(results) == 1:
        return next(iter(results.values()))
    return {**results["serving"], **{track: found for track, found in results.items() if track != "serving"}}


def _tables(results: dict[str, dict]) -> dict[str, dict]:
    tables = {}
    for track, found in results.items():
        tables[track] = found["policies"]
        tables |= {
            f"{track}, {setting}": value["policies"]
            for setting, value in found.items()
            if setting != "policies"
        }
    return tables


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
