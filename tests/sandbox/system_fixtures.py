"""
One deployed Slicewise for the tests of onboarding, and what they do to its clusters.

Everything goes the way it goes in an account: events through the bus and the queue, passes in the deployed
functions, with their roles' rights. Tests look from outside, as an administrator.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.aws.eks.clusters import NOBODY
from sandbox.cluster import audit
from sandbox.cluster.client import KubeClient
from sandbox.system import Cluster, System
from tests.support.sharing import GroupsOwn
from tests.support.waiting import eventually

ACCOUNTS = map("1111222233{:02}".format, itertools.count(33))  # each its own: moto's state is the process's
POLICY_TAG = "slicewise.dev/policy"
ONBOARD, TUNE = "slicewise-onboard-cluster", "slicewise-tune-slicing"
INSTALLER, TUNER, SLEEPER, SWEEPER, WATCHER = (
    f"slicewise-{name}" for name in ("installer", "tuner", "sleeper", "sweeper", "watcher")
)

# As near as schedules are made for, and as far as no test lasts.
FAR_DAY = date.today() + timedelta(days=300)

NODES, PODS = "/api/v1/nodes", "/api/v1/namespaces/default/pods"
NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"
NODE_CLAIMS = "/apis/karpenter.sh/v1/nodeclaims"
NODE_OVERLAYS = "/apis/karpenter.sh/v1alpha1/nodeoverlays"
OPERATOR_SECRETS = "/api/v1/namespaces/gpu-operator/secrets"

_KWOK = {
    "consolidation": {"policy": "WhenEmpty", "after": "Never"},
    "nodeClass": {
        "group": "karpenter.kwok.sh",
        "kind": "KWOKNodeClass",
        "name": "default",
        "create": False,
    },
}


def shared(start: int, gpu: str = "l4", gpus: int = 1, **changes: Any) -> dict[str, Any]:
    """A pool of machines with `gpus` GPUs each, `start` pods a GPU."""
    pool = {
        "sharing": "time-slicing",
        "gpus": [gpu],
        "replicas": {"start": start, "max": 8},
        "maxGpus": 16,
        "gpuCounts": [gpus],
    }
    return pool | changes


EVERY_POOL: dict[str, Any] = {
    # Of two sizes of machines each: when an overlay comes, Karpenter writes the status of all of them.
    **{f"n{n}": shared(n, gpuCounts=[1, 4], maxGpus=32) for n in range(2, 9)},
    # Those of the examples' pods.
    "shared": shared(4),
    "slices": {"sharing": "mig", "gpus": ["h100"], "profile": "1g.10gb", "maxGpus": 8, "gpuCounts": [8]},
    "whole": {"sharing": "none", "gpus": ["l40s"], "maxGpus": 4, "gpuCounts": [1]},
    "mixed": {
        "sharing": "time-slicing",
        "gpus": ["l4"],
        "classes": [1, 2, 3],
        "maxGpus": 16,
        "gpuCounts": [1],
    },
    # The other ways of sharing.
    "batch": {**shared(3, gpu="t4"), "sharing": "mps"},
    "sevenths": {
        "sharing": "mig",
        "gpus": ["a100-40gb"],
        "profile": "1g.5gb",
        "maxGpus": 16,
        "gpuCounts": [8],
    },
}

# A day is a second: what tuning waits for is the unit tests' business.
SOON = {"trial": True, "raiseAfter": "0s", "lowerAfter": "0s", "dwell": "0s", "canary": "5s"}

POLICIES: dict[str, dict[str, Any]] = {
    "every-pool": {"pools": EVERY_POOL},
    "one-pool": {"pools": {"shared": shared(4)}},
    "adopting": {"pools": {"shared": shared(4)}, "gpuOperator": {"adopt": True}},
    "tuned": {"pools": {"shared": shared(4)}, "tuning": SOON | {"publishSlices": True}},
    # All that a team has, and a pool of ours beside it; what it does not write of consolidation stays theirs.
    "taking-over": {
        "pools": {
            "taken": {"sharing": "time-slicing", "gpus": ["l4"], "adopt": "gpu", "replicas": {"max": 8}},
            "stuck": {"sharing": "time-slicing", "gpus": ["l4"], "adopt": "gpu-stuck"},
            "second": {"sharing": "time-slicing", "gpus": ["l4"], "adopt": "gpu-second"},
            "third": {"sharing": "time-slicing", "gpus": ["l4"], "adopt": "gpu-third"},
            "shared": shared(2),
        },
        "gpuOperator": {"adopt": True},
        "tuning": SOON,
        "consolidation": {},
    },
    # Asleep only on a day that is far away, or when a person says so.
    "nightly": {
        "pools": {"shared": shared(4, fallbackGpus=["l40s"])},
        "offHours": {"timeZone": "Europe/Berlin", "asleep": [str(FAR_DAY)]},
    },
    "with-karpenter": {"pools": {"shared": shared(4)}, "karpenter": {"install": True}},
}


def policy_text(name: str, **changes: Any) -> str:
    return yaml.safe_dump({**_KWOK, **POLICIES[name], **changes}, sort_keys=False)


def publish(system: System, name: str, text: str) -> None:
    """Change a deployed policy, as a new deployment would."""
    parameter = system.outputs["PolicyPrefix"] + name
    system.aws.client("ssm").put_parameter(Name=parameter, Value=text, Type="String", Overwrite=True)


@contextmanager
def unreachable(system: System, name: str) -> Iterator[None]:
    """While it lasts, no request of ours to this cluster is answered."""
    reached = system.aws.attachment(name)
    system.aws.attach(name, NOBODY, reached.ca_pem)
    try:
        yield
    finally:
        system.aws.attach(name, reached.endpoint, reached.ca_pem)


@pytest.fixture(scope="module")
def system(
    request: pytest.FixtureRequest, groups_own: GroupsOwn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    yield from groups_own.share(request, lambda: _deployed(tmp_path_factory.mktemp("system")))


def _deployed(folder: Path) -> System:
    policies = folder / "policies"
    policies.mkdir()
    for name in POLICIES:
        (policies / f"{name}.yaml").write_text(policy_text(name))
    return System.start(
        folder,
        account=next(ACCOUNTS),
        context={"policies": str(policies), "dashboard": "true"},
        creating_seconds=0,
        # What passes wait for, such as an operator's installation, is over within seconds here.
        delay_share=0.4,
    )


# Waiting and asking


def ask(system: System, cluster: str, reason: str = "a test", forced: bool = False) -> None:
    """Send a trigger by hand."""
    body = {"slicewise": 1, "cluster": cluster, "reason": reason, "forced": forced}
    system.send_message("OnboardingQueueUrl", body)


def onboard_now(system: System, cluster: str, reason: str = "a test", forced: bool = False) -> dict[str, Any]:
    """Have the installer look now; what it recorded."""
    return _recorded(system, cluster, "onboarding", ONBOARD, lambda: ask(system, cluster, reason, forced))


def check_capacity(system: System, cluster: str) -> dict[str, Any]:
    """Have the tuner look now; what it recorded."""
    sqs = system.aws.client("sqs")
    queue = sqs.get_queue_url(QueueName="slicewise-tuning")["QueueUrl"]
    body = json.dumps({"slicewise": 1, "cluster": cluster, "reason": "a test"})
    return _recorded(
        system, cluster, "tuning", TUNE, lambda: sqs.send_message(QueueUrl=queue, MessageBody=body)
    )


def _recorded(
    system: System, cluster: str, capability: str, function: str, cause: Callable[[], object]
) -> dict[str, Any]:
    """The record of a pass that begins after this call: one at work now may have seen what was before."""
    eventually(lambda: not system.aws.functions.busy(function), f"{function} is always at work", every=0.01)
    before = (system.record(cluster, capability) or {}).get("at")
    cause()

    def newer() -> dict[str, Any] | None:
        record = system.record(cluster, capability)
        return record if record and record["at"] != before else None

    return eventually(newer, lambda: system.aws.functions.log(function)[-3000:])


def codes(record: Mapping[str, Any]) -> set[str]:
    return {finding["code"] for finding in record["findings"]}


def log_lines(system: System, function: str = ONBOARD) -> list[dict[str, Any]]:
    """The JSON lines of a function's log, without metrics, and without one that is just being written."""
    written = system.aws.functions.log(function).rpartition("\n")[0]
    found = [json.loads(line) for line in written.splitlines() if line[:1] == "{"]
    return [line for line in found if "_aws" not in line]


