"""Each example asks for slices of a pool that its own policy has, and would start nowhere else."""

from pathlib import Path

import pytest
import yaml
from slicewise.kube.labels import POOL_LABEL
from slicewise.policy.model import Policy, parse
from slicewise.pools import layout

from tests.support.example_files import FOLDERS, Object, objects, pod_specs, policy_text

PODS = [
    pytest.param(folder, spec, id=f"{folder.name} {item['kind']} {item['metadata']['name']} {number}")
    for folder in FOLDERS
    for item in objects(folder)
    for number, spec in enumerate(pod_specs(item))
]


def policy(folder: Path) -> Policy:
    return parse(policy_text(folder), folder.name)


def slices_of(spec: Object) -> dict[str, int]:
    return {
        resource: count
        for container in spec["containers"]
        for resource, count in container["resources"]["limits"].items()
        if resource.startswith("nvidia.com/")
    }


SLICED = [parameter for parameter in PODS if slices_of(parameter.values[1])]


def test_there_is_an_example_for_a_slice_a_mig_device_and_a_whole_gpu():
    sharings = {
        pool.sharing.value
        for folder, spec in (parameter.values for parameter in SLICED)
        for pool in policy(folder).pools
        if pool.name == spec["nodeSelector"][POOL_LABEL]
    }

    assert sharings >= {"time-slicing", "mig", "none"}


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_an_example_has_pods_on_slices(folder: Path):
    assert [spec for spec in pod_specs(objects(folder)) if slices_of(spec)]


@pytest.mark.parametrize(("folder", "spec"), SLICED)
def test_a_pod_asks_for_one_slice_of_its_pool_and_tolerates_its_taint(folder: Path, spec: Object):
    [pool] = [pool for pool in policy(folder).pools if pool.name == spec["nodeSelector"][POOL_LABEL]]

    assert slices_of(spec) == {layout.resource(pool): 1}
    (toleration,) = spec["tolerations"]
    assert (toleration["key"], toleration["effect"]) == (layout.TAINT["key"], layout.TAINT["effect"])


@pytest.mark.parametrize(("folder", "spec"), PODS)
def test_a_container_says_what_it_needs_and_may_not_grow_its_rights(folder: Path, spec: Object):
    for container in spec["containers"]:
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


# NVIDIA's registry shows digests to holders of an NGC key, which nobody may need to change an example.
BY_TAG_ALONE = {"nvcr.io/nim/meta/llama-3.2-1b-instruct:1.8"}


def test_each_image_that_goes_by_its_tag_is_one_of_an_example():
    images = {
        container["image"] for _, spec in (one.values for one in PODS) for container in spec["containers"]
    }

    assert images >= BY_TAG_ALONE


@pytest.mark.parametrize(("folder", "spec"), PODS)
def test_an_image_is_pinned_by_its_digest_beside_a_tag_that_people_read(folder: Path, spec: Object):
    for container in spec["containers"]:
        if container["image"] in BY_TAG_ALONE:
            continue
        name, _, digest = container["image"].partition("@sha256:")
        assert ":" in name.rpartition("/")[2] and len(digest) == 64, container["image"]


@pytest.mark.parametrize(("folder", "spec"), PODS)
def test_every_config_map_that_is_mounted_is_generated_from_files_that_exist(folder: Path, spec: Object):
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    generated = {entry["name"]: entry["files"] for entry in kustomization.get("configMapGenerator", ())}

    mounted = [volume["configMap"]["name"] for volume in spec.get("volumes", ()) if "configMap" in volume]
    assert all((folder / name).exists() for volume in mounted for name in generated[volume])
