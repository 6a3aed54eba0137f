"""What is uploaded: pure Python, small, with bytecode, and the same from the same input."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from slicewise.policy import rules_digest

from cdk_app.assets import bundle

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def running():
    return bundle.find_interpreters((sys.executable,))


@pytest.fixture(scope="module")
def layer(running):
    return bundle.build_layer(running)


def pins(path) -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)==(\S+)$", path.read_text(), flags=re.MULTILINE)
    return {name.lower(): version for name, version in lines}


def test_the_layer_is_small_and_holds_nothing_compiled_for_one_processor(layer):
    files = [path for path in layer.folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / MEBIBYTE
    print(f"layer, unzipped: {size:.1f} MiB in {len(files)} files")

    assert size < 15
    assert not [path for path in files if path.suffix in (".so", ".pyd", ".dylib")]


def test_the_layer_alone_is_enough_but_for_boto3(layer):
    """-S hides this environment's packages; boto3 is the Lambda runtime's."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import yaml, slicewise.policy.model\n"
        "from aws_lambda_powertools import Logger\n"
        "Logger(service='x').info('hello')\n"
        "assert yaml.safe_load('a: [1]') == {'a': [1]}\n"
        "assert yaml.__file__.startswith(sys.argv[1])"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(layer.folder / "python")], capture_output=True, text=True
    )

    assert answer.returncode == 0, answer.stderr


def test_the_layer_holds_the_digest_of_the_rules_that_checked_the_policies(layer):
    kept = layer.folder / "python" / "slicewise" / "policy" / rules_digest.KEPT.name

    assert kept.read_text() == rules_digest.rules() and not rules_digest.KEPT.exists()


def test_every_module_has_bytecode_that_is_used_without_a_look_at_its_source(layer):
    sources = list(layer.folder.rglob("*.py"))
    for source in sources:
        (compiled,) = (source.parent / "__pycache__").glob(
            f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        )
        # PEP 552: bit 0 says hash-based, bit 1 would ask for a check of the source.
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01

    assert len(sources) > 100


def test_equal_input_gives_equal_hash_and_equal_files(layer, running, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "BUILD", tmp_path)
    again = bundle.build_layer(running)

    def content(folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert again.hash == layer.hash
    assert content(again.folder) == content(layer.folder)


def test_another_chart_is_another_hash(running, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "BUILD", tmp_path / "build")
    chart = tmp_path / "chart.tgz"
    hashes = set()
    for content in (b"one", b"two"):
        chart.write_bytes(content)
        asset = bundle.build_function("onboard_cluster", running, [chart])
        assert (asset.folder / "charts" / "chart.tgz").read_bytes() == content
        hashes.add(asset.hash)

    assert len(hashes) == 2


def test_the_layers_versions_are_those_that_everything_is_tested_with():
    layer, tested = pins(bundle.REQUIREMENTS), pins(bundle.ROOT / "requirements.txt")

    assert {"aws-lambda-powertools", "pyyaml"} <= layer.keys()
    assert {name: tested[name] for name in layer.keys() & tested.keys()} == {
        name: layer[name] for name in layer.keys() & tested.keys()
    }


def test_a_shim_that_leads_nowhere_is_no_interpreter(tmp_path, monkeypatch):
    shim = tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho not installed >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bundle.sys, "executable", str(shim))

    assert bundle.find_interpreters(()) == ()


def test_an_interpreter_that_was_asked_for_must_run():
    with pytest.raises(bundle.BundlingFailed, match="'/nowhere/python' does not run"):
        bundle.find_interpreters(("/nowhere/python",))


def test_a_build_that_fails_leaves_nothing_that_looks_finished(tmp_path, monkeypatch, running):
    monkeypatch.setattr(bundle, "BUILD", tmp_path)
    broken = [bundle.Interpreter("false", "cpython-313", "3.13.0")]

    with pytest.raises(bundle.BundlingFailed, match="false cannot compile"):
        bundle.build_function("sweep_fleet", broken)
    assert list(tmp_path.iterdir()) == []
