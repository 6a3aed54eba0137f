"""
One set of tests for each port, run on its fake and on its gateway: a fake is trusted because it passes them.

DynamoDB, SQS and SSM are moto's own; EKS, whose access entries moto lacks, is the sandbox's.
"""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.session import Session
from moto import mock_aws

from tests import functions_aws
from tests.contract.kubernetes_sides import InMemory, Real

REGION = "eu-west-1"


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.Session]:
    """Plain moto, empty."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield boto3.Session("testing", "testing", region_name=REGION)


@pytest.fixture
def session(admin: boto3.Session) -> Session:
    """What a deployed function has, of the same moto."""
    return functions_aws.session(region=REGION)


@pytest.fixture(scope="module")
def plane(request, groups_own, tmp_path_factory):
    """An API server with Karpenter's definitions."""
    from sandbox.control_plane import ControlPlane

    folder = tmp_path_factory.mktemp("kubernetes")
    yield from groups_own.share(request, lambda: ControlPlane.start(folder, system_nodes=0))


@pytest.fixture(params=["fake", pytest.param("gateway", marks=pytest.mark.sandbox)])
def far_side(request):
    """Of Kubernetes' port; other ports' tests have one of their own."""
    return InMemory() if request.param == "fake" else Real(request.getfixturevalue("plane"))
