"""
Sleep and wake on the real API server, with the real Karpenter and the real controllers of Kubernetes.

Argo Rollouts, LeaderWorkerSet and KEDA are there by their definitions alone: what their controllers would do
with a count is done by hand, and told where it is. KubeRay's operator is there.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from slicewise import rights
from slicewise.errors import Refused
from slicewise.gateways.kubernetes import KubernetesApi
from slicewise.kube.labels import ASLEEP, ASLEEP_WAS, SUSPENDS, SWITCHES
from slicewise.kube.ref import Ref
from slicewise.offhours.sleep_fields import ONLY_EMPTY_NODES_GO
from slicewise.onboarding import own_kinds, rbac
from slicewise.planning.outcome import Finding, Plan, Stage
from slicewise.policy import switches
from slicewise.policy.model import Policy
from slicewise.policy.off_hours import Jobs, MissedRuns, Volumes
from slicewise.policy.switches import Switch, definition, is_of
from slicewise.pools import layout

from sandbox.cluster import samples
from sandbox.cluster.client import KubeClient
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples as controller_samples
from sandbox.controllers.process import Controllers
from sandbox.controllers.stand_ins import PredictorOperator
from sandbox.gpus.gpu_nodes import GpuNodes
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.fakes.kube.controllers import predictor
from tests.fakes.sleeper import NIGHTS, WEDNESDAY_NOON, Reconciler
from tests.sandbox.offhours.gpu_workloads import LEADER_WORKER_SET, ROLLOUT, GpuWorkloads, follow, pod_of
from tests.sandbox.rollout.rollout_pool import held
from tests.support import builders
from tests.support.offhours_nights import (
    NODES,
    PAUSED_JOB,
    PAUSED_OBJECT,
    REPLICAS,
    SUSPEND,
    Night,
    Thing,
    steps_with,
)
from tests.support.waiting import eventually
from tests.support.workload_crds import serve

pytestmark = pytest.mark.sandbox

NAMESPACE = "nightly"
GPU = GpuWorkloads(NAMESPACE, "nights")
POOLS = "{nights: {sharing: time-slicing, gpus: [l4], replicas: {start: 4}, maxGpus: 16, gpuCounts: [1]}}"
SLEEPS = "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun]}"
RETAINING = "offHours: {timeZone: Europe/Berlin, asleep: [Sat-Sun], volumes: retain}"
NODE_CLASS = "nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default}"
POLICY = builders.policy(POOLS, SLEEPS, NODE_CLASS)
POOL_PATH = "/apis/karpenter.sh/v1/nodepools/slicewise-nights-l4"
POOL = Ref("karpenter.sh/v1", "NodePool", "slicewise-nights-l4")
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
NIGHT, EARLY, MORNING = "2026-11-25T20:01", "2026-11-26T06:50", "2026-11-26T07:00"
RAY = "ray.io/v1"
Object = dict[str, Any]


class Nights(Reconciler):
    """Passes over a real cluster, and people's hands in it; every call of a pass can be struck."""

    def __init__(self, gateway: KubernetesApi, kube: KubeClient):
        calls = Calls()
        super().__init__(Counted(gateway, calls), calls, Clock(WEDNESDAY_NOON))  # type: ignore[arg-type]
        self.kube, self.pools = kube, POOLS
        self.followed: list[Object] = []  # whose controllers are not here

    def reconcile_once(self) -> Plan | None:
        time.sleep(0.2)  # for pods of what has just been scaled or made
        for item in self.followed:
            follow(self.kube, item)
        return super().reconcile_once()

    def create(self, *items: Object) -> None:
        for item in items:
            self.kube.create(item)

    def live(self, ref: Ref) -> Object | None:
        return self.kube.find(self.kube.path(_named(ref)))

    def write(self, ref: Ref, operations: Sequence[Object]) -> None:
        path = f"{self.kube.path(_named(ref))}?fieldManager=kubectl"
        self.kube.request("PATCH", path, operations, content_type="application/json-patch+json")

    def delete(self, ref: Ref) -> None:
        self.kube.delete(self.kube.path(_named(ref)))


class Counted:
    """A port of which each call is counted, and may be struck, as those of fakes."""

    def __init__(self, port: object, calls: Calls):
        self._port, self._calls = port, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*arguments: Any, **options: Any) -> Any:
            about = f" {arguments[0]}" if arguments and isinstance(arguments[0], Ref) else ""
            with self._calls.call(f"kubernetes.{name}{about}"):
                return method(*arguments, **options)

        return call


def _named(ref: Ref) -> Object:
    metadata = {"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {})
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}


