"""Karpenter on Fargate: installed, refused with a remedy, taken away, and struck at every call of that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.kube.labels import CLUSTER_TAG
from slicewise.kube.ref import Ref
from slicewise.model.fargate import FargateProfile, IamRole, OidcProvider
from slicewise.onboarding.aws import fargate
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import FARGATE_SETTINGS, HOME, INSTALLER, POLICY, Account
from tests.fakes.calls import REFUSALS
from tests.fakes.clock import START
from tests.support.onboarding_runs import (
    GPU_1,
    created,
    offboarded,
    onboarded,
    say_offboard,
    smooth_way,
    stage,
    struck_at,
    way_of,
)

ON_FARGATE = POLICY + "karpenter: {install: true, on: fargate}\n"
ISSUER = "oidc.eks.eu-west-1.amazonaws.com/id/GPU-1"
PROVIDER = f"arn:aws:iam::{HOME.account}:oidc-provider/{ISSUER}"
ROLE = "slicewise-on-fargate-gpu-1"
NOTHING: dict[str, object] = {
    "profiles": [],
    "roles": [],
    "providers": [],
    "entries": [],
    "releases": [],
}
OTHER = FargateProfile("team", role="arn:aws:iam::111122223333:role/team", subnets=("subnet-a",))


def on_fargate(strike=None, settings=FARGATE_SETTINGS, **cluster) -> Account:
    return onboarded(ON_FARGATE, strike, settings, karpenter=False, **cluster)


def in_aws(account: Account) -> dict[str, object]:
    """Of ours, what a cluster's Karpenter on Fargate has."""
    return {
        "profiles": sorted(account.eks.profiles.get("gpu-1", {})),
        "roles": sorted(account.iam.roles),
        "providers": sorted(account.iam.providers),
        "entries": sorted(principal for _, principal in account.eks.entries),
        "releases": sorted(name for name, _ in account.releases["gpu-1"].revisions),
    }


def codes(account: Account) -> list[str]:
    return [finding.code for finding in account.record().findings if finding.blocking]


def test_a_cluster_is_onboarded_with_karpenter_on_fargate():
    account = on_fargate()

    assert stage(account) is Stage.ONBOARDED
    profile = account.eks.profiles["gpu-1"]["slicewise-karpenter"]
    assert (profile.status, profile.subnets) == ("ACTIVE", ("subnet-a", "subnet-b"))
    assert profile.selectors == fargate.SELECTORS
    assert profile.role == FARGATE_SETTINGS.fargate_pod_role
    assert not account.eks.addons_there and not account.eks.pod_identities


def test_its_role_is_trusted_to_one_service_account_of_one_cluster():
    account = on_fargate()

    role = account.iam.roles[ROLE]
    assert role.trust == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": PROVIDER},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {
                        f"{ISSUER}:aud": "sts.amazonaws.com",
                        f"{ISSUER}:sub": "system:serviceaccount:kube-system:karpenter",
                    }
                },
            }
        ],
    }
    assert role.boundary == FARGATE_SETTINGS.fargate_controller_policy
    assert role.policies == (FARGATE_SETTINGS.fargate_controller_policy,)
    assert role.tags == {CLUSTER_TAG: GPU_1, "eks-cluster-name": "gpu-1"}
    assert role.path == "/slicewise/"
    assert account.iam.providers[PROVIDER] == OidcProvider(
        PROVIDER, ("sts.amazonaws.com",), {CLUSTER_TAG: GPU_1}
    )


