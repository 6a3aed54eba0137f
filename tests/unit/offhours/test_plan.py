"""Asleep, awake, and who wins in between."""

from __future__ import annotations

from dataclasses import replace

import pytest
from slicewise.kube.labels import STARTUP_ANNOTATION
from slicewise.kube.ref import Ref, ref_of
from slicewise.offhours import plan as plan_of_nights
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import BarePods, OffHours

from tests.fakes.kube.controllers import PAUSED, cron_job, pod_spec, scaled, scaled_job, scaled_object
from tests.fakes.sleeper import NIGHTS, NODE_POOL, Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, REPLICAS, SERVER, codes, objects_of

EVERY_KIND = [
    pytest.param(SERVER, id="Deployment"),
    pytest.param(scaled("StatefulSet", "store", 2), id="StatefulSet"),
    pytest.param(scaled("Rollout", "web", 3, version="argoproj.io/v1alpha1"), id="Rollout"),
    pytest.param(
        scaled("LeaderWorkerSet", "llm", 2, version="leaderworkerset.x-k8s.io/v1"), id="LeaderWorkerSet"
    ),
    pytest.param(
        scaled("ModelServer", "own", 2, version="inference.example.com/v1"), id="a kind of their own"
    ),
]


@pytest.mark.parametrize("item", EVERY_KIND)
def test_whatever_scales_sleeps_and_wakes_as_it_was(item):
    sleeper = Sleeper()
    sleeper.create(item)
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    assert sleeper.replicas(item) == 0 and not [r for r in sleeper.server.objects if r.kind == "Pod"]

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before
    assert sleeper.kept.snapshots(sleeper.cluster.arn) == ()


def test_a_second_wake_changes_nothing():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    assert sleeper.later(hours=1).reconcile_once().actions == ()


def test_keda_is_paused_by_its_own_annotation_and_its_target_is_left_to_it():
    server, other = SERVER, scaled("Deployment", "other", 2)
    sleeper = Sleeper()
    plain, paused = scaled_object("plain", server), scaled_object("paused", other, paused="2")
    sleeper.controllers.demand[ref_of(plain)] = 3
    sleeper.create(server, other, plain, paused)
    before = objects_of(sleeper)

    asleep = sleeper.at(NIGHT).settle()
    for item in (plain, paused):
        assert sleeper.value(ref_of(item), "metadata", "annotations", PAUSED) == "0"
    assert sleeper.replicas(server) == sleeper.replicas(other) == 0
    assert not any("scale Deployment" in str(a) for plan in sleeper.plans for a in plan.actions), asleep

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before


def test_a_horizontal_pod_autoscaler_is_left_unchanged():
    sleeper = Sleeper()
    scaler = {
        "apiVersion": "apps/v1",  # any group that the fake serves
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "server", "namespace": "ml"},
        "spec": {"minReplicas": 2, "maxReplicas": 9},
    }
    sleeper.create(SERVER, scaler)
    before = sleeper.server.objects[ref_of(scaler)]["metadata"]["resourceVersion"]

    sleeper.at(NIGHT).settle()
    sleeper.at(MORNING).settle()

    assert sleeper.value(ref_of(scaler), "metadata", "resourceVersion") == before
    assert sleeper.replicas(SERVER) == 3


def test_what_makes_jobs_makes_none_and_a_job_runs_to_its_end():
    sleeper = Sleeper()
    nightly, paused, own, elsewhere = (
        cron_job("nightly"),
        cron_job("paused", suspend=True),
        scaled_job("queue"),
        cron_job("cpu", pool=None, slices=0),
    )
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train", "namespace": "ml"},
        "spec": {},
    }
    sleeper.create(nightly, paused, own, elsewhere, job)
    sleeper.controllers._made("v1", "Pod", "train-x", sleeper.server.objects[ref_of(job)], pod_spec())
    before = objects_of(sleeper)

    asleep = sleeper.at(NIGHT).settle()
    assert sleeper.value(ref_of(nightly), "spec", "suspend") is True
    assert sleeper.value(ref_of(own), "metadata", "annotations", "autoscaling.keda.sh/paused") == "true"
    assert sleeper.value(ref_of(elsewhere), "spec", "suspend") is None
    assert "job-runs" in codes(asleep)

    sleeper.at(MORNING).settle()
    after = objects_of(sleeper)
    # The API server fills in what was left out: false is what it means.
    assert after[ref_of(nightly)]["spec"].pop("suspend") is False
    assert after == before


