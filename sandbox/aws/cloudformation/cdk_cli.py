"""
The real CDK CLI against the sandbox, as users type it.

The CLI comes from npm, once, into the user's cache folder; Node and npm are the machine's where
recent enough, else those of the wheel that the project pins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.artifacts import tools
from sandbox.artifacts.cache import cache_folder, locked
from sandbox.aws.core.account import Account

# `npm install aws-cdk` gives 3.0.0, published by accident, which refuses current libraries.
VERSION = "2.1148.1"


class CdkFailed(Exception):
    """The CLI could not be installed, or ended with an error; the message is what it said."""


def cdk(
    arguments: list[str],
    account: Account,
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = 300,
) -> str:
    """
    Run `cdk <arguments>` in `folder` with an administrator's keys; returns what it said.

    Raises:
        CdkFailed: With the end of its output.
    """
    command = [_node(), _cli(), *arguments]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**_environment(), **account.environment(), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )
    said = done.stdout + done.stderr
    if done.returncode:
        raise CdkFailed(f"cdk {' '.join(arguments)} ended with {done.returncode}:\n{said[-4000:]}")
    return said


def install(progress: Callable[[str], None] = print) -> Path:
    """
    The CLI's entry point; downloads about 30 MB at the first call.

    Raises:
        CdkFailed: npm is missing or refused; the message is what it said.
    """
    folder = cache_folder() / f"cdk-cli-{VERSION}"
    entry = folder / "node_modules" / "aws-cdk" / "bin" / "cdk"
    if not (folder / ".complete").exists():
        with locked(folder.with_suffix(".lock"), progress):
            if not (folder / ".complete").exists():
                progress(f"installing the CDK CLI {VERSION} with npm: once")
                _npm_install(folder)
    return entry


def _cli() -> Path:
    return install()


def _node() -> Path:
    return tools.node()


def _npm_install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [*_npm(), "install", "--prefix", folder, "--no-audit", "--no-fund", f"aws-cdk@{VERSION}"]
    done = subprocess.run(
        [str(part) for part in command], env=_environment(), capture_output=True, text=True, cwd=folder
    )
    if done.returncode:
        raise CdkFailed(f"npm could not install aws-cdk@{VERSION}:\n{done.stderr[-2000:]}")
    (folder / ".complete").touch()


def _npm() -> list[str | Path]:
    node = _node()
    # The wheel keeps npm beside its Node; a machine's Node has its npm on the PATH.
    bundled = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if bundled.exists():
        return [node, bundled]
    if found := shutil.which("npm"):
        return [found]
    raise CdkFailed("there is no npm: pip install -r requirements-dev.txt brings Node with npm")


def _environment() -> dict[str, str]:
    """This process's, less every AWS setting: the CLI must not leave the sandbox."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    return {
        **kept,
        **tools.node_environment(kept),
        "PATH": f"{_node().parent}{os.pathsep}{kept.get('PATH', '')}",
        "JSII_NODE": str(_node()),
        "CI": "true",
        "CDK_HOME": str(cache_folder() / "cdk-home"),  # or it writes into the user's ~/.cdk
        "CDK_DISABLE_CLI_TELEMETRY": "true",
    }
