"""Each example asks for one slice of a pool that a policy of ours has, and would start nowhere else."""

from pathlib import Path

import pytest
import yaml
from slicewise.kube.labels import POOL_LABEL
from slicewise.policy.model import parse
from slicewise.pools import layout

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
NOT_APPLIED = ("kustomization.yaml", "policy.yaml")
MANIFESTS = sorted(path for path in EXAMPLES.rglob("*.yaml") if path.name not in NOT_APPLIED)


def objects():
    for path in MANIFESTS:
        for item in yaml.safe_load_all(path.read_text()):
            yield pytest.param(item, id=f"{item['kind']} {item['metadata']['name']}")


def pods():
    for parameter in objects():
        (item,) = parameter.values
        spec = item["spec"].get("template", {}).get("spec")
        if spec:
            yield pytest.param(spec, id=parameter.id)


def slices_of(spec):
    return {
        resource: count
        for container in spec["containers"]
        for resource, count in container["resources"]["limits"].items()
        if resource.startswith("nvidia.com/")
    }


def sliced():
    return [parameter for parameter in pods() if slices_of(parameter.values[0])]


@pytest.fixture(scope="module")
def pools():
    found = {}
    for path in sorted((ROOT / "policies").glob("*.yaml")):
        for pool in parse(path.read_text(), path.stem).pools:
            found[pool.name] = pool
    return found


def test_there_is_an_example_for_a_slice_a_mig_device_and_a_whole_gpu(pools):
    sharings = {pools[p.values[0]["nodeSelector"][POOL_LABEL]].sharing.value for p in sliced()}

    assert sharings == {"time-slicing", "mig", "none"}


@pytest.mark.parametrize("spec", sliced())
def test_a_pod_asks_for_one_slice_of_its_pool_and_tolerates_its_taint(spec, pools):
    pool = pools[spec["nodeSelector"][POOL_LABEL]]

    assert slices_of(spec) == {layout.resource(pool): 1}
    (toleration,) = spec["tolerations"]
    assert (toleration["key"], toleration["effect"]) == (layout.TAINT["key"], layout.TAINT["effect"])


@pytest.mark.parametrize("spec", list(pods()))
def test_a_container_says_what_it_needs_and_may_not_grow_its_rights(spec):
    for container in spec["containers"]:
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("spec", list(pods()))
def test_every_config_map_that_is_mounted_is_generated_from_files_that_exist(spec):
    generated = {}
    for path in EXAMPLES.rglob("kustomization.yaml"):
        for entry in yaml.safe_load(path.read_text())["configMapGenerator"]:
            generated[entry["name"]] = [path.parent / name for name in entry["files"]]

    for volume in spec.get("volumes", ()):
        assert all(path.exists() for path in generated[volume["configMap"]["name"]])
