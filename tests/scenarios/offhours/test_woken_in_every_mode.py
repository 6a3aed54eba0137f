"""What sleeps gets its morning in every mode, paused or not: a stop at night stops no morning."""

from __future__ import annotations

import pytest
from slicewise.app import OFF_HOURS
from slicewise.errors import Unavailable
from slicewise.kube.ref import ref_of
from slicewise.planning.outcome import Stage

from cli.main import main
from tests.fakes.account import Account
from tests.fakes.kube.controllers import scaled
from tests.scenarios.offhours.test_mornings import GPU_1, live, set_status
from tests.scenarios.offhours.test_offhours import ASLEEP_AT_NIGHT, POOL, berlin, replicas, stage
from tests.scenarios.offhours.test_offhours import account as plain_account

account = plain_account


def run(account: Account, *arguments: str) -> int:
    return main(arguments, find_app=lambda: account.person())


def to_mode(account: Account, mode: str) -> None:
    account.policies["default"] = f"mode: {mode}\n{ASLEEP_AT_NIGHT}"


def pool_is_open(account: Account) -> bool:
    pool = account.servers["gpu-1"].objects[POOL]
    marks = pool["metadata"].get("annotations") or {}
    is_marked = any(key.startswith("slicewise.dev/asleep") for key in marks)
    return "nodes" not in pool["spec"]["limits"] and not is_marked


STOPS = {
    "observe": lambda account: to_mode(account, "observe"),
    "recommend": lambda account: to_mode(account, "recommend"),
    "paused": lambda account: run(account, "pause", "gpu-1"),
    "all paused": lambda account: run(account, "pause", "--all"),
}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("hour", [20.0, 22.0, 30.9])
def test_a_cluster_that_is_stopped_while_it_sleeps_wakes_in_time_and_not_before(account, stop, hour):
    live(account, berlin(hour) if hour != 20.0 else berlin(20.02))
    assert replicas(account) == (3 if hour > 30 else 0)
    STOPS[stop](account)
    live(account, berlin(6, 1))
    assert replicas(account) == (3 if hour > 30 else 0), "that is no reason to wake it at night"

    live(account, berlin(6.95, 1))
    assert replicas(account) == 3 and pool_is_open(account)
    live(account, berlin(7.6, 1))
    assert stage(account) is (Stage.PAUSED if "paused" in stop else Stage.AWAKE)
    assert account.sleep._kept == {}

    live(account, berlin(21, 1))
    assert replicas(account) == 3, "nothing is put to sleep any more"
    assert account.schedules.waiting["gpu-1"]


@pytest.mark.parametrize("stop", STOPS)
def test_what_was_half_put_to_sleep_is_restored_too(account, stop):
    """The pass that scales it is killed; then somebody stops Slicewise."""

    def kill(call: str) -> None:
        if call.startswith("kubernetes.scale "):
            account.calls.kill_after = len(account.calls.made) - 1

    account.calls.fails = kill
    account.clock.now = berlin(20)
    account.queues.put(OFF_HOURS, account.schedules.waiting["gpu-1"][1])
    account.run_until(berlin(20.01))
    account.calls.fails = lambda call: None
    assert replicas(account) == 0 and any(not kept.done for kept in account.sleep._kept.values())
    STOPS[stop](account)

    live(account, berlin(7.1, 1))

    assert replicas(account) == 3 and pool_is_open(account) and account.sleep._kept == {}


@pytest.mark.parametrize("mode", ["observe", "recommend"])
def test_a_mode_that_only_reports_says_what_it_would_and_that_the_cluster_is_awake(account, mode):
    to_mode(account, mode)
    live(account, berlin(21))

    record = account.record(capability=OFF_HOURS)
    assert record.stage is Stage.AWAKE and "nothing sleeps" in record.reason
    assert "would scale Deployment ml/server from 3 to 0: asleep by the calendar" in record.changed
    assert replicas(account) == 3 and record.details == ()


def test_a_pause_says_what_sleeps_and_when_it_wakes(account, capsys):
    live(account, berlin(22))

    assert run(account, "pause", "gpu-1") == 0
    reported = capsys.readouterr().out
    assert (
        "gpu-1: 1 asleep: Deployment ml/server" in reported and "They wake as the calendar says" in reported
    )
    assert run(account, "pause", "--all", "--keep-asleep") == 0
    reported = capsys.readouterr().out
    assert "gpu-1: 1 asleep: Deployment ml/server" in reported and "until slicewise resume gpu-1" in reported


