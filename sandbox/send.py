"""
`python -m sandbox send ...`: things that happen in an account, made to happen by hand in a running sandbox.

Each goes through the sandbox's public AWS endpoint, so what follows is what would follow in AWS.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from slicewise.kube.labels import POLICY_TAG

from sandbox.artifacts import versions

NETWORK = {"subnetIds": ["subnet-0a", "subnet-0b"], "securityGroupIds": ["sg-0a"]}

Client = Callable[[str], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words after `send`."""
    what = parser.add_subparsers(dest="what", required=True)
    create = what.add_parser("create-cluster", help="eks:CreateCluster; its CloudTrail event follows")
    create.add_argument("name")
    create.add_argument("--policy", default="sandbox", help="value of the policy tag; '' for no tag")
    create.add_argument("--auto-mode", action="store_true", help="an EKS Auto Mode cluster")
    create.add_argument("--config-map", action="store_true", help="without access entries")
    delete = what.add_parser("delete-cluster", help="eks:DeleteCluster")
    delete.add_argument("name")
    tag = what.add_parser("tag-cluster", help="eks:TagResource with the policy tag")
    tag.add_argument("name")
    tag.add_argument("policy")
    untag = what.add_parser("untag-cluster", help="eks:UntagResource of the policy tag")
    untag.add_argument("name")
    event = what.add_parser("event", help="any EventBridge event: a file with its JSON, or -")
    event.add_argument("file", type=argparse.FileType())
    what.add_parser("sweep", help="the hourly sweep, now")


def send(chosen: argparse.Namespace, reach: Mapping[str, str]) -> str:
    """
    Args:
        reach: The environment that `up` printed.

    Returns:
        What happened, for people.
    """
    session = boto3.Session(reach["AWS_ACCESS_KEY_ID"], reach["AWS_SECRET_ACCESS_KEY"])
    region, endpoint = reach["AWS_REGION"], reach["AWS_ENDPOINT_URL"]

    def client(service: str) -> Any:
        return session.client(service, region_name=region, endpoint_url=endpoint)

    return _SENDERS[chosen.what](chosen, client)


def _create_cluster(chosen: argparse.Namespace, client: Client) -> str:
    mode = "CONFIG_MAP" if chosen.config_map else "API_AND_CONFIG_MAP"
    extra = {"computeConfig": {"enabled": True}} if chosen.auto_mode else {}
    cluster = client("eks").create_cluster(
        name=chosen.name,
        roleArn="arn:aws:iam::123456789012:role/eks",
        resourcesVpcConfig=NETWORK,
        version=versions.chosen().minor,
        tags={POLICY_TAG: chosen.policy} if chosen.policy else {},
        accessConfig={"authenticationMode": mode},
        **extra,
    )["cluster"]
    return f"{cluster['arn']} is {cluster['status']}; follow it with: slicewise status {chosen.name}"


def _delete_cluster(chosen: argparse.Namespace, client: Client) -> str:
    client("eks").delete_cluster(name=chosen.name)
    return f"{chosen.name} is deleted"


def _tag_cluster(chosen: argparse.Namespace, client: Client) -> str:
    arn = _arn(chosen.name, client)
    client("eks").tag_resource(resourceArn=arn, tags={POLICY_TAG: chosen.policy})
    return f"{chosen.name} now has the policy {chosen.policy}"


def _untag_cluster(chosen: argparse.Namespace, client: Client) -> str:
    client("eks").untag_resource(resourceArn=_arn(chosen.name, client), tagKeys=[POLICY_TAG])
    return f"{chosen.name} has no policy any more"


def _event(chosen: argparse.Namespace, client: Client) -> str:
    body = json.load(chosen.file)
    entry = {
        "Source": body["source"],
        "DetailType": body["detail-type"],
        "Detail": json.dumps(body["detail"]),
    }
    client("events").put_events(Entries=[entry])
    return f"sent {body['detail-type']} from {body['source']}"


def _sweep(chosen: argparse.Namespace, client: Client) -> str:
    answer = client("lambda").invoke(FunctionName="slicewise-sweep-fleet", Payload=b"{}")
    text = answer["Payload"].read().decode()
    if answer.get("FunctionError"):
        sys.exit(f"the sweep failed: {text}")
    return f"the sweep ran: {text}"


def _arn(name: str, client: Client) -> str:
    return client("eks").describe_cluster(name=name)["cluster"]["arn"]


_SENDERS: dict[str, Callable[[argparse.Namespace, Client], str]] = {
    "create-cluster": _create_cluster,
    "delete-cluster": _delete_cluster,
    "tag-cluster": _tag_cluster,
    "untag-cluster": _untag_cluster,
    "event": _event,
    "sweep": _sweep,
}
