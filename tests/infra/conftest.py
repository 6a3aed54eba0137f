"""
One synthesis for all tests that read a template, and one with every option on.

Without credentials and without docker: the environment holds neither, and the search path nothing at all.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from sandbox.synthesis import ROOT, synthesize
from tests.infra.templates import Template


def bare(folder: Path) -> dict[str, str]:
    """HOME stays, since the layer's packages are kept below it from one run to the next."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("HOME", "XDG_CACHE_HOME") if name in os.environ}
    return {**kept, "PATH": str(empty)}


def synthesized(folder: Path, **options: str) -> Template:
    out = folder / "cdk.out"
    return Template(synthesize(out, options | {"bytecode_python": sys.executable}, environment=bare(folder)))


@pytest.fixture(scope="session")
def template(tmp_path_factory) -> Template:
    """What a person deploys who names a default policy and the role of their Karpenter's nodes."""
    return synthesized(tmp_path_factory.mktemp("plain"), default_policy="default", node_role="gpu-nodes")


@pytest.fixture(scope="session")
def no_fargate(tmp_path_factory) -> Template:
    """What a person deploys who has policies install Karpenter on nodes."""
    return synthesized(tmp_path_factory.mktemp("no-fargate"), install_karpenter="true")


@pytest.fixture(scope="session")
def full(tmp_path_factory) -> Template:
    """Every option: Karpenter's roles, a VPC, an address, a dashboard, charts from files, an account."""
    folder = tmp_path_factory.mktemp("full")
    options = {
        "account": "111122223333",
        "region": "eu-west-1",
        "role_prefix": "gpu-eu",
        "install_karpenter": "true",
        "karpenter_on_fargate": "true",
        "karpenter_interruptions": "true",
        "subnet_ids": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
        "security_group_ids": "sg-0123456789abcdef0",
        "notification_email": "gpu-team@example.com",
        "dashboard": "true",
        "amp_workspaces": "arn:aws:aps:eu-west-1:111122223333:workspace/ws-1",
    }
    defaults = json.loads((ROOT / "cdk.json").read_text())["context"]
    for name in ("gpu_operator", "karpenter", "karpenter_crd"):
        version = defaults["gpu_operator_version" if name == "gpu_operator" else "karpenter_version"]
        chart = folder / f"{name}-{version}.tgz"
        chart.write_bytes(name.encode())
        options[f"{name}_chart"] = str(chart)
    return synthesized(folder, **options)