@pytest.mark.parametrize("which", ["gpu-1", "--all"])
def test_a_pause_keeps_asleep_only_where_a_person_asks_for_it(account, which):
    live(account, berlin(22))
    run(account, "pause", which, "--keep-asleep", "--reason", "power cut")
    live(account, berlin(9, 1))

    assert replicas(account) == 0 and stage(account) is Stage.PAUSED
    [finding] = account.record(capability=OFF_HOURS).findings
    assert finding.code == "kept-asleep" and "Deployment ml/server" in finding.message
    assert "slicewise resume gpu-1" in finding.remedy

    run(account, "resume", which)
    live(account, berlin(9.1, 1))
    assert replicas(account) == 3


def test_a_resume_asks_every_capability_for_a_reconcile(account):
    run(account, "pause", "gpu-1")
    account.queues.waiting.clear()

    run(account, "resume", "gpu-1")

    assert {message.capability for message in account.queues.waiting} == {"onboarding", "tuning", "off-hours"}


@pytest.mark.parametrize("stop", STOPS)
def test_a_person_wakes_a_cluster_that_is_stopped(account, stop, capsys):
    live(account, berlin(22))
    STOPS[stop](account)
    capsys.readouterr()

    assert run(account, "wake", "gpu-1", "--for", "4h") == 0
    live(account, berlin(22.2))

    assert replicas(account) == 3 and "wakes now, until" in capsys.readouterr().out


@pytest.mark.parametrize("stop", STOPS)
def test_sleep_on_a_cluster_that_is_stopped_says_that_nothing_sleeps(account, stop, capsys):
    live(account, berlin(13))
    STOPS[stop](account)
    capsys.readouterr()

    assert run(account, "sleep", "gpu-1") == 1
    assert "nothing is put to sleep" in capsys.readouterr().out and account.sleep.override(GPU_1) is None


def test_wake_on_a_cluster_that_is_kept_asleep_says_so_and_fails(account, capsys):
    live(account, berlin(22))
    run(account, "pause", "gpu-1", "--keep-asleep", "--reason", "power cut")
    capsys.readouterr()

    assert run(account, "wake", "gpu-1", "--for", "4h") == 1
    assert "power cut" in (reported := capsys.readouterr().out) and "slicewise resume gpu-1" in reported
    assert account.sleep.override(GPU_1) is None


def test_wake_on_a_cluster_that_eks_is_deleting_says_so_and_fails(account, capsys):
    live(account, berlin(22))
    set_status(account, "DELETING")()

    assert run(account, "wake", "gpu-1", "--for", "4h") == 1
    assert "DELETING" in capsys.readouterr().out


def test_wake_on_a_cluster_that_could_not_be_read_says_so_and_is_remembered(account, capsys):
    live(account, berlin(22))
    account.calls.fails = lambda call: Unavailable("no route") if call.startswith("kubernetes.") else None
    live(account, berlin(22.6))

    assert run(account, "wake", "gpu-1", "--for", "4h") == 1
    assert "no route" in capsys.readouterr().out
    account.calls.fails = lambda call: None
    live(account, berlin(22.8))
    assert replicas(account) == 3


@pytest.mark.parametrize("paused", [True, False])
def test_a_fallback_is_not_opened_while_paused(account, paused):
    """Opening one gives nothing back."""
    account.policies["default"] = ASLEEP_AT_NIGHT.replace("gpus: [l4]", "gpus: [l4], fallbackGpus: [l40s]")
    account.sweep()
    account.run_until(berlin(12.5))
    live(account, berlin(22))
    if paused:
        run(account, "pause", "gpu-1")
    default = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    account.servers["gpu-1"].create(default)
    account.servers["gpu-1"].create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "slicewise-shared-l4-00042.17", "namespace": "default"},
            "involvedObject": {"kind": "NodeClaim", "name": "slicewise-shared-l4-00042"},
            "reason": "InsufficientCapacityError",
            "lastTimestamp": f"{berlin(6.95, 1):%Y-%m-%dT%H:%M:%SZ}",
        }
    )
    live(account, berlin(7.1, 1))

    assert replicas(account) == 3
    fallback = account.servers["gpu-1"].objects[POOL._replace(name="slicewise-shared-l40s")]
    assert ("nodes" in fallback["spec"]["limits"]) == paused


def test_other_objects_that_sleep_wake_as_well(account):
    store = scaled("StatefulSet", "store", 2)
    account.servers["gpu-1"].create(store)
    live(account, berlin(22))
    run(account, "pause", "gpu-1")
    live(account, berlin(7, 1))

    assert account.servers["gpu-1"].objects[ref_of(store)]["spec"]["replicas"] == 2