def test_the_chart_gets_the_role_and_a_size_that_fargate_sells():
    account = on_fargate()

    values = account.releases["gpu-1"].revisions["karpenter", "kube-system"][-1].values
    assert values["serviceAccount"] == {
        "name": "karpenter",
        "annotations": {"eks.amazonaws.com/role-arn": f"arn:aws:iam::{HOME.account}:role/slicewise/{ROLE}"},
    }
    assert values["dnsPolicy"] == "Default"
    resources = values["controller"]["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "500m", "memory": "1792Mi"}
    assert not values.get("hostNetwork")


def test_its_chart_comes_after_the_profile_is_active():
    account = on_fargate()

    made = account.calls.made
    created_at = made.index("eks.create_fargate_profile gpu-1 slicewise-karpenter")
    installed_at = made.index("helm.upgrade kube-system/karpenter: begin")
    polls = [call for call in made[created_at:installed_at] if call.startswith("eks.fargate_profiles")]
    assert len(polls) >= 2
    # What does not need its pods does not wait for them.
    assert created_at < made.index("helm.upgrade gpu-operator/gpu-operator: begin") < installed_at


def test_a_second_reconcile_writes_nothing():
    account = on_fargate()
    done = len(account.calls.made)

    account.send_created()
    account.run_until_idle()

    writes = ("apply", "delete", "upgrade", "put_", "grant", "revoke", "create", "attach")
    assert not [call for call in account.calls.made[done:] if any(word in call for word in writes)]


def test_a_profile_of_another_that_changes_is_waited_for():
    account = created(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    account.eks.profiles["gpu-1"] = {"team": replace(OTHER, status="DELETING")}
    account.eks._changed_at["gpu-1", "team"] = START + timedelta(minutes=3)

    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    assert list(account.eks.profiles["gpu-1"]) == ["slicewise-karpenter"]
    assert account.clock.now - START > timedelta(minutes=4)


def test_a_provider_that_is_there_is_used_and_never_deleted():
    account = created(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    account.iam.providers[PROVIDER] = theirs = OidcProvider(PROVIDER, ("sts.amazonaws.com", "other"))
    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED

    offboarded(account)

    assert account.iam.providers == {PROVIDER: theirs}
    assert not account.iam.roles


def test_a_trust_policy_that_was_widened_is_made_again():
    account = on_fargate()
    ours = account.iam.roles[ROLE]
    wide = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
    account.iam.roles[ROLE] = replace(ours, trust=wide)

    account.send_created()
    account.run_until_idle()

    assert account.iam.roles == {ROLE: ours}


def test_of_a_cluster_that_is_recreated_under_its_name_the_new_issuer_is_trusted():
    account = on_fargate()
    cluster = account.eks.clusters["gpu-1"]
    account.eks.clusters["gpu-1"] = replace(cluster, issuer=cluster.issuer + "-AGAIN")
    account.eks.profiles.clear()

    account.send_created()
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    assert list(account.iam.providers) == [f"{PROVIDER}-AGAIN"]
    assert fargate.federated(account.iam.roles[ROLE]) == f"{PROVIDER}-AGAIN"


# Refusals


def with_pod_identity(account: Account) -> None:
    account.eks.pod_identities["gpu-1", "kube-system", "karpenter"] = "arn:aws:iam::1:role/theirs"


def with_public_subnets_alone(account: Account) -> None:
    account.subnets.with_gateway |= {"subnet-a", "subnet-b"}


def without_an_issuer(account: Account) -> None:
    account.eks.clusters["gpu-1"] = replace(account.eks.clusters["gpu-1"], issuer="")


def with_another_audience(account: Account) -> None:
    account.iam.providers[PROVIDER] = OidcProvider(PROVIDER, ("sigstore",))


def with_a_role_of_another(account: Account) -> None:
    arn = f"arn:aws:iam::{HOME.account}:role/{ROLE}"
    account.iam.roles[ROLE] = IamRole(arn, {}, tags={CLUSTER_TAG: "another"})


def with_a_profile_of_that_name(account: Account) -> None:
    account.eks.profiles["gpu-1"] = {"slicewise-karpenter": replace(OTHER, name="slicewise-karpenter")}


def with_a_profile_that_failed(account: Account) -> None:
    failed = FargateProfile("slicewise-karpenter", "CREATE_FAILED", issues=("AccessDenied: no",))
    account.eks.profiles["gpu-1"] = {"slicewise-karpenter": failed}


@pytest.mark.parametrize(
    ("contradicts", "code"),
    [
        (with_pod_identity, "pod-identity-on-fargate"),
        (with_public_subnets_alone, "no-private-subnet"),
        (without_an_issuer, "oidc-issuer-missing"),
        (with_another_audience, "oidc-provider-audience"),
        (with_a_role_of_another, "role-taken"),
        (with_a_profile_of_that_name, "fargate-profile-taken"),
        (with_a_profile_that_failed, "fargate-profile-failed"),
    ],
)
def test_what_contradicts_fargate_is_refused_before_anything_is_touched(contradicts, code):
    account = created(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    contradicts(account)
    before = account.state()

    account.run_until_idle()

    assert stage(account) is Stage.BLOCKED and codes(account) == [code]
    assert all(finding.remedy for finding in account.record().findings)
    assert {**account.state(), "stages": None} == {**before, "stages": None}


NO_ZONE = (
    "An error occurred (InvalidParameterException) when calling the CreateFargateProfile operation: Fargate "
    "Profile creation for the Availability Zone ca-central-1d for Subnet subnet-a is not supported"
)


@pytest.mark.parametrize(
    ("answer", "what_to_do"),
    [
        (NO_ZONE, "in others only"),
        (NO_ZONE.replace("InvalidParameter", "UnsupportedAvailabilityZone"), "zones that the answer lists"),
        (NO_ZONE.replace("InvalidParameterException", "AccessDeniedException"), "does not offer Fargate"),
        (NO_ZONE.replace("InvalidParameter", "ResourceLimitExceeded"), "Service Quotas"),
    ],
)
def test_where_eks_offers_no_fargate_its_answer_is_shown_with_what_to_do(answer, what_to_do):
    account = created(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    account.eks.refuses_profiles = answer

    account.run_until_idle()

    assert stage(account) is Stage.BLOCKED and codes(account) == ["fargate-profile-refused"]
    [finding] = [one for one in account.record().findings if one.blocking]
    assert "ca-central-1d for Subnet subnet-a is not supported" in finding.message
    assert what_to_do in finding.remedy and "on: nodes" in finding.remedy
    assert sum(call.startswith("eks.create_fargate_profile") for call in account.calls.made) == 1


def test_a_profile_that_eks_refused_is_tried_again_in_other_subnets_by_hand_or_after_hours():
    account = created(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    account.eks.refuses_profiles = NO_ZONE
    account.run_until_idle()

    def tries() -> int:
        return sum(call.startswith("eks.create_fargate_profile") for call in account.calls.made)

    account.send_created()
    account.run_until_idle()
    assert tries() == 1

    account.send(Trigger(GPU_1, "by hand", forced=True))
    account.run_until_idle()
    assert tries() == 2 and codes(account) == ["fargate-profile-refused"]

    for _ in range(3):
        account.clock.now += timedelta(hours=1)
        account.send_created()
        account.run_until_idle()
    assert tries() == 3 and codes(account) == ["fargate-profile-refused"]

    cluster = account.eks.clusters["gpu-1"]
    account.eks.clusters["gpu-1"] = replace(cluster, subnets=("subnet-c",))
    account.eks.refuses_profiles = ""
    account.send_created()
    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED


def test_another_failure_of_a_profile_is_tried_again_as_any():
    account = created(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    account.eks.refuses_profiles = "An error occurred (ClientException): not now"
    account.run_until(START + timedelta(minutes=2))
    assert codes(account) == [] and stage(account) is Stage.INSTALLING

    account.eks.refuses_profiles = ""
    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED


def test_a_deployment_without_the_rights_says_which_ones():
    account = onboarded(ON_FARGATE, karpenter=False)

    assert codes(account) == ["fargate-roles-missing"]
    assert "karpenter_on_fargate=true" in account.record().findings[0].remedy


def test_a_karpenter_of_another_owner_is_not_moved():
    account = onboarded(ON_FARGATE, settings=FARGATE_SETTINGS)  # with a Karpenter in it

    assert codes(account) == ["karpenter-not-ours"]
    assert in_aws(account)["roles"] == [] and in_aws(account)["profiles"] == []


def test_a_policy_that_goes_back_to_nodes_is_refused_while_the_profile_stands():
    account = on_fargate()
    account.policies["default"] = POLICY + "karpenter: {install: true}\n"

    account.send_created()
    account.run_until_idle()
    assert codes(account) == ["karpenter-on-fargate"]

    account.eks.delete_fargate_profile("gpu-1", "slicewise-karpenter")
    account.clock.now += timedelta(minutes=2)
    account.send_created()
    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED
    assert list(account.eks.pod_identities) == [("gpu-1", "kube-system", "karpenter")]


# Taking it away


def test_offboarding_leaves_nothing_of_ours():
    account = offboarded(on_fargate())

    assert in_aws(account) == NOTHING
    assert account.record() is None and not account.queues.dead
    made = account.calls.made
    order = [
        made.index("helm.uninstall kube-system/karpenter"),
        made.index("eks.delete_fargate_profile gpu-1 slicewise-karpenter"),
        made.index(f"iam.delete_oidc_provider {PROVIDER}"),
        made.index(f"iam.delete_role {ROLE}"),
    ]
    assert order == sorted(order)


def test_offboarding_leaves_a_karpenter_that_serves_others():
    account = on_fargate()
    theirs = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "web"}, "spec": {}}
    account.servers["gpu-1"].create(theirs)

    offboarded(account)

    assert in_aws(account)["profiles"] == ["slicewise-karpenter"]
    assert {"karpenter", "karpenter-crd"} <= set(in_aws(account)["releases"])
    assert list(account.iam.roles) == [ROLE] and list(account.iam.providers) == [PROVIDER]
    [notice] = [text for subject, text in account.notices.sent if "is offboarded" in subject]
    assert "NodePool web" in notice

    account.servers["gpu-1"].delete(Ref("karpenter.sh/v1", "NodePool", "web"))
    account.send(Trigger(GPU_1, "a sweep"))
    account.run_until_idle()
    assert list(account.iam.roles) == [ROLE] and not account.eks.entries.keys() & {("gpu-1", INSTALLER)}

    account.send(Trigger(GPU_1, "by hand", forced=True))
    account.run_until_idle()
    assert in_aws(account) == NOTHING


def test_a_provider_that_other_roles_trust_stays():
    account = on_fargate()
    trust = {"Statement": [{"Principal": {"Federated": PROVIDER}}]}
    account.iam.roles["team"] = team = IamRole("arn:aws:iam::111122223333:role/team", trust)

    offboarded(account)

    assert account.iam.roles == {"team": team}
    assert list(account.iam.providers) == [PROVIDER]
    [notice] = [text for subject, text in account.notices.sent if "is offboarded" in subject]
    assert "team" in notice and "oidc-provider" in notice


def test_of_a_deleted_cluster_role_and_provider_go():
    account = on_fargate()
    del account.eks.clusters["gpu-1"]
    account.eks.profiles.clear()

    account.send(Trigger(GPU_1, "deleted"))
    account.run_until_idle()

    assert not account.iam.roles and not account.iam.providers
    assert account.record() is None


# Struck at any call


KINDS = ["killed", *(pytest.param(kind, marks=pytest.mark.exhaustive) for kind in ("answer lost", *REFUSALS))]


@pytest.mark.parametrize("kind", KINDS)
def test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end(kind):
    way = smooth_way(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    end = way[-1].state()
    assert stage(way[-1]) is Stage.ONBOARDED

    for number, call in enumerate(way[-1].calls.made):
        struck = struck_at(number, kind, way)

        assert struck.state() == end, f"{kind} at call {number}, {call}"
        assert not struck.queues.dead, f"{kind} at call {number}, {call}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_offboarding_that_is_struck_at_any_call_leaves_as_little(kind):
    account = on_fargate()
    say_offboard(account)
    begun, way = len(account.calls.made), way_of(account)
    end = way[-1].state()
    assert not end["roles"] and not end["entries"]

    for number in range(begun, len(way[-1].calls.made)):
        struck = struck_at(number, kind, way)

        assert struck.state() == end, f"{kind} at call {number}, {way[-1].calls.made[number]}"
        assert not struck.queues.dead


def test_events_that_come_twice_change_nothing():
    once = on_fargate()
    twice = created(ON_FARGATE, FARGATE_SETTINGS, karpenter=False)
    twice.send_created()
    twice.run_until_idle()

    assert twice.state() == once.state()
