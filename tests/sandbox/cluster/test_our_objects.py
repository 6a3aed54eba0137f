"""
Every object that we apply, and every example, on the real kube-apiserver: accepted, CEL rules and all, and
read back as `holds` expects, so that a second pass over it changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import yaml
from slicewise.kube.objects import holds
from slicewise.offhours.sleep_fields import OPENED
from slicewise.onboarding import admission, manifests, rbac, time_slice
from slicewise.onboarding.pools import fallback as fallback_pools
from slicewise.pools import layout

from sandbox.cluster.client import KubeClient
from sandbox.cluster.control_plane import ControlPlane
from tests.support import builders, vendor_charts
from tests.support.example_files import FOLDERS, ROOT, is_of_kubernetes, objects
from tests.support.waiting import eventually
from tests.support.workload_crds import definitions

pytestmark = pytest.mark.sandbox

POLICY = builders.policy(
    """{
    shared: {sharing: time-slicing, gpus: [l4, a100-40gb], maxGpus: 2000, capacityTypes: [spot, on-demand],
        timeSlice: short},
    batch: {sharing: mps, gpus: [rtx-pro-server-6000], maxGpus: 8},
    slices: {sharing: mig, gpus: [h100], profile: 1g.10gb, maxGpus: 8},
    whole: {sharing: none, gpus: [t4g], maxGpus: 4, fallbackGpus: [t4]}}""",
    "karpenter: {install: true}",
    "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun]}",
)


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeClient]:
    """A cluster of its own, without Karpenter: nothing may react to what is applied here."""
    with ControlPlane.start(tmp_path_factory.mktemp("objects"), karpenter=False) as plane:
        yield plane.kube


@pytest.fixture(scope="module")
def crds(kube: KubeClient) -> KubeClient:
    """With the CRDs of Karpenter's AWS provider."""
    for crd in vendor_charts.definitions(vendor_charts.vendor_chart("karpenter-crd")):
        crd["metadata"].pop("annotations", None)
        kube.apply(crd)
    for api_version, kind in (
        ("karpenter.sh/v1", "NodePool"),
        ("karpenter.sh/v1alpha1", "NodeOverlay"),
        ("karpenter.k8s.aws/v1", "EC2NodeClass"),
    ):
        eventually(lambda of=(api_version, kind): kube.serves(*of), f"{kind} is not served")
    return kube


def ours() -> Iterator[dict]:
    weights = layout.overlay_weights(POLICY)
    yield manifests.namespace()
    yield from admission.objects(POLICY)
    yield from rbac.objects(POLICY)
    yield layout.config_map({})
    yield manifests.gate_probe()
    yield from time_slice.daemon_sets(POLICY)
    yield manifests.node_class(POLICY, builders.settings(), builders.cluster())
    for pool in POLICY.pools:
        for gpu in pool.models():
            yield from layout.overlays(pool, gpu, pool.start, weights)
            yield layout.node_pool(POLICY, pool, gpu, pool.start)


def test_our_objects_are_accepted_and_come_back_as_we_sent_them(crds: KubeClient) -> None:
    for wanted in ours():
        crds.apply(wanted, field_manager="slicewise")
        live = crds.get(crds.path(wanted))
        assert holds(live, wanted), (live, wanted)
        if wanted["apiVersion"].startswith(admission.GROUP):
            assert admission.difference(live, wanted) is None


def test_changing_n_is_accepted_on_what_stands(crds: KubeClient) -> None:
    weights, pool = layout.overlay_weights(POLICY), next(p for p in POLICY.pools if p.name == "shared")
    gpu = pool.models()[0]
    for wanted in (*layout.overlays(pool, gpu, 8, weights), layout.node_pool(POLICY, pool, gpu, 8)):
        crds.apply(wanted, field_manager="slicewise")
        assert holds(crds.get(crds.path(wanted)), wanted)


def test_a_fallback_that_off_hours_closed_may_have_nodes_once_the_policy_names_it_at_all_times(
    crds: KubeClient,
) -> None:
    """A limit that a patch wrote stays when what is applied no longer has it: so it is taken away first."""
    pool = next(pool for pool in POLICY.pools if pool.name == "whole")
    fallback = pool.models()[-1]
    closed = layout.node_pool(POLICY, pool, fallback, 1)
    wanted = layout.node_pool(
        POLICY, replace(pool, gpus=pool.gpus + pool.fallback_gpus, fallback_gpus=()), fallback, 1
    )
    path = crds.path(closed)

    def patch(operations: Sequence[Mapping[str, Any]]) -> None:
        crds.request("PATCH", f"{path}?fieldManager=slicewise", operations, "application/json-patch+json")

    crds.apply(closed, field_manager="slicewise")
    for value in (None, "0"):  # opened, and closed again
        patch(OPENED.write(crds.get(path), value, "a test").operations)
    crds.apply(wanted, field_manager="slicewise")
    assert crds.get(path)["spec"]["limits"]["nodes"] == "0", "without that it would stay"

    crds.apply(closed, field_manager="slicewise")
    for value in (None, "0"):
        patch(OPENED.write(crds.get(path), value, "a test").operations)
    for action in fallback_pools.no_more(crds.get(path), wanted):
        patch(action.operations)
    crds.apply(wanted, field_manager="slicewise")
    assert "nodes" not in crds.get(path)["spec"]["limits"]


@pytest.fixture(scope="module")
def kinds(kube: KubeClient) -> KubeClient:
    """With the definitions of what examples have beside Kubernetes' own kinds."""
    items = [item for folder in FOLDERS for item in objects(folder) if not is_of_kubernetes(item)]
    wanted = {(item["apiVersion"], item["kind"]) for item in items}
    for definition in definitions("*.yaml"):
        group, kind = definition["spec"]["group"], definition["spec"]["names"]["kind"]
        if any(version.startswith(f"{group}/") and kind == named for version, named in wanted):
            kube.apply(definition)
    for of in wanted:
        eventually(lambda of=of: kube.serves(*of), f"{of} is not served")
    return kube


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(item, id=f"{folder.name} {item['kind']} {item['metadata']['name']}")
        for folder in FOLDERS
        for item in objects(folder)
    ],
)
def test_an_example_is_accepted(kinds: KubeClient, item: dict) -> None:
    kube = kinds

    kube.apply(item)

    assert holds(kube.get(kube.path(item)), {k: v for k, v in item.items() if k != "spec"})


def test_a_node_class_for_large_images_is_accepted(crds: KubeClient) -> None:
    """By the CRD of Karpenter's AWS provider, rules and all."""
    [wanted] = list(yaml.safe_load_all((ROOT / "examples/video-encode/nodeclass.yaml").read_text()))

    crds.apply(wanted)

    assert holds(crds.get(crds.path(wanted)), wanted)


def test_a_queue_of_encodings_is_accepted(kinds: KubeClient) -> None:
    """By Kueue's own definitions; what its webhooks check is not run here."""
    queue = list(yaml.safe_load_all((ROOT / "examples/video-encode/kueue/queue.yaml").read_text()))
    for definition in definitions("kueue-*.yaml"):
        if definition["spec"]["names"]["kind"] in {item["kind"] for item in queue}:
            kinds.apply(definition)
    for item in queue:
        of = item["apiVersion"], item["kind"]
        eventually(lambda of=of: kinds.serves(*of), f"{of} is not served")

        kinds.apply(item)

        assert holds(kinds.get(kinds.path(item)), item)