class Cluster:
    """One cluster whose GPU workloads sleep, and what people do in it."""

    def __init__(self, plane: ControlPlane):
        self.kube: KubeClient = plane.kube
        token = self._sleeper()
        self.gateway = KubernetesApi(plane.url, base64.b64encode(plane.ca_pem).decode(), lambda: token)
        self.night = self.another_night()
        [pool] = POLICY.pools
        [gpu] = pool.models()
        weights = layout.overlay_weights(POLICY)
        for item in (*layout.overlays(pool, gpu, 4, weights), layout.node_pool(POLICY, pool, gpu, 4)):
            self.kube.apply(item, field_manager="slicewise")

    def _sleeper(self) -> str:
        """A service account with the rights that the product gives to its sleeper, and no others."""
        account = {"name": "sleeper", "namespace": "kube-system"}
        self.grant(POLICY)
        for item in held(rights.SLEEPER, "sleeper"):
            self.kube.apply(item)
        self.kube.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        self.kube.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "sleeper"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": rbac.SLEEPER,
                },
                "subjects": [{"kind": "ServiceAccount", **account}],
            }
        )
        path = "/api/v1/namespaces/kube-system/serviceaccounts/sleeper/token"
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(self.kube.request("POST", path, asked)["status"]["token"])

    def grant(self, policy: Policy) -> None:
        """What onboarding gives to the sleeper under this policy, by what the cluster serves."""
        crds = self.kube.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        served = {item["metadata"]["name"] for item in crds}
        asked = policy.off_hours.kinds if policy.off_hours else ()
        definitions = tuple(definition(crd, asked) for crd in crds if any(is_of(crd, one) for one in asked))
        own = own_kinds.writes(builders.contents(definitions=definitions), policy)
        for item in held(rights.sleeper(own), "sleeper") if own else ():
            self.kube.apply(item)
        [role] = [
            item
            for item in rbac.objects(policy, crds=served, own=own)
            if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", rbac.SLEEPER)
        ]
        self.kube.apply(role)

    def another_night(self) -> Nights:
        """Of which nothing is kept yet."""
        return Nights(self.gateway, self.kube)

    def settle(self, stage: Stage) -> Plan:
        """Passes a second apart, until one finds the cluster so."""

        def look() -> Plan | None:
            found = self.night.reconcile_once()
            return found if found and found.outcome.stage is stage and not found.actions else None

        return eventually(look, lambda: self.night.plans[-1].outcome, every=1)

    def path(self, plural: str, name: str = "", group: str = "apps/v1") -> str:
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        return f"{root}/namespaces/{NAMESPACE}/{plural}" + (f"/{name}" if name else "")

    def gpu_nodes(self) -> list[Object]:
        return self.kube.list("/api/v1/nodes", labelSelector="slicewise.dev/pool=nights")

    def claims(self) -> list[Object]:
        return self.kube.list("/apis/karpenter.sh/v1/nodeclaims", labelSelector="slicewise.dev/pool=nights")

    def pods(self, app: str) -> list[Object]:
        return self.kube.list(self.path("pods", group="v1"), labelSelector=f"app={app}")

    def running(self, app: str) -> int:
        return sum(pod["status"].get("phase") == "Running" for pod in self.pods(app))

    def spec(self, path: str) -> Object:
        return self.kube.get(path)["spec"]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane.start(tmp_path_factory.mktemp("off-hours")) as plane:
        yield plane


def gpus_of(kube: KubeClient) -> GpuNodes:
    """What gives GPU nodes their slices, once it is entered; with all that nodes and pods here need."""
    for name in ("gpu-operator", NAMESPACE):
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    kube.apply(samples.node_class())
    kube.apply(samples.config_map({"ts-4": samples.plugin_config(4)}))
    return GpuNodes(kube, delay_seconds=0.2, requires_cluster_policy=False)


@pytest.fixture
def cluster(plane: ControlPlane) -> Iterator[Cluster]:
    gpus = gpus_of(plane.kube)
    serve(plane.kube)
    with gpus:
        yield Cluster(plane)


