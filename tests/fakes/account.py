"""A whole AWS account on fakes: EKS clusters, our queues and table, and the functions that answer them."""

from __future__ import annotations

import json
from copy import copy, deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Self

from slicewise.app import OFF_HOURS, ONBOARDING, TIMEOUTS, TUNING, App
from slicewise.kube.ref import Object
from slicewise.model.cluster import AccessEntry, EksCluster
from slicewise.onboarding.observation import Chart, Settings
from slicewise.planning.record import Record
from slicewise.ports import Ports
from slicewise.trigger import DeploymentScope, Trigger

from tests.fakes.aws.alarms import FakeAlarms
from tests.fakes.aws.cost_store import FakeCostStore
from tests.fakes.aws.eks import FakeEks
from tests.fakes.aws.iam import FakeIam
from tests.fakes.aws.interruptions import FakeEventQueues, FakeEventRules
from tests.fakes.aws.notices import FakeNotices
from tests.fakes.aws.queues import FakePolicies, FakeQueues
from tests.fakes.aws.schedules import FakeSchedules
from tests.fakes.aws.sleep_store import FakeSleepStore
from tests.fakes.aws.store import FakeStore
from tests.fakes.aws.subnets import FakeSubnets
from tests.fakes.aws.usage_store import FakeUsageStore
from tests.fakes.calls import Calls, Killed
from tests.fakes.clock import Clock
from tests.fakes.kube.helm import FakeHelm, FakeReleases
from tests.fakes.kube.kubernetes import KARPENTER_CRDS, FakeApiServer, FakeKubernetes
from tests.fakes.metrics import FakeMetrics

HOME = DeploymentScope("111122223333", "eu-west-1")
INSTALLER = f"arn:aws:iam::{HOME.account}:role/slicewise-installer"
TUNER = f"arn:aws:iam::{HOME.account}:role/slicewise-tuner"
SLEEPER = f"arn:aws:iam::{HOME.account}:role/slicewise-sleeper"
PERSON = f"arn:aws:iam::{HOME.account}:role/platform-team"
SETTINGS = Settings(
    installer_role=INSTALLER,
    tuner_role=TUNER,
    sleeper_role=SLEEPER,
    gpu_operator=Chart("charts/gpu-operator-v26.7.0.tgz", "v26.7.0"),
    karpenter=Chart("oci://registry.example/karpenter/karpenter", "1.14.1"),
    karpenter_crd=Chart("oci://registry.example/karpenter/karpenter-crd", "1.14.1"),
    karpenter_controller_role=f"arn:aws:iam::{HOME.account}:role/slicewise-karpenter",
    karpenter_node_role="slicewise-nodes",
)
FARGATE_SETTINGS = replace(
    SETTINGS,
    fargate_pod_role=f"arn:aws:iam::{HOME.account}:role/slicewise-fargate-pods",
    fargate_controller_role_prefix="slicewise-on-fargate-",
    fargate_controller_policy=f"arn:aws:iam::{HOME.account}:policy/slicewise-karpenter-controller",
)
POLICY = """
pools:
  shared: {sharing: time-slicing, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: 16, gpuCounts: [1, 4]}
"""
# A minute more than the function may run, as cdk_app has it: one that was killed keeps its message that long.
VISIBILITY = {capability: timeout + timedelta(minutes=1) for capability, timeout in TIMEOUTS.items()}


