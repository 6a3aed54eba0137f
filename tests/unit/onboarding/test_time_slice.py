from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from slicewise.errors import InvalidPolicy
from slicewise.onboarding import time_slice
from slicewise.planning.actions import Apply, Delete
from slicewise.policy.model import TimeSlice

from tests.support import builders
from tests.support.simulated_cluster import SimulatedCluster

SHARED = "sharing: time-slicing, gpus: [l4], maxGpus: 8"
SMI = """#!/bin/sh
case "$*" in
  --query-gpu*) echo GPU-a; echo GPU-b ;;
  *) echo "$*" >> "$CALLS" ;;
esac
"""


def pools(length: str) -> str:
    return f"{{shared: {{{SHARED}, timeSlice: {length}}}, other: {{{SHARED}}}}}"


def test_nothing_is_made_unless_a_pool_asks_for_it():
    assert time_slice.daemon_sets(builders.policy()) == ()
    assert time_slice.daemon_sets(builders.policy(pools("default"))) == ()


def test_each_pool_that_asks_has_its_own_on_its_own_nodes():
    (made,) = time_slice.daemon_sets(builders.policy(pools("short")))

    pod = made["spec"]["template"]["spec"]
    assert made["metadata"]["name"] == "slicewise-time-slice-shared"
    assert pod["nodeSelector"] == {"slicewise.dev/pool": "shared"}
    assert {"name": "TIME_SLICE", "value": "1"} in pod["containers"][0]["env"]
    assert not any(
        resource.startswith("nvidia.com/")
        for amounts in pod["containers"][0]["resources"].values()
        for resource in amounts
    ), "it would take a slice from a pod"


@pytest.mark.parametrize("sharing", ["none", "mps", "mig, profile: 1g.10gb"])
def test_it_is_refused_where_pods_take_no_turns(sharing):
    with pytest.raises(InvalidPolicy, match="timeSlice"):
        builders.policy(f"{{p: {{sharing: {sharing}, gpus: [h100], maxGpus: 8, timeSlice: short}}}}")


def test_every_length_has_its_number():
    assert [time_slice._LENGTHS[length] for length in TimeSlice] == [0, 1, 2, 3]


@pytest.fixture
def script(tmp_path):
    """The script under a shell, with nvidia-smi played; gives the process and what it called."""
    smi, calls = tmp_path / "nvidia-smi", tmp_path / "calls"
    smi.write_text(SMI)
    smi.chmod(0o755)
    calls.touch()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "TIME_SLICE": "2"}
    process = subprocess.Popen(
        ["/bin/sh", "-c", time_slice._SCRIPT],
        env=environment | {"AGAIN_SECONDS": "0.3"},
        start_new_session=True,
    )
    yield process, lambda: calls.read_text().splitlines()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_script_sets_every_gpu_again_and_again_and_the_default_when_it_ends(script):
    process, calls = script
    once = [
        *("-i GPU-a -c DEFAULT", "compute-policy -i GPU-a --set-timeslice 2"),
        *("-i GPU-b -c DEFAULT", "compute-policy -i GPU-b --set-timeslice 2"),
    ]
    until(lambda: len(calls()) >= 8)
    assert calls()[:8] == once * 2

    process.terminate()

    assert process.wait(20) == 0
    assert calls()[-4:] == [line.replace("slice 2", "slice 0") for line in once]


def test_a_reconcile_makes_it_and_takes_it_away_when_no_pool_asks_any_longer():
    cluster = SimulatedCluster(builders.policy(pools("default")))
    cluster.run()
    cluster.done.clear()
    cluster.policy = builders.policy(pools("long"))
    cluster.run()
    assert [str(a) for a in cluster.done if isinstance(a, Apply)] == [
        "apply DaemonSet gpu-operator/slicewise-time-slice-shared"
    ]

    cluster.done.clear()
    cluster.policy = builders.policy(pools("default"))
    cluster.run()
    assert [str(a) for a in cluster.done if isinstance(a, Delete)] == [
        "delete DaemonSet gpu-operator/slicewise-time-slice-shared"
    ]
