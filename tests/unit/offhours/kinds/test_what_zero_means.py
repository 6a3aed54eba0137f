"""What 0 replicas would cost an object is asked before it is put to sleep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from slicewise.errors import Refused, Unavailable
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours.targets import loses_volumes
from slicewise.policy.off_hours import Volumes

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import cron_job, keeping_volumes, owned, pod_spec, scaled, scaled_object
from tests.fakes.sleeper import NIGHTS, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, codes, objects_of

RETAINING = replace(NIGHTS, volumes=Volumes.RETAIN)
STORE = keeping_volumes(scaled("StatefulSet", "store", 2))
WHEN_SCALED = ("spec", "persistentVolumeClaimRetentionPolicy", "whenScaled")


def volumes(sleeper: Sleeper) -> dict[str, str]:
    """Uids by name: a volume that was deleted and made again has another."""
    return {
        ref.name: item["metadata"]["uid"]
        for ref, item in sleeper.server.objects.items()
        if ref.kind == "PersistentVolumeClaim"
    }


def test_a_set_that_deletes_its_volumes_is_left_and_reported_unless_the_policy_says_otherwise():
    sleeper = Sleeper()
    sleeper.create(STORE, SERVER)
    before = volumes(sleeper)

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(STORE) == 2 and sleeper.replicas(SERVER) == 0
    [finding] = [one for one in asleep.outcome.findings if one.code == "volumes-would-go"]
    assert "StatefulSet ml/store" in finding.message and "volumes: retain" in finding.remedy
    assert volumes(sleeper) == before and len(before) == 2


def test_where_the_policy_says_so_it_retains_them_first_and_has_its_own_word_back_last():
    sleeper = Sleeper(RETAINING)
    sleeper.create(STORE)
    before, claims = objects_of(sleeper), volumes(sleeper)

    sleeper.at(NIGHT).settle()
    assert sleeper.replicas(STORE) == 0 and sleeper.value(ref_of(STORE), *WHEN_SCALED) == "Retain"
    assert volumes(sleeper) == claims

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and volumes(sleeper) == claims
    writes = [
        call for call in sleeper.calls.made if "StatefulSet" in call and ("patch" in call or "scale " in call)
    ]
    assert [call.split()[0] for call in writes] == [
        "kubernetes.patch", "kubernetes.scale", "kubernetes.scale", "kubernetes.patch"
    ]  # fmt: skip


@pytest.mark.parametrize("error", [Refused("403"), Unavailable("500")])
def test_without_the_right_to_retain_it_is_not_scaled(error):
    sleeper = Sleeper(RETAINING)
    sleeper.create(STORE, SERVER)
    sleeper.calls.fails = lambda call: error if call.startswith("kubernetes.patch StatefulSet") else None

    assert sleeper.at(NIGHT).reconcile_once() is None

    assert sleeper.replicas(STORE) == 2 and sleeper.replicas(SERVER) == 0
    assert [failed.part for failed in sleeper.failed] == ["StatefulSet ml/store"]


@pytest.mark.parametrize("policy", [NIGHTS, RETAINING])
def test_a_set_that_keda_scales_is_paused_only_once_it_retains(policy):
    scaler = scaled_object("keda", STORE)
    sleeper = Sleeper(policy)
    sleeper.controllers.demand[ref_of(scaler)] = 2
    sleeper.create(STORE, scaler)
    before, claims = objects_of(sleeper), volumes(sleeper)

    asleep = sleeper.at(NIGHT).settle()
    assert volumes(sleeper) == claims
    assert sleeper.replicas(STORE) == (0 if policy is RETAINING else 2)
    assert ("volumes-would-go" in codes(asleep)) == (policy is NIGHTS)

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before and volumes(sleeper) == claims


def test_keda_is_not_paused_where_its_set_could_not_be_told_to_retain():
    scaler = scaled_object("keda", STORE)
    sleeper = Sleeper(RETAINING)
    sleeper.controllers.demand[ref_of(scaler)] = 2
    sleeper.create(STORE, scaler)
    claims = volumes(sleeper)
    sleeper.calls.fails = lambda call: (
        Refused("403") if call.startswith("kubernetes.patch Stateful") else None
    )

    sleeper.at(NIGHT).reconcile_once()

    assert sleeper.replicas(STORE) == 2 and volumes(sleeper) == claims


def test_a_set_below_an_operator_that_scales_it_is_left():
    """What we would write into it, its operator would put back."""
    server = scaled("ModelServer", "own", 2, version="inference.example.com/v1")
    sleeper = Sleeper(RETAINING)
    sleeper.create(server)
    above = {**{key: server[key] for key in ("apiVersion", "kind")}, "name": "own", "controller": True}
    above["uid"] = sleeper.server.objects[ref_of(server)]["metadata"]["uid"]
    store = {**STORE, "metadata": {**STORE["metadata"], "ownerReferences": [above]}}
    sleeper.create(store)
    pod = sleeper.controllers._made("v1", "Pod", "store-0", sleeper.server.objects[ref_of(store)], pod_spec())
    assert pod

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(server) == 2 and "volumes-would-go" in codes(asleep)


def test_delete_that_comes_back_before_it_is_scaled_leaves_it_awake():
    """Somebody's tool puts its own word back between two passes."""
    sleeper = Sleeper(RETAINING)
    sleeper.create(STORE)
    claims = volumes(sleeper)
    sleeper.calls.fails = lambda call: Unavailable("503") if call.startswith("kubernetes.scale ") else None
    sleeper.at(NIGHT).reconcile_once()
    assert sleeper.value(ref_of(STORE), *WHEN_SCALED) == "Retain" and sleeper.replicas(STORE) == 2
    sleeper.calls.fails = lambda call: None
    sleeper.edit(ref_of(STORE), WHEN_SCALED, "Delete")

    asleep = sleeper.settle()

    assert sleeper.replicas(STORE) == 2 and volumes(sleeper) == claims
    assert "volumes-would-go" in codes(asleep)


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(keeping_volumes(scaled("StatefulSet", "store", 2), "Retain"), id="it retains anyway"),
        pytest.param(scaled("StatefulSet", "store", 2), id="it has no volumes"),
    ],
)
def test_other_sets_sleep_as_ever_and_are_not_patched(item):
    sleeper = Sleeper()
    sleeper.create(item)

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(item) == 0 and "volumes-would-go" not in codes(asleep)
    assert not [call for call in sleeper.calls.made if call.startswith("kubernetes.patch StatefulSet")]


