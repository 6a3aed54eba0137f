"""
The coldstart track: what a tune pass takes longer in a fresh process than in a warm one.

The deployed function runs in AWS's own runtime client, against a control plane with Karpenter that was
onboarded. Counted are the client's start with the handler's imports, and what the first pass takes more than
later ones: imports inside functions, clients, TLS. Lambda's own share (a machine, the layer) is not in it.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RUNS = 9
FUNCTION = "slicewise-tune-slicing"
MS_AT_MOST = 450.0


def run(runs: int = RUNS) -> dict[str, Any]:
    from sandbox.system import System

    with (
        tempfile.TemporaryDirectory(prefix="slicewise-bench-") as folder,
        System.start(Path(folder), creating_seconds=0, progress=_say) as system,
    ):
        system.start_control_plane("cold")
        system.create_cluster("cold", tags={"slicewise.dev/policy": "sandbox"})
        system.wait_for_stage("cold", "onboarded")
        _say("onboarded; now each run starts the function anew")
        cold, warm, hello = [], [], []
        for _ in range(runs):
            hello.append(_hello(Path(folder)))
            system.aws.functions.forget_warm(FUNCTION)
            cold.append(_invoke(system))
            warm += [_invoke(system) for _ in range(3)]
    return _figures(cold, warm, hello)


def _hello(folder: Path) -> float:
    """Milliseconds of a function that does nothing: 40 on an idle machine, and what ours is to be held to."""
    from sandbox.aws.lambda_environment import lambda_python
    from sandbox.aws.lambda_runtime import Environment, Recipe

    task = folder / "hello"
    task.mkdir(exist_ok=True)
    (task / "hello.py").write_text("def handler(event, context):\n    return event\n")
    recipe = Recipe(lambda_python(), task, folder / "no-layer", "hello.handler", "hello", 10, ())
    with (folder / "hello.log").open("ab") as log:
        environment = Environment(recipe, {"AWS_LAMBDA_LOG_STREAM_NAME": "hello"}, log)
    began = time.monotonic()
    environment.invoke(b"{}")
    took = environment.init_seconds + time.monotonic() - began
    environment.stop()
    return took * 1000


def _invoke(system: Any) -> tuple[float, float]:
    """Milliseconds of the start, 0 where it was warm, and of the pass."""
    body = {"slicewise": 1, "cluster": "cold", "reason": "a bench"}
    message = {
        "messageId": "1",
        "receiptHandle": "1",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    outcome = system.aws.functions.invoke(FUNCTION, {"Records": [message]})
    if outcome.failed or json.loads(outcome.payload)["batchItemFailures"]:
        raise RuntimeError(system.aws.functions.log(FUNCTION)[-3000:])
    last = system.aws.functions.runs[-1]
    return last.init_seconds * 1000, last.run_seconds * 1000


def _figures(
    cold: list[tuple[float, float]], warm: list[tuple[float, float]], hello: list[float]
) -> dict[str, Any]:
    usual = statistics.median(ms for _, ms in warm)
    starts = [init + first - usual for init, first in cold]
    return {
        "measured": {
            "init_ms": statistics.median(init for init, _ in cold),
            "first_pass_ms": statistics.median(first for _, first in cold),
            "warm_pass_ms": usual,
            "hello_ms": statistics.median(hello),
        },
        "cold_start_ms": statistics.median(starts),
        "fastest_ms": min(starts),
        "ms_at_most": MS_AT_MOST,
        "holds": statistics.median(starts) <= MS_AT_MOST,
        "runs": {"cold": cold, "warm": warm, "hello": hello},
    }


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr)
