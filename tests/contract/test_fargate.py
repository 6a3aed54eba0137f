"""What EKS, IAM and EC2 say and refuse of a Karpenter on Fargate: fakes and gateways give one answer."""

from __future__ import annotations

import json

import pytest
from slicewise.errors import Conflict, Refused
from slicewise.gateways.eks import EksApi
from slicewise.gateways.karpenter.ec2 import Ec2Api
from slicewise.gateways.karpenter.iam import IamApi
from slicewise.model.fargate import FargateProfile, IamRole, OidcProvider

from sandbox.aws.server import Aws
from tests.fakes.aws.eks import PROFILE_TAKES, FakeEks
from tests.fakes.aws.iam import FakeIam
from tests.fakes.aws.subnets import FakeSubnets
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.support import functions_aws
from tests.support.builders import cluster as a_cluster

ACCOUNT = "111122223333"
POLICY = f"arn:aws:iam::{ACCOUNT}:policy/karpenter"
ISSUER = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": PROVIDER},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE:sub": "a"}},
        }
    ],
}
FOR_FARGATE = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "eks-fargate-pods.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
TAGS = {
    "slicewise.dev/cluster": f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/gpu-1",
    "eks-cluster-name": "gpu-1",
}


def a_role(name: str = "karpenter-gpu-1", **changes) -> IamRole:
    given = {"trust": TRUST, "boundary": POLICY, "tags": TAGS} | changes
    return IamRole(f"arn:aws:iam::{ACCOUNT}:role/slicewise/{name}", **given)


class InMemory:
    def __init__(self):
        calls, self._clock = Calls(), Clock()
        self.eks = FakeEks(None, calls, self._clock)
        self.iam, self.subnets = FakeIam(ACCOUNT, calls, (POLICY,)), FakeSubnets(calls)
        self.vpc, self.private, self.public, self.by_main = "vpc-1", "subnet-a", "subnet-b", "subnet-c"
        here = {"vpc": self.vpc, "subnets": (self.private, self.public)}
        self.eks.clusters["gpu-1"] = a_cluster(name="gpu-1", **here)
        self.eks.public_subnets = self.subnets.with_gateway = {self.public}
        self.pod_role = f"arn:aws:iam::{ACCOUNT}:role/fargate-pods"

    def wait(self):
        self._clock.now += PROFILE_TAKES