@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_no_volume_is_lost_wherever_a_reconcile_ends(how):
    whole = Sleeper(RETAINING)
    whole.create(STORE)
    number = 0
    while True:
        sleeper = Sleeper(RETAINING)
        sleeper.create(STORE)
        before, claims = objects_of(sleeper), volumes(sleeper)
        begin = len(sleeper.calls.made)
        sleeper.at(NIGHT).struck_reconcile(how, number)
        done = len(sleeper.calls.made) - begin <= number
        assert volumes(sleeper) == claims
        sleeper.settle()
        assert sleeper.replicas(STORE) == 0 and volumes(sleeper) == claims
        sleeper.at(MORNING).struck_reconcile(how, number)
        sleeper.settle()
        assert objects_of(sleeper) == before and volumes(sleeper) == claims
        if done:
            break
        number += 1
    assert number > 10


# Jobs of other kinds


TORCH = scaled("PyTorchJob", "ft", 2, version="kubeflow.org/v1")
OTHER = scaled("TuningJob", "ft", 2, version="example.com/v1")
LABELLED = {"slicewise.dev/sleeps": "true"}


def training(job: dict[str, Any], labels: dict[str, str]) -> Sleeper:
    sleeper = Sleeper()
    sleeper.server.add_crds("pytorchjobs.kubeflow.org", "tuningjobs.example.com")
    sleeper.create(job, SERVER)
    pod = {**sleeper.controllers._made("v1", "Pod", "ft-0", sleeper.server.objects[ref_of(job)], pod_spec())}
    sleeper.server.objects[ref_of(pod)]["metadata"]["labels"] = labels
    return sleeper


@pytest.mark.parametrize(
    ("job", "labels", "remedy"),
    [
        pytest.param(OTHER, {}, "slicewise.dev/sleeps=true", id="any kind"),
        pytest.param(TORCH, {}, "spec.runPolicy.suspend", id="Kubeflow's"),
        pytest.param(TORCH, LABELLED, "spec.runPolicy.suspend", id="Kubeflow's, labelled"),
    ],
)
def test_a_training_job_with_a_scale_runs_to_its_end_and_is_reported(job, labels, remedy):
    sleeper = training(job, labels)

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(job) == 2 and sleeper.replicas(SERVER) == 0
    [finding] = [one for one in asleep.outcome.findings if one.code == "job-runs"]
    assert f"{job['kind']} ml/ft runs to completion" in finding.message and remedy in finding.remedy


@pytest.mark.parametrize(
    ("version", "kind"), [("batch.volcano.sh/v1alpha1", "Job"), ("kubeflow.org/v2beta1", "MPIJob")]
)
def test_a_training_job_without_a_scale_runs_to_its_end_and_is_reported_by_its_name(version, kind):
    job = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "ft", "namespace": "ml", "uid": "uid-ft"},
    }
    sleeper = Sleeper()
    for number in range(2):
        metadata = {"name": f"ft-{number}", "namespace": "ml"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec()}
        sleeper.create(owned(pod, job))

    asleep = sleeper.at(NIGHT).settle()

    [finding] = [one for one in asleep.outcome.findings if one.code == "job-runs"]
    assert finding.message.startswith(f"{kind} ml/ft runs to completion; it uses 2 GPU slices")
    assert "label" not in finding.remedy