def test_everything_sleeps_and_wakes_as_it_was(cluster: Cluster):
    """Issue 6, 4.1 and 4.3: each kind that users scale, and what must not be touched."""
    create, path = cluster.kube.create, cluster.path
    create(GPU.scaled("Deployment", "server", 5))
    create(GPU.scaled("StatefulSet", "store", 1))
    create(GPU.scaled("Deployment", "of-keda", 2))
    for owner in (
        GPU.scaled("Rollout", "web", 1, ROLLOUT),
        GPU.scaled("LeaderWorkerSet", "llm", 1, LEADER_WORKER_SET),
    ):
        create(pod_of(create(owner)))
    cpu = GPU.scaled("Deployment", "cpu", 2)
    cpu["spec"]["template"]["spec"] |= {
        "nodeSelector": {},
        "tolerations": [],
        "containers": [{"name": "main", "image": "a"}],
    }
    create(cpu)
    create(GPU.cron_job("nightly"))
    create(GPU.scaled_object("of-keda", "2"))
    metric = {"type": "Utilization", "averageUtilization": 50}
    create(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "server", "namespace": NAMESPACE},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"},
                "minReplicas": 2,
                "maxReplicas": 9,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": metric}}],
            },
        }
    )
    for app, count in {"server": 5, "store": 1, "of-keda": 2, "web": 1, "llm": 1, "cpu": 2}.items():
        eventually(lambda app=app, count=count: cluster.running(app) == count, app)
    objects = {
        "server": path("deployments", "server"),
        "store": path("statefulsets", "store"),
        "cpu": path("deployments", "cpu"),
        "web": path("rollouts", "web", "argoproj.io/v1alpha1"),
        "llm": path("leaderworkersets", "llm", "leaderworkerset.x-k8s.io/v1"),
        "nightly": path("cronjobs", "nightly", "batch/v1"),
        "of-keda": path("scaledobjects", "of-keda", "keda.sh/v1alpha1"),
        "hpa": path("horizontalpodautoscalers", "server", "autoscaling/v2"),
        "pool": POOL_PATH,
    }
    before = {name: cluster.spec(at) for name, at in objects.items()}
    versions = {name: cluster.kube.get(objects[name])["metadata"]["generation"] for name in ("cpu",)}

    cluster.night.at(NIGHT)
    cluster.night.reconcile_once()
    for name in ("server", "store", "web", "llm"):
        assert cluster.spec(objects[name])["replicas"] == 0
    assert cluster.spec(objects["nightly"])["suspend"] is True
    keda = cluster.kube.get(objects["of-keda"])["metadata"]["annotations"]
    assert keda["autoscaling.keda.sh/paused-replicas"] == "0"
    assert cluster.spec(path("deployments", "of-keda"))["replicas"] == 2, "its replicas are KEDA's"
    # Where KEDA and the controllers of Rollout and LeaderWorkerSet are, they do this now.
    cluster.kube.merge(path("deployments", "of-keda"), {"spec": {"replicas": 0}})
    for pod in ("web-0", "llm-0"):
        cluster.kube.delete(path("pods", pod, "v1"))
    asleep = cluster.settle(Stage.ASLEEP)

    assert cluster.gpu_nodes() == [] and "no GPU node runs" in asleep.outcome.reason
    assert cluster.running("cpu") == 2
    assert cluster.kube.get(objects["cpu"])["metadata"]["generation"] == versions["cpu"]

    cluster.night.at(EARLY)
    cluster.settle(Stage.WAKING)
    after = {name: cluster.spec(at) for name, at in objects.items()}
    assert after.pop("nightly")["suspend"] is True, "a missed run must not take the nodes of people's pods"
    assert after == {name: spec for name, spec in before.items() if name != "nightly"}
    restored = cluster.kube.get(objects["of-keda"])["metadata"]["annotations"]
    assert restored["autoscaling.keda.sh/paused-replicas"] == "2"
    assert ASLEEP not in cluster.kube.get(POOL_PATH)["metadata"]["annotations"]
    for app, count in {"server": 5, "store": 1}.items():
        eventually(lambda app=app, count=count: cluster.running(app) == count, app)

    cluster.night.at(MORNING)
    assert cluster.settle(Stage.AWAKE).actions == ()
    assert cluster.spec(objects["nightly"]) == before["nightly"]
    assert cluster.night.kept.snapshots(cluster.night.cluster.arn) == ()
    for plural, name, group in (
        ("deployments", "server", "apps/v1"),
        ("statefulsets", "store", "apps/v1"),
        ("deployments", "of-keda", "apps/v1"),
        ("deployments", "cpu", "apps/v1"),
        ("horizontalpodautoscalers", "server", "autoscaling/v2"),
    ):
        cluster.kube.delete(path(plural, name, group))


def test_no_node_starts_while_asleep_and_a_person_wins(cluster: Cluster):
    cluster.kube.create(GPU.scaled("Deployment", "late", 1))
    eventually(lambda: cluster.running("late") == 1)
    deployment = cluster.path("deployments", "late")
    cluster.night.at(NIGHT)
    cluster.settle(Stage.ASLEEP)
    assert cluster.spec(POOL_PATH)["disruption"] == ONLY_EMPTY_NODES_GO.asleep

    cluster.kube.merge(deployment, {"spec": {"replicas": 2}})
    time.sleep(12)  # Karpenter batches pods for 1 s, and at most for 10 s
    assert cluster.gpu_nodes() == [] and cluster.claims() == []
    reported = cluster.night.later(minutes=15).reconcile_once()
    assert "woken-by-somebody" in {finding.code for finding in reported.outcome.findings}
    assert cluster.spec(deployment)["replicas"] == 2

    cluster.night.at(MORNING)
    cluster.settle(Stage.AWAKE)
    eventually(lambda: cluster.running("late") == 2)
    cluster.kube.delete(deployment)


TARGET = GPU.scaled("Deployment", "any-target", 1)
FOLLOWED = (
    GPU.scaled("Rollout", "any-web", 1, ROLLOUT),
    GPU.scaled("LeaderWorkerSet", "any-llm", 2, LEADER_WORKER_SET),
)
THINGS = (
    *(Thing(item, REPLICAS, (1, 2, 0)) for item in FOLLOWED),
    Thing(GPU.scaled("Deployment", "any-server", 3), REPLICAS, (1, 3, 4, 0)),
    Thing(GPU.scaled("StatefulSet", "any-store", 2), REPLICAS, (1, 2, 5, 0)),
    Thing(GPU.cron_job("any-report"), SUSPEND, (False, True), absent=False),
    Thing(GPU.scaled_object("any-target", "2"), PAUSED_OBJECT, (None, "1", "2", "0")),
    Thing(GPU.scaled_job("any-queue"), PAUSED_JOB, (None, "false", "true")),
    Thing(_named(POOL), NODES, (None, "7", "0"), replaceable=False),
)


