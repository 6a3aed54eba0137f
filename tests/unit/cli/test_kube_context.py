"""Any cluster is read by the kubeconfig, and what may not be read is told in a sentence."""

from __future__ import annotations

import sys

import pytest
from slicewise.errors import Refused, Unauthorized, Unavailable

from cli import kube_context
from tests.support.assessed_cluster import three_teams
from tests.support.kube_api import NODE_POOLS, NODES, PODS, KubeApi, kubeconfig

FOUND = three_teams()
LISTS = {NODES: FOUND.nodes, PODS: FOUND.pods, NODE_POOLS: [{"metadata": {"name": "gpu"}, "spec": {"x": 1}}]}
ARN = "arn:aws:eks:eu-west-1:111122223333:cluster/prod"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads an API server by a kubeconfig that names it `c`."""

    def reads(api, user=None):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "config", {"c": api.url}, user)))
        return kube_context.read("c")

    return reads


def test_nodes_pods_and_node_pools_are_read_without_what_no_report_needs(read):
    with KubeApi(LISTS) as api:
        found = read(api)

    assert (len(found.nodes), len(found.pods), found.unread) == (9, 10, ())
    assert found.node_pools == ({"metadata": {"name": "gpu"}},)
    assert set(found.nodes[0]) == {"metadata", "status"}


def test_lists_come_in_pages_and_finished_pods_are_not_asked_for(read, monkeypatch):
    monkeypatch.setattr(kube_context.pages, "PAGE", 4)
    with KubeApi(LISTS) as api:
        found = read(api)

    assert (len(found.nodes), len(found.pods)) == (9, 10)
    pages = [query for path, query in api.asked if path == PODS]
    assert [query.get("continue") for query in pages] == [None, ["4"], ["8"]]
    assert {query["fieldSelector"][0] for query in pages} == {"status.phase!=Succeeded,status.phase!=Failed"}


def test_a_cluster_without_karpenter_has_no_node_pools(read):
    with KubeApi({NODES: FOUND.nodes, PODS: FOUND.pods}) as api:
        assert read(api).node_pools == ()


@pytest.mark.parametrize(("path", "what"), [(PODS, "pods"), (NODES, "nodes"), (NODE_POOLS, "nodepools")])
def test_what_may_not_be_listed_is_reported_and_the_rest_is_read(read, path, what):
    with KubeApi(LISTS, {path: 403}) as api:
        found = read(api)

    (reported,) = found.unread
    assert f"Context c may not list {what}" in reported
    assert "slicewise assess --rights" in reported
    assert bool(found.nodes) + bool(found.pods) + (found.node_pools is not None) == 2


def test_without_any_right_nothing_can_be_said(read):
    with KubeApi(LISTS, {NODES: 403, PODS: 403}) as api, pytest.raises(Refused, match="may not list nodes"):
        read(api)


def test_a_token_that_has_expired_is_reported_with_what_to_do(read):
    with (
        KubeApi(LISTS, {NODES: 401}) as api,
        pytest.raises(Unauthorized, match=r"no such credentials \(401\)\. Sign in again"),
    ):
        read(api, {"token": "old"})


@pytest.mark.parametrize(
    ("status", "says"), [(500, "failed: 500"), (410, "grew too old"), (429, "failed: 429")]
)
def test_other_failures_are_reported_with_their_status(read, status, says):
    with KubeApi(LISTS, {NODES: status}) as api, pytest.raises(Unavailable, match=says):
        read(api)


def test_a_server_that_is_away_is_reported_at_once(read):
    with KubeApi(LISTS) as api:
        pass
    with pytest.raises(Unavailable, match="The API server of context c is out of reach"):
        read(api)


def test_a_token_of_an_exec_plugin_is_used_as_kubectl_uses_it(read):
    says = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}'
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print('{says}')", "--cluster-name", "prod"],
        "interactiveMode": "Never",
    }
    with KubeApi(LISTS) as api:
        found = read(api, {"exec": command})

    assert found.cluster == "prod"


def test_the_current_context_is_read_where_none_is_named(tmp_path, monkeypatch):
    file = kubeconfig(tmp_path / "config", {"one": "http://127.0.0.1:1", "two": "http://127.0.0.1:1"})
    monkeypatch.setenv("KUBECONFIG", str(file))

    assert kube_context.contexts([]) == ["one"]
    assert kube_context.contexts(["two", "one"]) == ["two", "one"]
    with pytest.raises(Refused, match=r"no context three\. It has one, two"):
        kube_context.contexts(["three"])


def test_a_kubeconfig_that_is_missing_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))

    with pytest.raises(Refused, match=r"There is no kubeconfig at .*missing\. Set KUBECONFIG to a file\."):
        kube_context.contexts([])


@pytest.mark.parametrize(
    ("content", "says"),
    [("{", "cannot be read"), ("[]", "is no kubeconfig"), ("{}", "has no current context. Pass --context")],
)
def test_a_kubeconfig_that_is_none_is_reported(tmp_path, monkeypatch, content, says):
    (tmp_path / "config").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))

    with pytest.raises(Refused, match=says):
        kube_context.contexts([])


def test_files_are_merged_as_kubectl_merges_them(tmp_path, monkeypatch):
    with KubeApi(LISTS) as api:
        one = kubeconfig(tmp_path / "one", {"one": "http://127.0.0.1:1"})
        two = kubeconfig(tmp_path / "two", {"two": api.url})
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{one}:{two}")

        assert kube_context.contexts([]) == ["one"]
        assert len(kube_context.read("two").nodes) == 9


def test_a_context_can_be_named_where_none_is_current(tmp_path, monkeypatch):
    with KubeApi(LISTS) as api:
        file = kubeconfig(tmp_path / "config", {"c": api.url})
        file.write_text(file.read_text().replace('"current-context": "c", ', ""))
        assert "current-context" not in file.read_text()
        monkeypatch.setenv("KUBECONFIG", str(file))

        assert kube_context.contexts(["c"]) == ["c"]
        assert len(kube_context.read("c").nodes) == 9


def test_credentials_that_are_missing_are_not_reported_as_rights(read):
    """An exec plugin that fails leaves the client without any."""
    with KubeApi(LISTS, {NODES: 403}) as api:
        api.message = 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes"'
        with pytest.raises(Unauthorized, match=r"no such credentials \(403\)\. Sign in again"):
            read(api)


SERVER = "https://ABC.gr7.ap-southeast-2.eks.amazonaws.com"


@pytest.mark.parametrize(
    ("cluster", "arguments", "server", "name", "region"),
    [
        ("kind-dev", [], "https://127.0.0.1:6443", "kind-dev", ""),
        (ARN, [], "", "prod", "eu-west-1"),
        (
            ARN,
            ["eks", "get-token", "--cluster-name", "prod-2", "--output", "json"],
            "",
            "prod-2",
            "eu-west-1",
        ),
        ("prod.eu-west-1.eksctl.io", [], "", "prod", "eu-west-1"),
        ("prod", ["token", "-i", "prod-eks"], "", "prod-eks", ""),
        (
            "c",
            ["eks", "get-token", "--region", "eu-west-1", "--cluster-name=prod"],
            SERVER,
            "prod",
            "eu-west-1",
        ),
        ("c", ["eks", "get-token", "--region=us-gov-west-1"], "", "c", "us-gov-west-1"),
        (ARN, [], SERVER, "prod", "ap-southeast-2"),
        ("c", [], SERVER + ".cn", "c", "ap-southeast-2"),
    ],
)
def test_name_and_region_come_from_the_context(cluster, arguments, server, name, region):
    assert kube_context.name_of(cluster, arguments) == name
    assert kube_context.region_of(cluster, arguments, server) == region


@pytest.mark.parametrize(
    ("plugin", "profile"),
    [
        ({"env": [{"name": "AWS_PROFILE", "value": "prod"}]}, "prod"),
        ({"args": ["--profile", "ops"], "env": [{"name": "AWS_PROFILE", "value": "prod"}]}, "ops"),
        ({"env": None}, ""),
    ],
)
def test_the_profile_of_the_exec_plugin_is_known(tmp_path, monkeypatch, plugin, profile):
    file = kubeconfig(tmp_path / "config", {"c": SERVER}, {"exec": {"command": "aws", **plugin}})
    monkeypatch.setenv("KUBECONFIG", str(file))

    assert kube_context._cluster_of("c") == ("c", "ap-southeast-2", profile)


def test_a_context_with_broken_certificates_is_reported(tmp_path, monkeypatch):
    user = {"client-certificate-data": "AAAAA", "client-key-data": "AAA"}
    file = kubeconfig(tmp_path / "config", {"c": "https://127.0.0.1:1"}, user)
    monkeypatch.setenv("KUBECONFIG", str(file))

    with pytest.raises(Refused, match=r"Context c cannot be used: .*base64"):
        kube_context.read("c")
