"""Names, values and trust of a Karpenter on Fargate."""

from __future__ import annotations

import pytest
from slicewise.model.fargate import FargateAccess, IamRole
from slicewise.onboarding import manifests
from slicewise.onboarding.aws import fargate, owned
from slicewise.policy.model import parse

from tests.support import builders

PREFIX = "slicewise-on-fargate-"
POOLS = f"pools: {builders.DEFAULT_POOLS}\n"


def test_a_role_is_named_after_its_cluster():
    assert owned.name_for(PREFIX, "gpu-1") == "slicewise-on-fargate-gpu-1"


@pytest.mark.parametrize("prefix", [PREFIX, "x" * 43 + "-on-fargate-"])
def test_names_too_long_for_iam_are_cut_and_still_differ(prefix):
    names = {owned.name_for(prefix, "c" * 98 + end) for end in ("-1", "-2")}

    assert len(names) == 2
    for name in names:
        assert len(name) == 64 and name.startswith(prefix)


def test_a_name_that_fits_just_so_is_kept():
    cluster = "c" * (64 - len(PREFIX))

    assert owned.name_for(PREFIX, cluster) == PREFIX + cluster


def test_in_other_partitions_arns_are_of_them():
    cluster = builders.cluster(
        arn="arn:aws-cn:eks:cn-north-1:111122223333:cluster/gpu-1",
        issuer="https://oidc.eks.cn-north-1.amazonaws.com.cn/id/1",
    )

    assert fargate.provider_arn(cluster) == (
        "arn:aws-cn:iam::111122223333:oidc-provider/oidc.eks.cn-north-1.amazonaws.com.cn/id/1"
    )
    assert fargate.role(cluster, builders.settings()).arn.startswith("arn:aws-cn:iam::111122223333:role/")


@pytest.mark.parametrize(
    "trust",
    [
        {},
        {"Statement": [{"Principal": "*"}]},
        {"Statement": [{"Principal": {"Service": "ec2.amazonaws.com"}}]},
        {"Statement": [{"Principal": {"Federated": "cognito-identity.amazonaws.com"}}]},
        {"Statement": {"Principal": {}}},
    ],
)
def test_a_role_that_trusts_no_oidc_provider_names_none(trust):
    assert fargate.federated(IamRole("arn:aws:iam::1:role/a", trust)) == ""


def test_values_for_fargate_are_those_for_nodes_but_for_role_dns_and_size():
    plain = manifests.karpenter_values(builders.cluster())
    on_fargate = manifests.karpenter_on_fargate_values(builders.cluster(), "arn:aws:iam::1:role/a")

    differing = {key for key in on_fargate if on_fargate[key] != plain.get(key)}
    assert differing == {"serviceAccount", "dnsPolicy", "controller"}


def test_of_a_policy_that_installs_no_karpenter_nothing_is_said():
    said = fargate.findings(
        builders.cluster(), parse(POOLS, "default"), FargateAccess(), builders.settings(), "arn:role"
    )
    assert said == ()
