"""Reads what stands in AWS for a Karpenter on Fargate: EKS's profiles, IAM, and which subnets are public."""

from __future__ import annotations

from dataclasses import replace

from slicewise.model.cluster import EksCluster
from slicewise.model.fargate import FargateAccess, IamRole, OidcProvider
from slicewise.onboarding.aws import fargate
from slicewise.onboarding.aws.owned import name_for
from slicewise.onboarding.observation import Settings
from slicewise.policy.model import Policy
from slicewise.ports import Ports


def observe(
    cluster: EksCluster, ports: Ports, settings: Settings, policy: Policy | None = None
) -> FargateAccess:
    """
    Args:
        policy: One that puts Karpenter on nodes needs no more than the profiles; None where the cluster is to
            be offboarded, when it is also read who else trusts the provider.
    """
    profiles = ports.eks.fargate_profiles(cluster.name)
    if policy is not None and not policy.is_on_fargate:
        return FargateAccess(profiles)
    role = _role(cluster.name, ports, settings)
    wanted = fargate.provider_arn(cluster) if cluster.issuer else ""
    provider = ports.iam.oidc_provider(wanted) if wanted else None
    access = FargateAccess(profiles, role, provider, _former(role, wanted, ports))
    if policy is None:
        # A list of every role of the account: only where there is a provider of ours that may go.
        asks = provider is not None and fargate.anything_of_ours(
            cluster.arn, FargateAccess(provider=provider)
        )
        others = ports.iam.roles_trusting(wanted) if asks else ()
        ours = role.name if role else ""
        return replace(access, trusted_by=tuple(one for one in others if one != ours))
    return replace(access, public_subnets=ports.subnets.public(cluster.vpc, cluster.subnets))


def of_deleted(name: str, ports: Ports, settings: Settings) -> FargateAccess:
    """EKS knows the cluster's issuer no longer; the role that trusts it does. Nobody else can need it now."""
    role = _role(name, ports, settings)
    provider = fargate.federated(role)
    return FargateAccess(role=role, provider=ports.iam.oidc_provider(provider) if provider else None)


def _role(name: str, ports: Ports, settings: Settings) -> IamRole | None:
    return ports.iam.role(name_for(settings.fargate_controller_role_prefix, name))


def _former(role: IamRole | None, wanted: str, ports: Ports) -> OidcProvider | None:
    trusted = fargate.federated(role)
    return ports.iam.oidc_provider(trusted) if trusted and trusted != wanted else None
