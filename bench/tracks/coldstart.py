"""
The coldstart track: what a tune pass takes longer in a fresh process than in a warm one.

The deployed function runs in AWS's own runtime client, against a control plane with Karpenter that was
onboarded. Counted are the client's start with the handler's imports, and what the first pass takes more than
later ones: imports inside functions, clients, TLS. Lambda's own share (a machine, the layer) is not in it.

The goal, 450 ms, was set on a machine where an empty function takes 40 ms, and one that imports Kubernetes'
typed client 1,337. Both are taken here in turns with ours: `scaled_ms` is what ours would take there, by the
one of the two that speaks worse of us.

With `--beside FOLDER`, another checkout, its function is deployed beside ours and started in turns with it,
in the same cluster and under the same role. Then `cpu_ms` tells a change from a busy machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slicewise.kube.labels import POLICY_TAG

RUNS = 9
FUNCTION, BESIDE = "slicewise-tune-slicing", "slicewise-tune-slicing-beside"
# Prints where another checkout's layer and function lie, built by its own recipe.
_BUILD = (
    "import sys; from cdk_app.assets import bundle; pythons = bundle.find_interpreters((sys.executable,)); "
    "print(bundle.build_layer(pythons).folder); print(bundle.build_function('tune_slicing', pythons).folder)"
)
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


@dataclass
class _Starts:
    """
    Milliseconds of each start and of the pass after it, and of passes that found everything warm.

    `cpu` is what each start and its pass took of the processors, less a pass that found everything warm.
    """

    cold: list[tuple[float, float]] = field(default_factory=list)
    warm: list[tuple[float, float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, system: Any, function: str) -> None:
        system.aws.functions.forget_warm(function)
        self.cold.append(_invoke(system, function))
        after_first = system.aws.functions.runs[-1].cpu_seconds
        self.warm += [_invoke(system, function) for _ in range(3)]
        after_all = system.aws.functions.runs[-1].cpu_seconds
        self.cpu.append((after_first - (after_all - after_first) / 3) * 1000)


def run(runs: int = RUNS, beside: Path | None = None) -> dict[str, Any]:
    """
    Args:
        beside: Another checkout, whose function is started in turns with ours.
    """
    from sandbox.system import System

    with (
        tempfile.TemporaryDirectory(prefix="slicewise-bench-") as folder,
        System.start(Path(folder), creating_seconds=0, progress=_say) as system,
    ):
        system.start_control_plane("cold")
        system.create_cluster("cold", tags={POLICY_TAG: "sandbox"})
        system.wait_for_stage("cold", "onboarded")
        if beside:
            _deploy(system, beside)
        _say("onboarded; now each run starts the function anew")
        hello, typed, ours, other = [], [], _Starts(), _Starts()
        for _ in range(runs):
            hello.append(_start(Path(folder), "hello", HELLO[0]))
            typed.append(_start(Path(folder), "typed", TYPED[0]))
            ours.add(system, FUNCTION)
            if beside:
                other.add(system, BESIDE)
    found = _figures(ours, hello, typed)
    return found | _compared(ours, other) if beside else found


def _deploy(system: Any, checkout: Path) -> None:
    """The checkout's function and layer beside ours: its role, its settings and its table are ours."""
    from sandbox.aws.cloudformation.assembly import zipped

    _say(f"building what {checkout} would deploy")
    built = subprocess.run(
        [sys.executable, "-c", _BUILD], cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    layer, code = (zipped(Path(line)) for line in built.stdout.split())
    functions = system.aws.client("lambda")
    ours = functions.get_function_configuration(FunctionName=FUNCTION)
    version = functions.publish_layer_version(LayerName=BESIDE, Content={"ZipFile": layer})
    functions.create_function(
        FunctionName=BESIDE,
        Code={"ZipFile": code},
        Layers=[version["LayerVersionArn"]],
        **{
            name: ours[name]
            for name in ("Runtime", "Role", "Handler", "Timeout", "MemorySize", "Environment")
        },
    )


def _start(folder: Path, name: str, code: str) -> float:
    """Milliseconds that the runtime client takes to start with this code, and to be answered once."""
    from sandbox.aws.functions.environment import lambda_python
    from sandbox.aws.functions.runtime import Environment, Recipe

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


def _invoke(system: Any, function: str) -> tuple[float, float]:
    """Milliseconds of the start, 0 where it was warm, and of the pass."""
    body = {"slicewise": 1, "cluster": "cold", "reason": "a bench"}
    message = {
        "messageId": "1",
        "receiptHandle": "1",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1"},
    }
    outcome = system.aws.functions.invoke(function, {"Records": [message]})
    if outcome.failed or json.loads(outcome.payload)["batchItemFailures"]:
        raise RuntimeError(system.aws.functions.log(function)[-3000:])
    last = system.aws.functions.runs[-1]
    return last.init_seconds * 1000, last.run_seconds * 1000


def _figures(ours: _Starts, hello: list[float], typed: list[float]) -> dict[str, Any]:
    starts = _cold_starts(ours)
    start, anchors = statistics.median(starts), (statistics.median(hello), statistics.median(typed))
    scaled = max(start * there / here for here, (_, there) in zip(anchors, (HELLO, TYPED), strict=True))
    return {
        "measured": _medians(ours) | {"hello_ms": anchors[0], "typed_client_ms": anchors[1]},
        "cold_start_ms": start,
        "fastest_ms": min(starts),
        "scaled_ms": scaled,
        "ms_at_most": MS_AT_MOST,
        "holds": min(start, scaled) <= MS_AT_MOST,
        "runs": {"cold": ours.cold, "warm": ours.warm, "hello": hello, "typed_client": typed},
    }


def _compared(ours: _Starts, other: _Starts) -> dict[str, Any]:
    """`ratio`: ours to the other's by their medians; the other two by the least time, and by processors."""
    mine, others = _cold_starts(ours), _cold_starts(other)
    return {
        "beside": _medians(other) | {"cold_start_ms": statistics.median(others), "fastest_ms": min(others)},
        "ratio": statistics.median(mine) / statistics.median(others),
        "fastest_ratio": min(mine) / min(others),
        "cpu_ratio": statistics.median(ours.cpu) / statistics.median(other.cpu),
    }


def _cold_starts(starts: _Starts) -> list[float]:
    """Milliseconds that each took longer than a warm pass."""
    usual = statistics.median(ms for _, ms in starts.warm)
    return [init + first - usual for init, first in starts.cold]


def _medians(starts: _Starts) -> dict[str, float]:
    return {
        "init_ms": statistics.median(init for init, _ in starts.cold),
        "first_pass_ms": statistics.median(first for _, first in starts.cold),
        "warm_pass_ms": statistics.median(ms for _, ms in starts.warm),
        "cpu_ms": statistics.median(starts.cpu),
    }


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr)
