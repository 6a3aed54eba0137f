"""What is queued under Kueue starts at no sleep, and in the morning each gets the quota that it had."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from slicewise.errors import Refused, Unauthorized
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.planning.outcome import Stage

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import owned, ray_cluster, scaled
from tests.fakes.kube.kueue import (
    API,
    CRDS,
    GATE,
    Kueue,
    cluster_queue,
    flavor,
    flavors,
    in_queue,
    is_admitted,
    job,
    local_queue,
)
from tests.fakes.sleeper import Sleeper
from tests.support.futures import Ends
from tests.unit.offhours.sleeping import MORNING, NIGHT, codes, objects_of

SERVER = in_queue(scaled("Deployment", "server", 2))
QUEUE, MIXED = Ref(API, "ClusterQueue", "gpus"), Ref(API, "ClusterQueue", "mixed")
WAKING = "2026-11-26T06:51"


def workload(name: str) -> Ref:
    return Ref(API, "Workload", name, "ml")


class Queued(Sleeper):
    """A cluster whose ClusterQueue has as much quota as its Deployment takes."""

    def __init__(self, *items: Object, gpus: int = 2, mixed: bool = False, stopped: str = "None") -> None:
        super().__init__()
        self.server.add_crds(*CRDS)
        self.kueue = Kueue(self.server)
        name = MIXED.name if mixed else QUEUE.name
        queue = cluster_queue(name, gpus, stopped, with_cpus=mixed)
        self.create(*flavors(), queue, local_queue("team", name))
        self.create(*copy.deepcopy(items))

    def admitted(self) -> set[str]:
        return {ref.name for ref, item in self.server.of_kind(API, "Workload") if is_admitted(item)}

    def held(self) -> set[str]:
        found = self.server.of_kind(API, "Workload")
        return {ref.name for ref, item in found if item["spec"]["active"] is False}

    def policy(self, queue: Ref = QUEUE) -> str:
        return self.value(queue, "spec", "stopPolicy")

    def pods(self) -> set[str]:
        return {ref.name for ref in self.server.objects if ref.kind == "Pod"}


SERVED = {"pod-server-0", "pod-server-1"}
JOBS = (job("a"), job("b"))


def findings(plan: Any, code: str = "queue-held") -> list[Any]:
    return [one for one in plan.outcome.findings if one.code == code]


def morning(sleeper: Queued) -> Queued:
    """As it comes: a look at the beginning of the waking, some more, and one at the opening."""
    for _ in range(4):
        sleeper.reconcile_once()
        sleeper.later(seconds=15)
    sleeper.at(MORNING).settle()
    return sleeper


def test_the_stand_in_gives_quota_that_becomes_free_to_the_next_at_once():
    sleeper = Queued(SERVER, *JOBS)
    assert sleeper.admitted() == SERVED

    sleeper.server.scale(ref_of(SERVER), 2, 0)
    assert sleeper.admitted() == {"job-a", "job-b"} and sleeper.pods() == {"a", "b"}

    sleeper.server.scale(ref_of(SERVER), 0, 2)
    assert sleeper.admitted() == {"job-a", "job-b"} and sleeper.pods() == {"a", "b", "server-0", "server-1"}
    assert sleeper.value(Ref("v1", "Pod", "server-0", "ml"), "spec", "schedulingGates") == [{"name": GATE}]


def test_the_stand_in_lets_what_runs_in_a_held_queue_go_on_and_ends_what_is_made_inactive():
    sleeper = Queued(job("a"), job("b"), job("c"), gpus=2)

    sleeper.edit(QUEUE, ("spec", "stopPolicy"), "Hold")
    assert sleeper.admitted() == {"job-a", "job-b"}
    sleeper.edit(workload("job-a"), ("spec", "active"), False)
    assert sleeper.admitted() == {"job-b"} and sleeper.pods() == {"b"}

    sleeper.edit(QUEUE, ("spec", "stopPolicy"), "None")
    assert sleeper.admitted() == {"job-b", "job-c"}


def test_a_queue_that_serves_our_pools_alone_is_held_and_no_queued_job_starts():
    sleeper = Queued(SERVER, *JOBS)

    reported = sleeper.at(NIGHT).settle()
    later = sleeper.later(minutes=16).settle()

    assert sleeper.policy() == "Hold" and sleeper.admitted() == set() and sleeper.pods() == set()
    assert reported.outcome.stage is Stage.ASLEEP
    for plan in (reported, later):
        [finding] = findings(plan)
        assert "ClusterQueue gpus is held until Thu 26 Nov 07:00 CET: 2 Workloads wait" in finding.message


def test_the_queue_is_held_before_anything_frees_its_quota():
    sleeper = Queued(SERVER, ray_cluster("rc"), *JOBS)
    sleeper.at(NIGHT).settle()

    calls = sleeper.calls.made
    hold = calls.index(f"kubernetes.patch {QUEUE}")
    assert hold < calls.index(f"kubernetes.scale {ref_of(SERVER)}")
    assert hold < calls.index("kubernetes.patch RayCluster ml/rc")


def test_in_the_morning_each_has_the_quota_that_it_had():
    sleeper = Queued(SERVER, *JOBS)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()
    sleeper.create(job("c"))  # of the night

    morning(sleeper.at(WAKING))

    assert sleeper.admitted() == SERVED and sleeper.held() == set() and sleeper.policy() == "None"
    after = objects_of(sleeper)
    assert after.pop(ref_of(job("c"))) and after == before
    sleeper.server.scale(ref_of(SERVER), 2, 0)
    assert sleeper.admitted() == {"job-a", "job-b"}, "they wait in the order in which they came"


def test_what_waits_is_kept_out_before_its_queue_opens_and_let_in_after_the_pods_were_admitted():
    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()

    first = sleeper.at(WAKING).reconcile_once()
    assert sleeper.held() == {"job-a", "job-b"} and sleeper.policy() == "Hold"
    assert sleeper.replicas(SERVER) == 2
    assert "2 queued Workloads wait until what slept has its quota again" in first.outcome.reason

    sleeper.later(seconds=15).reconcile_once()
    assert sleeper.held() == {"job-a", "job-b"} and sleeper.policy() == "None"
    assert sleeper.admitted() == SERVED

    sleeper.later(seconds=15).settle()
    assert sleeper.held() == set() and sleeper.admitted() == SERVED


def test_they_wait_longer_while_a_pod_that_came_back_has_no_quota_and_at_the_opening_no_more():
    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()
    sleeper.kueue.is_running = False

    sleeper.at(WAKING)
    for _ in range(4):
        sleeper.reconcile_once()
        sleeper.later(minutes=2)
    assert sleeper.held() == {"job-a", "job-b"} and sleeper.policy() == "None"

    opened = sleeper.at(MORNING).settle()
    assert sleeper.held() == set() and opened.outcome.stage is Stage.AWAKE


def test_jobs_that_come_all_morning_keep_no_queue_from_its_opening():
    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()

    sleeper.at(WAKING).reconcile_once()
    for number in range(3):
        sleeper.later(seconds=10).create(job(f"late-{number}"))
        sleeper.later(seconds=5).reconcile_once()

    assert sleeper.policy() == "None" and sleeper.admitted() == SERVED


def test_who_wakes_the_cluster_at_night_has_the_same_order():
    sleeper = Queued(SERVER, *JOBS)
    before = objects_of(sleeper)
    sleeper.at(NIGHT).settle()

    sleeper.put_override(False)
    first = sleeper.later(hours=2).reconcile_once()
    assert sleeper.held() == {"job-a", "job-b"} and sleeper.replicas(SERVER) == 2
    assert first.outcome.stage is Stage.WAKING and first.outcome.requeue_after.total_seconds() == 15

    assert sleeper.later(seconds=15).settle().outcome.stage is Stage.AWAKE
    assert objects_of(sleeper) == before and sleeper.admitted() == SERVED and sleeper.held() == set()


def test_pods_that_never_get_their_quota_keep_nobody_waiting_by_day():
    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()
    sleeper.kueue.is_running = False
    sleeper.put_override(False)

    sleeper.later(hours=2).reconcile_once()
    for _ in range(2):
        sleeper.later(minutes=1).reconcile_once()
        assert sleeper.held() == {"job-a", "job-b"}
    sleeper.later(minutes=2).settle()
    assert sleeper.held() == set()


def test_a_job_that_runs_at_dusk_runs_to_its_end():
    sleeper = Queued(SERVER, job("ran"), job("a"), gpus=3)
    assert sleeper.admitted() == {*SERVED, "job-ran"}

    reported = sleeper.at(NIGHT).settle()
    morning(sleeper.at(WAKING))

    assert "job-runs" in codes(reported)
    assert sleeper.admitted() == {*SERVED, "job-ran"} and sleeper.held() == set()
    assert not any("Job ml/" in call for call in sleeper.calls.made), "no Job is ever written"


@pytest.mark.parametrize("policy", ["Hold", "HoldAndDrain"])
def test_a_queue_that_its_user_has_stopped_stays_so(policy):
    sleeper = Queued(job("a"), scaled("Deployment", "free", 1), stopped=policy)
    before = objects_of(sleeper)

    reported = sleeper.at(NIGHT).settle()
    assert sleeper.policy() == policy and sleeper.held() == set() and not findings(reported)
    morning(sleeper.at(WAKING))

    assert objects_of(sleeper) == before and sleeper.held() == set()


def test_who_opens_the_queue_at_night_keeps_it_open_and_its_jobs_run():
    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()

    sleeper.edit(QUEUE, ("spec", "stopPolicy"), "None")
    reported = sleeper.later(hours=1).settle()
    assert sleeper.policy() == "None" and "woken-by-somebody" in codes(reported)
    assert sleeper.admitted() == {"job-a", "job-b"} and not findings(reported)

    morning(sleeper.at(WAKING))
    assert sleeper.policy() == "None" and sleeper.held() == set()


def test_one_that_is_drained_and_never_woken_stays_drained_in_the_next_night():
    sleeper = Queued(SERVER)
    sleeper.at(NIGHT).settle()
    sleeper.edit(QUEUE, ("spec", "stopPolicy"), "HoldAndDrain")

    sleeper.at("2026-11-26T20:01").settle()

    assert sleeper.policy() == "HoldAndDrain"


def test_a_queue_in_which_nothing_waits_opens_once_the_replicas_are_back():
    sleeper = Queued(SERVER)
    sleeper.at(NIGHT).settle()
    begun = len(sleeper.calls.made)

    sleeper.at(WAKING).reconcile_once()

    calls = sleeper.calls.made[begun:]
    scaled_up = calls.index(f"kubernetes.scale {ref_of(SERVER)}")
    assert scaled_up < calls.index(f"kubernetes.patch {QUEUE}") and sleeper.admitted() == SERVED


def test_who_drains_the_queue_at_night_keeps_it_drained():
    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()

    sleeper.edit(QUEUE, ("spec", "stopPolicy"), "HoldAndDrain")
    sleeper.later(hours=1).settle()
    morning(sleeper.at(WAKING))

    assert sleeper.policy() == "HoldAndDrain" and sleeper.held() == set()


# A queue that serves other nodes as well

CPU = job("cpu", pool=None, slices=0)


def test_of_a_queue_that_serves_other_nodes_only_what_needs_our_pools_is_held():
    sleeper = Queued(SERVER, *JOBS, mixed=True)

    reported = sleeper.at(NIGHT).settle()
    sleeper.create(CPU)

    assert sleeper.policy(MIXED) == "None" and sleeper.admitted() == {"job-cpu"}
    assert sleeper.held() == {"job-a", "job-b"}
    [finding] = findings(reported)
    assert (
        "2 Workloads of ClusterQueue mixed that can only run on our pools are held until" in finding.message
    )

    morning(sleeper.at(WAKING))
    assert sleeper.admitted() == {*SERVED, "job-cpu"} and sleeper.held() == set()


def test_in_such_a_queue_what_comes_at_night_is_held_by_the_next_reconcile_where_it_has_no_quota_yet():
    sleeper = Queued(SERVER, job("ran"), job("a"), mixed=True, gpus=3)
    sleeper.at(NIGHT).settle()
    sleeper.create(job("big", slices=3))

    sleeper.later(minutes=16).settle()

    assert sleeper.held() == {"job-a", "job-big"} and sleeper.admitted() == {"job-ran"}


@pytest.mark.parametrize(
    "template, is_held",
    [({"pool": None}, True), ({"slices": 0}, True), ({"pool": None, "slices": 0}, False)],
    ids=["asks for what only we have", "chooses our pool", "neither"],
)
def test_a_workload_is_ours_by_its_template_or_by_what_only_our_flavors_have(template, is_held):
    sleeper = Queued(SERVER, mixed=True)
    waiting = {**job("w", **template), "kind": "JobSet", "apiVersion": "jobset.x-k8s.io/v1alpha2"}
    body = {
        "queueName": "team",
        "active": True,
        "priority": 0,
        "podSets": [{"template": {"spec": waiting["spec"]["template"]["spec"]}}],
    }
    above = {**waiting, "metadata": {**waiting["metadata"], "uid": "uid-0"}}
    sleeper.kueue.is_running = False
    item = {"apiVersion": API, "kind": "Workload", "metadata": {"name": "w", "namespace": "ml"}, "spec": body}
    sleeper.create(owned(item, above))

    sleeper.at(NIGHT).settle()

    assert (sleeper.held() == {"w"}) is is_held


def test_a_flavor_that_others_share_makes_no_workload_ours():
    sleeper = Queued()
    queue = cluster_queue("shared", 2)
    [group] = queue["spec"]["resourceGroups"]
    group["flavors"].append({**group["flavors"][0], "name": "other-gpus"})
    sleeper.create(flavor("other-gpus"), queue, local_queue("both", "shared"))
    sleeper.create(job("big", "both", pool=None, slices=9), job("ours", "both", slices=9))

    sleeper.at(NIGHT).settle()

    assert sleeper.value(ref_of(queue), "spec", "stopPolicy") == "None"
    assert sleeper.held() == {"job-ours"}


def test_pods_that_wait_for_quota_are_never_made_inactive_since_kueue_may_end_them():
    pod = in_queue(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "bare", "namespace": "ml"},
            "spec": SERVER["spec"]["template"]["spec"],
        }
    )
    for mixed in (True, False):
        sleeper = Queued(SERVER, pod, mixed=mixed)
        assert "pod-bare" not in sleeper.admitted()
        sleeper.at(NIGHT).settle()
        assert sleeper.held() == set()
        sleeper.at(WAKING).reconcile_once()
        assert sleeper.held() == set()


def test_a_workload_that_its_user_made_inactive_stays_so():
    sleeper = Queued(SERVER, *JOBS, mixed=True)
    sleeper.edit(workload("job-a"), ("spec", "active"), False)

    sleeper.at(NIGHT).settle()
    morning(sleeper.at(WAKING))

    assert sleeper.held() == {"job-a"}


def test_a_workload_that_is_admitted_between_observation_and_write_is_not_ended():
    sleeper = Queued(SERVER, job("a"), mixed=True, gpus=2)
    sleeper.between = lambda: sleeper.edit(
        MIXED, ("spec", "resourceGroups"), cluster_queue("x", 9)["spec"]["resourceGroups"]
    )

    sleeper.at(NIGHT).reconcile_once()
    assert "job-a" in sleeper.admitted()
    sleeper.later(minutes=1).settle()
    sleeper.later(hours=1).settle()

    assert "job-a" in sleeper.admitted() and sleeper.held() == set()
    morning(sleeper.at(WAKING))
    assert "job-a" in sleeper.admitted() and sleeper.held() == set()


def test_a_job_that_is_deleted_while_it_waits_is_no_news():
    sleeper = Queued(SERVER, *JOBS, mixed=True)
    sleeper.at(NIGHT).settle()
    sleeper.delete(ref_of(job("a")))

    sleeper.at(WAKING).reconcile_once()
    reported = sleeper.later(seconds=15).reconcile_once()

    assert "gone-while-asleep" not in codes(reported) and sleeper.held() == set()


# What fails


def test_without_kueue_nothing_of_it_is_asked_for():
    sleeper = Sleeper()
    sleeper.create(scaled("Deployment", "server", 1))

    sleeper.at(NIGHT).settle()

    kinds = ("ClusterQueue", "LocalQueue", "ResourceFlavor", "Workload")
    assert not {f"kubernetes.list {kind}" for kind in kinds} & set(sleeper.calls.made)


KINDS = ["ClusterQueue", "LocalQueue", "ResourceFlavor", "Workload"]


@pytest.mark.parametrize("kind", KINDS)
def test_while_queues_cannot_be_read_no_quota_is_freed(kind):
    sleeper = Queued(SERVER, *JOBS)
    sleeper.calls.fails = lambda call: Refused("403") if call == f"kubernetes.list {kind}" else None
    reported = sleeper.at(NIGHT).settle()
    assert sleeper.replicas(SERVER) == 2 and "cannot-be-read" in codes(reported)
    assert (
        reported.outcome.stage is Stage.GOING_TO_SLEEP
        and reported.outcome.requeue_after.total_seconds() == 60
    )

    sleeper.calls.fails = lambda call: None
    sleeper.later(minutes=1).settle()

    assert sleeper.replicas(SERVER) == 0 and sleeper.policy() == "Hold" and sleeper.admitted() == set()


@pytest.mark.parametrize("kind", KINDS)
def test_queues_that_cannot_be_read_for_ten_minutes_keep_nothing_awake(kind):
    sleeper = Queued(SERVER, *JOBS)
    sleeper.calls.fails = lambda call: Refused("403") if call == f"kubernetes.list {kind}" else None
    sleeper.at(NIGHT).settle()

    reported = sleeper.later(minutes=10).settle()

    assert sleeper.replicas(SERVER) == 0 and "cannot-be-read" in codes(reported)


def test_queues_that_cannot_be_read_at_first_in_the_morning_are_opened_in_the_same_order():
    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()
    sleeper.calls.fails = lambda call: Refused("403") if call == "kubernetes.list Workload" else None
    sleeper.at(WAKING).reconcile_once()
    assert sleeper.replicas(SERVER) == 2

    sleeper.calls.fails = lambda call: None
    morning(sleeper.later(minutes=1))

    assert sleeper.admitted() == SERVED and sleeper.held() == set() and sleeper.policy() == "None"


def test_a_queue_that_may_not_be_written_keeps_nothing_else_asleep_or_awake():
    sleeper = Queued(SERVER, *JOBS)
    may, denied = (lambda call: None), (lambda call: Refused("422") if str(QUEUE) in call else None)
    sleeper.calls.fails = denied
    sleeper.at(NIGHT).reconcile_once()
    sleeper.later(minutes=5).reconcile_once()
    assert sleeper.replicas(SERVER) == 2, "while it may yet be held, nothing frees its quota"
    sleeper.later(minutes=6).reconcile_once()
    assert sleeper.replicas(SERVER) == 0

    sleeper = Queued(SERVER, *JOBS)
    sleeper.at(NIGHT).settle()
    sleeper.calls.fails = denied
    sleeper.at(WAKING).reconcile_once()
    assert sleeper.replicas(SERVER) == 2 and sleeper.policy() == "Hold"

    sleeper.calls.fails = may
    morning(sleeper.later(minutes=1))
    assert sleeper.admitted() == SERVED and sleeper.policy() == "None" and sleeper.held() == set()


def test_the_annotations_restore_what_the_table_has_lost():
    for mixed in (False, True):
        sleeper = Queued(scaled("Deployment", "free", 1), job("x", slices=2), *JOBS, mixed=mixed)
        sleeper.at(NIGHT).settle()
        assert (sleeper.held() == {"job-a", "job-b"}) is mixed
        lost = [
            key for key, one in sleeper.kept._kept.items() if one.ref.kind in ("ClusterQueue", "Workload")
        ]
        for key in lost:
            del sleeper.kept._kept[key]

        morning(sleeper.at(WAKING))

        assert lost and sleeper.held() == set()
        assert sleeper.policy(MIXED if mixed else QUEUE) == "None"


RECONCILES, NEVER = 3, 10_000
HOWS = ("killed", "answer lost", *REFUSALS)
Start = tuple[int, Queued]


def starts(sleeper: Queued) -> list[Start]:
    """The cluster before and after each of some looks in a row, and how many calls were made by then."""
    begun, found = len(sleeper.calls.made), [(0, sleeper)]
    for _ in range(RECONCILES):
        sleeper = reconcile_on(copy.deepcopy(sleeper), 1)
        found.append((len(sleeper.calls.made) - begun, sleeper))
    return found


def reconcile_on(sleeper: Queued, reconciles: int) -> Queued:
    for _ in range(reconciles):
        with suppress(Refused, Unauthorized):
            sleeper.reconcile_once()
        sleeper.later(seconds=15)
    return sleeper


def struck(reconciles: list[Start], how: str, number: int) -> tuple[Queued, int]:
    """The cluster after the look whose call of this number was struck, and how many looks are to come."""
    done, (calls, before) = [(n, one) for n, one in enumerate(reconciles[:RECONCILES]) if one[0] <= number][
        -1
    ]
    sleeper = copy.deepcopy(before)
    sleeper.struck_reconcile(how, number - calls)
    return sleeper.later(seconds=15), RECONCILES - 1 - done


def fall_asleep(sleeper: Queued, reconciles: int) -> None:
    reconcile_on(sleeper, reconciles).later(minutes=16).settle()


def wake_up(sleeper: Queued, reconciles: int) -> None:
    morning(reconcile_on(sleeper, reconciles).later(minutes=1))


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True], ids=["ours alone", "mixed"])
@pytest.mark.parametrize("how", HOWS)
def test_a_reconcile_that_ends_at_any_call_in_any_way_leaves_the_rest_to_the_next(how, mixed):
    sleeper = Queued(SERVER, *JOBS, mixed=mixed)
    nights, mornings = Ends[Queued](fall_asleep), Ends[Queued](wake_up)
    before, at_night = objects_of(sleeper), starts(sleeper.at(NIGHT))
    asleep = nights.of(*struck(at_night, how, NEVER))
    wakings = {id(asleep): starts(copy.deepcopy(asleep).at(WAKING))}

    for number in range(max(reconciles[RECONCILES][0] for reconciles in (at_night, wakings[id(asleep)]))):
        asleep = nights.of(*struck(at_night, how, number))
        assert not asleep.pods(), number
        if id(asleep) not in wakings:
            wakings[id(asleep)] = starts(copy.deepcopy(asleep).at(WAKING))
        awake = mornings.of(*struck(wakings[id(asleep)], how, number))
        assert objects_of(awake) == before, number
        assert awake.held() == set() and awake.admitted() == SERVED, number