@given(st.lists(steps_with(THINGS), min_size=6, max_size=14))
@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_last_person_wins_whatever_happens(cluster: Cluster, steps):
    """Issue 6, 4.2, on the real API server and controllers."""
    made = [TARGET, *(thing.item for thing in THINGS if thing.replaceable)]
    night = cluster.another_night()
    night.followed = list(FOLLOWED)
    try:
        night.create(*made)
        for app, count in (("any-server", 3), ("any-store", 2), ("any-target", 1)):
            eventually(lambda app=app, count=count: len(cluster.pods(app)) == count, app)
        Night(night, THINGS, POOL).play(steps)
    finally:
        for item in made:
            cluster.kube.delete(cluster.kube.path(item), missing_ok=True)
        for item in FOLLOWED:
            follow(cluster.kube, item)
        night.write(POOL, [{"op": "add", "path": "/spec/limits/nodes", "value": "9"}])
        night.write(POOL, [{"op": "remove", "path": "/spec/limits/nodes"}])


def test_a_policy_that_denies_one_scale_and_a_scale_that_answers_500_stop_nobody(cluster: Cluster):
    """A ValidatingAdmissionPolicy, and a kind whose scale points at a path that an object lacks."""
    kube, path = cluster.kube, cluster.path
    for name in ("a-chat", "b-embed", "c-rag"):
        kube.create(GPU.scaled("Deployment", name, 1))
    group = "training.example.com"
    properties = {"x-kubernetes-preserve-unknown-fields": True, "type": "object"}
    kube.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"torchjobs.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": "TorchJob", "plural": "torchjobs", "singular": "torchjob"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "properties": {"spec": properties, "status": properties},
                            }
                        },
                        "subresources": {
                            "status": {},
                            "scale": {
                                "specReplicasPath": ".spec.worker.replicas",
                                "statusReplicasPath": ".status.replicas",
                            },
                        },
                    }
                ],
            },
        }
    )
    job = {
        "apiVersion": f"{group}/v1",
        "kind": "TorchJob",
        "metadata": {"name": "ft", "namespace": NAMESPACE},
        "spec": {"master": {"replicas": 1}},
    }
    made = eventually(lambda: _created(kube, job), every=1)
    engine = _with_a_floor(cluster, group)
    kube.create(pod_of({**GPU.scaled("TorchJob", "ft", 1, f"{group}/v1"), "metadata": made["metadata"]}))
    expression = (
        "object.metadata.name != 'b-embed' || (has(object.spec.replicas) && object.spec.replicas > 0)"
    )
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["deployments/scale"],
    }
    kube.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "at-least-one"},
            "spec": {
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": expression, "message": "b-embed needs one replica"}],
            },
        }
    )
    kube.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "at-least-one"},
            "spec": {"policyName": "at-least-one", "validationActions": ["Deny"]},
        }
    )
    for app in ("a-chat", "b-embed", "c-rag"):
        eventually(lambda app=app: cluster.running(app) == 1, app)
    eventually(lambda: _is_denied(cluster, "b-embed"), every=1)

    night = cluster.night.at(NIGHT)
    night.reconcile_once()
    night.reconcile_once()
    counts = {
        name: cluster.spec(path("deployments", name))["replicas"] for name in ("a-chat", "b-embed", "c-rag")
    }
    assert counts == {"a-chat": 0, "b-embed": 1, "c-rag": 0}
    failed = {one.part: one for one in night.failed}
    embed, floored = f"Deployment {NAMESPACE}/b-embed", f"Engine {NAMESPACE}/d-floor"
    assert failed.keys() == {embed, floored} and "b-embed needs one replica" in failed[embed].message
    assert failed[embed].refused_by == "ValidatingAdmissionPolicy 'at-least-one' with binding 'at-least-one'"
    assert failed[floored].refused_by == "the validation of its kind", failed[floored].message
    assert kube.get(engine)["spec"]["replicas"] == 1
    planned = night.dry_run()
    assert "TorchJob" in next(one.message for one in planned.outcome.findings if one.code == "cannot-be-read")
    assert night.schedules.waiting["gpu-1"]

    night.at(MORNING)
    night.reconcile_once()
    assert [cluster.spec(path("deployments", name))["replicas"] for name in counts] == [1, 1, 1]
    for name in counts:
        kube.delete(path("deployments", name))
    for pod in ("ft-0", "d-floor-0"):
        kube.delete(path("pods", pod, "v1"))


