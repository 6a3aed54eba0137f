"""What a reconcile of onboarding knows, and what the deployment gave it. Values only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from slicewise.errors import InvalidPolicy
from slicewise.kube.labels import PREFIX
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import AccessEntry, ClusterContents, EksCluster, Release
from slicewise.model.fargate import FargateAccess
from slicewise.model.interruptions import InterruptionEvents
from slicewise.planning.record import Record
from slicewise.policy.model import Policy


class ObserveFailure(StrEnum):
    """Why reading a cluster failed."""

    UNAUTHORIZED = "unauthorized"  # 401: no access entry, or one that is not in effect yet
    FORBIDDEN = "forbidden"  # 403: known, but without the right to read
    UNREACHABLE = "unreachable"  # no answer, a time-out, or a server's fault


@dataclass(frozen=True)
class ObserveError:
    kind: ObserveFailure
    message: str


@dataclass(frozen=True)
class Chart:
    """
    A helm chart: path of a packaged chart, or an OCI or https reference, and its version.

    Attributes:
        sha256: Of the packed chart, in hex; empty where the deployment names none.
    """

    ref: str
    version: str
    sha256: str = ""

    @property
    def is_unchecked(self) -> bool:
        """It comes from the network, and is taken as it comes."""
        return "://" in self.ref and not self.sha256


@dataclass(frozen=True)
class Settings:
    """
    What the deployment fixed.

    Attributes:
        installer_role, tuner_role, sleeper_role: ARNs of IAM roles.
        karpenter_controller_role: ARN; empty where this deployment may not install Karpenter.
        karpenter_node_role: *Name* of the nodes' IAM role, or empty; Karpenter makes its instance profile.
        fargate_pod_role: ARN of the role of a Fargate profile's pods; empty, with the next two, where this
            deployment may not put Karpenter on Fargate.
        fargate_controller_role_prefix: Begins the names of the roles that we make for it, one a cluster.
        fargate_controller_policy: ARN of what such a role may do: attached, and its permissions boundary.
        may_handle_interruptions: This deployment has the rights for queues and rules of interruptions.
    """

    installer_role: str
    tuner_role: str
    gpu_operator: Chart
    karpenter: Chart
    karpenter_crd: Chart
    sleeper_role: str = ""
    karpenter_controller_role: str = ""
    karpenter_node_role: str = ""
    fargate_pod_role: str = ""
    fargate_controller_role_prefix: str = ""
    fargate_controller_policy: str = ""
    may_handle_interruptions: bool = False

    @property
    def charts(self) -> tuple[Chart, ...]:
        return self.gpu_operator, self.karpenter, self.karpenter_crd

    @property
    def can_install_karpenter(self) -> bool:
        return bool(self.karpenter_controller_role and self.karpenter_node_role)

    @property
    def can_run_on_fargate(self) -> bool:
        return self.can_install_karpenter and bool(self.fargate_pod_role)

    @property
    def can_handle_interruptions(self) -> bool:
        return self.can_install_karpenter and self.may_handle_interruptions

    def node_role_arn(self, cluster: EksCluster) -> str:
        return f"arn:{cluster.partition}:iam::{cluster.account}:role/{self.karpenter_node_role}"


@dataclass(frozen=True)
class Remains:
    """
    What is read of a cluster for an offboarding.

    Attributes:
        asleep: Objects that the table says are asleep.
        others: The newest records of tuning and of off-hours, where there are any.
        node_pools, claims: All NodePools, and the NodeClaims that carry a label of ours; None where the
            cluster was not read.
        ours: Objects of ours, in the order in which they go; None unless cluster admin was in effect.
        contents: As onboarding sees them; None unless cluster admin was in effect.
        revisions: Of the GPU Operator that we joined, as helm keeps them.
        namespace: GPU Operator's, where it is ours; `namespace_holds` names what else is in it.
        readers: Pods that read a configuration of ours for device plugins.
        chart_crds: Names of CRDs that GPU Operator's chart brings, and of which no object is left.
        on_karpenter: NodePools, NodeClaims and EC2NodeClasses that a Karpenter still serves, ours included.
        is_preview: For a person who asks what would happen: everything is planned at once.
    """

    asleep: tuple[Ref, ...] = ()
    others: tuple[Record, ...] = ()
    node_pools: tuple[Object, ...] | None = None
    claims: tuple[Object, ...] = ()
    ours: tuple[Object, ...] | None = None
    contents: ClusterContents | None = None
    revisions: tuple[Release, ...] = ()
    namespace: Object | None = None
    namespace_holds: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    chart_crds: tuple[str, ...] = ()
    on_karpenter: tuple[Ref, ...] = ()
    is_preview: bool = False


@dataclass(frozen=True)
class Observation:
    """
    Everything that onboarding decides from. What could not be read is None, with its reason beside it.

    Attributes:
        cluster: None where EKS knows no such cluster (any more).
        policy, policy_name, policy_error: The policy that tag or default choose; at most one of policy and
            error is set; neither where nothing asks for this cluster.
        entries: Access entries by principal ARN: the installer's, the tuner's and Karpenter's node role.
        contents: What was read; None where nothing was tried or it failed (`observe_error`). To read without
            an access entry is welcome: its 401 shows that the endpoint can be reached.
        addons: Names of the EKS add-ons that are there; read only where the policy installs Karpenter.
        pod_identities: Role ARN by "namespace/service account"; read only where addons are.
        admin_in_effect: Whether a SelfSubjectAccessReview for everything was allowed in this reconcile; None
            where none was asked. A policy that was just associated takes seconds to work.
        paused: Who or what paused it; empty or None where it is not paused.
        forced: A person asked for this reconcile.
        remains: What there is of ours, where the cluster is to be offboarded.
        fargate: What Karpenter has on Fargate; read only where this deployment may put it there, and the
            policy installs it, the cluster is offboarded, or it is deleted.
        interruptions: What its interruption handling has; read in the same cases, where this deployment has
            the rights for it.
    """

    cluster: EksCluster | None
    policy: Policy | None = None
    policy_name: str | None = None
    policy_error: InvalidPolicy | None = None
    record: Record | None = None
    entries: Mapping[str, AccessEntry] = field(default_factory=dict)
    contents: ClusterContents | None = None
    observe_error: ObserveError | None = None
    addons: frozenset[str] = frozenset()
    pod_identities: Mapping[str, str] = field(default_factory=dict)
    admin_in_effect: bool | None = None
    paused: str | None = None
    forced: bool = False
    remains: Remains | None = None
    fargate: FargateAccess | None = None
    interruptions: InterruptionEvents | None = None

    def is_admin(self, principal: str) -> bool:
        entry = self.entries.get(principal)
        return entry is not None and entry.is_admin


@dataclass(frozen=True)
class Inside:
    """
    A cluster that a policy asks for and that was read: what its difference from the policy rests on.

    Attributes:
        entries, addons, pod_identities, fargate, interruptions: As in Observation.
    """

    cluster: EksCluster
    policy: Policy
    contents: ClusterContents
    entries: Mapping[str, AccessEntry] = field(default_factory=dict)
    addons: frozenset[str] = frozenset()
    pod_identities: Mapping[str, str] = field(default_factory=dict)
    fargate: FargateAccess | None = None
    interruptions: InterruptionEvents | None = None


def live(contents: ClusterContents, ref: Ref) -> Object | None:
    """A live object by its Ref, whether it was asked for alone or came with a list."""
    if ref in contents.objects:
        return contents.objects[ref]
    lists = {"NodePool": contents.node_pools, "NodeOverlay": contents.node_overlays}
    return next((item for item in lists.get(ref.kind, ()) if ref_of(item) == ref), None)


def eks_fingerprint(cluster: EksCluster) -> str:
    """
    16 hex digits over what preflight reads from EKS: when it changes, a blocked cluster is read again.
    """
    seen = {
        "born": cluster.created_at.isoformat(),  # a recreated cluster has the name and ARN of the one before
        "version": cluster.version,
        "mode": cluster.authentication_mode,
        "auto": cluster.auto_mode,
        "public": cluster.public_endpoint,
        "bottlerocket": sorted(cluster.bottlerocket_node_groups),
        "tags": {key: value for key, value in sorted(cluster.tags.items()) if key.startswith(PREFIX)},
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]
