"""
Karpenter on Fargate: what stands in AWS for it, what differs from what it needs, and how it goes. Pure.

A pod becomes a Fargate pod when it is created, by a profile that is ACTIVE by then. So the profile comes
before the chart, and goes after it. EKS Pod Identity does not work there (EKS user guide, "Learn how EKS Pod
Identity grants pods access to AWS services", its restrictions): the role is assumed by the service account's
own token, through the cluster's OIDC provider, so it is a role a cluster.

The role's tag is what EKS Pod Identity puts on a session: IAM has both as `aws:PrincipalTag`, so that one
policy fences a Karpenter on nodes and on Fargate alike (cdk_app/components/karpenter.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from slicewise.kube.labels import CLUSTER_TAG
from slicewise.model.cluster import EksCluster
from slicewise.model.fargate import FargateAccess, FargateProfile, IamRole
from slicewise.onboarding import rbac
from slicewise.onboarding.aws.owned import CLUSTER_NAME_TAG, is_of, name_for
from slicewise.onboarding.observation import Settings
from slicewise.onboarding.releases import Difference
from slicewise.planning import retries
from slicewise.planning.actions import Action
from slicewise.planning.eks_actions import (
    AttachRolePolicy,
    CreateFargateProfile,
    CreateOidcProvider,
    CreateRole,
    DeleteFargateProfile,
    DeleteOidcProvider,
    DeleteRole,
)
from slicewise.planning.outcome import Finding
from slicewise.planning.retries import Retry
from slicewise.policy.model import Policy

PROFILE = "slicewise-karpenter"
SERVICE_ACCOUNT = "karpenter"
AUDIENCE = "sts.amazonaws.com"
# The chart's own labels: with the namespace alone, CoreDNS and whatever else is there would move, too.
SELECTORS: tuple[Mapping[str, Any], ...] = (
    {
        "namespace": rbac.KARPENTER_NAMESPACE,
        "labels": {"app.kubernetes.io/name": "karpenter", "app.kubernetes.io/instance": "karpenter"},
    },
)
# EKS needs a minute or two for a profile.
POLL = timedelta(seconds=15)

_PART = f"Fargate profile {PROFILE}"
_OR_NODES = "or write on: nodes."
# What EKS refuses a profile with, so that another try brings nothing, and what to do. The codes are those of
# the API reference (CreateFargateProfile); which one it answers where it offers no Fargate, eksctl has seen:
# InvalidParameterException for a zone (issue 5677), AccessDeniedException for a Region (pull request 1825).
_REFUSALS: Mapping[str, str] = {
    "UnsupportedAvailabilityZoneException": "Have the cluster's VPC configuration name private subnets in "
    f"the zones that the answer lists, and none in others, {_OR_NODES}",
    "InvalidParameterException": "Correct what the answer names. Where Fargate is not offered in a zone, "
    "have the cluster's VPC configuration name private subnets in others only (aws eks "
    f"update-cluster-config), {_OR_NODES}",
    "ResourceLimitExceededException": "Delete a profile of the cluster that nothing needs, or ask Service "
    f"Quotas for more, {_OR_NODES}",
    "AccessDeniedException": "EKS answers so in a Region in which it does not offer Fargate: write on: nodes "
    "there. Elsewhere see what denies the right to the installer's role, such as a service control policy.",
}


# What it needs


def provider_arn(cluster: EksCluster) -> str:
    return f"arn:{cluster.partition}:iam::{cluster.account}:oidc-provider/{_issuer_host(cluster)}"


def role(cluster: EksCluster, settings: Settings) -> IamRole:
    """Assumed by one service account of one cluster, and by nothing else."""
    name = name_for(settings.fargate_controller_role_prefix, cluster.name)
    return IamRole(
        arn=f"arn:{cluster.partition}:iam::{cluster.account}:role/slicewise/{name}",
        trust={
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Federated": provider_arn(cluster)},
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Condition": {
                        "StringEquals": {
                            f"{_issuer_host(cluster)}:aud": AUDIENCE,
                            f"{_issuer_host(cluster)}:sub": "system:serviceaccount:"
                            f"{rbac.KARPENTER_NAMESPACE}:{SERVICE_ACCOUNT}",
                        }
                    },
                }
            ],
        },
        boundary=settings.fargate_controller_policy,
        policies=(settings.fargate_controller_policy,),
        tags={CLUSTER_TAG: cluster.arn, CLUSTER_NAME_TAG: cluster.name},
    )


def profile(cluster: EksCluster, access: FargateAccess, settings: Settings) -> FargateProfile:
    return FargateProfile(
        PROFILE,
        role=settings.fargate_pod_role,
        subnets=_private(cluster, access),
        selectors=SELECTORS,
        tags={CLUSTER_TAG: cluster.arn},
    )


def _issuer_host(cluster: EksCluster) -> str:
    return cluster.issuer.removeprefix("https://")


def _private(cluster: EksCluster, access: FargateAccess) -> tuple[str, ...]:
    return tuple(subnet for subnet in cluster.subnets if subnet not in access.public_subnets)


# What is there


def profile_of_ours(access: FargateAccess) -> FargateProfile | None:
    return next((one for one in access.profiles if one.name == PROFILE), None)


def is_ready(access: FargateAccess) -> bool:
    """Whether a pod that is created now runs there."""
    there = profile_of_ours(access)
    return there is not None and there.status == "ACTIVE"


# What is to be done


def difference(cluster: EksCluster, access: FargateAccess, settings: Settings) -> Difference:
    """Its chart is to be left until the profile is ACTIVE: then this has no `requeue_after`."""
    actions = (*_identity(cluster, access, settings), *_profile(cluster, access, settings))
    if is_ready(access):
        return Difference(actions, ())
    changing = next((one for one in access.profiles if one.is_changing), None)
    waits = f"is {changing.status}" if changing else "is not there yet"
    name = changing.name if changing else PROFILE
    pending = Finding(
        "fargate-profile-pending",
        f"Fargate profile {name} {waits}; Karpenter's chart comes after it is ACTIVE.",
        "No action needed: EKS takes a minute or two for a profile, one at a time in a cluster.",
    )
    return Difference(actions, (pending,), POLL, pending.message)


def _identity(cluster: EksCluster, access: FargateAccess, settings: Settings) -> Iterator[Action]:
    """What is not as we make it is made again: so we need no right to edit who may assume a role."""
    tags = {CLUSTER_TAG: cluster.arn}
    if access.provider is None:
        yield CreateOidcProvider(
            cluster.issuer, AUDIENCE, tags, "IAM trusts the cluster's service accounts by it"
        )
    former = access.former_provider
    if former is not None and is_of(cluster.arn, former):
        yield DeleteOidcProvider(former.arn, "it is of an earlier cluster of this name")
    wanted = role(cluster, settings)
    there = access.role
    if there is not None and not _is_as(wanted, there):
        yield DeleteRole(there.name, "who may assume it, or its boundary, is not what we want")
        there = None
    if there is None:
        yield CreateRole(wanted, "Karpenter's service account assumes it")
    for policy in wanted.policies:
        if there is None or policy not in there.policies:
            yield AttachRolePolicy(wanted.name, policy, "Karpenter starts and ends machines with it")


def _is_as(wanted: IamRole, there: IamRole) -> bool:
    """But for policies that are still to be attached."""
    return (
        (there.trust, there.boundary, there.arn) == (wanted.trust, wanted.boundary, wanted.arn)
        and wanted.tags.items() <= there.tags.items()
        and set(there.policies) <= set(wanted.policies)
    )


def _profile(cluster: EksCluster, access: FargateAccess, settings: Settings) -> Iterator[Action]:
    """EKS refuses one while another of the cluster changes."""
    if profile_of_ours(access) is None and not any(one.is_changing for one in access.profiles):
        wanted = profile(cluster, access, settings)
        yield _creation(wanted)


def _creation(wanted: FargateProfile) -> CreateFargateProfile:
    return CreateFargateProfile(wanted, "Karpenter's pods, and no others, run on Fargate by it", _PART)


# What rules it out


def findings(
    cluster: EksCluster,
    policy: Policy,
    access: FargateAccess | None,
    settings: Settings,
    pod_identity: str | None,
    failed: Iterable[Retry] = (),
) -> tuple[Finding, ...]:
    """
    Of what EKS and IAM say, before the cluster is read.

    Args:
        pod_identity: The role that EKS Pod Identity gives Karpenter's service account.
        failed: What earlier reconciles could not do; none where a person asks for another try.
    """
    if not policy.install_karpenter:
        return ()
    if not policy.is_on_fargate:
        return tuple(_on_nodes(cluster, access))
    if not settings.can_run_on_fargate:
        return (_not_deployed(),)
    there = access or FargateAccess()
    return (
        *_on_fargate(cluster, there, settings, pod_identity),
        *_refused_by_eks(cluster, there, settings, failed),
    )


def _on_nodes(cluster: EksCluster, access: FargateAccess | None) -> Iterator[Finding]:
    there = profile_of_ours(access) if access else None
    if there is not None and is_of(cluster.arn, there):
        yield _refuse(
            "karpenter-on-fargate",
            f"The policy wants Karpenter on nodes, and by Fargate profile {PROFILE} its pods run on Fargate, "
            "where EKS Pod Identity gives them no role.",
            "Write on: fargate. Or see that there is a node for two pods of it, and delete the profile: "
            f"aws eks delete-fargate-profile --cluster-name {cluster.name} --fargate-profile-name {PROFILE}",
        )


def _not_deployed() -> Finding:
    return _refuse(
        "fargate-roles-missing",
        "The policy asks for Karpenter on Fargate, but this deployment of Slicewise has no roles and rights "
        "for that.",
        "Deploy Slicewise with -c install_karpenter=true -c karpenter_on_fargate=true, or write on: nodes.",
    )


def _on_fargate(
    cluster: EksCluster, access: FargateAccess, settings: Settings, pod_identity: str | None
) -> Iterator[Finding]:
    if not cluster.issuer:
        yield _refuse(
            "oidc-issuer-missing",
            "EKS names no OIDC issuer of the cluster, so no role can trust its service accounts.",
            "Write on: nodes.",
        )
    if pod_identity:
        yield _refuse(
            "pod-identity-on-fargate",
            f"EKS Pod Identity gives {rbac.KARPENTER_NAMESPACE}/{SERVICE_ACCOUNT} the role "
            f"{pod_identity.rpartition('/')[2]}, and pods on Fargate cannot ask its agent for it.",
            "Delete the association (aws eks list-pod-identity-associations --cluster-name "
            f"{cluster.name} --namespace {rbac.KARPENTER_NAMESPACE}), or write on: nodes.",
        )
    if access.provider is not None and AUDIENCE not in access.provider.audiences:
        yield _refuse(
            "oidc-provider-audience",
            f"The cluster's OIDC provider in IAM, which is not ours, has no audience {AUDIENCE}.",
            "Add it: aws iam add-client-id-to-open-id-connect-provider --client-id "
            f"{AUDIENCE} --open-id-connect-provider-arn {access.provider.arn}",
        )
    yield from _profile_findings(cluster, access, settings)
    if access.role is not None and access.role.tags.get(CLUSTER_TAG) != cluster.arn:
        yield _refuse(
            "role-taken",
            f"IAM role {access.role.name} is there, but it is not ours for this cluster.",
            "Rename or delete it, or deploy Slicewise with another role_prefix.",
        )


def _profile_findings(cluster: EksCluster, access: FargateAccess, settings: Settings) -> Iterator[Finding]:
    there = profile_of_ours(access)
    delete = f"aws eks delete-fargate-profile --cluster-name {cluster.name} --fargate-profile-name {PROFILE}"
    if there is None:
        if not _private(cluster, access):
            yield _refuse(
                "no-private-subnet",
                "The cluster has no private subnet, and Fargate takes no others: "
                f"{_some(cluster.subnets) or 'it names none at all'}"
                f"{' lead to an internet gateway' if cluster.subnets else ''}.",
                "Add private subnets to the cluster's VPC configuration (aws eks update-cluster-config "
                f"--name {cluster.name} --resources-vpc-config subnetIds=...), or write on: nodes.",
            )
    elif there.status.endswith("_FAILED"):
        why = "; ".join(there.issues) or "EKS gives no reason"
        yield _refuse(
            "fargate-profile-failed",
            f"Fargate profile {PROFILE} is {there.status}: {why}.",
            f"Fix that, then: {delete}. The next reconcile makes it again.",
        )
    elif there.role != settings.fargate_pod_role or _plain(there.selectors) != _plain(SELECTORS):
        yield _refuse(
            "fargate-profile-taken",
            f"Fargate profile {PROFILE} is there, with another role or other selectors than ours. Profiles "
            "cannot be changed.",
            f"Delete it if nothing else needs it: {delete}. The next reconcile makes it again.",
        )


def _refused_by_eks(
    cluster: EksCluster, access: FargateAccess, settings: Settings, failed: Iterable[Retry]
) -> Iterator[Finding]:
    """Nothing that can be read says where Fargate is offered: only EKS's answer does."""
    asked = str(_creation(profile(cluster, access, settings)))
    refused = [one for one in failed if one.part == _PART and one.action == retries.named(asked)]
    if profile_of_ours(access) is not None or not refused:
        return
    message = refused[0].message
    remedy = next((remedy for code, remedy in _REFUSALS.items() if f"({code})" in message), None)
    if remedy:
        yield _refuse(
            "fargate-profile-refused",
            f"EKS refuses Fargate profile {PROFILE}: {message.rstrip('.')}.",
            f"{remedy} It is tried again within three hours, and at once where the cluster has other "
            f"subnets, or by: slicewise onboard {cluster.name}",
        )


