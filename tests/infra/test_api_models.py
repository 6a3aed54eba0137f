"""What functions know of AWS's API: as much as botocore of the calls that their roles may make."""

from __future__ import annotations

import boto3
import pytest
from botocore.loaders import Loader

from cdk_app.assets import api_models
from tests.infra.templates import Template, as_list
from tests.support import functions_aws

# IAM knows the calls for batches by the name of the call for one.
GRANTED_BY = {"sqs:SendMessageBatch": "sqs:SendMessage"}
# What others do in a function's name: Lambda's poller and its network interfaces; EKS, IAM, SQS, EventBridge
# and CloudWatch, which tag what they make and take roles that are named to them.
NOT_CALLED = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    "eks:TagResource",
    "iam:CreateServiceLinkedRole",
    "iam:PassRole",
    "iam:TagOpenIDConnectProvider",
    "iam:TagRole",
    "cloudwatch:ListTagsForResource",
    "cloudwatch:TagResource",
    "sqs:DeleteMessage",
    "sqs:ReceiveMessage",
    "events:TagResource",
}
REGIONS = ("eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1", "il-central-1", "no-such-1")


def listed() -> set[str]:
    return {f"{service}:{call}" for service, calls in api_models.CALLS.items() for call in calls}


def reported(model: dict, call: str) -> dict:
    """A call with its shapes put in place of their names, documentation left out."""

    def spelt(part, within=()):
        if isinstance(part, list):
            return [spelt(item, within) for item in part]
        if not isinstance(part, dict):
            return part
        kept = {
            key: spelt(value, within)
            for key, value in part.items()
            if not (key == "documentation" and isinstance(value, str))
        }
        name = part.get("shape")
        if isinstance(name, str) and name not in within:
            kept["is"] = spelt(model["shapes"][name], (*within, name))
        return kept

    return spelt(model["operations"][call])


@pytest.mark.parametrize("service", sorted(api_models.CALLS))
def test_a_call_is_made_and_read_as_botocore_does(service):
    whole = Loader().load_service_model(service, "service-2")
    own = Loader([str(functions_aws.models())], include_default_search_paths=False)
    cut = own.load_service_model(service, "service-2")

    assert sorted(cut["operations"]) == sorted(api_models.CALLS[service])
    assert cut["metadata"] == whole["metadata"]
    for call in api_models.CALLS[service]:
        assert reported(cut, call) == reported(whole, call)


@pytest.mark.parametrize("service", sorted(api_models.CALLS))
@pytest.mark.parametrize("region", REGIONS)
def test_calls_go_where_botocore_sends_them(service, region, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    own = functions_aws.session(region=region).create_client(service)
    plain = boto3.Session("testing", "testing", region_name=region).client(service)

    assert own.meta.endpoint_url == plain.meta.endpoint_url
    assert own.meta.config.signature_version == plain.meta.config.signature_version
    assert own._request_signer.signing_name == plain._request_signer.signing_name
    for call in api_models.CALLS[service]:
        name = next(method for method, api in own.meta.method_to_api_mapping.items() if api == call)
        assert own.can_paginate(name) == plain.can_paginate(name)


def test_what_is_called_is_granted_and_what_is_granted_is_called(full: Template):
    granted = {
        action
        for role in ("installer", "tuner", "sleeper", "sweeper")
        for statement in full.statements(f"gpu-eu-{role}")
        for action in as_list(statement["Action"])
        if action.split(":")[0] in api_models.CALLS
    }

    assert {GRANTED_BY.get(call, call) for call in listed()} == granted - NOT_CALLED


def test_a_model_is_small():
    files = list(functions_aws.models().rglob("*.json"))
    kibibytes = sum(path.stat().st_size for path in files) / 1024
    print(f"{len(files)} files, {kibibytes:.0f} KiB")

    assert kibibytes < 300


def test_a_call_that_the_service_lacks_is_named():
    with pytest.raises(KeyError, match="GetParametr"):
        api_models.model_of(Loader().load_service_model("ssm", "service-2"), ["GetParametr"])
