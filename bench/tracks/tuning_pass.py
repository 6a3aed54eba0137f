"""
The pass track: how long one tune pass over a large cluster takes, and how much memory.

1,000 GPU nodes, 1,000 NodeClaims and 10,000 pods stand as objects in a real API server; with `--nodes 5000`
five times as many, in 40 NodePools. The yardstick is what nobody can do without: plain LISTs of the same
objects, their JSON parsed. Each run is a process of its own, so that its peak of memory is its own. AWS is
left out: no metrics are read here.
"""

from __future__ import annotations

import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import large_cluster

RUNS = 5
LISTS = ("/apis/karpenter.sh/v1/nodeclaims", "/api/v1/nodes", "/api/v1/pods")


@dataclass(frozen=True)
class Goal:
    """
    Attributes:
        ratio: How many times as long as the LISTs a pass may take.
        peak_mib: Of a pass. The tuner's function has 512 MB.
    """

    node_pools: int
    ratio: float
    peak_mib: float


SMALL, LARGE = Goal(1, 1.2, 150.0), Goal(40, 1.3, 488.0)


def run(nodes: int = large_cluster.NODES, runs: int = RUNS) -> dict[str, Any]:
    goal = SMALL if nodes <= large_cluster.NODES else LARGE
    size = large_cluster.Size(nodes, goal.node_pools)
    with standing(size, large=goal is LARGE) as access:
        return {"nodes": nodes, "node_pools": goal.node_pools, **compared(access, runs, goal)}


def compared(access: dict[str, str], runs: int, goal: Goal = SMALL) -> dict[str, Any]:
    return in_turns("bench.tracks.tuning_pass", "pass", access, runs, goal)


@contextmanager
def standing(size: large_cluster.Size, large: bool = False) -> Iterator[dict[str, str]]:
    """How to reach an API server that has a cluster of this size, and the policy that asks for it."""
    from sandbox.cluster.control_plane import ControlPlane

    with (
        tempfile.TemporaryDirectory(prefix="slicewise-bench-") as folder,
        ControlPlane.start(Path(folder), karpenter=False, large=large, progress=progress) as plane,
    ):
        plane.install_crds()
        large_cluster.fill(plane, size, progress)
        ca = base64.b64encode(plane.ca_pem).decode()
        yield {"url": plane.url, "ca": ca, "token": plane.admin_token, "policy": size.policy_text}


def in_turns(module: str, ours: str, access: dict[str, str], runs: int, goal: Goal) -> dict[str, Any]:
    """Plain LISTs and ours, each in a fresh process that runs `module`, in turns."""
    found: dict[str, list[dict[str, Any]]] = {"lists": [], ours: []}
    for _ in range(runs):
        for what, of_it in found.items():
            of_it.append(_measured(module, what, access))
    return _figures(found, ours, goal)


def _figures(runs: dict[str, list[dict[str, Any]]], ours: str, goal: Goal) -> dict[str, Any]:
    seconds = {what: statistics.median(one["seconds"] for one in found) for what, found in runs.items()}
    ratio = seconds[ours] / seconds["lists"]
    mib = max(one["peak_mib"] for one in runs[ours])
    rows = {
        what: {"seconds": seconds[what], "peak_mib": max(one["peak_mib"] for one in found)}
        for what, found in runs.items()
    }
    return {
        "measured": rows,
        "ratio": ratio,
        "ratio_at_most": goal.ratio,
        "peak_mib_at_most": goal.peak_mib,
        "holds": ratio <= goal.ratio and mib <= goal.peak_mib,
        "said": runs[ours][-1]["said"],
        "runs": runs,
    }


def _measured(module: str, what: str, access: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", module, what],
        input=json.dumps(access),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": "layers/slicewise/python", "PATH": "/usr/bin:/bin"},
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    progress(f"{what}: {found['seconds']:.2f} s, {found['peak_mib']:.0f} MiB")
    return found


def progress(line: str) -> None:
    print(f"  {line}", file=sys.stderr)


# In the process that is measured


def measured_child(doing: Mapping[str, Callable[[dict[str, str]], tuple[float, str]]]) -> None:
    """Does what the process was started for, and prints how long it took, its memory and what it said."""
    seconds, said = doing[sys.argv[1]](json.load(sys.stdin))
    print(json.dumps({"seconds": seconds, "peak_mib": _peak_mib(), "said": said}))


def _peak_mib() -> float:
    """Of this process: what getrusage tells begins with the memory of the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def plain_lists(access: dict[str, str], paths: Iterable[str] = LISTS) -> tuple[float, str]:
    import ssl

    import urllib3

    context = ssl.create_default_context(cadata=base64.b64decode(access["ca"]).decode())
    pool = urllib3.PoolManager(ssl_context=context)
    began, items = time.monotonic(), 0
    for path in paths:
        answer = pool.request(
            "GET", access["url"] + path, headers={"Authorization": f"Bearer {access['token']}"}
        )
        items += len(json.loads(answer.data)["items"])
    return time.monotonic() - began, f"{items} objects"


def _one_pass(access: dict[str, str]) -> tuple[float, str]:
    import slicewise.cold_start  # noqa: F401 -- as the handler does

    from bench.isolated_app import a_pass

    tune = a_pass(access)
    began = time.monotonic()
    report = tune()
    return time.monotonic() - began, report


if __name__ == "__main__":
    measured_child({"lists": plain_lists, "pass": _one_pass})
