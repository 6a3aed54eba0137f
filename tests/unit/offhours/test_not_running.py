"""What does not run in the morning, or still runs at night, is reported from pods, with cause and remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours.report.not_running import NotYet, notice
from slicewise.planning.outcome import Stage

from tests.fakes.kube.controllers import PAUSED, scaled, scaled_object
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import NIGHT, REPLICAS, SERVER, codes

LATE = "2026-11-26T06:56"
POD = Ref("v1", "Pod", "server-0", "ml")


def waking(item=None) -> Sleeper:
    sleeper = Sleeper()
    sleeper.create(item or scaled("Deployment", "server", 1))
    sleeper.at(NIGHT).settle()
    sleeper.at("2026-11-26T06:51").settle()
    return sleeper


def in_findings(sleeper: Sleeper) -> list[tuple[str, str]]:
    plan = sleeper.at(LATE).dry_run()
    return [(one.message, one.remedy) for one in plan.outcome.findings if one.code == "still-pending"]


def scheduled(message: str) -> dict:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]}


def waits(reason: str) -> dict:
    return {
        "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason, "message": "oh"}}}]
    }


@pytest.mark.parametrize(
    ("spec", "status", "message", "remedy"),
    [
        pytest.param(
            {}, {}, "waits for a GPU: the scheduler reports no reason", "fallbackGpus", id="nothing said"
        ),
        pytest.param(
            {},
            scheduled("0/3 nodes: Insufficient nvidia.com/gpu"),
            "waits for a GPU: 0/3",
            "fallbackGpus",
            id="capacity",
        ),
        pytest.param(
            {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]},
            {},
            "blocked by the scheduling gate kueue.x-k8s.io/admission: its queue",
            "get workloads -n ml",
            id="Kueue",
        ),
        pytest.param(
            {"schedulingGates": [{"name": "example.com/wait"}]},
            {},
            "scheduling gate example.com/wait",
            "must remove it",
            id="another gate",
        ),
        pytest.param(
            {},
            scheduled("pod has unbound immediate PersistentVolumeClaims"),
            "waits for a volume",
            "PersistentVolumeClaims",
            id="a volume that is not bound",
        ),
        pytest.param(
            {},
            scheduled("1 node(s) had volume node affinity conflict"),
            "waits for a volume",
            "where its node may be",
            id="a volume elsewhere",
        ),
        pytest.param(
            {"nodeName": "gpu-a"},
            waits("ImagePullBackOff"),
            "ImagePullBackOff: oh",
            "image's name",
            id="an image",
        ),
        pytest.param(
            {"nodeName": "gpu-a"}, waits("CrashLoopBackOff"), "CrashLoopBackOff: oh", "its logs", id="a crash"
        ),
    ],
)
def test_a_pod_that_does_not_run_is_reported_with_its_own_cause(spec, status, message, remedy):
    sleeper = waking()
    sleeper.server.objects[POD]["spec"].update(spec)
    sleeper.server.set_status(POD, status)

    [(reported, what_to_do)] = in_findings(sleeper)

    assert "Pod ml/server-0" in reported and message in reported and "Thu 26 Nov 07:00 CET" in reported
    assert remedy in what_to_do and ("fallbackGpus" in what_to_do) == ("GPU" in message)


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_pod_that_is_on_its_way_is_not_reported(reason):
    sleeper = waking()
    sleeper.server.objects[POD]["spec"]["nodeName"] = "gpu-a"
    sleeper.server.set_status(POD, waits(reason))

    assert in_findings(sleeper) == []


def without_pods(item, **status) -> Sleeper:
    """Its controller makes none any more."""
    sleeper = Sleeper()
    sleeper.create(item)
    sleeper.at(NIGHT).settle()
    sleeper.server.on_change.clear()
    sleeper.at("2026-11-26T06:51").settle()
    if status:
        sleeper.server.set_status(ref_of(item), status)
    return sleeper


def failure(message: str) -> dict:
    return {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        pytest.param(
            {},
            "has 0 of 3 pods: its controller has made no others",
            "kubectl describe deployment server",
            id="nothing said",
        ),
        pytest.param(
            failure('pods "s" is forbidden: exceeded quota: gpus'),
            "exceeded quota",
            "ResourceQuota",
            id="a quota",
        ),
        pytest.param(
            failure("admission webhook denied the request: no"),
            "webhook denied",
            "Allow its pods",
            id="a policy",
        ),
    ],
)
def test_an_object_that_has_fewer_pods_than_it_should_is_reported(status, message, remedy):
    [(reported, what_to_do)] = in_findings(without_pods(SERVER, **status))

    assert "Deployment ml/server has 0 of 3 pods" in reported and message in reported and remedy in what_to_do


def test_a_rollout_that_is_paused_does_not_scale_and_that_is_reported():
    """By somebody in the night: one that is paused in the evening is left awake."""
    web = scaled("Rollout", "web", 3, version="argoproj.io/v1alpha1")
    sleeper = without_pods(web)
    sleeper.edit(ref_of(web), ("spec", "paused"), True)

    [(reported, what_to_do)] = in_findings(sleeper)

    assert "a paused Rollout does not scale" in reported and "spec.paused" in what_to_do


def test_a_paused_scaled_object_of_which_an_older_release_kept_no_count_is_reported():
    """It never comes back by itself."""
    scaler = scaled_object("keda", SERVER)
    scaler["metadata"]["annotations"] = {"autoscaling.keda.sh/paused": "true"}
    sleeper = Sleeper()
    sleeper.create(SERVER, scaler)
    sleeper.at(NIGHT).settle()
    kept = sleeper.kept._kept
    kept.update({key: replace(one, resume_at="") for key, one in kept.items()})
    sleeper.server.on_change.clear()
    sleeper.at("2026-11-26T06:51").settle()
    assert PAUSED not in (sleeper.value(ref_of(scaler), "metadata", "annotations") or {})

    [(reported, what_to_do)] = in_findings(sleeper)
    assert "ScaledObject ml/keda is paused by its user" in reported and "by hand" in what_to_do


def test_the_notice_names_each_cause_once_and_ten_of_its_objects_at_most():
    sleeper = waking(scaled("Deployment", "server", 9))
    more = scaled("Deployment", "more", 9)
    sleeper.create(more)
    gated = sleeper.server.objects[POD]["spec"]
    gated["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]

    sleeper.at(LATE).reconcile_once()

    [(subject, text)] = sleeper.notices.sent
    assert subject == "Slicewise: 18 pods of gpu-1 do not run yet"
    assert text.count("fallbackGpus") == 1 and text.count("get workloads") == 1
    assert "And 7 more likewise." in text and text.count("waits for a GPU") == 10


# At night


def outliving(sleeper: Sleeper):
    plan = sleeper.later(minutes=6).settle()
    return plan, [one for one in plan.outcome.findings if one.code == "outlives-its-sleep"]


def test_pods_that_outlive_the_sleep_of_their_object_are_reported_and_it_is_not_called_asleep():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.server.on_change.clear()  # its controller does nothing
    sleeper.at(NIGHT).settle()
    assert "outlives-its-sleep" not in codes(sleeper.dry_run()), "they have their grace period"

    plan, [finding] = outliving(sleeper)

    assert plan.outcome.stage is Stage.GOING_TO_SLEEP and "still have pods" in plan.outcome.reason
    assert "Deployment ml/server was put to sleep, and 3 of its pods still run" in finding.message
    assert "See that this controller runs" in finding.remedy


def test_keda_that_does_not_follow_its_pause_is_named():
    scaler = scaled_object("keda", SERVER)
    sleeper = Sleeper()
    sleeper.controllers.demand[ref_of(scaler)] = 3
    sleeper.create(SERVER, scaler)
    sleeper.server.on_change.clear()
    sleeper.at(NIGHT).settle()

    _, [finding] = outliving(sleeper)

    assert (
        "KEDA has not followed ScaledObject ml/keda" in finding.message and "operator runs" in finding.remedy
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"paused": True}, "a Rollout that is paused does not scale"),
        ({"strategy": {"blueGreen": {"previewReplicaCount": 1}}}, "its preview keeps its own count"),
        ({}, "the controller of Rollout has not ended them"),
    ],
)
def test_a_rollout_that_keeps_pods_is_named_with_why(spec, message):
    web = scaled("Rollout", "web", 3, version="argoproj.io/v1alpha1")
    sleeper = Sleeper()
    sleeper.create(web)
    sleeper.server.on_change.clear()
    sleeper.at(NIGHT).settle()
    for field, value in spec.items():
        sleeper.edit(ref_of(web), ("spec", field), value)

    _, [finding] = outliving(sleeper)

    assert message in finding.message


def test_pods_that_are_ending_have_their_grace_period_and_five_minutes():
    sleeper = Sleeper()
    sleeper.create(scaled("Deployment", "server", 1))
    sleeper.server.on_change.clear()
    sleeper.at(NIGHT).settle()
    sleeper.server.objects[POD]["metadata"]["deletionTimestamp"] = "2026-11-25T19:12:00Z"

    assert outliving(sleeper)[1] == []
    _, [finding] = outliving(sleeper.later(minutes=6))
    assert "they do not end" in finding.message and "finalizers" in finding.remedy


# Who woke it


def test_a_count_of_which_no_writer_is_known_is_not_laid_to_a_gitops_tool():
    """As after `kubectl scale` of a Deployment that Argo CD manages: the API server names nobody."""
    server = {
        **SERVER,
        "metadata": {**SERVER["metadata"], "annotations": {"argocd.argoproj.io/tracking-id": "a"}},
    }
    sleeper = Sleeper()
    sleeper.create(server)
    sleeper.at(NIGHT).settle()
    sleeper.server.scale(ref_of(SERVER), 0, 1, manager="kubectl")
    sleeper.server._writers.forget_field(ref_of(SERVER), REPLICAS)

    reported = sleeper.later(minutes=3).settle()

    assert "gitops-wakes-it" not in codes(reported)
    [finding] = [one for one in reported.outcome.findings if one.code == "woken-by-somebody"]
    assert "that the API server does not name" in finding.message and "managed by Argo CD" in finding.message
    assert "HorizontalPodAutoscaler" in finding.remedy


def test_a_writer_that_the_api_server_knows_is_named():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.edit(ref_of(SERVER), REPLICAS, 1)

    [finding] = [
        one for one in sleeper.later(minutes=3).settle().outcome.findings if one.code == "woken-by-somebody"
    ]
    assert "set while it slept by kubectl" in finding.message


def test_a_notice_can_be_read_however_many_causes_there_are_and_however_long_they_are():
    """SNS takes 256 KiB, and nobody reads a tenth of that."""
    waiting = [
        NotYet(f"Deployment ml/{number} has 0 of 1 pods: {'→' * 2000}", f"kubectl describe {number}")
        for number in range(1000)
    ]

    subject, text = notice(waiting, "gpu-1")

    assert subject == "Slicewise: 1000 pods of gpu-1 do not run yet"
    assert "kubectl describe 9\nAnd 990 more with remedies of their own: slicewise status gpu-1" in text
    assert len(text.encode()) < 10_000
