"""
A pass that is killed on a real control plane, with the real helm: the next ones reach the same end.

tests/scenarios kills at every single call, on fakes. Here a sample of calls is enough: it shows that what the
fakes promise (a grant that holds, a release left pending, CRDs half applied) is so.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from slicewise.app import ONBOARDING, TUNING, App
from slicewise.errors import SlicewiseError
from slicewise.gateways import helm
from slicewise.kube.labels import ORIGINAL_ANNOTATION
from slicewise.kube.ref import ref_of
from slicewise.planning.outcome import Stage
from slicewise.planning.record import Record
from slicewise.reconcile.reconciler import Reconciler
from slicewise.trigger import Trigger

from sandbox.artifacts import versions
from sandbox.artifacts.charts import chart
from sandbox.artifacts.tools import tools
from sandbox.aws.server import Aws
from sandbox.cluster import all_objects
from sandbox.cluster.client import KubeClient
from sandbox.cluster.control_plane import ControlPlane
from sandbox.cluster.samples import deployment, node_class, plugin_config
from sandbox.gpus.gpu_nodes import GpuNodes
from tests.fakes.calls import Calls, Killed
from tests.sandbox.operation.foreign_cluster import team_pool
from tests.sandbox.system_fixtures import NODE_POOLS, running
from tests.support import functions_aws
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

POLICIES = Path(__file__).parents[3] / "sandbox/policies"
TABLE = "slicewise-state"
KEYS = {"a": plugin_config(), "b": plugin_config(2)}
THEIRS = {
    "operator": {"upgradeCRD": False},
    "devicePlugin": {"config": {"name": "team", "default": "a"}},
    "daemonsets": {"tolerations": [{"operator": "Exists"}]},
}


class KilledAt(Calls):
    """Ends the process after the first call whose text holds one of `parts`; after each of them once."""

    def __init__(self, *parts: str) -> None:
        super().__init__()
        self.left = list(parts)

    def call(self, what: str):
        if found := next((part for part in self.left if part in what), None):
            self.left.remove(found)
            self.kill_after = len(self.made)
        return super().call(what)


class Counted:
    """A gateway whose calls go through the counter."""

    def __init__(self, port: Any, name: str, calls: Calls) -> None:
        self._port, self._name, self._calls = port, name, calls

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            about = arguments[0] if arguments else ""
            about = ref_of(about) if isinstance(about, dict) and "metadata" in about else about
            with self._calls.call(f"{self._name}.{method} {about}"):
                return getattr(self._port, method)(*arguments, **options)

        return called


@dataclass
class Sandboxed:
    """One EKS cluster with its control plane, and the product's own App as the installer's role."""

    name: str
    aws: Aws
    plane: ControlPlane
    environ: dict[str, str]

    def onboard(self, calls: Calls) -> None:
        self.run(calls, lambda: self._stage() is Stage.ONBOARDED, ONBOARDING)

    def run(self, calls: Calls, until: Callable[[], bool], *capabilities: str) -> None:
        """
        Pass after pass of each in turn, as the queues would bring them; a killed one's lease has run out by
        the next.
        """
        roles = {ONBOARDING: "slicewise-installer", TUNING: "slicewise-tuner"}
        reconciles = [self._app(roles[name], calls).reconciler(name) for name in capabilities]
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for one in reconciles:
                self._pass(one, calls)
            if until():
                return
            time.sleep(0.3)
        raise AssertionError([self._record(name) for name in (ONBOARDING, TUNING)])

    def _pass(self, reconciles: Reconciler[Any], calls: Calls) -> None:
        try:
            reconciles.run(self._trigger())
        except Killed:
            calls.revive()
            self._lease_runs_out(self._trigger().cluster)
        except SlicewiseError:
            pass  # recorded; the queue brings the message back

    def check_capacity(self) -> str:
        return self._app("slicewise-tuner", Calls()).tuning.run(self._trigger()).reason

    def offboard(self, calls: Calls) -> None:
        tag = {"slicewise.dev/policy": "offboard"}
        eks = self.aws.client("eks")
        eks.tag_resource(resourceArn=self._trigger().cluster, tags=tag)
        self.run(calls, lambda: not self.entries(), TUNING, ONBOARDING)

    def entries(self) -> list[str]:
        """Whose access entries there are."""
        found = self.aws.client("eks").list_access_entries(clusterName=self.name)["accessEntries"]
        return [arn for arn in found if "/slicewise-" in arn]

    def _stage(self) -> Stage | None:
        record = self._record(ONBOARDING)
        return record.stage if record else None

    def _record(self, capability: str) -> Record | None:
        store = self._app("slicewise-installer", Calls()).ports.store
        return store.record(self._trigger().cluster, capability)

    def _trigger(self) -> Trigger:
        return Trigger(self.aws.arn("eks", f"cluster/{self.name}"), "a test")

    def state(self) -> dict[str, Any]:
        kube = self.plane.kube
        eks = self.aws.client("eks")
        entries = {
            arn.rpartition("/")[2]: (
                eks.describe_access_entry(clusterName=self.name, principalArn=arn)["accessEntry"][
                    "kubernetesGroups"
                ],
                eks.list_associated_access_policies(clusterName=self.name, principalArn=arn)[
                    "associatedAccessPolicies"
                ],
            )
            for arn in eks.list_access_entries(clusterName=self.name)["accessEntries"]
        }
        paths = ("/apis/karpenter.sh/v1/nodepools", "/apis/karpenter.sh/v1alpha1/nodeoverlays")
        configuration = kube.get("/api/v1/namespaces/gpu-operator/configmaps/slicewise-device-plugin")
        return {
            "entries": entries,
            "specs": {i["metadata"]["name"]: i["spec"] for path in paths for i in kube.list(path)},
            "keys": configuration["data"],
            "roles": sorted(
                item["metadata"]["name"]
                for item in kube.list("/apis/rbac.authorization.k8s.io/v1/clusterroles")
                if item["metadata"]["name"].startswith("slicewise")
            ),
            "release": self.releases()[-1],
        }

    def releases(self) -> list[str]:
        """Status of each revision of GPU Operator, oldest first."""
        path = "/api/v1/namespaces/gpu-operator/secrets"
        found = [
            item["metadata"]["labels"] for item in self.plane.kube.list(path, labelSelector="owner=helm")
        ]
        return [labels["status"] for labels in sorted(found, key=lambda labels: int(labels["version"]))]

    def _app(self, role: str, calls: Calls) -> App:
        arn = f"arn:aws:iam::{self.aws.account}:role/{role}"
        keys = self.aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        session = functions_aws.session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], self.aws.region
        )
        app = App.from_env(self.environ, session)
        ports = app.ports
        app.ports = replace(
            ports,
            eks=Counted(ports.eks, "eks", calls),
            store=Counted(ports.store, "store", calls),
            queues=Counted(ports.queues, "queues", calls),
            policies=Counted(ports.policies, "policies", calls),
            kubernetes=lambda cluster: Counted(ports.kubernetes(cluster), "kubernetes", calls),
            helm=lambda cluster: Counted(ports.helm(cluster), "helm", calls),
        )
        return app

    def _lease_runs_out(self, cluster: str) -> None:
        self.aws.client("dynamodb").update_item(
            TableName=TABLE,
            Key={"pk": {"S": f"cluster#{cluster}"}, "sk": {"S": "lease"}},
            UpdateExpression="SET #until = :past",
            ExpressionAttributeNames={"#until": "until"},
            ExpressionAttributeValues={":past": {"N": "0"}},
        )


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with Aws.start(tmp_path_factory.mktemp("aws"), creating_seconds=0, enforce_iam=False) as running:
        for role in ("slicewise-installer", "slicewise-tuner"):
            running.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
        keys = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
        running.client("dynamodb").create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")],
            KeySchema=keys,
        )
        for name in ("sandbox", "takeover"):
            text = (POLICIES / f"{name}.yaml").read_text()
            running.client("ssm").put_parameter(Name=f"/slicewise/policies/{name}", Value=text, Type="String")
        running.client("sns").create_topic(Name="notices")
        yield running


@pytest.fixture
def cluster(aws, tmp_path, monkeypatch) -> Callable[[str], Sandboxed]:
    """Makes clusters with control planes of their own; they end with the test."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    opt = tmp_path / "opt"
    (opt / "helm").mkdir(parents=True)
    (opt / "helm" / "helm").symlink_to(tools().helm)
    operator = chart("gpu-operator")
    queues = {
        name: aws.client("sqs").create_queue(QueueName=f"slicewise-{name}")["QueueUrl"]
        for name in ("onboarding", "tuning", "off-hours")
    }
    environ = {
        "AWS_REGION": aws.region,
        "TABLE_NAME": TABLE,
        "ONBOARDING_QUEUE_URL": queues["onboarding"],
        "TUNING_QUEUE_URL": queues["tuning"],
        "POLICY_PREFIX": "/slicewise/policies/",
        "INSTALLER_ROLE_ARN": f"arn:aws:iam::{aws.account}:role/slicewise-installer",
        "TUNER_ROLE_ARN": f"arn:aws:iam::{aws.account}:role/slicewise-tuner",
        "OFF_HOURS_QUEUE_URL": queues["off-hours"],
        "OFF_HOURS_QUEUE_ARN": f"arn:aws:sqs:{aws.region}:{aws.account}:slicewise-off-hours",
        "NOTICES_TOPIC_ARN": f"arn:aws:sns:{aws.region}:{aws.account}:notices",
        "SCHEDULE_GROUP": "slicewise-off-hours",
        "SCHEDULER_ROLE_ARN": f"arn:aws:iam::{aws.account}:role/slicewise-schedules",
        "SLEEPER_ROLE_ARN": f"arn:aws:iam::{aws.account}:role/slicewise-sleeper",
        "GPU_OPERATOR_CHART": str(operator.path),
        "GPU_OPERATOR_VERSION": operator.version,
        "OPT_ROOT": str(opt),
        "PATH": "/usr/bin:/bin",
    }
    ca = tmp_path / "webhook.pem"
    ca.write_text(aws.webhook_ca_pem if isinstance(aws.webhook_ca_pem, str) else aws.webhook_ca_pem.decode())
    started: list[ControlPlane] = []

    def make(name: str, policy: str = "sandbox") -> Sandboxed:
        plane = ControlPlane.start(
            tmp_path / name,
            token_webhook_url=aws.token_webhook_url(name),
            webhook_ca=ca,
            cluster_name=name,
            system_nodes=1,
            progress=lambda line: None,
        )
        started.append(plane)
        plane.kube.apply(node_class())
        aws.attach(name, plane.url, plane.ca_pem.decode())
        aws.client("eks").create_cluster(
            name=name,
            version=versions.chosen().minor,
            roleArn=f"arn:aws:iam::{aws.account}:role/eks",
            resourcesVpcConfig={"subnetIds": ["subnet-0a", "subnet-0b"]},
            accessConfig={"authenticationMode": "API"},
            tags={"slicewise.dev/policy": policy},
        )
        aws.client("eks").describe_cluster(name=name)  # the sandbox's clusters become ACTIVE when looked at
        return Sandboxed(name, aws, plane, environ)

    yield make
    for plane in started:
        plane.stop()


