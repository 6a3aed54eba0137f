"""What of a night is done side by side, and what waits for what."""

from __future__ import annotations

from slicewise.offhours.sleep_fields import RETAIN
from slicewise.planning.actions import PutSchedule, Scale
from slicewise.policy.off_hours import OffHours, Volumes
from slicewise.reconcile import lanes

from tests.fakes.kube.controllers import cron_job, keeping_volumes, scaled, scaled_job
from tests.fakes.sleeper import NIGHTS, Sleeper

OBJECTS = (
    *(scaled("Deployment", f"server-{number}", 2) for number in range(3)),
    keeping_volumes(scaled("StatefulSet", "store", 2)),
    cron_job("nightly"),
    scaled_job("queue"),
)
RETAINS = OffHours(NIGHTS.time_zone, NIGHTS.asleep, volumes=Volumes.RETAIN)


def stretches(sleeper: Sleeper) -> list[tuple[lanes.Lane, ...]]:
    plan = sleeper.dry_run()
    return list(lanes.stretches(plan.actions, plan.abreast))


def asleep() -> Sleeper:
    sleeper = Sleeper(RETAINS)
    sleeper.create(*OBJECTS)
    return sleeper.at("2026-11-25T20:01")


def first_of(found: list[tuple[lanes.Lane, ...]], *texts: str) -> int:
    return min(
        number
        for number, stretch in enumerate(found)
        if any(text in str(action) for lane in stretch for action in lane for text in texts)
    )


def test_the_morning_and_the_node_pools_come_first_and_alone():
    first, *rest = stretches(asleep())

    assert len(first) == 1 and isinstance(first[0][0], PutSchedule)
    assert "set spec.limits.nodes of NodePool slicewise-shared-l4 to '0'" in map(str, first[0])
    assert not [
        action for stretch in rest for lane in stretch for action in lane if "NodePool" in str(action)
    ]


def test_what_makes_work_sleeps_before_workloads_which_sleep_side_by_side():
    found = stretches(asleep())

    makes_work, workloads = first_of(found, "CronJob", "ScaledJob"), first_of(found, "scale Deployment")
    assert len(found[makes_work]) == 2 and makes_work < workloads
    assert len(found[workloads]) == 4, "three Deployments and the StatefulSet"


def test_all_that_is_done_to_one_object_is_one_lane_in_its_order():
    lane = [action for stretch in stretches(asleep()) for lane in stretch for action in lane
            if "StatefulSet ml/store" in str(action)]  # fmt: skip

    [retained] = [number for number, action in enumerate(lane) if f"set {RETAIN.field}" in str(action)]
    [scaled_down] = [number for number, action in enumerate(lane) if isinstance(action, Scale)]
    assert retained < scaled_down


def test_in_the_morning_too_node_pools_come_first_and_workloads_side_by_side():
    sleeper = asleep()
    sleeper.settle()
    found = stretches(sleeper.at("2026-11-26T07:00"))

    assert first_of(found, "NodePool") == 0 and len(found[0]) == 1
    workloads = found[first_of(found, "scale Deployment")]
    assert len(workloads) == 4
