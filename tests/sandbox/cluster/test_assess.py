"""
`slicewise assess` on a real API server and a real Prometheus, of a cluster that Slicewise never saw.

    .venv/bin/python -m pytest -q -s tests/sandbox/cluster/test_assess.py     prints the report and the policy
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from slicewise.policy.model import parse
from slicewise.pools import layout

from cli.assessment import policy_file
from cli.assessment.assessment import assess, contents_of, groups_of
from cli.assessment.evidence import evidence
from cli.main import main
from sandbox.cluster import audit, samples
from sandbox.cluster.client import KubeClient, KubeError
from sandbox.cluster.control_plane import ControlPlane
from sandbox.gpus.gpu_nodes import GpuNodes
from sandbox.metrics import prometheus
from sandbox.metrics.remote_write import Samples
from tests.support.assessed_cluster import series_of_a_week, three_teams
from tests.support.builders import NOW
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

ACCOUNT = "assessor"
CONFIG_MAP = "/api/v1/namespaces/gpu-operator/configmaps/slicewise-device-plugin"
KWOK = "nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default, create: false}"
RBAC = "rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module")
def teams(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Nothing looks after their nodes: no kubelet and no kwok, so pods are what the test says."""
    kube, found = control_plane.kube, three_teams()
    made = []
    try:
        for node in found.nodes:
            made.append(kube.path(_create(kube, {"apiVersion": "v1", "kind": "Node", **_spec(node)})))
            kube.merge(f"{made[-1]}/status", {"status": node["status"]})
        for namespace in sorted({pod["metadata"]["namespace"] for pod in found.pods}):
            made.append(kube.path(_create(kube, _namespace(namespace))))
            account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
            eventually(lambda account=account: kube.find(account))
        for pod in found.pods:
            live = _create(kube, _bare(pod))
            began = (datetime.now(UTC) - timedelta(days=9)).strftime("%Y-%m-%dT%H:%M:%SZ")
            kube.merge(f"{kube.path(live)}/status", {"status": {"phase": "Running", "startTime": began}})
        yield control_plane
    finally:
        for pod in found.pods:
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            kube.delete(f"{path}?gracePeriodSeconds=0", missing_ok=True)
        for path in reversed(made):
            kube.delete(path, missing_ok=True)


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[prometheus.Prometheus]:
    """A week of what dcgm-exporter says, as Prometheus keeps it."""
    with prometheus.Prometheus.start(tmp_path_factory.mktemp("prometheus")) as server:
        server.write(
            Samples(
                one.name, one.labels, [(at + 300, v) for at, v in zip(one.times, one.values, strict=True)]
            )
            for one in series_of_a_week(datetime.now(UTC))
        )
        yield server


@pytest.fixture
def assessor(teams: ControlPlane, monkeypatch: pytest.MonkeyPatch, capsys) -> Iterator[KubeClient]:
    """A ServiceAccount with the rights that `--rights` prints, and no others."""
    assert main(["assess", "--rights"]) == 0
    role = json.loads(capsys.readouterr().out)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    yield from _as_account(teams, [role], monkeypatch)


def _as_account(plane: ControlPlane, roles, monkeypatch) -> Iterator[KubeClient]:
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    made = [plane.kube.path(plane.kube.apply({**account, "metadata": _in_default(ACCOUNT)}))]
    for role in roles:
        if "rules" in role:
            made.append(plane.kube.path(plane.kube.apply(role)))
        made.append(plane.kube.path(plane.kube.apply(_binding(role["metadata"]["name"]))))
    monkeypatch.setenv("KUBECONFIG", str(plane.write_kubeconfig("default", ACCOUNT)))
    yield plane.kube
    for path in reversed(made):
        plane.kube.delete(path, missing_ok=True)