@pytest.fixture(scope="module")
def end() -> dict[str, Any]:
    """The state after an undisturbed onboarding, kept by the first test that needs it."""
    return {}


def undisturbed(cluster, end) -> dict[str, Any]:
    if not end:
        one = cluster("undisturbed")
        one.onboard(Calls())
        end.update(one.state())
        assert end["release"] == "deployed"
        assert end["entries"]["slicewise-installer"] == (["slicewise:installer"], [])
        assert "no GPU node" in one.check_capacity()  # read with the tuner's own rights
    return end


def test_killed_again_and_again_an_onboarding_reaches_the_same_end(cluster, end):
    expected, struck = undisturbed(cluster, end), cluster("struck")
    calls = KilledAt(
        "eks.put_access_entry",
        "eks.grant_admin",
        "kubernetes.apply NodeOverlay slicewise-gate-probe",
        "kubernetes.apply CustomResourceDefinition",
        "helm.upgrade",
        "kubernetes.apply ConfigMap",
        "kubernetes.apply NodePool",
        "eks.revoke_admin",
        "store.save",
    )

    struck.onboard(calls)

    assert calls.left == []
    assert struck.state() == expected


def test_a_helm_that_is_killed_half_way_leaves_nothing_that_stops_the_next(cluster, end, monkeypatch):
    expected, struck = undisturbed(cluster, end), cluster("struck-helm")
    run, left = subprocess.run, []

    def killed(command, *, input, env, **options):
        if "upgrade" not in command or left:
            return run(command, input=input, env=env, **options)
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as helm_run:
            # At its first request after it has noted the release.
            struck.aws.witness = lambda role: helm_run.kill() if struck.releases() else None
            helm_run.communicate(input.encode())
        struck.aws.witness = lambda role: None
        left.append(struck.releases()[-1])
        raise subprocess.TimeoutExpired(command, 0)

    monkeypatch.setattr(helm.subprocess, "run", killed)
    struck.onboard(Calls())

    assert left == ["pending-install"]
    assert struck.state() == expected