def test_the_jobs_of_a_job_set_run_to_their_end_and_are_reported_once_by_the_sets_name():
    above = {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet"}
    above["metadata"] = {"name": "train", "namespace": "ml", "uid": "uid-train"}
    sleeper = Sleeper()
    sleeper.server.add_crds("jobsets.jobset.x-k8s.io")
    for number in range(2):
        name = f"train-workers-{number}"
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "ml"}}
        sleeper.create(owned({**job, "spec": {}}, above))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-0-x", "namespace": "ml"}}
        made = sleeper.server.objects[Ref("batch/v1", "Job", name, "ml")]
        sleeper.create(owned({**pod, "spec": pod_spec()}, made))

    asleep = sleeper.at(NIGHT).settle()

    [finding] = [one for one in asleep.outcome.findings if one.code == "job-runs"]
    assert finding.message.startswith("JobSet ml/train runs to completion; it uses 2 GPU slices")


TRAIN_JOB = ("trainer.kubeflow.org/v1alpha1", "TrainJob", "ft")
JOB_SET, JOB = ("jobset.x-k8s.io/v1alpha2", "JobSet", "ft"), ("batch/v1", "Job", "ft-node-0")


@pytest.mark.parametrize("made", [(JOB_SET, JOB), (TRAIN_JOB, JOB_SET, JOB)], ids=["JobSet", "TrainJob"])
def test_jobs_of_a_job_set_run_to_their_end_and_are_reported_by_the_name_of_the_topmost(made):
    sleeper = Sleeper()
    sleeper.server.add_crds("jobsets.jobset.x-k8s.io", "trainjobs.trainer.kubeflow.org")
    above = None
    for version, kind, name in (*made, ("v1", "Pod", "ft-node-0-0")):
        metadata = {"name": name, "namespace": "ml"}
        item = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": pod_spec()}
        sleeper.create(owned(item, above) if above else item)
        above = sleeper.server.objects[Ref(version, kind, name, "ml")]

    asleep = sleeper.at(NIGHT).settle()

    [finding] = [one for one in asleep.outcome.findings if one.code == "job-runs"]
    assert finding.message.startswith(f"{made[0][1]} ml/ft runs to completion; it uses 1 GPU slices")


def test_a_training_job_that_is_labelled_to_sleep_sleeps_and_wakes():
    sleeper = training(OTHER, LABELLED)

    sleeper.at(NIGHT).settle()
    assert sleeper.replicas(OTHER) == 0
    sleeper.at(MORNING).settle()
    assert sleeper.replicas(OTHER) == 2


def test_a_cron_jobs_running_job_is_reported_by_its_own_name():
    nightly = {
        **cron_job("nightly"),
        "metadata": {"name": "nightly", "namespace": "ml", "uid": "uid-nightly"},
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "nightly-1", "namespace": "ml"}}
    sleeper = Sleeper()
    sleeper.create(nightly, owned({**job, "spec": {}}, nightly))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nightly-1-x", "namespace": "ml"}}
    made = sleeper.server.objects[Ref("batch/v1", "Job", "nightly-1", "ml")]
    sleeper.create(owned({**pod, "spec": pod_spec()}, made))

    asleep = sleeper.at(NIGHT).settle()

    [finding] = [one for one in asleep.outcome.findings if one.code == "job-runs"]
    assert finding.message.startswith("Job ml/nightly-1 runs to completion")


def test_a_cron_job_is_no_such_job():
    sleeper = Sleeper()
    sleeper.create(cron_job("nightly"))
    sleeper.at(NIGHT).settle()

    assert sleeper.value(Ref("batch/v1", "CronJob", "nightly", "ml"), "spec", "suspend") is True


@pytest.mark.parametrize(
    ("retention", "loses"),
    [
        pytest.param({"whenScaled": "Retain", "whenDeleted": "Delete"}, True, id="when deleted"),
        pytest.param({"whenScaled": "Delete", "whenDeleted": "Retain"}, True, id="when scaled"),
        pytest.param({"whenScaled": "Retain", "whenDeleted": "Retain"}, False, id="never"),
    ],
)
@pytest.mark.parametrize("above", ["Pod", "LeaderWorkerSet"])
def test_a_set_that_is_deleted_with_its_leader_loses_what_it_deletes_then(retention, loses, above):
    """A LeaderWorkerSet at 0 has its set of leaders scaled, and the set of workers of each deleted."""
    leader = {"apiVersion": "v1", "kind": above, "metadata": {"name": "llm-0", "uid": "a"}}
    store = keeping_volumes(owned(scaled("StatefulSet", "workers", 2), leader))
    store["spec"]["persistentVolumeClaimRetentionPolicy"] = retention

    assert loses_volumes(store) == (loses and (above == "Pod" or retention["whenScaled"] == "Delete"))
