"""Each port has a fake and gateways with its very methods, and each method is held by some contract."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from slicewise import ports
from slicewise.gateways import (
    cloudwatch_alarms,
    cloudwatch_metrics,
    cloudwatch_promql,
    cost_store,
    eks,
    helm,
    kubernetes,
    prometheus,
    scheduler,
    sleep_store,
    sns,
    sqs,
    ssm,
    state_store,
    usage_store,
)
from slicewise.gateways.karpenter import ec2, eventbridge, iam
from slicewise.gateways.karpenter import sqs as event_queues

from tests.fakes import metrics as fake_metrics
from tests.fakes.aws import alarms as fake_alarms
from tests.fakes.aws import cost_store as fake_cost_store
from tests.fakes.aws import eks as fake_eks
from tests.fakes.aws import iam as fake_iam
from tests.fakes.aws import interruptions as fake_interruptions
from tests.fakes.aws import notices as fake_notices
from tests.fakes.aws import queues as fake_queues
from tests.fakes.aws import schedules as fake_schedules
from tests.fakes.aws import sleep_store as fake_sleep_store
from tests.fakes.aws import store as fake_store
from tests.fakes.aws import subnets as fake_subnets
from tests.fakes.aws import usage_store as fake_usage_store
from tests.fakes.kube import helm as fake_helm
from tests.fakes.kube import kubernetes as fake_kubernetes

SIDES = {
    ports.Alarms: (fake_alarms.FakeAlarms, cloudwatch_alarms.CloudWatchAlarms, ports.NoAlarms),
    ports.CostStore: (fake_cost_store.FakeCostStore, cost_store.CostTable, ports.NoCosts),
    ports.Eks: (fake_eks.FakeEks, eks.EksApi),
    ports.EventQueues: (
        *(fake_interruptions.FakeEventQueues, event_queues.SqsEventQueues),
        ports.NoEventQueues,
    ),
    ports.EventRules: (
        *(fake_interruptions.FakeEventRules, eventbridge.EventBridgeRules),
        ports.NoEventRules,
    ),
    ports.Helm: (fake_helm.FakeHelm, helm.HelmCli),
    ports.Iam: (fake_iam.FakeIam, iam.IamApi, ports.NoIam),
    ports.Kubernetes: (fake_kubernetes.FakeKubernetes, kubernetes.KubernetesApi),
    ports.Metrics: (
        *(fake_metrics.FakeMetrics, cloudwatch_metrics.CloudWatchMetrics, prometheus.PrometheusMetrics),
        cloudwatch_promql.CloudWatchPromQl,
        ports.NoMetrics,
    ),
    ports.Notices: (fake_notices.FakeNotices, sns.SnsNotices),
    ports.Policies: (fake_queues.FakePolicies, ssm.SsmPolicies),
    ports.Queues: (fake_queues.FakeQueues, sqs.SqsQueues),
    ports.Schedules: (fake_schedules.FakeSchedules, scheduler.EventBridgeSchedules),
    ports.SleepStore: (fake_sleep_store.FakeSleepStore, sleep_store.SleepTable),
    ports.Store: (fake_store.FakeStore, state_store.StateTable),
    ports.Subnets: (fake_subnets.FakeSubnets, ec2.Ec2Api, ports.NoSubnets),
    ports.UsageStore: (fake_usage_store.FakeUsageStore, usage_store.UsageTable, ports.NoUsage),
}
METHODS = [
    (port, name)
    for port in SIDES
    for name, found in vars(port).items()
    if inspect.isfunction(found) and not name.startswith("_")
]
CONTRACTS = "\n".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))


def test_every_port_is_here():
    protocols = {found for found in vars(ports).values() if getattr(found, "_is_protocol", False)}

    assert {port for port in protocols if port.__module__ == ports.__name__} == set(SIDES)


@pytest.mark.parametrize(("port", "name"), METHODS, ids=lambda one: getattr(one, "__name__", one))
def test_a_method_is_the_same_on_every_side(port, name):
    wanted = parameters_of(port, name)

    assert {side.__name__: parameters_of(side, name) for side in SIDES[port]} == {
        side.__name__: wanted for side in SIDES[port]
    }


@pytest.mark.parametrize(("port", "name"), METHODS, ids=lambda one: getattr(one, "__name__", one))
def test_a_method_is_held_by_a_contract(port, name):
    assert re.search(rf"\.{name}\(|\"{name}\"", CONTRACTS), f"no contract calls {port.__name__}.{name}"


def parameters_of(side, name):
    return [
        (found.name, found.kind, found.default)
        for found in inspect.signature(getattr(side, name)).parameters.values()
    ]