@pytest.fixture
def taken_over(cluster) -> Iterator[Sandboxed]:
    """With a GPU Operator under a name and in a namespace of its own, and a NodePool with two nodes."""
    struck = cluster("joined", policy="takeover")
    kube = struck.plane.kube
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "nvidia"}})
    team = {"name": "team", "namespace": "nvidia"}
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": team, "data": KEYS})
    helm_of(struck, "install", "gpus", str(chart("gpu-operator").path), "--values", "-", given=THEIRS)
    kube.apply(team_pool("gpu", "g6.xlarge"), field_manager="their-helm")
    pods = deployment("vision", 2, "gpu")
    pods["spec"]["template"]["spec"]["tolerations"].append({"key": "dedicated", "operator": "Exists"})
    kube.apply(pods)
    with GpuNodes(kube, delay_seconds=0.3, namespace="nvidia"):
        eventually(lambda: running(kube, "vision") == 2, "the team's pods do not run", within_seconds=120)
        # Karpenter's last word on a node comes after its pods run, where the machine is busy.
        eventually(lambda: not uninitialized(kube), lambda: uninitialized(kube), within_seconds=120)
        yield struck


def uninitialized(kube: KubeClient) -> list[str]:
    nodes = kube.list("/api/v1/nodes", labelSelector="karpenter.sh/nodepool")
    return [
        node["metadata"]["name"]
        for node in nodes
        if "karpenter.sh/initialized" not in node["metadata"]["labels"]
    ]


