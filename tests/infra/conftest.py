"""One synthesis for all tests that read a template, and one with every option on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdk_app.config import ROOT
from tests.infra.templates import Template


def synthesize(out: Path, *options: str) -> subprocess.CompletedProcess:
    """
    Without credentials and without docker: the environment holds neither, and the search path nothing at all.

    HOME stays, since the layer's packages are kept below it from one run to the next.
    """
    empty = out.parent / "empty"
    empty.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME") if name in os.environ}
    command = [sys.executable, "-m", "cdk_app", "--out", str(out)]
    for option in options:
        command += ["-c", option]
    return subprocess.run(
        command, cwd=ROOT, env={**kept, "PATH": str(empty)}, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Template:
    """What a person deploys who names a default policy and the role of their Karpenter's nodes."""
    out = tmp_path_factory.mktemp("plain") / "cdk.out"
    answer = synthesize(
        out, "default_policy=default", "node_role=gpu-nodes", f"bytecode_python={sys.executable}"
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return Template(out)


@pytest.fixture(scope="session")
def full(tmp_path_factory) -> Template:
    """Every option: Karpenter's roles, a VPC, an address, charts from files, an account."""
    folder = tmp_path_factory.mktemp("full")
    options = [
        "account=111122223333",
        "region=eu-west-1",
        "role_prefix=gpu-eu",
        "install_karpenter=true",
        "subnet_ids=subnet-0123456789abcdef0,subnet-0123456789abcdef1",
        "security_group_ids=sg-0123456789abcdef0",
        "notification_email=gpu-team@example.com",
        "amp_workspaces=arn:aws:aps:eu-west-1:111122223333:workspace/ws-1",
        f"bytecode_python={sys.executable}",
    ]
    defaults = json.loads((ROOT / "cdk.json").read_text())["context"]
    for name in ("gpu_operator", "karpenter", "karpenter_crd"):
        version = defaults["gpu_operator_version" if name == "gpu_operator" else "karpenter_version"]
        chart = folder / f"{name}-{version}.tgz"
        chart.write_bytes(name.encode())
        options.append(f"{name}_chart={chart}")
    answer = synthesize(folder / "cdk.out", *options)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return Template(folder / "cdk.out")
