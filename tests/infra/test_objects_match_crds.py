"""
Our objects are valid by the CRDs of Karpenter's own chart, and our keys by NVIDIA's own parser.

The structure alone is checked here (types, enums, patterns, required and unknown fields); the CRDs' CEL rules
are a kube-apiserver's to check.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
from slicewise.onboarding import manifests
from slicewise.pools import layout

from sandbox.artifacts import nvidia_config
from tests.support import builders, vendor_charts

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
    return {
        (crd["spec"]["names"]["kind"], version["name"]): _strict(version["schema"]["openAPIV3Schema"])
        for crd in vendor_charts.definitions(vendor_charts.vendor_chart("karpenter-crd"))
        for version in crd["spec"]["versions"]
    }


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
        pytest.param(lambda spec: spec["template"]["spec"].pop("nodeClassRef"), id="required field missing"),
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
    keys = layout.device_plugin_configs()
    for key, text in keys.items():
        (tmp_path / f"{key}.yaml").write_text(text)

    files = [tmp_path / f"{key}.yaml" for key in keys]
    run = subprocess.run([nvidia_config.command(), *files], capture_output=True, text=True)

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


@pytest.mark.sandbox
def test_nvidias_own_parser_refuses_what_its_plugin_would_refuse(tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text("version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 1}]}}")

    run = subprocess.run([nvidia_config.command(), file], capture_output=True, text=True)

    assert run.returncode == 1
    assert "number of replicas must be >= 2" in run.stderr