class Account:
    """
    Attributes:
        servers: What stands in each cluster, by name.
        calls: Every call that our code makes to any of the fakes.
        metrics: What was measured of the clusters.
        gate: Whether each cluster's Karpenter honours NodeOverlays.
        lost: Errors that passes ended with, in order.
        late: Of each look at openings, the clusters that it found asleep past their hour.
    """

    def __init__(self, policy: str = POLICY, default_policy: str = "", settings: Settings = SETTINGS) -> None:
        self.clock, self.calls = Clock(), Calls()
        self.eks = FakeEks(HOME, self.calls, self.clock)
        self.iam = FakeIam(HOME.account, self.calls, (settings.fargate_controller_policy,))
        self.subnets = FakeSubnets(self.calls)
        self.event_queues, self.event_rules = (
            FakeEventQueues(self.calls, self.clock),
            FakeEventRules(self.calls),
        )
        self.sleep = FakeSleepStore(self.calls)
        self.usage = FakeUsageStore(self.calls)
        self.costs = FakeCostStore(self.calls)
        self.store = FakeStore(self.calls, self.sleep, self.usage)
        self.schedules = FakeSchedules(self.calls)
        self.notices = FakeNotices(self.calls)
        self.queues = FakeQueues(self.clock, self.calls)
        self.policies = FakePolicies(self.calls, default=policy)
        self.servers: dict[str, FakeApiServer] = {}
        self.releases: dict[str, FakeReleases] = {}
        self.metrics = FakeMetrics(self.calls)
        self.alarms = FakeAlarms(self.calls, self.clock)
        self.gate = True
        self.lost: list[BaseException] = []
        self.late: list[tuple[str, ...]] = []
        self._default_policy, self._settings = default_policy, settings
        self._deploy()

    def _deploy(self) -> None:
        self._apps = {
            ONBOARDING: self._app(INSTALLER),
            TUNING: self._app(TUNER),
            OFF_HOURS: self._app(SLEEPER),
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same world once more: what befalls the one never befalls the other."""
        twin = copy(self)
        memo[id(self)] = twin
        twin.__dict__ = {name: deepcopy(value, memo) for name, value in vars(self).items() if name != "_apps"}
        twin._deploy()
        return twin

    def create_cluster(self, name: str = "gpu-1", karpenter: bool = True, **changes: Any) -> EksCluster:
        """An ACTIVE cluster that asks for policy `default`, with Karpenter in it."""
        plain = EksCluster(
            arn=HOME.arn(name),
            name=name,
            region=HOME.region,
            account=HOME.account,
            status="ACTIVE",
            version="1.35",
            authentication_mode="API",
            created_at=self.clock.now,
            endpoint=f"https://{name}.example",
            ca_data="Y2E=",
            tags={"slicewise.dev/policy": "default"},
            vpc="vpc-1",
            subnets=("subnet-a", "subnet-b", "subnet-public"),
            issuer=f"https://oidc.eks.{HOME.region}.amazonaws.com/id/{name.upper()}",
        )
        self.subnets.with_gateway.add("subnet-public")
        self.eks.public_subnets.add("subnet-public")
        self.eks.clusters[name] = cluster = replace(plain, **changes)
        self.servers[name] = server = FakeApiServer(self.clock)
        self.releases[name] = FakeReleases(server)
        if karpenter:
            server.add_crds(*KARPENTER_CRDS)
            server.create(karpenter_deployment())
        return cluster

    def send_created(self, name: str = "gpu-1") -> None:
        """The event as CloudTrail and EventBridge bring it."""
        self.queues.put(ONBOARDING, created_event(name))

    def send(self, trigger: Trigger, capability: str = ONBOARDING) -> None:
        self.queues.put(capability, trigger.message())

    def run_until_idle(self, limit: int = 200) -> int:
        """Answer messages, in the order in which they are due, until none is left. Returns how many."""
        for number in range(limit):
            if not self.answer_one():
                return number
        raise AssertionError(f"still busy after {limit} messages: {self.queues.waiting[:3]}")

    def answer_one(self) -> bool:
        """The message that is due first, at its time. Returns whether there was one."""
        self.reconcile()
        received = self.queues.receive(VISIBILITY)
        if received is None:
            return False
        self._answer(*received)
        return True

    def run_until(self, moment: datetime) -> None:
        """Answer the messages that are due until then."""
        while self.queues.waiting and min(self.queues.waiting).due <= moment:
            self.answer_one()

    def _answer(self, receipt: str, message: Any) -> None:
        event = {
            "Records": [
                {
                    "messageId": str(message.number),
                    "receiptHandle": receipt,
                    "body": message.body,
                    "attributes": {"ApproximateReceiveCount": str(message.received)},
                }
            ]
        }
        try:
            answer = self._apps[message.capability].answer(event, message.capability, _Noting(self.lost))
        except Killed as killed:
            self.lost.append(killed)
            self.calls.revive()
            self.queues.failed(receipt)
            return
        if answer["batchItemFailures"]:
            self.queues.failed(receipt)
        else:
            self.queues.done(receipt)

    def reconcile(self) -> None:
        """What each cluster's Karpenter does with overlays between two passes."""
        for server in self.servers.values():
            for ref, item in list(server.objects.items()):
                if ref.kind == "NodeOverlay" and self.gate:
                    ready = {
                        "type": "Ready",
                        "status": "True",
                        "observedGeneration": item["metadata"]["generation"],
                    }
                    server.set_status(ref, {"conditions": [ready]})

    def sweep(self) -> None:
        self._apps[ONBOARDING].sweep()

    def watch_openings(self) -> None:
        self._apps[OFF_HOURS].watch_openings(self.late.append)

    def record(self, name: str = "gpu-1", capability: str = ONBOARDING) -> Record | None:
        return self.store._records.get((HOME.arn(name), capability), (None, 0))[0]

    def state(self) -> dict[str, Any]:
        """All that passes leave in the world, without what differs from run to run (versions, times)."""
        return {
            "objects": {
                (name, *ref): _lasting(item)
                for name, server in self.servers.items()
                for ref, item in sorted(server.objects.items())
            },
            "releases": {
                (name, *place): (kept[-1].status, kept[-1].chart_version, kept[-1].values)
                for name, found in self.releases.items()
                for place, kept in found.revisions.items()
                if kept
            },
            "entries": {
                key: replace(entry, created_at=None, admin_since=None)
                for key, entry in self.eks.entries.items()
            },
            "addons": self.eks.addons_there,
            "pod identities": self.eks.pod_identities,
            "fargate profiles": self.eks.profiles,
            "roles": self.iam.roles,
            "oidc providers": self.iam.providers,
            "event queues": self.event_queues.queues,
            "event rules": self.event_rules.rules,
            "alarms": {name: (alarm.settings, alarm.tags) for name, alarm in self.alarms.kept.items()},
            "modes": {name: cluster.authentication_mode for name, cluster in self.eks.clusters.items()},
            "stages": {
                key: (record.stage, record.reason) for key, (record, _) in self.store._records.items()
            },
        }

    def app(self, capability: str) -> App:
        """As the capability's function has it."""
        return self._apps[capability]

    def person(self) -> App:
        """The app as the command makes it, for a person with (or without) an access entry of their own."""
        return replace(self._app(PERSON), as_person=True)

    def _app(self, principal: str) -> App:
        def kubernetes(cluster: EksCluster) -> FakeKubernetes:
            return FakeKubernetes(
                self.servers[cluster.name], self.calls, lambda: self._entry(cluster.name, principal)
            )

        def helm(cluster: EksCluster) -> FakeHelm:
            return FakeHelm(self.releases[cluster.name], self.calls, kubernetes(cluster))

        ports = Ports(
            self.eks,
            self.store,
            self.queues,
            self.policies,
            kubernetes,
            helm,
            metrics=lambda policy: self.metrics,
            alarms=self.alarms,
            usage=self.usage,
            costs=self.costs,
            sleep=self.sleep,
            schedules=self.schedules,
            notices=self.notices,
            iam=self.iam,
            subnets=self.subnets,
            event_queues=self.event_queues,
            event_rules=self.event_rules,
        )
        return App(ports, HOME, self._settings, self._default_policy, self.clock)

    def _entry(self, cluster: str, principal: str) -> AccessEntry | None:
        return self.eks.entries.get((cluster, principal))


class _Noting:
    """A logger that keeps what passes ended with."""

    def __init__(self, errors: list[BaseException]) -> None:
        self._errors = errors

    def info(self, message: str, **more: Any) -> None: ...

    def error(self, message: str, **more: Any) -> None:
        self._errors.append(AssertionError(f"{message}: {more}"))

    def exception(self, message: str, **more: Any) -> None:
        import sys

        error = sys.exc_info()[1]
        assert error
        self._errors.append(error)


def created_event(name: str) -> str:
    return json.dumps(
        {
            "source": "aws.eks",
            "detail-type": "AWS API Call via CloudTrail",
            "detail": {
                "eventSource": "eks.amazonaws.com",
                "eventName": "CreateCluster",
                "requestParameters": {"name": name},
                "responseElements": {"cluster": {"name": name, "arn": HOME.arn(name)}},
            },
        }
    )


def karpenter_deployment(gates: str = "NodeOverlay=true", version: str = "1.14.1") -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "karpenter",
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/name": "karpenter", "app.kubernetes.io/version": version},
        },
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "controller",
                            "image": f"public.ecr.aws/karpenter/controller:{version}",
                            "env": [{"name": "FEATURE_GATES", "value": gates}],
                        }
                    ]
                }
            }
        },
    }


def _lasting(item: Object) -> Object:
    changing = ("resourceVersion", "uid", "creationTimestamp", "generation")
    metadata = {key: value for key, value in item["metadata"].items() if key not in changing}
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": metadata}