def test_with_the_printed_rights_alone_it_says_what_was_reckoned_by_hand(
    teams, week, assessor, tmp_path, capsys
):
    file = tmp_path / "suggested.yaml"

    assert main(["assess", "--prometheus", week.url, "--json", "--write-policy", str(file)]) == 0
    (reported,) = json.loads(capsys.readouterr().out)
    models = {one["model"]: one for one in reported["models"]}
    rules = {one["rule"]: one for one in models["l4"]["rules"]}

    # 7 g6.xlarge, a g6.12xlarge, a p4d.24xlarge.
    assert reported["usd_per_hour"] == pytest.approx(7 * 0.8048 + 4.6016 + 21.957642)
    assert {part["what"]: part["gpus"] for part in models["l4"]["parts"]} == {
        "could-share": 7,
        "more-than-one-gpu": 2,
        "unallocated": 2,
    }
    # Seven pods of which one fills its card; three of the others fit on one. A machine of four GPUs stays.
    assert {rule: one["gpus"] for rule, one in rules.items()} == {
        "whole": 11,
        "two": 8,
        "n": 11,
        "classes": 7,
        "packing": 7,
        "bound": 7,
    }
    assert [one["name"] for one in models["l4"]["workloads"] if one["greedy"]] == ["vllm-0"]
    assert reported["unused_hours"]["asleep"] == ["Sat-Sun", "Mon-Fri 20:00-06:00"]
    assert reported["unknown"][:-1] == [], "all could be read"
    assert main(["policy", "check", str(file)]) == 0


def test_it_lists_and_does_nothing_else(teams, assessor):
    assert main(["assess"]) == 0

    asked = [one for one in audit.requests(teams.audit_log) if one.user.endswith(f":{ACCOUNT}")]
    assert {one.verb for one in asked} == {"list"}


def test_it_prints_a_report_for_people_and_a_policy(teams, week, assessor, tmp_path, capsys, request):
    """What docs/assess.md shows."""
    file = tmp_path / "suggested.yaml"

    assert main(["assess", "--prometheus", week.url, "--write-policy", str(file)]) == 0
    reported = capsys.readouterr().out
    if request.config.getoption("capture") == "no":
        with capsys.disabled():
            print(f"\n{reported}\n{file.read_text()}")
    docs = (Path(__file__).parents[3] / "docs/assess.md").read_text(encoding="utf-8")
    _, *sample = docs.partition("```\nsandbox (context ")[2].partition("```")[0].splitlines()
    # How many whole days and hours a week has depends on the time of day.
    steady = [line for line in sample if line and not line.startswith("Unused") and "replayed" not in line]
    assert len(steady) > 20
    assert [line for line in steady if line not in reported.splitlines()] == []


def test_a_recording_made_as_the_docs_say_gives_the_same_figures(teams, week, assessor, tmp_path, capsys):
    names = "DCGM_FI_DEV_FB_USED|DCGM_FI_DEV_GPU_UTIL|DCGM_FI_PROF_GR_ENGINE_ACTIVE"
    now = int(datetime.now(UTC).timestamp())
    asked = {
        "query": f'{{__name__=~"{names}"}}',
        "start": str(now - 7 * 86_400),
        "end": str(now),
        "step": "60",
    }
    file = tmp_path / "week.json"
    file.write_text(json.dumps(week.ask("query_range", **asked)))

    assert main(["assess", "--recorded", str(file), "--json"]) == 0
    (reported,) = json.loads(capsys.readouterr().out)
    (l4,) = [one for one in reported["models"] if one["model"] == "l4"]
    assert {one["rule"]: one["gpus"] for one in l4["rules"]}["classes"] == 7
    assert reported["unused_hours"]["asleep"] == ["Sat-Sun", "Mon-Fri 20:00-06:00"]


def test_with_the_view_role_alone_it_says_what_it_may_not_list(teams, monkeypatch, capsys):
    kube = _as_account(teams, [{"metadata": {"name": "view"}}], monkeypatch)
    next(kube)

    assert main(["assess"]) == 2
    reported = capsys.readouterr().out
    assert (
        "may not list nodes (403). Ask for the ClusterRole that `slicewise assess --rights` prints"
        in reported
    )
    assert "On which GPUs 10 pods run" in reported
    next(kube, None)


