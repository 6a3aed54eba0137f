"""
The real Argo Rollouts: what a count of 0 does between two versions, and nights on GPU nodes that the real
Karpenter starts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from slicewise.planning.outcome import Plan, Stage

from sandbox.cluster import audit
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples as controller_samples
from sandbox.controllers.process import Controllers
from tests.sandbox.offhours.gpu_workloads import ROLLOUT
from tests.sandbox.offhours.test_offhours import EARLY, GPU, MORNING, NAMESPACE, NIGHT, Cluster, gpus_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.controllers("argo-rollouts")

Object = dict[str, Any]
ACCOUNT = "system:serviceaccount:argo-rollouts:argo-rollouts"
VERSION = "rollouts-pod-template-hash"
ENDLESS = {"canary": {"steps": [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]}}


@pytest.fixture(scope="module")
def rollouts(karpenter_plane: ControlPlane) -> Iterator[Cluster]:
    """A cluster whose GPU workloads sleep, with Argo Rollouts and the rights that come with its kinds."""
    gpus = gpus_of(karpenter_plane.kube)
    with Controllers.start(karpenter_plane, "argo-rollouts"), gpus:
        yield Cluster(karpenter_plane)


@pytest.fixture(autouse=True)
def emptied(rollouts: Cluster) -> Iterator[None]:
    rollouts.night = rollouts.another_night()
    yield
    for plural, group in (("rollouts", ROLLOUT), ("deployments", "apps/v1"), ("services", "v1")):
        for item in rollouts.kube.list(rollouts.path(plural, group=group)):
            rollouts.kube.delete(rollouts.path(plural, item["metadata"]["name"], group))
    eventually(lambda: not rollouts.kube.list(rollouts.path("pods", group="v1")), "pods outlive their owners")


def rollout(name: str, replicas: int, strategy: Object, **fields: Any) -> Object:
    item = GPU.scaled("Rollout", name, replicas, ROLLOUT)
    item["spec"] |= {"strategy": strategy, **fields}
    return item


def anywhere(item: Object) -> Object:
    """The same without a GPU."""
    item["spec"]["template"]["spec"] = controller_samples.pod("main")
    return item


def blue_green(name: str, **fields: Any) -> Object:
    services = {"activeService": name, "previewService": f"{name}-preview"}
    return {"blueGreen": {**services, **fields}}


def services(name: str) -> list[Object]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": each, "namespace": NAMESPACE},
            "spec": spec,
        }
        for each in (name, f"{name}-preview")
    ]


def at(cluster: Cluster, name: str) -> str:
    return cluster.path("rollouts", name, ROLLOUT)


def begin(cluster: Cluster, *items: Object) -> None:
    """Each runs its first version."""
    for item in items:
        cluster.kube.create(item)
    for name in names(items):
        await_phase(cluster, name, "Healthy")


def names(items: Iterable[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items if item["kind"] == "Rollout"]


def await_phase(cluster: Cluster, name: str, phase: str) -> None:
    def is_there() -> bool:
        live = cluster.kube.get(at(cluster, name))
        status = live.get("status") or {}
        seen = status.get("observedGeneration") == str(live["metadata"]["generation"])
        return seen and status.get("phase") == phase

    eventually(is_there, lambda: cluster.kube.get(at(cluster, name)).get("status"))


def update(cluster: Cluster, name: str) -> None:
    template = {"metadata": {"annotations": {"version": "2"}}}
    cluster.kube.merge(at(cluster, name), {"spec": {"template": template}})


def set_status(cluster: Cluster, name: str, **status: Any) -> None:
    """What `kubectl argo rollouts abort` and `promote` do."""
    cluster.kube.merge(f"{at(cluster, name)}/status", {"status": status})


def split(cluster: Cluster, app: str) -> Mapping[str, int]:
    """How many pods run of each version."""
    running = [pod for pod in cluster.pods(app) if pod["status"].get("phase") == "Running"]
    return Counter(pod["metadata"]["labels"][VERSION] for pod in running)


def await_split(cluster: Cluster, app: str, *counts: int) -> None:
    eventually(
        lambda: sorted(split(cluster, app).values()) == sorted(counts),
        lambda: (split(cluster, app), cluster.kube.get(at(cluster, app)).get("status")),
    )


def step(cluster: Cluster, name: str) -> Object:
    """Where it stands between two versions."""
    status = cluster.kube.get(at(cluster, name))["status"]
    return {key: status.get(key) for key in ("abort", "currentPodHash", "currentStepIndex", "stableRS")}


def kept(cluster: Cluster, name: str) -> tuple[Any, ...]:
    item = cluster.kube.get(at(cluster, name))
    return item["spec"], item["metadata"].get("annotations"), item["metadata"]["uid"], step(cluster, name)


def uids(cluster: Cluster, app: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in cluster.pods(app)}


def found(plan: Plan, code: str) -> list[str]:
    return [one.message for one in plan.outcome.findings if one.code == code]


@contextmanager
def analysis_of(cluster: Cluster, app: str) -> Iterator[Object]:
    """Of a canary: it asks each second how many pods of an app run, and fails where there is none."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"running": cluster.running(app)}).encode())

        def log_message(self, *about: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    web = {"url": f"http://127.0.0.1:{server.server_port}", "jsonPath": "{$.running}"}
    metric = {"name": "running", "interval": "1s", "successCondition": "result >= 1"}
    template = {
        "apiVersion": ROLLOUT,
        "kind": "AnalysisTemplate",
        "metadata": {"name": app, "namespace": NAMESPACE},
        "spec": {"metrics": [metric | {"provider": {"web": web}}]},
    }
    cluster.kube.apply(template)
    try:
        yield {"templates": [{"templateName": app}]}
    finally:
        server.shutdown()
        cluster.kube.delete(cluster.kube.path(template))


def await_measuring(cluster: Cluster, name: str) -> None:
    def measures() -> bool:
        status = cluster.kube.get(at(cluster, name))["status"]
        run = (status.get("canary") or {}).get("currentBackgroundAnalysisRunStatus") or {}
        return run.get("status") == "Running"

    eventually(measures, lambda: cluster.kube.get(at(cluster, name))["status"])


# Why a Rollout is left: what its controller does with a count of 0.


def test_at_0_timed_steps_go_on_and_the_new_version_is_stable_with_no_pod(rollouts: Cluster):
    steps = [
        {"setWeight": 50},
        {"pause": {"duration": "5s"}},
        {"setWeight": 75},
        {"pause": {"duration": "1s"}},
    ]
    begin(rollouts, anywhere(rollout("timed", 2, {"canary": {"steps": steps}})))
    before = step(rollouts, "timed")
    update(rollouts, "timed")
    eventually(lambda: step(rollouts, "timed")["currentPodHash"] != before["currentPodHash"])

    rollouts.kube.merge(at(rollouts, "timed"), {"spec": {"replicas": 0}})

    eventually(
        lambda: step(rollouts, "timed")["stableRS"] not in ("", None, before["stableRS"]),
        lambda: step(rollouts, "timed"),
    )
    await_phase(rollouts, "timed", "Healthy")
    assert rollouts.spec(at(rollouts, "timed"))["replicas"] == 0 and split(rollouts, "timed") == {}


def test_one_that_is_paused_does_not_follow_its_count(rollouts: Cluster):
    begin(rollouts, anywhere(rollout("paused", 2, ENDLESS)))
    rollouts.kube.merge(at(rollouts, "paused"), {"spec": {"paused": True}})
    await_phase(rollouts, "paused", "Paused")

    rollouts.kube.merge(at(rollouts, "paused"), {"spec": {"replicas": 0}})

    await_phase(rollouts, "paused", "Paused")
    assert len(rollouts.pods("paused")) == 2

    rollouts.kube.merge(at(rollouts, "paused"), {"spec": {"paused": False}})
    eventually(lambda: not rollouts.pods("paused"), lambda: rollouts.kube.get(at(rollouts, "paused")))


def test_at_0_an_analysis_finds_no_pods_and_aborts_what_a_person_was_to_promote(rollouts: Cluster):
    with analysis_of(rollouts, "measured") as analysis:
        strategy = {"canary": {**ENDLESS["canary"], "analysis": analysis}}
        begin(rollouts, anywhere(rollout("measured", 4, strategy)))
        update(rollouts, "measured")
        await_phase(rollouts, "measured", "Paused")
        await_measuring(rollouts, "measured")

        rollouts.kube.merge(at(rollouts, "measured"), {"spec": {"replicas": 0}})

        eventually(lambda: step(rollouts, "measured")["abort"], lambda: step(rollouts, "measured"))


# Nights.


def test_what_stays_at_its_step_sleeps_and_wakes_with_the_same_split(rollouts: Cluster):
    """A canary at an endless pause, an aborted one, blue-green by a person, by a Deployment, a plain one."""
    night = rollouts.night
    referred = GPU.scaled("Deployment", "referred", 0)
    referring = rollout("referring", 2, {"canary": {}})
    for field in ("selector", "template"):
        del referring["spec"][field]
    referring["spec"]["workloadRef"] = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "referred"}
    manual = rollout("manual", 2, blue_green("manual", autoPromotionEnabled=False))
    canaries = [rollout(name, 4, ENDLESS) for name in ("canary", "aborted")]
    made = [referred, referring, *services("manual"), manual, *canaries, rollout("plain", 2, {"canary": {}})]
    begin(rollouts, *made)
    for name, counts in (("manual", (2, 2)), ("canary", (1, 3)), ("aborted", (1, 3))):
        update(rollouts, name)
        await_phase(rollouts, name, "Paused")
        await_split(rollouts, name, *counts)
    set_status(rollouts, "aborted", abort=True)
    await_split(rollouts, "aborted", 4)
    await_phase(rollouts, "aborted", "Degraded")
    apps = {name: "referred" if name == "referring" else name for name in names(made)}
    for app in apps.values():
        eventually(lambda app=app: rollouts.running(app) == len(rollouts.pods(app)) > 0, app)
    before = {name: kept(rollouts, name) for name in apps}
    splits = {app: split(rollouts, app) for app in apps.values()}
    of_deployment = rollouts.spec(rollouts.path("deployments", "referred"))

    night.at(NIGHT)
    asleep = rollouts.settle(Stage.ASLEEP)
    assert rollouts.gpu_nodes() == [] and asleep.outcome.findings == ()
    assert [pod for app in splits for pod in rollouts.pods(app)] == []
    assert {name: step(rollouts, name) for name in apps} == {name: was[-1] for name, was in before.items()}

    def woken() -> bool:
        night.reconcile_once()
        return {app: split(rollouts, app) for app in splits} == splits

    night.at(EARLY)
    eventually(woken, lambda: ({app: split(rollouts, app) for app in splits}, splits), every=1)
    night.at(MORNING)
    assert rollouts.settle(Stage.AWAKE).outcome.findings == ()
    assert {name: kept(rollouts, name) for name in apps} == before
    assert {app: split(rollouts, app) for app in splits} == splits
    assert rollouts.spec(rollouts.path("deployments", "referred")) == of_deployment


