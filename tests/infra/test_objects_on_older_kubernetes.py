"""
What we and our users apply is valid by the API schemas of older Kubernetes that EKS offers and we do not run.

Types, enums, required and unknown fields; what a kube-apiserver checks beyond its schema is not seen.
"""

from __future__ import annotations

import copy
import json
from functools import cache

import jsonschema
import pytest
import yaml
from slicewise.onboarding import admission, manifests, rbac, time_slice
from slicewise.pools import layout

from sandbox.artifacts import api_schemas
from tests.support import builders
from tests.support.example_files import FOLDERS, ROOT, is_of_kubernetes, objects

pytestmark = pytest.mark.sandbox

POLICY = builders.policy(
    """{
    shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, timeSlice: short},
    whole: {sharing: none, gpus: [t4g], maxGpus: 4, fallbackGpus: [t4]}}""",
    "karpenter: {install: true}",
    "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun]}",
)
OURS = [
    manifests.namespace(),
    layout.config_map({}),
    *admission.objects(POLICY),
    *rbac.objects(POLICY),
    *time_slice.daemon_sets(POLICY),
]
# With what an example offers in place of another project's kind.
WITHOUT_KEDA = yaml.safe_load((ROOT / "examples/llm-queue/hpa.yaml").read_text())
EXAMPLES = [WITHOUT_KEDA, *(item for folder in FOLDERS for item in objects(folder) if is_of_kubernetes(item))]


@cache
def schema(minor: str, api_version: str, kind: str) -> dict:
    """Of one kind, with all that it refers to, and strict: unknown fields are refused."""
    group, _, version = api_version.rpartition("/")
    file = f"apis__{group}__{version}" if group else f"api__{version}"
    document = json.loads((api_schemas.folder() / minor / f"{file}.json").read_text())
    schemas = document["components"]["schemas"]
    for part in schemas.values():
        if "properties" in part:
            part.setdefault("additionalProperties", False)
    wanted = {"group": group, "version": version, "kind": kind}
    named = next(s for s in schemas.values() if wanted in s.get("x-kubernetes-group-version-kind", ()))
    return {**named, "components": document["components"]}


def complaints(minor: str, item: dict) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema(minor, item["apiVersion"], item["kind"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(item)]


@pytest.mark.parametrize("minor", api_schemas.OLDER)
@pytest.mark.parametrize("items", [OURS, EXAMPLES], ids=["ours", "examples"])
def test_what_is_applied_is_valid_by_the_api_of_an_older_kubernetes(minor: str, items: list[dict]):
    assert items
    found = {f"{item['kind']} {item['metadata']['name']}": complaints(minor, item) for item in items}
    assert {name: why for name, why in found.items() if why} == {}


@pytest.mark.parametrize("minor", api_schemas.OLDER)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda item: item["spec"].update(schedulerName="x"), id="unknown field"),
        pytest.param(lambda item: item["spec"].pop("template"), id="required field missing"),
        pytest.param(lambda item: item["spec"].update(minReadySeconds="soon"), id="not a number"),
        pytest.param(
            lambda item: item["spec"]["template"]["spec"]["containers"][0].update(tty=1), id="deep inside"
        ),
    ],
)
def test_the_check_itself_finds_what_is_wrong(minor: str, change):
    broken = copy.deepcopy(next(item for item in OURS if item["kind"] == "DaemonSet"))
    change(broken)

    assert complaints(minor, broken)
