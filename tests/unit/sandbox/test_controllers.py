"""The catalog of real controllers, and what of their projects' files is applied."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox import __main__
from sandbox.artifacts import program, workload_crds
from sandbox.controllers import catalog, manifests
from sandbox.controllers.catalog import APIS, CONTROLLERS, DEFINITIONS, KUBERAY, ROLES, Controller, Place

ROOT = Path(__file__).parents[3]
ROWS = pytest.mark.parametrize("row", CONTROLLERS.values(), ids=list(CONTROLLERS))


def test_an_unknown_name_is_an_error_that_lists_the_names(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["build", "--with", "kuberay,kubray"])

    assert "no controller 'kubray': there are kuberay, keda, keda-adapter, kueue" in capsys.readouterr().err


def test_names_are_read_in_their_order_and_once():
    assert [row.name for row in catalog.listed("keda, kuberay,keda")] == ["keda", "kuberay"]


def test_a_row_comes_after_the_one_that_it_joins_whether_that_is_named_or_not():
    assert [row.name for row in catalog.rows(["keda-adapter"])] == ["keda", "keda-adapter"]
    assert [row.name for row in catalog.rows(["keda-adapter", "keda"])] == ["keda", "keda-adapter"]
    assert catalog.listed("all") == tuple(CONTROLLERS.values())


@ROWS
def test_a_row_that_joins_another_has_its_project_account_and_namespace(row: Controller):
    joined = catalog.named(row.joins) if row.joins else row

    assert joined.program.module == row.program.module
    assert (joined.namespace, joined.account) == (row.namespace, row.account)


@pytest.mark.parametrize(
    ("built", "status", "says"),
    [(True, 0, "KEDA's operator is built"), (False, 1, "KEDA's operator is not built")],
    ids=["built", "not built"],
)
def test_the_command_says_whether_a_controller_is_built(monkeypatch, capsys, built, status, says):
    monkeypatch.setattr(__main__.binaries, "is_built", lambda: True)
    monkeypatch.setattr(program, "is_built", lambda of: built)

    assert __main__.main(["build", "--with", "keda", "--if-cached"]) == status
    assert says in capsys.readouterr().out.splitlines()


def test_a_kept_sandbox_starts_with_the_controllers_that_were_asked_for(monkeypatch, tmp_path):
    started: list[list[str]] = []
    monkeypatch.setattr(
        __main__.session, "up_in_background", lambda folder, arguments: started.append(arguments)
    )

    __main__.main(["up", "--keep", "--folder", str(tmp_path), "--with", "keda,kuberay"])

    assert started == [["up", "--folder", str(tmp_path), "--with=keda,kuberay"]]


@ROWS
def test_the_definitions_are_those_that_all_other_tests_serve(row: Controller):
    """One version, one checksum: else a scenario on the definitions alone would be of another controller."""
    [source] = [source for source in workload_crds.SOURCES if source.module.path == row.program.module]

    assert source.module.version == row.program.version
    pinned = f"{source.module} {source.module.sum}".replace("@", " ")
    assert pinned in (row.program.folder / "go.sum").read_text().splitlines()


@ROWS
def test_a_row_has_what_is_installed_and_asked(row: Controller):
    joined = dict.fromkeys(catalog.named(row.joins).ports, 30_000) if row.joins else {}
    before = Place(Path("/k/config"), Path("/k/certificates"), joined)
    place = before.joined(dict.fromkeys(row.ports, 20_000))
    configured = json.dumps([row.configuration(place), dict(row.environment(place))])
    said = " ".join([*map(str, row.arguments(place)), configured]).replace("127.0.0.1:30000", "")

    assert {ROLES} | (set() if row.joins else {DEFINITIONS}) <= row.program.copies.keys()
    assert ("api" in row.ports) == (APIS in row.program.copies)
    assert "health" in row.ports
    assert said.count("20000") == len(row.ports), "each at a port of its own"
    edits = [after for _, after in row.program.module_edits.values()]
    on_loopback = said.count("127.0.0.1") or any("127.0.0.1:%d" in after for after in edits) * len(row.ports)
    on_loopback += sum("127.0.0.1:%" in after for after in row.program.edits.values())
    assert on_loopback == len(row.ports), "on loopback alone"
    assert "/k/config" in said


@ROWS
def test_the_page_of_supported_versions_has_each(row: Controller):
    page = (ROOT / "docs/supported_versions.md").read_text()

    [line] = [line for line in page.splitlines() if line.startswith(f"| {row.program.title}:")]
    assert row.program.version in line


def test_make_test_builds_kuberay_alone():
    assert catalog.IN_EVERY_TEST_RUN == (KUBERAY,)


def test_each_that_is_built_on_demand_has_tests():
    files = (ROOT / "tests/controllers").glob("test_*.py")
    tested = {name for file in files for name in CONTROLLERS if f'"{name}"' in file.read_text()}

    assert tested >= CONTROLLERS.keys() - {row.name for row in catalog.IN_EVERY_TEST_RUN}


ACCOUNT = {"kind": "ServiceAccount", "name": "operator"}
BINDING = {
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "operator"},
    "roleRef": {"kind": "ClusterRole", "name": "operator"},
    "subjects": [ACCOUNT],
}


def test_roles_without_a_namespace_get_the_one_of_the_installation():
    role = {"kind": "Role", "metadata": {"name": "leases", "namespace": "system"}, "rules": []}

    assert manifests.role(BINDING, "ray-system", "") == {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "operator"},
        "roleRef": {"kind": "ClusterRole", "name": "operator"},
        "subjects": [{**ACCOUNT, "namespace": "ray-system"}],
    }
    assert manifests.role(role, "ray-system", "")["metadata"] == {
        "name": "leases",
        "namespace": "ray-system",
    }
    assert role["metadata"]["namespace"] == "system"


def test_what_a_project_places_in_kube_system_stays_there():
    """KEDA's adapter reads a ConfigMap there, and the controller manager's autoscaler may ask it."""
    autoscaler = {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}
    binding = {
        "kind": "RoleBinding",
        "metadata": {"name": "reader", "namespace": "kube-system"},
        "roleRef": {"kind": "Role", "name": "extension-apiserver-authentication-reader"},
        "subjects": [{**ACCOUNT, "namespace": "elsewhere"}, autoscaler],
    }

    found = manifests.role(binding, "keda", "")

    assert found["metadata"]["namespace"] == "kube-system"
    assert found["subjects"] == [{**ACCOUNT, "namespace": "keda"}, autoscaler]


def test_an_api_of_its_own_is_asked_at_a_port_of_this_machine():
    service = {
        "kind": "Service",
        "metadata": {"name": "metrics", "namespace": "keda"},
        "spec": {"selector": {"app": "metrics"}, "ports": [{"name": "https", "port": 443}]},
    }
    spec = {"group": "external.metrics.k8s.io", "service": {"name": "metrics", "namespace": "keda"}}
    registration = {"kind": "APIService", "metadata": {"name": "v1beta1.external"}, "spec": spec}

    led, registered = manifests.aggregated([service, registration], 20_000)

    assert led["metadata"] == service["metadata"]
    assert led["spec"] == {
        "type": "ExternalName",
        "externalName": "localhost",
        "ports": [{"name": "https", "port": 20_000}],
    }
    asked = {"name": "metrics", "namespace": "keda", "port": 20_000}
    assert registered["spec"] == {**spec, "service": asked, "insecureSkipTLSVerify": True}


def test_every_name_of_a_role_and_its_binding_gets_the_installations_prefix():
    found = manifests.role(BINDING, "kueue-system", "kueue-")

    names = [found["metadata"], found["roleRef"], *found["subjects"]]
    assert {each["name"] for each in names} == {"kueue-operator"}


def test_an_account_that_a_helm_chart_alone_would_make_gets_its_role():
    account, binding = manifests.account("operator", "slinky", "slurm-manager-role")

    assert account["metadata"] == {"name": "operator", "namespace": "slinky"}
    assert binding["roleRef"]["name"] == "slurm-manager-role"
    assert binding["subjects"] == [{**ACCOUNT, "namespace": "slinky"}]


def test_webhooks_ask_a_port_of_this_machine_for_the_namespaces_that_their_project_says():
    service = {"name": "webhook-service", "namespace": "system", "path": "/mutate-v1-pod"}
    hooks = [{"name": name, "clientConfig": {"service": service}} for name in ("mpod.kb.io", "mjob.kb.io")]
    kind = "MutatingWebhookConfiguration"
    selector = {"matchLabels": {"a": "b"}}
    patch = {"kind": kind, "webhooks": [{"name": "mpod.kb.io", "namespaceSelector": selector}]}
    items = [
        {"kind": kind, "metadata": {"name": "webhooks"}, "webhooks": hooks},
        {"patches": [{"patch": json.dumps(patch)}]},
    ]

    [found] = manifests.webhooks(items, "kueue-", 20_000, b"CA")

    asked = {"url": "https://127.0.0.1:20000/mutate-v1-pod", "caBundle": "Q0E="}
    assert found["metadata"] == {"name": "kueue-webhooks"}
    assert found["webhooks"] == [
        {"name": "mpod.kb.io", "clientConfig": asked, "namespaceSelector": selector},
        {"name": "mjob.kb.io", "clientConfig": asked},
    ]


def test_a_json_patch_of_a_webhook_is_heeded_and_what_it_asks_is_still_a_port_of_this_machine():
    """LeaderWorkerSet and JobSet say by one that they are asked of their own pods alone."""
    asks = {"clientConfig": {"service": {"name": "webhook-service", "path": "/mutate--v1-pod"}}}
    own = {"matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]}
    value = {"name": "mpod.kb.io", **asks, "objectSelector": own}
    hooks = [{"name": name, **asks} for name in ("mjobset.kb.io", "mpod.kb.io")]
    items = [
        {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "webhooks"}, "webhooks": hooks},
        [{"op": "replace", "path": "/webhooks/1", "value": value}],
    ]

    [found] = manifests.webhooks(items, "jobset-", 20_000, b"CA")

    asked = {"url": "https://127.0.0.1:20000/mutate--v1-pod", "caBundle": "Q0E="}
    assert found["webhooks"] == [
        {"name": "mjobset.kb.io", "clientConfig": asked},
        {"name": "mpod.kb.io", "clientConfig": asked, "objectSelector": own},
    ]