def test_what_would_go_on_with_no_pod_or_does_not_scale_is_left_with_its_nodes(rollouts: Cluster):
    """A canary at a timed pause, one that is measured, blue-green by the clock, one that its user paused."""
    steps = [{"setWeight": 25}, {"pause": {"duration": "1h"}}, {"setWeight": 50}]
    with analysis_of(rollouts, "measured") as analysis:
        left = [
            rollout("timed", 4, {"canary": {"steps": steps}}),
            rollout("measured", 4, {"canary": {**ENDLESS["canary"], "analysis": analysis}}),
            rollout("by-clock", 1, blue_green("by-clock", autoPromotionSeconds=3600)),
            rollout("paused", 2, ENDLESS),
        ]
        begin(rollouts, *services("by-clock"), *left, rollout("plain", 5, {"canary": {}}))
        rollouts.kube.merge(at(rollouts, "paused"), {"spec": {"paused": True}})
        for name, counts in (("timed", (1, 3)), ("measured", (1, 3)), ("by-clock", (1, 1))):
            update(rollouts, name)
            await_split(rollouts, name, *counts)
        for name in names(left):
            await_phase(rollouts, name, "Paused")
        await_measuring(rollouts, "measured")
        eventually(lambda: rollouts.running("plain") == 5)
        night_of_what_is_left(rollouts, names(left))