def test_what_is_kept_awake_bare_or_elsewhere_is_left_and_reported():
    kept = scaled("Deployment", "on-call", 1)
    kept["metadata"]["labels"] = {"slicewise.dev/keep-awake": "true"}
    cpu = scaled("Deployment", "cpu", 4, pool=None, slices=0)
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "notebook", "namespace": "ml"},
        "spec": {**pod_spec(), "nodeName": "gpu-a"},
    }
    sleeper = Sleeper()
    sleeper.node("gpu-a")
    sleeper.create(kept, cpu, bare)
    before = objects_of(sleeper)

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.replicas(kept) == 1 and sleeper.replicas(cpu) == 4
    assert {"kept-awake", "bare-pod"} <= codes(asleep)
    assert any("uses 1 GPU slices on gpu-a" in finding.message for finding in asleep.outcome.findings)
    assert ref_of(bare) in sleeper.server.objects
    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before


def test_bare_pods_go_only_where_the_policy_says_so():
    sleeper = Sleeper(OffHours("Europe/Berlin", NIGHTS.asleep, bare_pods=BarePods.DELETE))
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "notebook", "namespace": "ml"},
        "spec": pod_spec(),
    }
    sleeper.create(bare)

    sleeper.at(NIGHT).settle()

    assert ref_of(bare) not in sleeper.server.objects


def test_a_named_namespace_sleeps_wherever_its_pods_run():
    sleeper = Sleeper(OffHours("Europe/Berlin", NIGHTS.asleep, namespaces=("ml",)))
    cpu = scaled("Deployment", "cpu", 4, pool=None, slices=0)
    sleeper.create(cpu)

    sleeper.at(NIGHT).settle()

    assert sleeper.replicas(cpu) == 0


def test_node_pools_get_no_node_while_asleep_and_come_back_byte_for_byte():
    sleeper = Sleeper()
    before = objects_of(sleeper)

    sleeper.at(NIGHT).settle()
    assert sleeper.value(NODE_POOL, "spec", "limits") == {"nvidia.com/gpu": "64", "nodes": "0"}
    assert sleeper.value(NODE_POOL, "spec", "disruption", "consolidateAfter") == "0s"
    assert sleeper.value(NODE_POOL, "metadata", "annotations", "slicewise.dev/asleep")

    sleeper.at(MORNING).settle()
    assert objects_of(sleeper) == before


def test_the_original_is_kept_before_the_first_change_of_each():
    sleeper = Sleeper()
    sleeper.create(SERVER, cron_job("nightly"))
    sleeper.at(NIGHT).settle()

    made = [call for call in sleeper.calls.made if "keep" in call or "patch" in call or "scale " in call]
    for item, write in (
        (SERVER, "kubernetes.scale Deployment"),
        (cron_job("nightly"), "kubernetes.patch CronJob"),
    ):
        first_kept = next(i for i, call in enumerate(made) if call.startswith(f"sleep.keep {ref_of(item)}"))
        first_written = next(i for i, call in enumerate(made) if call.startswith(write))
        assert first_kept < first_written


def test_the_least_important_sleep_first_and_the_most_important_wake_first():
    low, high = scaled("Deployment", "a-low", 1), scaled("Deployment", "b-high", 1, priority=1000)
    sleeper = Sleeper()
    sleeper.create(low, high)

    def order() -> list[str]:
        return [call.split("/")[-1] for call in sleeper.calls.made if call.startswith("kubernetes.scale ")]

    sleeper.at(NIGHT).settle()
    assert order() == ["a-low", "b-high"]
    sleeper.at(MORNING).settle()
    assert order()[2:] == ["b-high", "a-low"]


# Times


def test_waking_begins_early_and_reports_who_is_still_pending():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()

    assert sleeper.at("2026-11-26T06:49").dry_run().outcome.stage is Stage.ASLEEP
    woken = sleeper.at("2026-11-26T06:50").reconcile_once()
    assert woken.outcome.stage is Stage.WAKING and sleeper.replicas(SERVER) == 3
    assert woken.outcome.requeue_after.total_seconds() == 300
    assert "still-pending" not in codes(woken)

    late = sleeper.at("2026-11-26T06:55").reconcile_once()
    assert [f.code for f in late.outcome.findings] == ["still-pending"] * 3


