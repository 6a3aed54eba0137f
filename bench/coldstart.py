"""
The coldstart track: what a tune pass takes longer in a fresh process than in a warm one.

The deployed function runs in AWS's own runtime client, against a control plane with Karpenter that was
onboarded. Counted are the client's start with the handler's imports, and what the first pass takes more than
later ones: imports inside functions, clients, TLS. Lambda's own share (a machine, the layer) is not in it.

The goal, 450 ms, was set on a machine where an empty function takes 40 ms, and one that imports Kubernetes'
typed client 1,337. Both are taken here in turns with ours: `scaled_ms` is what ours would take there, by the
one of the two that speaks worse of us.
"""

from __future__ import annotations

import json
import statistics
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

RUNS = 9
FUNCTION = "slicewise-tune-slicing"
MS_AT_MOST = 450.0
# Functions to compare with, and the milliseconds they took where the goal was set.
HELLO = "def handler(event, context):\n    return event\n", 40.0
TYPED = (
    (
        "import sys\n"
        f"sys.path.append({sysconfig.get_path('purelib')!r})\n"
        "import boto3\n"
        "from aws_lambda_powertools import Logger, Metrics\n"
        "from kubernetes.client import AppsV1Api, CoreV1Api\n"
        "logger, metrics, eks = Logger(), Metrics(namespace='bench'), boto3.client('eks')\n"
        "def handler(event, context):\n    return event\n"
    ),
    1337.0,
)


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
        cold, warm, hello, typed = [], [], [], []
        for _ in range(runs):
            hello.append(_start(Path(folder), "hello", HELLO[0]))
            typed.append(_start(Path(folder), "typed", TYPED[0]))
            system.aws.functions.forget_warm(FUNCTION)
            cold.append(_invoke(system))
            warm += [_invoke(system) for _ in range(3)]
    return _figures(cold, warm, hello, typed)


def _start(folder: Path, name: str, code: str) -> float:
    """Milliseconds that the runtime client takes to start with this code, and to be answered once."""
    from sandbox.aws.lambda_environment import lambda_python
    from sandbox.aws.lambda_runtime import Environment, Recipe

    task = folder / name
    task.mkdir(exist_ok=True)
    (task / f"{name}.py").write_text(code)
    recipe = Recipe(lambda_python(), task, folder / "no-layer", f"{name}.handler", name, 60, ())
    environ = {"AWS_LAMBDA_LOG_STREAM_NAME": name, "AWS_DEFAULT_REGION": "eu-west-1"}
    with (folder / f"{name}.log").open("ab") as log:
        environment = Environment(recipe, environ, log)
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
    cold: list[tuple[float, float]], warm: list[tuple[float, float]], hello: list[float], typed: list[float]
) -> dict[str, Any]:
    usual = statistics.median(ms for _, ms in warm)
    starts = [init + first - usual for init, first in cold]
    start, anchors = statistics.median(starts), (statistics.median(hello), statistics.median(typed))
    scaled = max(start * there / here for here, (_, there) in zip(anchors, (HELLO, TYPED), strict=True))
    return {
        "measured": {
            "init_ms": statistics.median(init for init, _ in cold),
            "first_pass_ms": statistics.median(first for _, first in cold),
            "warm_pass_ms": usual,
            "hello_ms": anchors[0],
            "typed_client_ms": anchors[1],
        },
        "cold_start_ms": start,
        "fastest_ms": min(starts),
        "scaled_ms": scaled,
        "ms_at_most": MS_AT_MOST,
        "holds": min(start, scaled) <= MS_AT_MOST,
        "runs": {"cold": cold, "warm": warm, "hello": hello, "typed_client": typed},
    }


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr)
