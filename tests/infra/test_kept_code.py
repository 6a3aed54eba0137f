"""What the layer's build compiles once is what each start would compile, and all that a tuning pass needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import botocore
import pytest
from slicewise import cold_start
from slicewise.policy import canonical
from slicewise.policy.model import parse

from cdk_app.assets import bundle
from cdk_app.config import ROOT
from tests.support.nonempty import nonempty

# Each runs in a process of its own, with the layer in the place of our sources.
_NOTHING_IS_COMPILED = """
import slicewise.cold_start
import builtins, json, re
compiled = []
real, parse = builtins.compile, re._parser.parse

def compile(source, file, mode, *rest, **more):
    # Annotations, which `typing` reads by "eval", are not worth keeping; whole modules are compiled by the
    # build, the handler's with them, which lies among our sources here.
    if mode == "exec" and file == "<string>":
        compiled.append(str(source))
    return real(source, file, mode, *rest, **more)

def parsed(pattern, *rest):
    compiled.append(str(pattern))
    return parse(pattern, *rest)

builtins.compile, re._parser.parse = compile, parsed
import handler
from slicewise.policy import model as policy
from slicewise.app import App
from slicewise.gateways import cloudwatch_metrics as cloudwatch
from slicewise.tuning import observe, plan
policy.parse(open(sys.argv[2]).read(), "any")
heavy = {"yaml", "boto3", "kubernetes", "requests", "slicewise.schedule.holidays", "slicewise.gateways.helm"}
heavy |= {"slicewise.costs.day", "slicewise.tuning.costs"}
print(json.dumps([compiled, sorted(heavy & sys.modules.keys())]))
"""
_STARTS = """
import importlib.util, json
from pathlib import Path
for path in sorted(Path(sys.argv[2]).glob("*/handler.py")):
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    print(path.parent.name)
for capability in ("onboarding", "tuning", "offhours"):
    importlib.import_module(f"slicewise.{capability}.observe")
    importlib.import_module(f"slicewise.{capability}.plan")
from slicewise.policy import model as policy
print(policy.parse(open(sys.argv[3]).read(), "any").pools[0].name)
print(*sorted(set(sys.argv[4:]) & sys.modules.keys()))
"""
_READERS = ("yaml", *(f"slicewise.policy.{name}" for name in ("pairs", "reader", "section_reader")))
_READERS += tuple(f"slicewise.policy.{name}" for name in ("section_rules", "strict_yaml", "yaml_text"))
_EQUAL = """
import re, marshal
compiled = {}
from importlib.util import MAGIC_NUMBER as magic
from slicewise import cold_start
from slicewise.policy import canonical
from slicewise.policy.model import parse
kept = marshal.loads(cold_start.KEPT.read_bytes()[len(magic):])
ours = {key: re._compiler.compile(*key) for key in kept["patterns"]}
import importlib
importlib.reload(re._compiler)
assert re._compiler.compile.__module__ == "re._compiler"
# Of patterns, == compares the flags and the code as well.
different = [key for key, found in ours.items() if found != re._compiler.compile(*key)]
assert not different, different
assert len(ours) > 50
for source, code in kept["code"].items():
    assert marshal.loads(code).co_consts == compile(source, "<string>", "exec", dont_inherit=True).co_consts
from slicewise.kube.ref import Ref
a, b = Ref("v1", "Pod", "x", "ns"), Ref("v1", "Pod", "x", "ns")
assert a == b and hash(a) == hash(b) and repr(a).startswith("Ref(")
try:
    a.name = "y"
except AttributeError:
    print("fine")
"""


@pytest.fixture(scope="module")
def layer():
    return bundle.build_layer(bundle.find_interpreters((sys.executable,))).folder / "python"


def run(layer: Path, code: str, *arguments: Path | str) -> str:
    """-S hides this environment's packages, of which the runtime brings botocore's alone."""
    task, brought = ROOT / "lambdas" / "tune_slicing", Path(botocore.__file__).parent.parent
    paths = f"import sys; sys.path[:0] = [{str(layer)!r}, {str(task)!r}, {str(brought)!r}]\n"
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", paths + code, *map(str, ("", *arguments))],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_a_tuning_reconcile_compiles_nothing_and_imports_nothing_for_other_reconciles(layer, tmp_path):
    """Neither classes nor patterns, nor PyYAML: the deployment hands its policy over as JSON."""
    text = a_policy(tmp_path)

    compiled, heavy = json.loads(run(layer, _NOTHING_IS_COMPILED, text))

    assert heavy == []
    assert compiled == []


def test_no_function_starts_with_what_reads_the_text_of_a_policy(layer, tmp_path):
    *functions, pool, readers = run(
        layer, _STARTS, ROOT / "lambdas", a_policy(tmp_path), *nonempty(_READERS)
    ).splitlines()

    assert functions == sorted(path.name for path in (ROOT / "lambdas").iterdir() if path.is_dir())
    assert (pool, readers) == ("a", "")


def a_policy(folder: Path) -> Path:
    """As its parameter has it."""
    text = folder / "policy"
    text.write_text(canonical.dump(parse("pools: {a: {sharing: none, gpus: [l4], maxGpus: 1}}", "any")))
    return text


def test_what_is_kept_is_what_python_would_make(layer):
    assert run(layer, _EQUAL).strip() == "fine"


@pytest.mark.parametrize("content", [None, b"", b"\x00\x00\x00\x00 of another Python"])
def test_what_another_python_compiled_is_left_unchanged(tmp_path, content, monkeypatch):
    def never(code):
        raise AssertionError("it was used")

    monkeypatch.setattr(cold_start, "_use_code", never)
    file = tmp_path / "kept.bin"
    if content is not None:
        file.write_bytes(content)

    cold_start.use(file)