class Sandboxed:
    def __init__(self, aws: Aws):
        self._aws = aws
        environment = aws.environment()
        session = functions_aws.session(
            environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region=aws.region
        )
        self.eks, self.iam = EksApi(session, aws.region), IamApi(session, aws.region)
        self.subnets = Ec2Api(session, aws.region)
        self._network(aws.client("ec2"))
        iam = aws.client("iam")
        nothing = {"Effect": "Deny", "Action": "*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [nothing]})
        iam.create_policy(PolicyName="karpenter", PolicyDocument=document)
        role = iam.create_role(RoleName="fargate-pods", AssumeRolePolicyDocument=json.dumps(FOR_FARGATE))
        self.pod_role = role["Role"]["Arn"]
        aws.creating_seconds = 0
        aws.client("eks").create_cluster(
            name="gpu-1",
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/cluster",
            resourcesVpcConfig={"subnetIds": [self.private, self.public]},
            accessConfig={"authenticationMode": "API"},
        )
        self.eks.describe("gpu-1")
        aws.creating_seconds = 60

    def _network(self, ec2):
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.private, self.public, self.by_main = (
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"]
            for n in range(3)
        )
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        tables = [ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"] for _ in range(2)]
        ec2.create_route(RouteTableId=tables[1], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        for table, subnet in zip(tables, (self.private, self.public), strict=True):
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)

    def wait(self):
        self._aws.creating_seconds = 0


@pytest.fixture(params=["fake", "gateway"])
def far_side(request, monkeypatch, tmp_path):
    if request.param == "fake":
        yield InMemory()
        return
    with Aws.start(tmp_path / "aws", account=ACCOUNT) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        yield Sandboxed(aws)


def a_profile(far_side, name: str = "karpenter", **changes) -> FargateProfile:
    given = {
        "role": far_side.pod_role,
        "subnets": (far_side.private, far_side.by_main),
        "selectors": ({"namespace": "kube-system", "labels": {"app": "karpenter"}},),
        "tags": {"owner": "us"},
    }
    return FargateProfile(name, **(given | changes))


def test_a_clusters_vpc_is_that_of_its_subnets(far_side):
    found = far_side.eks.describe("gpu-1")

    assert found.vpc == far_side.vpc
    assert set(found.subnets) == {far_side.private, far_side.public}


# Profiles


def test_a_profile_is_creating_for_a_while_and_then_active(far_side):
    wanted = a_profile(far_side)

    far_side.eks.create_fargate_profile("gpu-1", wanted)
    (made,) = far_side.eks.fargate_profiles("gpu-1")
    far_side.wait()
    (active,) = far_side.eks.fargate_profiles("gpu-1")

    assert (made.status, active) == ("CREATING", wanted)


def test_a_profile_that_is_there_is_made_once(far_side):
    far_side.eks.create_fargate_profile("gpu-1", a_profile(far_side))
    far_side.eks.create_fargate_profile("gpu-1", a_profile(far_side, subnets=(far_side.private,)))

    (found,) = far_side.eks.fargate_profiles("gpu-1")
    assert found.subnets == (far_side.private, far_side.by_main)


def test_while_a_profile_changes_no_other_one_of_the_cluster_can(far_side):
    far_side.eks.create_fargate_profile("gpu-1", a_profile(far_side))

    with pytest.raises(Conflict):
        far_side.eks.create_fargate_profile("gpu-1", a_profile(far_side, "other"))


def test_a_profile_in_a_public_subnet_is_refused(far_side):
    with pytest.raises(Refused, match=far_side.public) as refused:
        far_side.eks.create_fargate_profile("gpu-1", a_profile(far_side, subnets=(far_side.public,)))

    # What a finding is chosen by (slicewise.onboarding.aws.fargate).
    assert "(InvalidParameterException)" in str(refused.value)


def test_a_profile_is_deleting_for_a_while_and_then_gone(far_side):
    far_side.eks.create_fargate_profile("gpu-1", a_profile(far_side))
    far_side.wait()
    far_side.eks.fargate_profiles("gpu-1")

    far_side.eks.delete_fargate_profile("gpu-1", "karpenter")
    far_side.wait()

    assert far_side.eks.fargate_profiles("gpu-1") == ()
    far_side.eks.delete_fargate_profile("gpu-1", "karpenter")


def test_a_cluster_that_is_not_there_has_no_profiles(far_side):
    assert far_side.eks.fargate_profiles("missing") == ()
    far_side.eks.delete_fargate_profile("missing", "karpenter")
    with pytest.raises(Conflict):
        far_side.eks.create_fargate_profile("missing", a_profile(far_side))


# IAM


def test_a_role_is_made_as_it_was_asked_for_and_has_its_policy_once_that_is_attached(far_side):
    far_side.iam.create_role(a_role())
    bare = far_side.iam.role("karpenter-gpu-1")
    for _ in range(2):
        far_side.iam.attach_policy("karpenter-gpu-1", POLICY)

    assert bare == a_role()
    assert far_side.iam.role("karpenter-gpu-1") == a_role(policies=(POLICY,))


def test_a_role_is_deleted_with_its_policies_attached(far_side):
    far_side.iam.create_role(a_role())
    far_side.iam.attach_policy("karpenter-gpu-1", POLICY)

    for _ in range(2):
        far_side.iam.delete_role("karpenter-gpu-1")

    assert far_side.iam.role("karpenter-gpu-1") is None


def test_what_is_there_is_not_made_again(far_side):
    far_side.iam.create_role(a_role())
    far_side.iam.create_oidc_provider(ISSUER, "sts.amazonaws.com", {})

    with pytest.raises(Conflict):
        far_side.iam.create_role(a_role())
    with pytest.raises(Conflict):
        far_side.iam.create_oidc_provider(ISSUER, "sts.amazonaws.com", {})


def test_a_role_without_its_boundary_or_with_a_name_too_long_is_refused(far_side):
    with pytest.raises(Conflict):
        far_side.iam.create_role(a_role(boundary=f"{POLICY}-of-nobody"))
    with pytest.raises(Refused):
        far_side.iam.create_role(a_role("x" * 65))


def test_a_policy_is_attached_to_a_role_that_is_there(far_side):
    with pytest.raises(Conflict):
        far_side.iam.attach_policy("missing", POLICY)


def test_a_provider_is_found_by_its_arn_until_it_is_deleted(far_side):
    assert far_side.iam.oidc_provider(PROVIDER) is None

    far_side.iam.create_oidc_provider(ISSUER, "sts.amazonaws.com", TAGS)
    assert far_side.iam.oidc_provider(PROVIDER) == OidcProvider(PROVIDER, ("sts.amazonaws.com",), TAGS)

    for _ in range(2):
        far_side.iam.delete_oidc_provider(PROVIDER)
    assert far_side.iam.oidc_provider(PROVIDER) is None


def test_who_trusts_a_provider_is_known(far_side):
    far_side.iam.create_role(a_role("b"))
    far_side.iam.create_role(a_role("a"))
    far_side.iam.create_role(a_role("c", trust=FOR_FARGATE))

    assert far_side.iam.roles_trusting(PROVIDER) == ("a", "b")


# Subnets


def test_a_subnet_is_public_by_its_own_route_table_or_the_main_one(far_side):
    asked = (far_side.private, far_side.public, far_side.by_main)

    assert far_side.subnets.public(far_side.vpc, asked) == {far_side.public}