def test_a_token_that_the_server_does_not_know_is_reported(teams, tmp_path, monkeypatch, capsys):
    file = tmp_path / "config"
    content = json.loads(teams.kubeconfig.read_text())
    content["users"][0]["user"]["token"] = "expired"
    file.write_text(json.dumps(content))
    monkeypatch.setenv("KUBECONFIG", str(file))

    assert main(["assess"]) == 2
    assert "knows no such credentials (401). Sign in again" in capsys.readouterr().err


# What it promises


@pytest.fixture
def applied(control_plane: ControlPlane) -> Iterator[KubeClient]:
    """The suggested policy's NodePools and overlays, for Karpenter here; its nodes go after the test."""
    found = three_teams()
    week = evidence(series_of_a_week(), "prometheus", contents_of(found), groups_of(found), NOW)
    text = policy_file.text(assess(found, NOW, ZoneInfo("UTC"), week))
    policy = parse(f"{text}\n{KWOK}", "suggested")
    kube, weights, made = control_plane.kube, layout.overlay_weights(policy), []
    kube.apply(samples.node_class())
    kube.apply(_namespace("gpu-operator"))
    kube.delete(CONFIG_MAP, missing_ok=True)
    kube.create(samples.config_map(layout.device_plugin_configs()))
    for part in policy.parts:
        for gpu in part.models():
            made += layout.overlays(part, gpu, part.start, weights)
            made.append(layout.node_pool(policy, part, gpu, part.start))
    for item in made:
        kube.apply(item)
    with GpuNodes(kube, delay_seconds=0.2, requires_cluster_policy=False):
        yield kube
        for name in ("chat", "vllm", "train", "mig"):
            kube.delete(f"/apis/apps/v1/namespaces/default/deployments/{name}", missing_ok=True)
        for item in made:
            kube.delete(kube.path(item), missing_ok=True)


def test_the_policy_takes_the_gpus_that_were_promised(applied):
    """7 of l4 by classes, as `classes` says above, and the eight of the machine that MIG cuts."""
    for item in (
        _of("chat", 6, "l4", {"nvidia.com/gpu": "1"}, size="3"),
        _of("vllm", 1, "l4", {"nvidia.com/gpu": "1"}),
        _of("train", 1, "l4-whole", {"nvidia.com/gpu": "2"}),
        _of("mig", 2, "a100-40gb-1g-5gb", {"nvidia.com/mig-1g.5gb": "1"}),
    ):
        applied.apply(item)

    pods = "/api/v1/namespaces/default/pods"
    eventually(
        lambda: sum(bool(pod["spec"].get("nodeName")) for pod in applied.list(pods)) == 6 + 1 + 1 + 2,
        lambda: [pod["status"] for pod in applied.list(pods)],
    )
    gpus: dict[str, int] = {}
    for node in applied.list("/api/v1/nodes", labelSelector="slicewise.dev/pool"):
        labels = node["metadata"]["labels"]
        model = labels["karpenter.k8s.aws/instance-gpu-name"]
        gpus[model] = gpus.get(model, 0) + int(labels["karpenter.k8s.aws/instance-gpu-count"])
    assert gpus == {"l4": 2 + 1 + 4, "a100": 8}


def _of(name, replicas, pool, limits, size=""):
    item = samples.deployment(name, replicas, pool)
    item["spec"]["template"]["spec"] |= {
        "nodeSelector": {"slicewise.dev/pool": pool, **({"slicewise.dev/class": size} if size else {})},
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "main", "image": "example.com/none:1", "resources": {"limits": limits}}],
    }
    return item


def _create(kube: KubeClient, item):
    try:
        return kube.create(item)
    except KubeError as error:
        raise AssertionError(f"{item}: {error.message}") from error


def _spec(node):
    ready = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}
    return {"metadata": node["metadata"], "spec": {"taints": [ready]}}


def _namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _bare(pod):
    """Without an owner, since one that is not there takes its pods along."""
    metadata = {key: pod["metadata"][key] for key in ("name", "namespace")}
    containers = [{**one, "image": "example.com/none:1"} for one in pod["spec"]["containers"]]
    spec = {**pod["spec"], "containers": containers}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _in_default(name):
    return {"name": name, "namespace": "default"}


def _binding(role):
    return {
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{ACCOUNT}-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", **_in_default(ACCOUNT)}],
    }
