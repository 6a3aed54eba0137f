"""
Our objects are valid by the CRDs of Karpenter's AWS provider, and our keys by NVIDIA's own parser.

The structure alone is checked here (types, enums, patterns, required and unknown fields); the CRDs' CEL rules
are a kube-apiserver's to check.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import jsonschema
import pytest
import yaml
from slicewise import layout
from slicewise.onboarding import manifests

from tests import builders

SHARED = Path(__file__).parents[2].parent / "shared"
CHART = SHARED / "charts" / "karpenter-crd-1.14.1.tgz"
PARSER = SHARED / "tools" / "nvidia-config"
KINDS = {"NodePool": "v1", "NodeOverlay": "v1alpha1", "EC2NodeClass": "v1"}

POLICY = builders.policy(
    """{
    shared: {sharing: time-slicing, gpus: [l4, a100-40gb], maxGpus: 16, capacityTypes: [spot, on-demand]},
    batch: {sharing: mps, gpus: [rtx-pro-server-6000], maxGpus: 8},
    slices: {sharing: mig, gpus: [h100, a100-80gb], profile: 1g.10gb, maxGpus: 8},
    whole: {sharing: none, gpus: [t4g], maxGpus: 4, fallbackGpus: [t4]}}""",
    "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun]}",
)


def ours():
    weights = layout.overlay_weights(POLICY)
    yield manifests.gate_probe()
    yield manifests.node_class(POLICY, builders.settings(), builders.cluster())
    for pool in POLICY.pools:
        for gpu in pool.models():
            for n in (pool.start, 8):
                yield layout.node_pool(POLICY, pool, gpu, n)
                yield from layout.overlays(pool, gpu, n, weights)


OBJECTS = [
    pytest.param(item, id=f"{item['kind']} {item['metadata']['name']} {i}") for i, item in enumerate(ours())
]


@pytest.fixture(scope="module")
def schemas():
    if not CHART.exists():
        pytest.skip(f"Karpenter's CRDs ({CHART.name} of ../shared/charts) are not here")
    found = {}
    with tarfile.open(CHART) as chart:
        for member in chart.getmembers():
            if "/templates/" not in member.name or not member.name.endswith(".yaml"):
                continue
            text = chart.extractfile(member).read().decode()
            crd = yaml.safe_load("\n".join(line for line in text.splitlines() if "{{" not in line))
            kind = crd["spec"]["names"]["kind"]
            for version in crd["spec"]["versions"]:
                found[kind, version["name"]] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def _strict(schema):
    """As the API server reads a structural schema: fields that it does not name are unknown."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not free:
        strict["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
    return strict


def complaints(schemas, item):
    schema = schemas[item["kind"], item["apiVersion"].rpartition("/")[2]]
    checked = {**item, "metadata": {}}  # metadata is the API server's own, not the CRD's
    schema = {**schema, "properties": {**schema["properties"], "metadata": {}}}
    return [
        f"{e.json_path}: {e.message}" for e in jsonschema.Draft202012Validator(schema).iter_errors(checked)
    ]


@pytest.mark.parametrize("item", OBJECTS)
def test_an_object_of_ours_is_valid_by_its_crd(schemas, item):
    assert complaints(schemas, item) == []


@pytest.mark.parametrize("item", OBJECTS)
def test_names_and_labels_are_what_kubernetes_allows(item):
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", item["metadata"]["name"])
    assert len(item["metadata"]["name"]) <= 253
    for value in item["metadata"]["labels"].values():
        assert re.fullmatch(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]", value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda spec: spec.update(weightt=1), id="unknown field"),
        pytest.param(lambda spec: spec["disruption"].pop("consolidateAfter"), id="required field missing"),
        pytest.param(
            lambda spec: spec["disruption"].update(consolidationPolicy="Always"), id="not of the enum"
        ),
        pytest.param(
            lambda spec: spec["disruption"].update(consolidateAfter="soon"), id="not of the pattern"
        ),
        pytest.param(lambda spec: spec.update(limits={"nvidia.com/gpu": "many"}), id="not a quantity"),
    ],
)
def test_the_check_itself_finds_what_is_wrong(schemas, change):
    pool = POLICY.pools[0]
    broken = json.loads(json.dumps(layout.node_pool(POLICY, pool, pool.models()[0], 4)))
    change(broken["spec"])

    assert complaints(schemas, broken)


@pytest.mark.sandbox
def test_nvidias_own_parser_reads_every_key_as_we_mean_it(tmp_path):
    if not PARSER.exists():
        pytest.skip("NVIDIA's parser (../shared/tools/nvidia-config) is not here")
    go = shutil.which("go")
    if go is None:
        pytest.skip("NVIDIA's parser needs Go, which is not on the PATH")
    module = tmp_path / "nvidia-config"
    shutil.copytree(PARSER, module, copy_function=shutil.copy)
    keys = layout.device_plugin_configs()
    for key, text in keys.items():
        (tmp_path / f"{key}.yaml").write_text(text)

    files = [str(tmp_path / f"{key}.yaml") for key in keys]
    run = subprocess.run([go, "run", ".", *files], cwd=module, capture_output=True, text=True, timeout=600)

    assert run.returncode == 0, run.stdout + run.stderr
    read = {Path(line["file"]).stem: line for line in map(json.loads, run.stdout.splitlines())}
    assert read.keys() == keys.keys()
    for key, line in read.items():
        n = layout.slices_of_key(key)
        strategy = {"e": "none", "t": "time-slicing", "m": "mps"}[key[0]]
        assert line["strategy"] == strategy
        if n > 1:
            assert line["replicas"] == {"nvidia.com/gpu": n}
            assert line["failRequestsGreaterThanOne"] is True
            assert line["renameByDefault"] is False
