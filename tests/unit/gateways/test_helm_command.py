"""How helm is called, and what its end means; a script of ours stands where the binary would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.gateways import helm
from slicewise.gateways.helm import HelmCli
from slicewise.model import EksCluster

from tests.fakes.clock import START

CLUSTER = EksCluster(
    "arn", "gpu-1", "eu-west-1", "1", "ACTIVE", "1.35", "API", START, endpoint="https://it", ca_data="Y2E="
)
# Keeps what it was called with, and what stood in its environment and kubeconfig.
SCRIPT = """#!/bin/sh
for argument in "$@"; do echo "$argument"; done > {folder}/arguments
cat > {folder}/given
env > {folder}/environment
cat "$KUBECONFIG" > {folder}/kubeconfig
ls -l "$KUBECONFIG" > {folder}/mode
{then}
"""


@pytest.fixture
def run(tmp_path):
    def make(then: str = "exit 0", **environ: str) -> HelmCli:
        binary = tmp_path / "helm"
        binary.write_text(SCRIPT.format(folder=tmp_path, then=then))
        binary.chmod(0o755)
        environ = {"PATH": "/usr/bin:/bin", "AWS_SECRET_ACCESS_KEY": "secret", **environ}
        return HelmCli(binary, CLUSTER, lambda: "a-token", None, Path("/code"), environ)  # type: ignore[arg-type]

    return make


def kept(tmp_path: Path, name: str) -> str:
    return (tmp_path / name).read_text()


def test_an_upgrade_neither_waits_nor_runs_hooks(run, tmp_path):
    run().upgrade("gpu-operator", "gpu-operator", "charts/gpu-operator-v26.7.0.tgz", "v26.7.0", {"a": 1})

    arguments = kept(tmp_path, "arguments").split("\n")
    assert arguments[:4] == ["upgrade", "gpu-operator", "/code/charts/gpu-operator-v26.7.0.tgz", "--install"]
    assert {"--no-hooks", "--skip-crds", "--create-namespace"} <= set(arguments)
    assert not {"--wait", "--take-ownership", "--version", "--atomic"} & set(arguments)
    assert json.loads(kept(tmp_path, "given")) == {"a": 1}


def test_a_chart_from_a_registry_is_pinned_to_its_version(run, tmp_path):
    run().upgrade("karpenter", "kube-system", "oci://registry.example/karpenter", "1.14.1", {})

    assert "oci://registry.example/karpenter\n--version\n1.14.1\n" in kept(tmp_path, "arguments")


def test_adopting_takes_fields_that_others_own_too(run, tmp_path):
    run().upgrade("karpenter-crd", "kube-system", "c.tgz", "1", {}, take_ownership=True)

    assert {"--take-ownership", "--force-conflicts"} <= set(kept(tmp_path, "arguments").split("\n"))


def test_helm_gets_the_cluster_and_a_token_and_nothing_of_ours(run, tmp_path):
    run(HTTPS_PROXY="http://proxy").uninstall("gpu-operator", "gpu-operator")

    kubeconfig = json.loads(kept(tmp_path, "kubeconfig"))
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://it"
    assert kubeconfig["users"][0]["user"] == {"token": "a-token"}
    assert kept(tmp_path, "mode").startswith("-rw-------")
    environment = kept(tmp_path, "environment")
    assert "HTTPS_PROXY=http://proxy" in environment
    assert "secret" not in environment
    assert "a-token" not in kept(tmp_path, "arguments") + environment


def test_nothing_is_left_of_a_call(run, tmp_path):
    run().uninstall("gpu-operator", "gpu-operator")

    home = next(line for line in kept(tmp_path, "environment").split("\n") if line.startswith("HOME="))
    assert not Path(home.removeprefix("HOME=")).exists()


def test_a_failure_says_what_helm_said_and_may_pass(run):
    with pytest.raises(Unavailable, match="another operation is in progress"):
        run("echo another operation is in progress >&2; exit 1").rollback("gpu-operator", "gpu-operator", 3)


def test_a_helm_that_does_not_end_is_ended(run, monkeypatch):
    monkeypatch.setattr(helm, "_KILL_AFTER_SECONDS", 0.3)

    with pytest.raises(Unavailable, match="ended"):
        run("exec sleep 30").uninstall("gpu-operator", "gpu-operator")


def test_a_function_without_its_layer_says_so():
    absent = HelmCli(Path("/nowhere/helm"), CLUSTER, lambda: "t", None, Path("."), {})  # type: ignore[arg-type]

    with pytest.raises(Refused, match="needs its layer"):
        absent.uninstall("gpu-operator", "gpu-operator")
