"""
One set of tests for each port, run on its fake and on its gateway: a fake is trusted because it passes them.

DynamoDB, SQS, SSM, SNS, Scheduler and CloudWatch's alarms are moto's, made to refuse what AWS refuses
(sandbox/aws/limits.py); EKS, whose access entries moto lacks, is the sandbox's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest
from botocore.session import Session
from moto import mock_aws
from slicewise.ports import Store

from sandbox.aws import limits
from sandbox.aws.core.patching import Patches
from tests.contract.kubernetes.kubernetes_sides import InMemory, Real
from tests.contract.store import tables
from tests.fakes.prometheus import Prometheus
from tests.support import functions_aws

REGION = "eu-west-1"


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """moto, empty, as strict as AWS."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    patches = Patches()
    limits.install(patches)
    try:
        with mock_aws():
            yield boto3.Session("testing", "testing", region_name=REGION)
    finally:
        patches.undo()


@pytest.fixture
def session(admin: boto3.Session) -> Session:
    """What a deployed function has, of the same moto."""
    return functions_aws.session(region=REGION)


@pytest.fixture(params=["fake", "gateway"])
def table(request) -> tables.Table:
    """Both ports of the state table, on one and the same table."""
    if request.param == "fake":
        return tables.in_memory()
    return tables.in_dynamodb(*map(request.getfixturevalue, ("session", "admin")))


@pytest.fixture
def store(table) -> Store:
    return table.store


@pytest.fixture(scope="module")
def plane(request, groups_own, tmp_path_factory):
    """An API server with Karpenter's definitions, and no Karpenter, which nothing here is about."""
    folder = tmp_path_factory.mktemp("kubernetes")
    yield from groups_own.share(request, lambda: _with_definitions(folder))


@contextmanager
def _with_definitions(folder):
    from sandbox.cluster.control_plane import ControlPlane

    with ControlPlane.start(folder, karpenter=False, system_nodes=0) as plane:
        plane.install_crds()
        yield plane


@pytest.fixture(params=["fake", pytest.param("gateway", marks=pytest.mark.sandbox)])
def far_side(request):
    """Of Kubernetes' port; other ports' tests have one of their own."""
    return InMemory() if request.param == "fake" else Real(request.getfixturevalue("plane"))


@pytest.fixture
def prometheus_in_memory() -> Iterator[Prometheus]:
    with Prometheus() as server:
        yield server


@pytest.fixture
def real_prometheus(tmp_path):
    """One a test: it starts in half a second, and deleting hides what is written to the same series later."""
    from sandbox.metrics import prometheus

    with prometheus.Prometheus.start(tmp_path / "prometheus") as server:
        yield server


@pytest.fixture(params=["prometheus_in_memory", pytest.param("real_prometheus", marks=pytest.mark.sandbox)])
def prometheus(request):
    return request.getfixturevalue(request.param)
