from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.session import Session
from slicewise.errors import Conflict, Refused
from slicewise.gateways.eks import EksApi
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY, AccessEntry, EksCluster
from slicewise.onboarding import rbac
from slicewise.trigger import DeploymentScope

from sandbox.aws.server import Aws
from tests.fakes.aws.eks import FakeEks
from tests.fakes.calls import Calls
from tests.fakes.clock import START
from tests.support import functions_aws

HOME = DeploymentScope("111122223333", "eu-west-1")
ROLE = "arn:aws:iam::111122223333:role/slicewise-installer"
NODES = "arn:aws:iam::111122223333:role/nodes"


class InMemory:
    def __init__(self):
        self.port = self.of_a_person = FakeEks(HOME, Calls())

    def create(self, name, mode="API", tags=None, auto_mode=False, wait=True):
        status = "ACTIVE" if wait else "CREATING"
        self.port.clusters[name] = EksCluster(
            HOME.arn(name),
            name,
            HOME.region,
            HOME.account,
            status,
            "1.35",
            mode,
            START,
            auto_mode=auto_mode,
            tags=tags or {},
            subnets=("subnet-1", "subnet-2"),
            issuer=f"https://oidc.eks.{HOME.region}.amazonaws.com/id/{name}",
        )

    def add_node_groups(self, name, **ami_types):
        self.port.bottlerocket[name] = tuple(
            group for group, ami in ami_types.items() if "BOTTLEROCKET" in ami and "NVIDIA" in ami
        )


class Sandboxed:
    def __init__(self, aws: Aws):
        self._aws, self._eks = aws, aws.client("eks")
        environment = aws.environment()
        session = functions_aws.session(
            environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], region=aws.region
        )
        self.port = EksApi(session, aws.region)
        # Whoever runs the command has all of botocore, not what the layer carries of it.
        person = Session()
        person.set_credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        person.set_config_variable("region", aws.region)
        self.of_a_person = EksApi(person, aws.region)

    def create(self, name, mode="API", tags=None, auto_mode=False, wait=True):
        self._aws.creating_seconds = 0 if wait else 60
        self._eks.create_cluster(
            name=name,
            version="1.35",
            roleArn="arn:aws:iam::111122223333:role/cluster",
            resourcesVpcConfig={"subnetIds": ["subnet-1", "subnet-2"]},
            accessConfig={"authenticationMode": mode},
            tags=tags or {},
            **({"computeConfig": {"enabled": True}} if auto_mode else {}),
        )
        self._eks.describe_cluster(name=name)  # the sandbox's clusters become ACTIVE when they are looked at

    def add_node_groups(self, name, **ami_types):
        for group, ami in ami_types.items():
            self._eks.create_nodegroup(
                clusterName=name,
                nodegroupName=group,
                subnets=["subnet-1"],
                nodeRole=NODES,
                amiType=ami,
            )


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    with Aws.start(tmp_path_factory.mktemp("aws"), account=HOME.account) as running:
        yield running


@pytest.fixture(params=["fake", "gateway"])
def far_side(request, monkeypatch):
    if request.param == "fake":
        return InMemory()
    aws = request.getfixturevalue("aws")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    for cluster in aws.client("eks").list_clusters()["clusters"]:
        for group in aws.client("eks").list_nodegroups(clusterName=cluster)["nodegroups"]:
            aws.client("eks").delete_nodegroup(clusterName=cluster, nodegroupName=group)
        aws.client("eks").delete_cluster(name=cluster)
    return Sandboxed(aws)


def test_a_cluster_is_described_with_what_preflight_reads(far_side):
    far_side.create("gpu-1", mode="API_AND_CONFIG_MAP", tags={"slicewise.dev/policy": "default"})

    found = far_side.port.describe("gpu-1")

    assert found.subnets == ("subnet-1", "subnet-2")
    assert found.issuer.startswith("https://oidc.eks.eu-west-1.amazonaws.com/id/")
    known = replace(found, endpoint=None, ca_data=None, created_at=START, subnets=(), issuer="")
    assert known == EksCluster(
        HOME.arn("gpu-1"),
        "gpu-1",
        "eu-west-1",
        "111122223333",
        "ACTIVE",
        "1.35",
        "API_AND_CONFIG_MAP",
        START,
        tags={"slicewise.dev/policy": "default"},
    )