def test_a_short_waking_reports_who_is_pending_in_its_second_half():
    """At its beginning everybody is: nodes have only been asked for."""
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.edit(
        NODE_POOL, ("metadata", "annotations", STARTUP_ANNOTATION), '[["a",100],["b",100],["c",100]]'
    )
    sleeper.edit(ref_of(SERVER), REPLICAS, 4)

    woken = sleeper.at("2026-11-26T06:58").reconcile_once()
    assert woken.outcome.stage is Stage.WAKING and woken.outcome.requeue_after.total_seconds() == 60
    assert "still-pending" not in codes(woken)
    assert "still-pending" in codes(sleeper.at("2026-11-26T06:59").reconcile_once())


def test_what_a_person_says_wins_until_it_ends():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()

    sleeper.put_override(asleep=False)
    woken = sleeper.settle()
    assert sleeper.replicas(SERVER) == 3 and "ada" in woken.outcome.reason

    sleeper.at("2026-11-26T15:00").put_override(asleep=True)
    sleeper.settle()
    assert sleeper.replicas(SERVER) == 0
    sleeper.at("2026-11-27T07:00").settle()
    assert sleeper.replicas(SERVER) == 3


@pytest.mark.parametrize("gone", ["policy", "window"])
def test_a_policy_that_no_longer_sleeps_wakes_what_sleeps(gone):
    sleeper = Sleeper()
    sleeper.create(SERVER)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()

    sleeper.off_hours = None if gone == "policy" else OffHours("Europe/Berlin", ("Sat-Sun",))
    sleeper.settle()

    assert objects_of(sleeper) == before


def test_a_paused_cluster_is_neither_put_to_sleep_nor_woken():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.store.pause(sleeper.cluster.arn, "an audit")

    planned = sleeper.at(NIGHT).reconcile_once()
    assert [type(action).__name__ for action in planned.actions] == ["PutSchedule"]
    assert sleeper.replicas(SERVER) == 3


def test_an_idle_pod_without_gpu_that_holds_a_gpu_node_is_reported():
    sleeper = Sleeper()
    sleeper.node("gpu-a")
    sleeper.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "agent", "namespace": "ml"},
            "spec": {**pod_spec(pool=None, slices=0), "nodeName": "gpu-a"},
        }
    )

    assert "holds-a-gpu-node" in codes(sleeper.at(NIGHT).settle())


def test_it_is_asleep_once_the_nodes_on_which_only_daemons_run_are_deleted():
    sleeper = Sleeper()
    sleeper.node("gpu-a")
    above = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "nfd", "uid": "d", "controller": True}
    metadata = {"name": "nfd-x", "namespace": "ml", "ownerReferences": [above]}
    spec = {**pod_spec(pool=None, slices=0), "nodeName": "gpu-a"}
    sleeper.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    going = sleeper.at(NIGHT).settle()
    assert going.outcome.stage is Stage.GOING_TO_SLEEP and "1 empty GPU nodes" in going.outcome.reason
    assert "holds-a-gpu-node" not in codes(going)

    sleeper.delete(Ref("v1", "Node", "gpu-a"))
    assert sleeper.settle().outcome.stage is Stage.ASLEEP


@pytest.mark.parametrize(("at_once", "reconciles"), [(1_000, 1), (200, 3)])
def test_five_hundred_workloads_take_one_reconcile_or_as_many_as_it_takes(at_once, reconciles, monkeypatch):
    assert plan_of_nights.MOST_OBJECTS == 1_000
    monkeypatch.setattr(plan_of_nights, "MOST_OBJECTS", at_once)
    sleeper = Sleeper()
    for number in range(500):
        sleeper.create(scaled("StatefulSet", f"s-{number:03}", 1))

    for _ in range(reconciles):
        plan = sleeper.at(NIGHT).reconcile_once()

    assert plan.outcome.stage is Stage.GOING_TO_SLEEP and sleeper.reconcile_once().actions == ()
    kept = sleeper.kept.snapshots(sleeper.cluster.arn)
    assert len([one for one in kept if one.ref.kind == "StatefulSet" and one.done]) == 500


def test_a_snapshot_that_does_not_match_its_checksum_is_never_used():
    sleeper = Sleeper()
    sleeper.create(SERVER)
    sleeper.at(NIGHT).settle()
    for key, kept in sleeper.kept._kept.items():
        if kept.ref == ref_of(SERVER):
            sleeper.kept._kept[key] = replace(kept, original=300)

    reported = sleeper.at(MORNING).settle()

    assert sleeper.replicas(SERVER) == 0 and "snapshot-damaged" in codes(reported)


def test_a_cluster_without_off_hours_is_left_unchanged():
    assert Sleeper(None).reconcile_once().outcome.stage is Stage.UNMANAGED
