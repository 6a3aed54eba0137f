from __future__ import annotations

import base64
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError
from slicewise.errors import Conflict, Refused, Unavailable
from slicewise.gateways import eks
from slicewise.gateways.botocore_clients import own_errors
from slicewise.gateways.sqs import _seconds
from slicewise.model.cluster import EksCluster, cluster_admin_policy

from tests.fakes.clock import START
from tests.support import functions_aws


def client_error(code: str, status: int) -> ClientError:
    answer = {"Error": {"Code": code, "Message": "says why"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "DescribeCluster")


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (client_error("AccessDeniedException", 400), Refused),
        (client_error("AccessDenied", 403), Refused),
        (client_error("InvalidParameterException", 400), Refused),
        (client_error("ResourceInUseException", 409), Conflict),
        (client_error("ConditionalCheckFailedException", 400), Conflict),
        (client_error("ConflictException", 409), Conflict),  # EventBridge Scheduler
        (client_error("ResourceConflict", 409), Conflict),  # CloudWatch
        (client_error("ServiceQuotaExceededException", 402), Refused),
        (client_error("ThrottlingException", 400), Unavailable),
        (client_error("TooManyRequestsException", 429), Unavailable),
        (client_error("ProvisionedThroughputExceededException", 400), Unavailable),
        (client_error("AWS.SimpleQueueService.RequestThrottled", 403), Unavailable),
        (client_error("ServerException", 500), Unavailable),
        (client_error("ServiceUnavailableException", 503), Unavailable),
        (ConnectTimeoutError(endpoint_url="https://eks"), Unavailable),
        (NoCredentialsError(), Unavailable),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:60],
)
def test_aws_errors_are_judged_by_code_and_status(error, ours):
    with (
        pytest.raises(ours, match=r"^eks:DescribeCluster of gpu-1: ") as raised,
        own_errors("eks:DescribeCluster of gpu-1"),
    ):
        raise error
    assert type(raised.value) is ours


def test_our_own_errors_pass_as_they_are():
    with pytest.raises(Conflict, match=r"^gone$"), own_errors("anything"):
        raise Conflict("gone")


def test_a_token_is_a_presigned_question_that_names_the_cluster():
    session = functions_aws.session("AKIAEXAMPLE", "secret", "session-token")

    token = eks.token("gpu-1", "eu-west-1", session)

    head, _, packed = token.partition(".")
    assert (head, "=" in packed) == ("k8s-aws-v1", False)
    url = urlsplit(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode())
    query = parse_qs(url.query)
    assert url.netloc == "sts.eu-west-1.amazonaws.com"
    assert query["Action"] == ["GetCallerIdentity"]
    assert query["X-Amz-SignedHeaders"] == ["host;x-k8s-aws-id"]
    assert query["X-Amz-Security-Token"] == ["session-token"]


def test_a_token_for_china_goes_to_chinas_sts():
    packed = eks.token("a", "cn-north-1", functions_aws.session("AKIAEXAMPLE", "secret")).partition(".")[2]

    assert b"sts.cn-north-1.amazonaws.com.cn" in base64.urlsafe_b64decode(packed + "==")


def test_a_token_is_used_again_until_five_minutes_have_passed(monkeypatch):
    made, now = [], [1000.0]
    monkeypatch.setattr(eks, "token", lambda *_: made.append(now[0]) or f"token {len(made)}")
    monkeypatch.setattr(eks.time, "monotonic", lambda: now[0])
    cluster = EksCluster("arn", "a", "eu-west-1", "1", "ACTIVE", "1.35", "API", START)
    current = eks.tokens(cluster, functions_aws.session("AKIAEXAMPLE", "secret"))

    assert [current(), current()] == ["token 1", "token 1"]
    now[0] += 301
    assert current() == "token 2"


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        (timedelta(seconds=-5), 0),
        (timedelta(milliseconds=200), 1),
        (timedelta(seconds=60), 60),
        (timedelta(hours=2), 900),
    ],
)
def test_a_delay_is_whole_seconds_and_never_early(delay, seconds):
    assert _seconds(delay) == seconds


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_cluster_admin_is_the_policy_of_the_principals_own_partition(partition):
    policy = f"arn:{partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

    assert cluster_admin_policy(f"arn:{partition}:iam::111122223333:role/slicewise-installer") == policy