def test_auto_mode_is_seen(far_side):
    far_side.create("auto", auto_mode=True)

    assert far_side.port.describe("auto").auto_mode


def test_a_cluster_that_is_being_made_says_so(far_side):
    far_side.create("new", wait=False)

    found = far_side.port.describe("new")
    assert (found.status, found.endpoint) == ("CREATING", None)


def test_a_cluster_that_does_not_exist_is_none_and_not_an_error(far_side):
    assert far_side.port.describe("missing") is None
    assert far_side.port.cluster_names() == ()


def test_all_clusters_are_listed(far_side):
    for name in ("a", "b"):
        far_side.create(name)

    assert sorted(far_side.port.cluster_names()) == ["a", "b"]


def test_only_bottlerockets_nvidia_node_groups_are_reported(far_side):
    far_side.create("a")
    far_side.add_node_groups(
        "a", plain="AL2023_x86_64_STANDARD", gpu="BOTTLEROCKET_x86_64_NVIDIA", cpu="BOTTLEROCKET_ARM_64"
    )

    assert far_side.port.bottlerocket_gpu_node_groups("a") == ("gpu",)


def test_an_entry_is_made_once_and_takes_new_groups(far_side):
    far_side.create("a")
    assert far_side.port.access_entry("a", ROLE) is None

    far_side.port.put_access_entry("a", ROLE, ("slicewise:old",), "STANDARD")
    far_side.port.put_access_entry("a", ROLE, ("slicewise:installer",), "STANDARD")
    far_side.port.put_access_entry("a", ROLE, ("slicewise:installer",), "STANDARD")

    found = far_side.port.access_entry("a", ROLE)
    assert found.created_at is not None
    assert replace(found, created_at=None) == AccessEntry(ROLE, ("slicewise:installer",))


def test_an_entry_for_nodes_has_its_type_and_no_groups(far_side):
    far_side.create("a")

    far_side.port.put_access_entry("a", NODES, (), "EC2_LINUX")
    far_side.port.put_access_entry("a", NODES, (), "EC2_LINUX")

    assert far_side.port.access_entry("a", NODES).type == "EC2_LINUX"


def test_admin_is_granted_and_revoked_as_often_as_asked(far_side):
    far_side.create("a")
    far_side.port.put_access_entry("a", ROLE, (), "STANDARD")

    far_side.port.grant_admin("a", ROLE)
    far_side.port.grant_admin("a", ROLE)
    found = far_side.port.access_entry("a", ROLE)
    assert found.policies == (CLUSTER_ADMIN_POLICY,)
    assert found.is_admin
    assert found.admin_since is not None

    far_side.port.revoke_admin("a", ROLE)
    far_side.port.revoke_admin("a", ROLE)
    assert far_side.port.access_entry("a", ROLE).policies == ()
    assert far_side.port.access_entry("a", ROLE).admin_since is None


def test_admin_for_an_entry_that_has_gone_is_a_conflict(far_side):
    far_side.create("a")

    with pytest.raises(Conflict):
        far_side.port.grant_admin("a", ROLE)


def test_a_deleted_entry_is_gone_with_its_policies(far_side):
    far_side.create("a")
    far_side.port.put_access_entry("a", ROLE, (), "STANDARD")
    far_side.port.grant_admin("a", ROLE)

    far_side.port.delete_access_entry("a", ROLE)
    far_side.port.delete_access_entry("a", ROLE)

    assert far_side.port.access_entry("a", ROLE) is None


@pytest.mark.parametrize("call", ["access_entry", "put_access_entry", "grant_admin"])
def test_access_entries_in_mode_config_map_are_a_conflict(far_side, call):
    far_side.create("old", mode="CONFIG_MAP")
    more = ((), "STANDARD") if call == "put_access_entry" else ()

    with pytest.raises(Conflict):
        getattr(far_side.port, call)("old", ROLE, *more)


def test_the_mode_is_switched_once(far_side):
    far_side.create("old", mode="CONFIG_MAP")

    far_side.port.allow_access_entries("old")
    far_side.port.allow_access_entries("old")

    assert far_side.port.describe("old").authentication_mode == "API_AND_CONFIG_MAP"


def test_a_mode_that_takes_entries_already_is_left_as_it_is(far_side):
    far_side.create("new", mode="API")

    far_side.port.allow_access_entries("new")

    assert far_side.port.describe("new").authentication_mode == "API"


