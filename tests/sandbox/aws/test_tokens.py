"""EKS tokens at the webhook, over TLS, as kube-apiserver sends them."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from sandbox.aws.server import Aws

ROLE = "arn:aws:iam::123456789012:role/"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws"), creating_seconds=0) as aws:
        eks = aws.client("eks")
        for name, mode in (("gpu-1", "API"), ("gpu-2", "API"), ("legacy", "CONFIG_MAP")):
            eks.create_cluster(
                name=name,
                roleArn=ROLE + "eks",
                resourcesVpcConfig={},
                accessConfig={"authenticationMode": mode},
            )
        eks.create_access_entry(
            clusterName="gpu-1", principalArn=ROLE + "tuner", kubernetesGroups=["slicewise:tuner"]
        )
        eks.create_access_entry(clusterName="gpu-2", principalArn=ROLE + "installer")
        eks.associate_access_policy(
            clusterName="gpu-2",
            principalArn=ROLE + "installer",
            policyArn=ADMIN,
            accessScope={"type": "cluster"},
        )
        yield aws


@pytest.fixture
def token(aws: Aws) -> Callable[..., str]:
    def make(role: str = "tuner", cluster: str = "gpu-1") -> str:
        keys = aws.client("sts").assume_role(RoleArn=ROLE + role, RoleSessionName="tune@1")["Credentials"]
        session = boto3.Session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=aws.region
        )
        signer = RequestSigner(
            ServiceId("STS"), aws.region, "sts", "v4", session.get_credentials(), session.events
        )
        url = signer.generate_presigned_url(
            {
                "method": "GET",
                "url": f"https://sts.{aws.region}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
                "body": {},
                "headers": {"x-k8s-aws-id": cluster},
                "context": {},
            },
            region_name=aws.region,
            expires_in=60,
            operation_name="",
        )
        return encoded(url)

    return make


def encoded(url: str) -> str:
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def decoded(token: str) -> str:
    text = token.removeprefix("k8s-aws-v1.")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def review(aws: Aws, token: str, control_plane: str = "gpu-1") -> dict[str, Any]:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    request = urllib.request.Request(
        aws.token_webhook_url(control_plane) + "?timeout=30s",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    trust = ssl.create_default_context(cadata=aws.webhook_ca_pem)
    with urllib.request.urlopen(request, context=trust) as answer:
        return json.loads(answer.read())["status"]


def test_a_role_with_an_entry_is_that_role_in_its_groups(aws, token):
    status = review(aws, token())

    assert status["authenticated"]
    user = status["user"]
    assert user["username"] == "arn:aws:sts::123456789012:assumed-role/tuner/tune-1"
    assert user["groups"] == ["slicewise:tuner"]
    assert user["extra"]["canonicalArn"] == [ROLE + "tuner"]
    assert user["extra"]["sessionName"] == ["tune@1"]


def test_the_cluster_admin_policy_becomes_a_group_that_rbac_can_bind(aws, token):
    status = review(aws, token("installer", "gpu-2"), "gpu-2")

    assert status["user"]["groups"] == ["eks-access-policy:AmazonEKSClusterAdminPolicy"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda url: url[:-4] + ("0000" if url[-4:] != "0000" else "1111"), "signature", id="forged"
        ),
        pytest.param(
            lambda url: url.replace(url.split("X-Amz-Date=")[1][:8], "20250101"), "signed", id="old"
        ),
        pytest.param(
            lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=60000"), "range", id="for long"
        ),
        pytest.param(
            lambda url: url.replace("GetCallerIdentity", "ListRoles"), "GetCallerIdentity", id="another call"
        ),
        pytest.param(
            lambda url: url.replace("sts.eu-west-1.amazonaws.com", "sts.example.com"),
            "STS",
            id="another host",
        ),
        pytest.param(
            lambda url: url.replace("x-k8s-aws-id", "x-other"), "name is not signed", id="no cluster"
        ),
        pytest.param(lambda url: "rubbish", "STS", id="no URL"),
    ],
)
def test_a_token_that_was_tampered_with_is_refused(aws, token, change, reason):
    status = review(aws, encoded(change(decoded(token()))))

    assert not status["authenticated"]
    assert reason in status["error"]


@pytest.mark.parametrize("text", ["", "garbage", "k8s-aws-v1.", "k8s-aws-v1.!!!!"])
def test_what_is_no_token_is_refused(aws, text):
    assert not review(aws, text)["authenticated"]


def test_a_token_for_another_cluster_is_refused(aws, token):
    assert not review(aws, token("tuner", "gpu-2"), "gpu-1")["authenticated"]


def test_a_role_without_an_entry_is_refused(aws, token):
    status = review(aws, token("stranger"))

    assert not status["authenticated"]
    assert "no access entry" in status["error"]


def test_a_cluster_in_config_map_mode_knows_no_roles(aws, token):
    assert not review(aws, token("tuner", "legacy"), "legacy")["authenticated"]


def test_an_entry_that_is_deleted_is_refused_at_once(aws, token):
    eks = aws.client("eks")
    eks.create_access_entry(clusterName="gpu-1", principalArn=ROLE + "leaver")
    good = token("leaver")
    assert review(aws, good)["authenticated"]

    eks.delete_access_entry(clusterName="gpu-1", principalArn=ROLE + "leaver")

    assert not review(aws, good)["authenticated"]


def test_clusters_on_one_control_plane_keep_their_own_entries(aws, token):
    for name in ("gpu-1", "gpu-2"):
        aws.attach(name, "https://127.0.0.1:6443", "ca", control_plane="shared")
    try:
        assert review(aws, token("tuner", "gpu-1"), "shared")["user"]["groups"] == ["slicewise:tuner"]
        assert not review(aws, token("tuner", "gpu-2"), "shared")["authenticated"]
        assert review(aws, token("installer", "gpu-2"), "shared")["authenticated"]
        assert not review(aws, token("tuner", "elsewhere"), "shared")["authenticated"]
        assert aws.token_reviews[-2].cluster == "gpu-2"
    finally:
        for name in ("gpu-1", "gpu-2"):
            aws.detach(name)