def test_what_a_team_has_is_joined_and_left_as_it_came_by_reconciles_of_which_most_are_killed(taken_over):
    """After joining, our groups' rights are enough to read it."""
    struck, kube = taken_over, taken_over.plane.kube
    before, manifest = all_objects.written(kube), helm_of(struck, "get", "manifest", "gpus")
    joining = KilledAt(
        "kubernetes.apply ConfigMap nvidia/",
        "kubernetes.apply Role nvidia/",
        "helm.try_upgrade",
        "helm.upgrade",
        "kubernetes.apply NodeOverlay slicewise-taken-l4-1",
        "eks.revoke_admin",
    )
    struck.onboard(joining)

    values = json.loads(helm_of(struck, "get", "values", "gpus", "--output", "json"))
    assert (joining.left, values["slicewise"]["before"]) == ([], THEIRS)
    assert values["devicePlugin"]["config"] == {"name": "slicewise-device-plugin", "default": "a"}
    ours = kube.get("/api/v1/namespaces/nvidia/configmaps/slicewise-device-plugin")["data"]
    assert ours == kube.get("/api/v1/namespaces/gpu-operator/configmaps/slicewise-device-plugin")["data"]
    assert ours.items() >= KEYS.items()

    adopting = KilledAt(
        "kubernetes.patch Node ", "kubernetes.patch NodeClaim ", "kubernetes.patch NodePool gpu"
    )
    struck.run(adopting, lambda: ORIGINAL_ANNOTATION in marks_of(kube, "gpu"), TUNING)

    now = kube.get(f"{NODE_POOLS}/gpu")["spec"]
    was = before["nodepools//gpu"]["spec"]
    assert (adopting.left, now["disruption"], now["limits"]) == ([], was["disruption"], was["limits"])

    leaving = KilledAt(
        "kubernetes.patch NodePool gpu",
        "kubernetes.patch NodeClaim ",
        "kubernetes.patch NodePool gpu",
        "eks.grant_admin",
        "kubernetes.delete NodeOverlay ",
        "helm.upgrade",
        "kubernetes.delete ClusterRole ",
        "eks.delete_access_entry",
    )
    struck.offboard(leaving)

    assert leaving.left == []
    # The namespace of ours takes a moment to go.
    eventually(
        lambda: all_objects.written(kube) == before, lambda: differences(before, kube), within_seconds=60
    )
    assert helm_of(struck, "get", "manifest", "gpus") == manifest
    assert json.loads(helm_of(struck, "get", "values", "gpus", "--output", "json")) == THEIRS


def differences(before: dict[str, Any], kube: KubeClient) -> dict[str, list[str]]:
    return all_objects.differences(before, all_objects.written(kube))


def marks_of(kube: KubeClient, node_pool: str) -> dict[str, str]:
    return kube.get(f"{NODE_POOLS}/{node_pool}")["metadata"].get("annotations", {})


def helm_of(struck: Sandboxed, *arguments: str, given: Any = None) -> str:
    command = [str(tools().helm), "--kubeconfig", str(struck.plane.kubeconfig), "--namespace", "nvidia"]
    done = subprocess.run(
        [*command, *arguments],
        input=json.dumps(given) if given else None,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