def _with_a_floor(cluster: Cluster, group: str) -> str:
    """An object, with its pod, whose definition lets it have no fewer than one replica; its path."""
    replicas = {"type": "integer", "minimum": 1}
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties = {"spec": loose | {"properties": {"replicas": replicas}}, "status": loose}
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
        "subresources": {"status": {}, "scale": scale},
    }
    names = {"kind": "Engine", "plural": "engines", "singular": "engine"}
    cluster.kube.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"engines.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
        }
    )
    item = GPU.scaled("Engine", "d-floor", 1, f"{group}/v1")
    made = eventually(lambda: _created(cluster.kube, item), every=1)
    cluster.kube.create(pod_of(made))
    return cluster.path("engines", "d-floor", f"{group}/v1")


def test_an_emptied_table_costs_nothing_that_the_objects_themselves_say(cluster: Cluster):
    """With the rights that onboarding gives, on objects as the API server keeps them."""
    kube, path, night = cluster.kube, cluster.path, cluster.another_night()
    made = [
        GPU.scaled("Deployment", "noted-target", 1),
        GPU.cron_job("noted"),
        GPU.scaled_object("noted-target", "2"),
        GPU.scaled_job("noted"),
    ]
    night.create(*made)
    eventually(lambda: cluster.running("noted-target") == 1)
    objects = {item["kind"]: kube.path(item) for item in made[1:]} | {"NodePool": POOL_PATH}

    def said() -> dict[str, tuple[Any, Any]]:
        found = {kind: kube.get(at) for kind, at in objects.items()}
        return {kind: (one["spec"], one["metadata"].get("annotations")) for kind, one in found.items()}

    before = said()
    assert before["NodePool"][1]["karpenter.sh/nodepool-hash"]
    night.at(NIGHT)
    night.reconcile_once()
    assert not night.failed
    asleep = said()
    for kind, (_, marks) in asleep.items():
        assert ASLEEP_WAS in marks, kind
    assert (
        asleep["NodePool"][1]["karpenter.sh/nodepool-hash"]
        == before["NodePool"][1]["karpenter.sh/nodepool-hash"]
    )
    copy = {**GPU.cron_job("noted-copy"), "spec": asleep["CronJob"][0]}
    copy["metadata"] = {**copy["metadata"], "annotations": asleep["CronJob"][1]}
    night.create(copy)

    night.kept._kept.clear()
    night.later(hours=1).reconcile_once()
    assert {kept.ref.kind for kept in night.kept._kept.values()} == set(objects)
    night.kept._kept.clear()
    night.at(MORNING)
    for _ in range(3):
        reported = night.reconcile_once()

    assert said() == before and not night.failed
    assert cluster.spec(path("cronjobs", "noted-copy", "batch/v1"))["suspend"] is True
    assert reported and [one.code for one in reported.outcome.findings] == ["original-copied"]
    for item in (*made, copy):
        kube.delete(kube.path(item))


def test_a_missed_run_is_skipped_where_the_policy_says_so_and_the_next_one_comes(cluster: Cluster):
    """On the real controller: of two CronJobs of each minute, we resume one, and a person the other."""
    kube, night = cluster.kube, cluster.another_night()
    night.off_hours = replace(NIGHTS, missed_runs=MissedRuns.SKIP)
    cluster.grant(builders.policy(POOLS, SLEEPS.replace("}", ", missedRuns: skip}"), NODE_CLASS))
    ours, by_hand = (GPU.cron_job(name) for name in ("skips", "by-hand"))
    for item in (ours, by_hand):
        item["spec"] |= {"schedule": "* * * * *", "suspend": item is by_hand}
    night.create(ours, by_hand)
    night.clock.now = suspended = datetime.now(UTC)
    night.put_override(True, suspended + timedelta(hours=8))

    def is_suspended() -> bool:
        night.reconcile_once()
        return bool(cluster.spec(kube.path(ours))["suspend"])

    eventually(is_suspended)
    suspended = datetime.now(UTC)
    eventually(lambda: datetime.now(UTC).minute != suspended.minute)
    night.clock.now = resumed = datetime.now(UTC)
    night.put_override(False, resumed + timedelta(hours=8))
    night.reconcile_once()
    assert not night.failed and not cluster.spec(kube.path(ours))["suspend"]
    kube.merge(kube.path(by_hand), {"spec": {"suspend": False}})

    def since(item: Object) -> list[datetime]:
        """The times for which its Jobs were made, since it was suspended."""
        made = kube.list(cluster.path("jobs", group="batch/v1"))
        mine = [
            one["metadata"] for one in made if one["metadata"]["name"].startswith(item["metadata"]["name"])
        ]
        times = [datetime.fromisoformat(one["annotations"][SCHEDULED]) for one in mine]
        return sorted(at for at in times if at > suspended)

    eventually(lambda: since(by_hand) and since(ours))
    assert since(by_hand)[0] <= resumed, "nobody told its controller"
    assert since(ours)[0] > resumed
    for item in (ours, by_hand):
        kube.delete(kube.path(item))


def _created(kube: KubeClient, item: Object) -> Object | None:
    """A kind is served a moment after its definition."""
    try:
        return kube.create(item)
    except Exception as error:
        return None if "404" in str(error) else pytest.fail(str(error))


