"""Where functions find the policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aws_cdk import aws_ssm as ssm
from constructs import Construct
from slicewise.kube.labels import POLICY_TAG

from cdk_app.assets.policies import PolicyFile
from cdk_app.components.function import ControllerFunction

POLICY_PREFIX = "/slicewise/policies/"


def publish(
    scope: Construct, policies: Iterable[PolicyFile], after: Sequence[ControllerFunction] = ()
) -> None:
    """
    One Systems Manager parameter each, policies and files of holidays alike.

    Args:
        after: Functions that are deployed first: they read what was deployed before, while those before them
            may refuse a new field.
    """
    for policy in policies:
        made = ssm.StringParameter(
            scope,
            f"Policy-{policy.name.replace('/', '-')}",
            parameter_name=f"{POLICY_PREFIX}{policy.name}",
            string_value=policy.text,
            description=_described(policy),
        )
        # Not on the constructs: their roles' rights and their queues' triggers need not come first.
        made.node.add_dependency(*(one.function.node.default_child for one in after))


def _described(policy: PolicyFile) -> str:
    if "/" in policy.name:
        return f"Slicewise: {policy.name}, as policies name them"
    return f"Slicewise: for clusters with the tag {POLICY_TAG}={policy.name}"