def _plain(selectors: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, str]]]]:
    """In one form, since EKS may leave out labels that are empty."""
    return sorted((str(one.get("namespace")), sorted((one.get("labels") or {}).items())) for one in selectors)


def _some(names: Iterable[str]) -> str:
    found = tuple(names)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


# How it goes


def anything_of_ours(cluster_arn: str, access: FargateAccess | None) -> bool:
    things = () if access is None else (profile_of_ours(access), access.role, access.provider)
    return any(is_of(cluster_arn, one) for one in things)


def taken_away(cluster_arn: str, access: FargateAccess, why: str) -> Iterator[Action]:
    """After Karpenter: the profile first, since its pods run by the role; then role and provider."""
    there = profile_of_ours(access)
    if there is not None and is_of(cluster_arn, there):
        # EKS deletes none that is being created, and is asked again once it is.
        if not there.is_changing:
            yield DeleteFargateProfile(PROFILE, why)
        return
    yield from identity_taken_away(cluster_arn, access, why)


def identity_taken_away(cluster_arn: str, access: FargateAccess, why: str) -> Iterator[Action]:
    """The role last: of a deleted cluster it is what names the provider."""
    for provider in (access.provider, access.former_provider):
        if provider is not None and is_of(cluster_arn, provider) and not access.trusted_by:
            yield DeleteOidcProvider(provider.arn, why)
    if access.role is not None and is_of(cluster_arn, access.role):
        yield DeleteRole(access.role.name, why)


