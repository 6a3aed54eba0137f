"""
The assess track: how long `slicewise assess` takes to read and reckon a large cluster, and how much memory.

1,000 GPU nodes and 10,000 pods stand as objects in a real API server. The yardstick is plain LISTs of what
it reads (nodes, pods, NodePools), their JSON parsed. Each run is a process of its own, by a kubeconfig as
kubectl has it. No metrics are read.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import large_cluster
from bench.tracks.tuning_pass import Goal, in_turns, measured_child, plain_lists, standing

RUNS = 7
LISTS = ("/api/v1/nodes", "/api/v1/pods", "/apis/karpenter.sh/v1/nodepools")
GOAL = Goal(1, 1.5, 400.0)


def run(nodes: int = large_cluster.NODES, runs: int = RUNS) -> dict[str, Any]:
    with standing(large_cluster.Size(nodes)) as access:
        return {"nodes": nodes, **compared(access, runs)}


def compared(access: dict[str, str], runs: int) -> dict[str, Any]:
    return in_turns("bench.tracks.assessing", "assess", access, runs, GOAL)


# In the process that is measured


def _assessed(access: dict[str, str]) -> tuple[float, str]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kubeconfig"
        config.write_text(json.dumps(_kubeconfig(access)))
        os.environ["KUBECONFIG"] = str(config)
        from cli.main import main

        printed, began = io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(printed):
            main(["assess"])
        return time.monotonic() - began, printed.getvalue().splitlines()[1].strip()


def _kubeconfig(access: dict[str, str]) -> dict[str, Any]:
    server = {"server": access["url"], "certificate-authority-data": access["ca"]}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "clusters": [{"name": "bench", "cluster": server}],
        "users": [{"name": "bench", "user": {"token": access["token"]}}],
    }


if __name__ == "__main__":
    measured_child({"lists": lambda access: plain_lists(access, LISTS), "assess": _assessed})