def test_a_cluster_that_is_not_active_yet_is_a_conflict(far_side):
    far_side.create("new", mode="CONFIG_MAP", wait=False)

    with pytest.raises(Conflict):
        far_side.port.allow_access_entries("new")


GROUPS = (rbac.INSTALLER_GROUP, rbac.TUNER_GROUP, rbac.SLEEPER_GROUP)
IN_A_FOLDER = "arn:aws:iam::111122223333:role/platform/gpu/slicewise-installer"


@pytest.mark.parametrize("principal", [ROLE, IN_A_FOLDER])
@pytest.mark.parametrize("group", GROUPS)
def test_each_role_of_ours_gets_an_entry_in_its_group(far_side, principal, group):
    far_side.create("c" * 100)

    far_side.port.put_access_entry("c" * 100, principal, (group,), "STANDARD")

    assert far_side.port.access_entry("c" * 100, principal).groups == (group,)


@pytest.mark.parametrize("group", ["system:masters", "eks:x", "aws:x", "amazon:x", "iam:x"])
def test_kubernetes_own_groups_are_not_given_away(far_side, group):
    far_side.create("a")

    with pytest.raises(Refused):
        far_side.port.put_access_entry("a", ROLE, (group,), "STANDARD")
    assert far_side.port.access_entry("a", ROLE) is None


def test_nodes_are_no_admins(far_side):
    far_side.create("a")
    far_side.port.put_access_entry("a", NODES, (), "EC2_LINUX")

    with pytest.raises(Refused):
        far_side.port.grant_admin("a", NODES)
    assert not far_side.port.access_entry("a", NODES).is_admin


# Passes ask one after another: a cluster may go between any two calls.
@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("describe", None),
        ("bottlerocket_gpu_node_groups", ()),
        (("access_entry", ROLE), None),
        (("delete_access_entry", ROLE), None),
        (("revoke_admin", ROLE), None),
        ("addons", frozenset()),
        (("pod_identity", "kube-system", "karpenter"), None),
    ],
)
def test_of_a_cluster_that_is_deleted_nothing_is_known(far_side, call, found):
    name, *more = (call,) if isinstance(call, str) else call

    assert getattr(far_side.port, name)("gone", *more) == found


@pytest.mark.parametrize(
    "call",
    [
        ("allow_access_entries",),
        ("put_access_entry", ROLE, (rbac.TUNER_GROUP,), "STANDARD"),
        ("put_access_entry", NODES, (), "EC2_LINUX"),
        ("grant_admin", ROLE),
        ("put_addon", "eks-pod-identity-agent"),
        ("put_pod_identity", "kube-system", "karpenter", ROLE),
    ],
    ids=lambda call: call[0],
)
def test_nothing_is_put_into_a_cluster_that_is_deleted(far_side, call):
    name, *more = call

    with pytest.raises(Conflict):
        getattr(far_side.port, name)("gone", *more)


def test_an_addon_is_installed_once(far_side):
    far_side.create("a")
    assert far_side.port.addons("a") == frozenset()

    far_side.port.put_addon("a", "eks-pod-identity-agent")
    far_side.port.put_addon("a", "eks-pod-identity-agent")

    assert far_side.port.addons("a") == {"eks-pod-identity-agent"}


def test_a_service_account_gets_its_role_once(far_side):
    far_side.create("a")
    assert far_side.port.pod_identity("a", "kube-system", "karpenter") is None

    far_side.port.put_pod_identity("a", "kube-system", "karpenter", ROLE)
    far_side.port.put_pod_identity("a", "kube-system", "karpenter", ROLE)
    far_side.port.put_pod_identity("a", "kube-system", "other", NODES)

    assert far_side.port.pod_identity("a", "kube-system", "karpenter") == ROLE


def test_a_tag_takes_the_place_of_the_one_before_and_leaves_the_others(far_side):
    far_side.create("gpu-1", tags={"team": "vision", "slicewise.dev/policy": "default"})

    far_side.of_a_person.tag("gpu-1", "slicewise.dev/policy", "offboard")

    tags = far_side.port.describe("gpu-1").tags
    assert tags == {"team": "vision", "slicewise.dev/policy": "offboard"}


def test_a_cluster_that_is_deleted_takes_no_tag(far_side):
    with pytest.raises(Conflict):
        far_side.of_a_person.tag("never-was", "slicewise.dev/policy", "offboard")