def waits(cluster_arn: str, access: FargateAccess) -> str:
    there = profile_of_ours(access)
    is_waited_for = there is not None and is_of(cluster_arn, there) and there.is_changing
    return f"Fargate profile {PROFILE} is {there.status}" if there and is_waited_for else ""


def left(cluster_arn: str, access: FargateAccess) -> Iterator[Finding]:
    if access.provider is not None and is_of(cluster_arn, access.provider) and access.trusted_by:
        yield Finding(
            "oidc-provider-stays",
            "The cluster's OIDC provider, which we made, stays: "
            f"{_some(access.trusted_by)} trust it, and are not ours.",
            "Once none does: aws iam delete-open-id-connect-provider --open-id-connect-provider-arn "
            f"{access.provider.arn}",
        )


def federated(role: IamRole | None) -> str:
    """The ARN of the OIDC provider that a role trusts; empty where it trusts none."""
    statements = (role.trust.get("Statement") or ()) if role else ()
    found = (one.get("Principal") for one in statements if isinstance(one, Mapping))
    named = (one.get("Federated") for one in found if isinstance(one, Mapping))
    return next((one for one in named if isinstance(one, str) and ":oidc-provider/" in one), "")


def _refuse(code: str, message: str, remedy: str) -> Finding:
    return Finding(code, message, remedy, blocking=True)