def night_of_what_is_left(cluster: Cluster, left: list[str]) -> None:
    """All stay as they are; "timed", once a person has promoted it, sleeps in the same night like "plain"."""
    night = cluster.night
    before, plain = {name: kept(cluster, name) for name in left}, kept(cluster, "plain")
    pods = {name: uids(cluster, name) for name in left}

    night.at(NIGHT)
    asleep = cluster.settle(Stage.ASLEEP)

    in_findings = [message.split(" is left awake")[0] for message in found(asleep, "left-awake")]
    assert sorted(in_findings) == [f"Rollout {NAMESPACE}/{name}" for name in sorted(left)]
    assert len(found(asleep, "open-for-what-stays")) == 1
    assert {name: kept(cluster, name) for name in left} == before
    assert {name: uids(cluster, name) for name in left} == pods and cluster.pods("plain") == []
    used = {pod["spec"]["nodeName"] for pod in cluster.kube.list(cluster.path("pods", group="v1"))}
    eventually(lambda: {node["metadata"]["name"] for node in cluster.gpu_nodes()} == used, lambda: used)

    set_status(cluster, "timed", promoteFull=True)
    await_phase(cluster, "timed", "Healthy")
    promoted = kept(cluster, "timed")
    night.later(minutes=15)
    eventually(lambda: night.reconcile_once() and not cluster.pods("timed"), "it does not sleep", every=1)

    night.at(EARLY)
    cluster.settle(Stage.WAKING)
    await_split(cluster, "timed", 4)
    await_split(cluster, "plain", 5)
    night.at(MORNING)
    cluster.settle(Stage.AWAKE)
    assert (kept(cluster, "timed"), kept(cluster, "plain")) == (promoted, plain)
    for name in set(left) - {"timed"}:
        assert (kept(cluster, name), uids(cluster, name)) == (before[name], pods[name])


