"""Scaling, and who wrote what, on the fake API server and by the gateway on a real one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from slicewise.errors import Conflict
from slicewise.kube import json_patch
from slicewise.kube.objects import written_by
from slicewise.kube.ref import ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import originals
from slicewise.offhours.kinds import BUILT_IN
from slicewise.offhours.kinds import KINDS as KNOWN
from slicewise.offhours.sleep_fields import (
    KSERVE_STOP,
    NO_SCALE_UP,
    PAUSED_REPLICAS,
    REPLICAS,
    SUSPEND,
    SUSPENDED_PODS,
)

from sandbox.controllers.stand_ins import NOTEBOOKS, predictors
from tests.contract.kubernetes.kubernetes_sides import NAMESPACE, InMemory
from tests.fakes.kube.controllers import (
    autoscaler,
    cron_job,
    inference_service,
    predictor,
    ray_cluster,
    scaled,
    scaled_object,
)
from tests.support.waiting import eventually
from tests.support.workload_crds import SCALED, serve

_TEMPLATE = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {"containers": [{"name": "main", "image": "example.com/a"}]},
}
NOW = datetime(2026, 11, 25, 19, tzinfo=UTC)
_SELECTOR = {"matchLabels": {"app": "a"}}


def deployment(kind: str = "Deployment", version: str = "apps/v1", replicas: int = 3):
    item = scaled(kind, kind.lower(), replicas, version=version, namespace=NAMESPACE)
    item["spec"] = {"replicas": replicas, "selector": _SELECTOR, "template": _TEMPLATE}
    if kind == "StatefulSet":
        item["spec"]["serviceName"] = "a"
    if kind == "Rollout":
        item["spec"]["strategy"] = {"canary": {}}
    if kind == "LeaderWorkerSet":
        item["spec"] = {
            "replicas": replicas,
            "leaderWorkerTemplate": {"workerTemplate": _TEMPLATE, "size": 2},
        }
    return item


RAY = ray_cluster("rc", namespace=NAMESPACE)
KINDS = [
    pytest.param(deployment(), id="Deployment"),
    pytest.param(deployment("StatefulSet"), id="StatefulSet"),
    pytest.param(deployment("Rollout", "argoproj.io/v1alpha1"), id="Rollout"),
    pytest.param(deployment("LeaderWorkerSet", "leaderworkerset.x-k8s.io/v1"), id="LeaderWorkerSet"),
]


@pytest.fixture
def served(far_side):
    """With the definitions of what users scale."""
    if isinstance(far_side, InMemory):
        far_side.server.add_crds(
            "rollouts.argoproj.io",
            "leaderworkersets.leaderworkerset.x-k8s.io",
            "scaledobjects.keda.sh",
            "rayclusters.ray.io",
            "notebooks.kubeflow.org",
            "inferenceservices.serving.kserve.io",
        )
        return far_side
    serve(far_side._kube, *SCALED, "ray-rayclusters-*", "kserve-*")
    far_side._kube.apply(NOTEBOOKS)
    return far_side


def serve_predictors(served):
    crd = predictors("v1", "v1alpha1")
    if isinstance(served, InMemory):
        served.server.create(crd)
    else:
        served._kube.apply(crd)
        eventually(lambda: served._kube.serves("ml.example.com/v1", "Predictor"), "the kind is not served")


def test_the_version_that_a_cluster_prefers_for_a_kind_is_reported(served):
    serve_predictors(served)
    port = served.as_admin()

    assert port.preferred_version("ml.example.com", "Predictor") == "v1"
    assert port.preferred_version("keda.sh", "Nobody") is None
    assert port.preferred_version("nobody.example.com", "Predictor") is None


def test_objects_of_a_kind_that_no_table_names_are_listed_and_patched(served):
    item = predictor("patched", namespace=NAMESPACE)
    serve_predictors(served)
    served.by_another_writer(item)
    port, ref = served.as_admin(), ref_of(item)

    port.patch(ref, ({"op": "add", "path": "/spec/suspend", "value": True},))

    [found] = port.list(ref.api_version, ref.kind, managed_fields=True)
    assert found["spec"]["suspend"] is True and ref_of(found) == ref
    assert written_by(found, ("spec", "suspend")) == ("slicewise",)
    assert port.list("ml.example.com/v1", "Nobody") == ()


def test_one_definition_is_listed_by_its_name_as_the_right_to_list_allows(served):
    serve_predictors(served)
    crd = "predictors.ml.example.com"

    found = served.as_admin().list(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", fields=f"metadata.name={crd}"
    )

    [schema] = [one["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for one in found]
    assert [one["metadata"]["name"] for one in found] == [crd]
    assert schema["properties"]["spec"]["properties"]["suspend"] == {"type": "boolean"}


def live(far_side, item):
    ref = ref_of(item)
    [found] = far_side.port.list(
        ref.api_version,
        ref.kind,
        namespace=NAMESPACE,
        only=lambda one: ref_of(one) == ref,
        managed_fields=True,
    )
    return found


@pytest.mark.parametrize("item", KINDS)
def test_what_scales_is_scaled_from_the_count_that_was_seen(served, item):
    served.by_another_writer(item)
    port, ref = served.port, ref_of(item)

    assert port.has_scale(ref.api_version, ref.kind)
    port.scale(ref, 3, 0)
    assert port.replicas(ref)["spec"]["replicas"] == 0
    assert (port.replicas(ref)["kind"], port.replicas(ref)["metadata"]["uid"]) == (
        ref.kind,
        live(served, item)["metadata"]["uid"],
    )
    with pytest.raises(Conflict):
        port.scale(ref, 3, 1)
    port.scale(ref, 0, 2)
    assert live(served, item)["spec"]["replicas"] == 2


@pytest.mark.parametrize("item", KINDS)
def test_who_scaled_last_is_known(served, item):
    served.by_another_writer(item)
    assert REPLICAS.managers(live(served, item)) == {"somebody"}

    served.port.scale(ref_of(item), 3, 2)
    assert REPLICAS.managers(live(served, item)) == {"slicewise"}

    served.port.scale(ref_of(item), 2, 0)
    # A Scale leaves its 0 out, so the API server sees no field that anybody could have written.
    assert REPLICAS.managers(live(served, item)) == frozenset()
    assert REPLICAS.written_by_us(live(served, item))

    served.by_another_writer({**item, "spec": {**item["spec"], "replicas": 1}})
    served.by_another_writer({**item, "spec": {**item["spec"], "replicas": 0}})
    assert REPLICAS.managers(live(served, item)) == {"somebody"}


def test_what_is_not_there_cannot_be_scaled(served):
    missing = ref_of(deployment())._replace(name="missing")

    assert served.port.replicas(missing) is None
    with pytest.raises(Conflict):
        served.port.scale(missing, 1, 0)
    assert not served.port.has_scale("v1", "ConfigMap")
    assert not served.port.has_scale("nobody.example.com/v1", "Unknown")


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.kind)
def test_what_a_cluster_serves_is_known(served, row):
    absent = {"RayService", "RayJob", "RayCronJob", "ScaledJob", "ClusterQueue", "Workload"}
    absent |= {one.kind for one in KNOWN if one.is_job} - {"Job"} | {"Revision", "NodeSet"}

    assert served.port.serves(row.api_version, row.kind) or row.kind in absent
    assert not served.port.serves(row.api_version, f"{row.kind}s")
    assert not served.port.serves(f"nobody.{row.api_version}", row.kind)


def test_a_status_is_patched_through_its_subresource_and_nothing_else_is(served):
    item = cron_job("status", namespace=NAMESPACE, suspend=True)
    job = item["spec"]["jobTemplate"]["spec"]
    job["template"] = {"spec": {**_TEMPLATE["spec"], "restartPolicy": "Never"}}
    served.by_another_writer(item)
    last = ("status", "lastScheduleTime")
    for at in ("2026-11-26T05:59:59Z", "2026-11-27T05:59:59Z"):
        found = live(served, item)
        operations = (
            *json_patch.set_value(found, last, at),
            *json_patch.set_value(found, ("spec", "suspend"), False),
        )
        served.port.patch(ref_of(item), operations, "status")
        assert live(served, item)["status"]["lastScheduleTime"] == at
        assert live(served, item)["spec"]["suspend"] is True

    with pytest.raises(Conflict):
        served.port.patch(ref_of(item), json_patch.set_value(found, last, "2026-11-28T05:59:59Z"), "status")
    with pytest.raises(Conflict):
        served.port.patch(ref_of(item)._replace(name="missing"), operations, "status")


OWN = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}


@pytest.mark.parametrize("own", [{}, {"behavior": OWN}], ids=["none", "its own"])
def test_what_holds_an_autoscaler_is_read_as_it_was_written_and_restored_exactly(served, own):
    """The API server fills in what a behavior lacks, so what we write lacks nothing."""
    metric = {"type": "Utilization", "averageUtilization": 50}
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": metric}}]
    item = autoscaler(f"held-{len(own)}", deployment(), least=1, metrics=metrics, **own)
    served.by_another_writer(item)
    before = live(served, item)["spec"]

    served.port.patch(
        ref_of(item), NO_SCALE_UP.write(live(served, item), NO_SCALE_UP.asleep, "a test").operations
    )
    held = live(served, item)
    assert NO_SCALE_UP.value(held) == NO_SCALE_UP.asleep and NO_SCALE_UP.written_by_us(held)

    served.port.patch(ref_of(item), NO_SCALE_UP.write(held, before.get("behavior"), "a test").operations)
    assert live(served, item)["spec"] == before


@pytest.mark.parametrize(
    ("item", "setting"),
    [
        pytest.param(cron_job("nightly", namespace=NAMESPACE), SUSPEND, id="CronJob"),
        pytest.param(scaled_object("server", deployment()), PAUSED_REPLICAS, id="ScaledObject"),
        pytest.param(RAY, SUSPENDED_PODS, id="RayCluster"),
        pytest.param(inference_service("llm", namespace=NAMESPACE), KSERVE_STOP, id="InferenceService"),
    ],
)
def test_who_wrote_a_patched_field_is_known_and_it_comes_back(served, item, setting):
    if item["kind"] == "ScaledObject":
        item = {**item, "spec": {**item["spec"], "triggers": [{"type": "cpu", "metadata": {"value": "50"}}]}}
    elif item["kind"] == "CronJob":
        job = item["spec"]["jobTemplate"]["spec"]
        job["template"] = {"spec": {**_TEMPLATE["spec"], "restartPolicy": "Never"}}
    served.by_another_writer(item)
    found = live(served, item)
    before, uid = setting.value(found), found["metadata"]["uid"]
    kept = Snapshot(ref_of(item), setting.field, uid, before, setting.asleep, "tonight", NOW).sealed()

    action = setting.write(found, setting.asleep, "a test", note=kept)
    served.port.patch(action.ref, action.operations)
    asleep = live(served, item)
    assert setting.value(asleep) == setting.asleep and setting.managers(asleep) == {"slicewise"}
    assert originals.read([asleep], (), BUILT_IN.noted_fields).snapshots == (
        replace(kept, done=True, version=0, recovered=True),
    )

    action = setting.write(asleep, before, "a test")
    served.port.patch(action.ref, action.operations)
    awake = live(served, item)
    assert setting.value(awake) == before and not originals.is_noted(awake)