def history(system: System, cluster: str) -> int:
    """How many onboarding passes were worth keeping: those that did or said something new."""
    found = system.aws.client("dynamodb").query(
        TableName=system.outputs["StateTableName"],
        KeyConditionExpression="pk = :cluster AND begins_with(sk, :passes)",
        ExpressionAttributeValues={
            ":cluster": {"S": f"cluster#{system.arn(cluster)}"},
            ":passes": {"S": "pass#onboarding#"},
        },
    )
    return found["Count"]


def is_admin(system: System, cluster: str) -> bool:
    eks, role = system.aws.client("eks"), system.outputs["InstallerRoleArn"]
    if role not in eks.list_access_entries(clusterName=cluster)["accessEntries"]:
        return False
    found = eks.list_associated_access_policies(clusterName=cluster, principalArn=role)
    return bool(found["associatedAccessPolicies"])


def has_entry(system: System, cluster: str, role: str) -> bool:
    entries = system.aws.client("eks").list_access_entries(clusterName=cluster)["accessEntries"]
    return any(arn.endswith(f"/{role}") for arn in entries)


# Inside clusters


def ours(kube: KubeClient, kind: str) -> dict[str, dict[str, Any]]:
    """Our objects of a kind by name."""
    found = kube.list(kind, labelSelector="app.kubernetes.io/managed-by=slicewise")
    return {item["metadata"]["name"]: item for item in found}


def requests_of(cluster: Cluster, role: str) -> list[audit.Request]:
    return list(audit.requests(cluster.plane.audit_log, user_contains=f"assumed-role/{role}/"))


def running(kube: KubeClient, app: str) -> int:
    pods = kube.list(PODS, labelSelector=f"app={app}")
    return sum(pod["status"].get("phase") == "Running" for pod in pods)


def nodes_of(kube: KubeClient, pool: str) -> list[dict[str, Any]]:
    return kube.list(NODES, labelSelector=f"slicewise.dev/pool={pool}")


def operator_releases(kube: KubeClient) -> list[str]:
    """States of the operator's revisions, oldest first."""
    secrets = kube.list(OPERATOR_SECRETS, labelSelector="owner=helm")
    secrets.sort(key=lambda secret: int(secret["metadata"]["labels"]["version"]))
    return [secret["metadata"]["labels"]["status"] for secret in secrets]


def asking_pods(app: str, replicas: int, pool: str, resource: str = "nvidia.com/gpu") -> dict[str, Any]:
    """A Deployment of pods that ask for one of a resource each."""
    container = {
        "name": "main",
        "image": "example.com/inference:1",
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {resource: "1"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": {
                "metadata": {"labels": {"app": app}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "nodeSelector": {"slicewise.dev/pool": pool},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                    "containers": [container],
                },
            },
        },
    }