def test_a_preview_that_keeps_its_own_count_is_reported_and_all_else_of_it_sleeps(rollouts: Cluster):
    night = rollouts.night
    strategy = blue_green("shown", autoPromotionEnabled=False, previewReplicaCount=1)
    begin(rollouts, *services("shown"), rollout("shown", 5, strategy))
    update(rollouts, "shown")
    await_phase(rollouts, "shown", "Paused")
    await_split(rollouts, "shown", 1, 5)
    before, splits = kept(rollouts, "shown"), split(rollouts, "shown")

    night.at(NIGHT)
    night.reconcile_once()
    await_split(rollouts, "shown", 1)
    asleep = night.later(minutes=6).reconcile_once()

    [reported] = found(asleep, "outlives-its-sleep")
    assert "Rollout nightly/shown was put to sleep, and 1 of its pods still run" in reported
    assert "previewReplicaCount" in reported and asleep.outcome.stage is Stage.GOING_TO_SLEEP
    eventually(lambda: len(rollouts.gpu_nodes()) == 1, lambda: rollouts.gpu_nodes())

    night.at(EARLY)
    night.reconcile_once()
    eventually(lambda: split(rollouts, "shown") == splits, lambda: split(rollouts, "shown"))
    night.at(MORNING)
    assert rollouts.settle(Stage.AWAKE).outcome.findings == ()
    assert kept(rollouts, "shown") == before


def test_it_needs_no_more_than_its_own_roles(karpenter_plane: ControlPlane):
    requests = list(audit.requests(karpenter_plane.audit_log, ACCOUNT))

    assert any((request.verb, request.resource) == ("create", "replicasets") for request in requests)
    assert [request for request in requests if request.is_refused] == []