def _is_denied(cluster: Cluster, name: str) -> bool:
    """The policy is in effect a moment after it was made; asked without writing anything."""
    at = f"{cluster.path('deployments', name)}/scale?dryRun=All"
    try:
        cluster.kube.request(
            "PATCH", at, {"spec": {"replicas": 0}}, content_type="application/merge-patch+json"
        )
    except Exception as error:
        return "needs one replica" in str(error)
    return False


def test_a_set_that_deletes_its_volumes_when_scaled_down_keeps_them_over_a_night(cluster: Cluster):
    """With the real StatefulSet controller, which deletes claims half a second after a scale-down."""
    kube, path = cluster.kube, cluster.path
    store = GPU.scaled("StatefulSet", "vectors", 2)
    store["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    store["spec"]["podManagementPolicy"] = "Parallel"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    store["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "index"}, "spec": claim}]
    kube.create(store)
    # No provisioner is here, so its pods wait for their volumes; their claims come and go all the same.
    eventually(lambda: len(cluster.pods("vectors")) == 2)
    at = path("statefulsets", "vectors")
    before = claims(cluster)
    assert sorted(before) == ["index-vectors-0", "index-vectors-1"]

    # The policy says nothing: it is left.
    cluster.night.at(NIGHT).reconcile_once()
    assert cluster.spec(at)["replicas"] == 2
    planned = cluster.night.dry_run()
    assert "volumes-would-go" in {one.code for one in planned.outcome.findings}

    # It says so, and the right is there.
    cluster.night.off_hours = replace(cluster.night.off_hours, volumes=Volumes.RETAIN)
    cluster.grant(builders.policy(POOLS, RETAINING, NODE_CLASS))
    eventually(lambda: cluster.night.reconcile_once() and cluster.spec(at)["replicas"] == 0, every=1)
    eventually(lambda: cluster.pods("vectors") == [])
    time.sleep(3)  # six times as long as the controller took to delete them
    assert claims(cluster) == before

    cluster.night.at(MORNING)
    cluster.settle(Stage.AWAKE)
    assert cluster.night.kept.snapshots(cluster.night.cluster.arn) == ()
    assert cluster.spec(at)["replicas"] == 2
    assert cluster.spec(at)["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete"
    eventually(lambda: len(cluster.pods("vectors")) == 2)
    time.sleep(3)
    assert claims(cluster) == before
    # As a check of the check: by its own word, a smaller number of replicas takes the claims along.
    kube.merge(f"{at}/scale", {"spec": {"replicas": 0}})
    eventually(lambda: claims(cluster) == {})
    kube.delete(at)


def test_what_stays_awake_gets_a_lost_node_back_at_night(cluster: Cluster):
    """The real Karpenter replaces it under `limits.nodes`, and starts none beside it."""
    kube, path = cluster.kube, cluster.path
    staying = GPU.scaled("Deployment", "stays", 1)
    staying["spec"]["template"]["metadata"]["labels"]["slicewise.dev/keep-awake"] = "true"
    for item in (staying, GPU.scaled("Deployment", "sleeps", 5)):
        kube.create(item)
    eventually(lambda: (cluster.running("stays"), cluster.running("sleeps")) == (1, 5))
    limits = cluster.spec(POOL_PATH).get("limits")

    cluster.night.at(NIGHT)
    cluster.settle(Stage.ASLEEP)
    assert cluster.spec(POOL_PATH)["limits"]["nodes"] == "1"
    [lost] = eventually(lambda: claims if len(claims := cluster.claims()) == 1 else None)
    kube.delete(kube.path(lost))

    def runs_elsewhere() -> bool:
        """Passes go on: a pod that waits is let have a node beside the one that is going."""
        cluster.night.reconcile_once()
        names = {claim["metadata"]["name"] for claim in cluster.claims()}
        return len(names) == 1 and lost["metadata"]["name"] not in names and cluster.running("stays") == 1

    eventually(runs_elsewhere, every=1)
    assert cluster.running("sleeps") == 0

    cluster.night.at(MORNING)
    cluster.settle(Stage.AWAKE)
    assert cluster.spec(POOL_PATH).get("limits") == limits
    for name in ("stays", "sleeps"):
        kube.delete(path("deployments", name))


SWITCH = Switch("ml.example.com", "Predictor", ("spec", "server", "state"), "Stopped")


def test_a_kind_of_its_own_sleeps_by_the_switch_that_the_policy_names(plane: ControlPlane, cluster: Cluster):
    """
    Its operator is a stand-in, which puts back what is scaled below; all that holds us is real. Its pods wait
    at a gate, since nothing here is about nodes.
    """
    template = GPU.scaled("Deployment", "gpt", 1)["spec"]["template"]
    template["spec"]["schedulingGates"] = [{"name": "example.com/never"}]
    at, below = cluster.path("predictors", "gpt", "ml.example.com/v1"), cluster.path("deployments", "gpt")
    with PredictorOperator(plane):
        cluster.kube.create(predictor("gpt", 1, NAMESPACE, template=template))
        eventually(lambda: cluster.pods("gpt"), lambda: cluster.kube.get(at))

        cluster.night.at(NIGHT).reconcile_once()
        eventually(lambda: cluster.spec(below)["replicas"] == 1)
        [reported] = eventually(lambda: put_back(cluster))
        assert "predictor-operator, which makes it for Predictor gpt" in reported.message
        cluster.night.at(MORNING)
        cluster.settle(Stage.AWAKE)

        # What an API server refuses for its cost is refused when it is written.
        most = [(f"kind{n}s", replace(SWITCH, kind=f"Kind{n}")) for n in range(switches.MOST)]
        for item in held(rights.sleeper(rights.of_switches(most)), "sleeper"):
            cluster.kube.apply(item)
        named = json.dumps({"timeZone": "Europe/Berlin", "asleep": ["Sat-Sun"], "kinds": [KIND]})
        cluster.grant(builders.policy(POOLS, f"offHours: {named}", NODE_CLASS))
        eventually(lambda: "spec.server.state" in refused(cluster, at), every=0.2)
        before = cluster.kube.get(at)
        cluster.night = cluster.another_night()
        cluster.night.off_hours = replace(NIGHTS, kinds=(SWITCH,))
        cluster.night.at(NIGHT)
        asleep = cluster.settle(Stage.ASLEEP)
        assert cluster.spec(at)["server"] == {"state": "Stopped"} and cluster.pods("gpt") == []
        assert asleep.outcome.findings == ()

        cluster.night.off_hours = NIGHTS
        cluster.night.at(MORNING)
        cluster.settle(Stage.AWAKE)
        eventually(lambda: cluster.pods("gpt"))
    after = cluster.kube.get(at)
    assert after["spec"] == before["spec"]
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    assert SWITCHES not in cluster.kube.get(POOL_PATH)["metadata"]["annotations"]
    for path in (at, below):
        # The second goes with its owner, as soon as the garbage collector sees it.
        cluster.kube.delete(path, missing_ok=True)


KIND = {"group": SWITCH.group, "kind": SWITCH.kind, "path": "spec.server.state", "asleep": SWITCH.asleep}


def put_back(cluster: Cluster) -> list[Finding]:
    found = cluster.night.reconcile_once()
    return [one for one in found.outcome.findings if one.code == "put-back"] if found else []


def refused(cluster: Cluster, path: str) -> str:
    """With which words the sleeper's write of another field is refused; empty where it is not."""
    ref = Ref("ml.example.com/v1", SWITCH.kind, path.rpartition("/")[2], NAMESPACE)
    another_value = f"{time.monotonic_ns()}ns"  # what changes nothing is admitted
    try:
        cluster.gateway.patch(ref, ({"op": "add", "path": "/spec/loop", "value": {"every": another_value}},))
    except Refused as error:
        return str(error)
    return ""


def claims(cluster: Cluster) -> dict[str, str]:
    """Uids by name, of those that nobody has begun to delete; a protected one stays for a while."""
    found = [one["metadata"] for one in cluster.kube.list(cluster.path("persistentvolumeclaims", group="v1"))]
    return {one["name"]: one["uid"] for one in found if "deletionTimestamp" not in one}


# What KubeRay makes, with its own operator: the last tests, since its definitions stay.


@pytest.fixture(scope="module")
def kuberay(plane: ControlPlane) -> Iterator[Controllers]:
    with Controllers.start(plane, "kuberay") as controllers:
        yield controllers


@pytest.fixture
def ray(kuberay: Controllers, cluster: Cluster) -> Iterator[Cluster]:
    """With the rights that come with KubeRay's definitions."""
    cluster.grant(POLICY)
    yield cluster
    for plural in ("rayservices", "rayjobs", "rayclusters"):
        for item in cluster.kube.list(cluster.path(plural, group=RAY)):
            # Its RayService or RayJob may have taken it along.
            cluster.kube.delete(cluster.path(plural, item["metadata"]["name"], RAY), missing_ok=True)
    eventually(lambda: not ray_pods(cluster), lambda: ray_pods(cluster))


def ray_pods(cluster: Cluster, **labels: str) -> dict[str, str]:
    """Phases by name."""
    selector = ",".join(
        ("ray.io/is-ray-node=yes", *(f"ray.io/{key}={value}" for key, value in labels.items()))
    )
    pods = cluster.kube.list(cluster.path("pods", group="v1"), labelSelector=selector)
    return {pod["metadata"]["name"]: pod["status"].get("phase", "") for pod in pods}


def a_ray_cluster(name: str, workers: int) -> Object:
    worker = GPU.scaled("Deployment", name, 1)["spec"]["template"]["spec"]
    return controller_samples.ray_cluster(name, workers, namespace=NAMESPACE, worker=worker)


def all_run(cluster: Cluster, count: int, **labels: str) -> bool:
    return list(ray_pods(cluster, **labels).values()) == ["Running"] * count


@pytest.mark.parametrize("suspend", [None, False], ids=["no field", "false"])
def test_a_ray_cluster_sleeps_and_wakes_as_it_was(ray: Cluster, suspend: bool | None):
    made = a_ray_cluster("rc", 2)
    made["spec"] |= {} if suspend is None else {"suspend": suspend}
    ray.kube.create(made)
    at = ray.path("rayclusters", "rc", RAY)
    eventually(lambda: all_run(ray, 3), lambda: ray.kube.get(at))
    before = ray.kube.get(at)

    ray.night.at(NIGHT)
    asleep = ray.settle(Stage.ASLEEP)
    assert ray_pods(ray) == {} and ray.kube.get(at)["status"]["state"] == "suspended"
    assert ray.gpu_nodes() == [] and asleep.outcome.findings == ()

    ray.night.at(EARLY)
    ray.settle(Stage.WAKING)
    eventually(lambda: all_run(ray, 3), lambda: ray.kube.get(at))
    ray.night.at(MORNING)
    assert ray.settle(Stage.AWAKE).outcome.findings == ()
    after = ray.kube.get(at)
    assert (after["spec"], after["metadata"].get("annotations")) == (
        before["spec"],
        before["metadata"].get("annotations"),
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"] and all_run(ray, 3)


def test_a_job_and_a_ray_job_are_suspended_for_a_night_and_resumed_as_they_were(ray: Cluster):
    """By Kubernetes' own controller of Jobs, and by KubeRay's, which makes a new Ray cluster."""
    kube = ray.kube
    job = GPU.job("trains", "1h")
    fields = {"entrypoint": "python -c 1", "rayClusterSpec": a_ray_cluster("any", 1)["spec"]}
    metadata = {"name": "tunes", "namespace": NAMESPACE}
    ray_job = {"apiVersion": RAY, "kind": "RayJob", "metadata": metadata, "spec": fields}
    ray_job["spec"]["shutdownAfterJobFinishes"] = True
    ray.night.off_hours = replace(NIGHTS, jobs=Jobs.SUSPEND)
    ray.grant(builders.policy(POOLS, SLEEPS.replace("}", ", jobs: suspend}"), NODE_CLASS))
    kube.create(job)
    kube.create(ray_job)
    eventually(lambda: ray.running("trains") == 1 and all_run(ray, 2), lambda: ray_pods(ray))
    paths = [kube.path(job), kube.path(ray_job)]

    def said() -> list[Any]:
        return [(one["spec"], one["metadata"].get("annotations")) for one in map(kube.get, paths)]

    before, [first] = said(), kube.list(ray.path("rayclusters", group=RAY))

    ray.night.at(NIGHT)
    asleep = ray.settle(Stage.ASLEEP)
    assert ray_pods(ray) == {} and ray.pods("trains") == []
    # One that Karpenter had begun by dusk may join a moment later, and goes since it is empty.
    eventually(lambda: ray.gpu_nodes() == [], lambda: ray.gpu_nodes())
    assert asleep.outcome.findings == () and not ray.night.failed
    assert SUSPENDS in kube.get(POOL_PATH)["metadata"]["annotations"]
    eventually(lambda: kube.get(paths[1])["status"]["jobDeploymentStatus"] == "Suspended")

    ray.night.at(EARLY)
    ray.settle(Stage.WAKING)
    assert said() == before
    eventually(lambda: ray.running("trains") == 1 and all_run(ray, 2), lambda: ray_pods(ray))
    [second] = kube.list(ray.path("rayclusters", group=RAY))
    assert second["metadata"]["name"] != first["metadata"]["name"]
    ray.night.at(MORNING)
    assert ray.settle(Stage.AWAKE).outcome.findings == ()
    assert said() == before and SUSPENDS not in kube.get(POOL_PATH)["metadata"]["annotations"]
    kube.delete(paths[0])


def test_what_a_ray_service_and_a_ray_job_have_made_is_left_and_reported_by_their_names(ray: Cluster):
    spec = a_ray_cluster("any", 1)["spec"]
    job = {"entrypoint": "python -c 1", "rayClusterSpec": spec, "shutdownAfterJobFinishes": True}
    for kind, fields in (("RayService", {"rayClusterConfig": spec, "serveConfigV2": ""}), ("RayJob", job)):
        metadata = {"name": kind.lower(), "namespace": NAMESPACE}
        ray.kube.create({"apiVersion": RAY, "kind": kind, "metadata": metadata, "spec": fields})
    eventually(lambda: all_run(ray, 4), lambda: ray_pods(ray))
    clusters = ray.path("rayclusters", group=RAY)
    before = {item["metadata"]["name"]: item["spec"] for item in ray.kube.list(clusters)}

    reported = ray.night.at(NIGHT).settle()

    said = {one.code: one.message for one in reported.outcome.findings}
    assert said["left-awake"].startswith(f"RayService {NAMESPACE}/rayservice is left awake")
    assert said["job-runs"].startswith(f"RayJob {NAMESPACE}/rayjob runs to completion")
    assert {item["metadata"]["name"]: item["spec"] for item in ray.kube.list(clusters)} == before
    assert all_run(ray, 4), "and their nodes run with them"
    ray.night.at(MORNING).settle()
