"""Where functions find the policies."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import aws_ssm as ssm
from constructs import Construct
from slicewise.kube.labels import POLICY_TAG

from cdk_app.assets.policies import PolicyFile

POLICY_PREFIX = "/slicewise/policies/"


def publish(scope: Construct, policies: Iterable[PolicyFile]) -> None:
    """One Systems Manager parameter each, policies and files of holidays alike."""
    for policy in policies:
        ssm.StringParameter(
            scope,
            f"Policy-{policy.name.replace('/', '-')}",
            parameter_name=f"{POLICY_PREFIX}{policy.name}",
            string_value=policy.text,
            description=_described(policy),
        )


def _described(policy: PolicyFile) -> str:
    if "/" in policy.name:
        return f"Slicewise: {policy.name}, as policies name them"
    return f"Slicewise: for clusters with the tag {POLICY_TAG}={policy.name}"
