"""The control plane starts, keeps apart, refuses and ends as promised."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.artifacts import versions
from sandbox.cluster.client import KubeClient, KubeError
from sandbox.cluster.control_plane import DEPLOYMENT_PATH, ControlPlane
from sandbox.cluster.karpenter_follower import feature_gates
from sandbox.processes import start_time
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[3]


def recorded_processes(folder: Path) -> dict[str, int]:
    return {path.stem: json.loads(path.read_text())["pid"] for path in (folder / "processes").glob("*.json")}


def alive(pids: dict[str, int]) -> list[str]:
    return [name for name, pid in pids.items() if start_time(pid) is not None]


def test_it_tells_its_version_and_runs_karpenters_pods(control_plane: ControlPlane):
    kube = control_plane.kube

    assert kube.get("/version")["gitVersion"] == f"v{versions.chosen().kubernetes}"
    eventually(lambda: len(running_pods(kube, "app.kubernetes.io/name=karpenter")) == 2)


def running_pods(kube: KubeClient, selector: str) -> list[dict]:
    pods = kube.list("/api/v1/pods", labelSelector=selector)
    return [pod for pod in pods if pod["status"].get("phase") == "Running"]


def test_a_wrong_token_is_refused(control_plane: ControlPlane):
    stranger = KubeClient(control_plane.url, control_plane.ca_pem, "guess")

    with pytest.raises(KubeError) as refused:
        stranger.get("/api/v1/nodes")

    assert refused.value.status == 401


def test_rbac_decides_what_a_service_account_may_do(control_plane: ControlPlane):
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = control_plane.kube.request("POST", f"{accounts}/default/token", request)["status"]["token"]

    with pytest.raises(KubeError) as refused:
        KubeClient(control_plane.url, control_plane.ca_pem, token).get("/api/v1/nodes")

    assert refused.value.status == 403


def test_karpenters_crds_refuse_what_eks_would_refuse(control_plane: ControlPlane):
    pool = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "odd"},
        "spec": {
            "template": {
                "spec": {
                    "requirements": [{"key": "karpenter.k8s.aws/made-up", "operator": "In", "values": ["x"]}],
                    "nodeClassRef": {
                        "group": "karpenter.kwok.sh",
                        "kind": "KWOKNodeClass",
                        "name": "default",
                    },
                }
            }
        },
    }

    with pytest.raises(KubeError) as refused:
        control_plane.kube.create(pool)

    assert refused.value.status == 422
    assert "karpenter.k8s.aws" in refused.value.message


def job(name: str, annotations: dict[str, str]) -> dict:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "example.com/none:1"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": pod}},
    }


def test_a_job_ends_when_its_pod_says_so_and_else_runs_on(control_plane: ControlPlane):
    kube, jobs = control_plane.kube, "/apis/batch/v1/namespaces/default/jobs"
    kube.create(job("brief", {"sandbox.slicewise.dev/run-for": "1s"}))
    kube.create(job("endless", {}))

    eventually(lambda: kube.get(f"{jobs}/brief")["status"].get("succeeded") == 1)
    eventually(lambda: len(running_pods(kube, "job-name=endless")) == 1)
    assert not kube.get(f"{jobs}/endless")["status"].get("succeeded")

    for name in ("brief", "endless"):
        kube.delete(f"{jobs}/{name}")


def test_karpenter_restarts_with_the_gate_that_its_deployment_says(control_plane: ControlPlane):
    def said() -> str:
        return feature_gates(control_plane.kube.get(DEPLOYMENT_PATH))

    control_plane.restart_karpenter(node_overlay_gate=False)
    assert "NodeOverlay=false" in said()
    assert control_plane.karpenter_gates == said()

    control_plane.restart_karpenter(node_overlay_gate=True)
    assert "NodeOverlay=true" in said()
    assert control_plane.karpenter_gates == said()


def test_two_side_by_side_do_not_see_each_other(control_plane: ControlPlane, start_control_plane):
    other = start_control_plane(karpenter=False)

    other.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "only-here"}})

    assert other.url != control_plane.url
    assert control_plane.kube.find("/api/v1/namespaces/only-here") is None
    with pytest.raises(KubeError):
        KubeClient(other.url, other.ca_pem, control_plane.admin_token).get("/api/v1/nodes")


def test_stop_ends_exactly_what_it_started(control_plane: ControlPlane, start_control_plane):
    plane = start_control_plane()
    mine, others = recorded_processes(plane.folder), recorded_processes(control_plane.folder)
    assert len(mine) == 6

    plane.stop()
    plane.stop()

    assert alive(mine) == []
    assert len(alive(others)) == 6


START_AND_WAIT = """
import sys, time
from pathlib import Path
from sandbox.cluster.control_plane import DEPLOYMENT_PATH, ControlPlane
from sandbox.cluster.karpenter_follower import feature_gates
ControlPlane.start(Path(sys.argv[1]), karpenter=False)
print("ready", flush=True)
time.sleep(600)
"""


def test_killing_the_launcher_leaves_nothing_that_stops_the_next(tmp_path: Path):
    folder = tmp_path / "plane"
    launcher = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout.readline() == "ready\n"
    orphans = recorded_processes(folder)
    assert len(alive(orphans)) == 5

    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()

    eventually(lambda: alive(orphans) == [])
    with ControlPlane.start(folder, karpenter=False) as plane:
        assert plane.kube.get("/version")["major"] == "1"


def test_a_folder_with_other_things_in_it_is_left_unchanged(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(FileExistsError, match="folder of its own"):
        ControlPlane.start(tmp_path)

    assert (tmp_path / "thesis.txt").exists()
