"""
Frozen values of what was observed: an EKS cluster, who may enter it, and what is in it.

Kubernetes objects stay as the API server sends them (`Object`, a JSON mapping): a plan compares them with
the objects it wants, field by field, and a typed copy of half of each would only hide the other half.
The few values that rules calculate with are typed, below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from slicewise.kube.labels import POLICY_TAG
from slicewise.kube.ref import Object, Ref

# A value of the policy tag that opts a cluster out where the deployment has a default policy.
NO_POLICY = "none"
# A value of the policy tag that has everything of ours taken out of the cluster.
OFFBOARD = "offboard"

_CLUSTER_ADMIN = ":eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


def cluster_admin_policy(principal: str) -> str:
    """The ARN of EKS's policy in the partition of a principal's ARN: aws, aws-cn, aws-us-gov."""
    return f"arn:{principal.split(':')[1]}{_CLUSTER_ADMIN}"


CLUSTER_ADMIN_POLICY = cluster_admin_policy("arn:aws:iam")


class AlarmName(NamedTuple):
    """How our alarms are named, so that an alarm's name has its cluster: slicewise/<cluster>/<kind>."""

    cluster: str
    kind: str

    @classmethod
    def read(cls, name: str) -> AlarmName | None:
        parts = name.split("/")
        ours = len(parts) == 3 and parts[0] == "slicewise" and all(parts)
        return cls(parts[1], parts[2]) if ours else None

    def __str__(self) -> str:
        return f"slicewise/{self.cluster}/{self.kind}"


@dataclass(frozen=True)
class Alarm:
    """
    A CloudWatch alarm.

    Attributes:
        settings: In CloudWatch's own words, as PutMetricAlarm takes them, without name and tags.
        state: OK, ALARM or INSUFFICIENT_DATA, since `state_since`; empty in an alarm that is only wanted.
    """

    name: str
    settings: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    state_since: datetime | None = None


@dataclass(frozen=True)
class EksCluster:
    """
    What DescribeCluster and the node groups say. `endpoint` and `ca_data` (base64) come with ACTIVE.

    Attributes:
        vpc, subnets: Where its network interfaces are.
        issuer: The URL of who signs its service accounts' tokens; empty where EKS names none.
    """

    arn: str
    name: str
    region: str
    account: str
    status: str
    version: str
    authentication_mode: str
    created_at: datetime
    auto_mode: bool = False
    endpoint: str | None = None
    ca_data: str | None = None
    public_endpoint: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    bottlerocket_node_groups: tuple[str, ...] = ()
    vpc: str = ""
    subnets: tuple[str, ...] = ()
    issuer: str = ""

    @property
    def partition(self) -> str:
        """Such as aws, aws-cn, aws-us-gov."""
        return self.arn.split(":")[1]

    @property
    def answers(self) -> bool:
        """
        Whether its API server answers. It does so while EKS updates it, too (EKS API reference,
        UpdateClusterVersion).
        """
        return self.status in ("ACTIVE", "UPDATING")

    def policy_name(self, default: str) -> str | None:
        """The policy that the tags choose, else the deployment's default; None leaves the cluster alone."""
        name = self.tags.get(POLICY_TAG, default).strip()
        return name if name and name not in (NO_POLICY, OFFBOARD) else None

    @property
    def offboards(self) -> bool:
        """Whether everything of ours is to leave this cluster."""
        return self.tags.get(POLICY_TAG, "").strip() == OFFBOARD


@dataclass(frozen=True)
class AccessEntry:
    """
    An EKS access entry with the ARNs of its cluster-wide access policies.

    `created_at` distinguishes one that is not in effect yet (seconds) from one that never will be;
    `admin_since` is when ClusterAdmin was associated.
    """

    principal: str
    groups: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    type: str = "STANDARD"
    created_at: datetime | None = None
    admin_since: datetime | None = None

    @property
    def is_admin(self) -> bool:
        return any(policy.endswith(_CLUSTER_ADMIN) for policy in self.policies)


@dataclass(frozen=True)
class Keeper:
    """
    A tool that manages a release by a manifest, and reverts what any other writer changes in it.

    Attributes:
        tool: Such as "Flux".
        manifest: What of its own it reads, such as "HelmRelease flux-system/gpu-operator".
        values: Where in that the chart's values are, such as "spec.values".
    """

    tool: str
    manifest: str
    values: str


@dataclass(frozen=True)
class Release:
    """
    A helm release as its newest secret records it, or as its objects show it (then `revision` is 0).

    Attributes:
        values: What the user or reconcile supplied.
        defaults: The chart's own values, under those.
        changed_at: When helm last began to change it; None where that is not recorded.
        keeper: None where users or reconciles run helm.
        overwritten: How often, of the revisions that helm keeps, values of ours were replaced by some without
            them.
    """

    name: str
    namespace: str
    revision: int
    status: str
    chart: str
    chart_version: str
    values: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    changed_at: datetime | None = None
    keeper: Keeper | None = None
    overwritten: int = 0

    @property
    def pending(self) -> bool:
        """A killed helm leaves this behind, and the next install or upgrade is refused because of it."""
        return self.status.startswith("pending-") or self.status == "uninstalling"


@dataclass(frozen=True)
class GpuServer:
    """Something in a cluster that allocates GPUs, and what it does, in words for people."""

    ref: Ref
    does: str


@dataclass(frozen=True)
class KarpenterInstall:
    """Karpenter as its Deployment shows it. `gates` is the text of FEATURE_GATES, or None where unset."""

    namespace: str
    name: str
    version: str | None
    gates: str | None


@dataclass(frozen=True)
class ClusterContents:
    """
    What one read of a cluster returned.

    Attributes:
        version: The API server's, such as "v1.35.4".
        crds: Names of the CustomResourceDefinitions, such as "nodeoverlays.karpenter.sh".
        definitions: Of the kinds of a policy's own switches, as switches.definition has them.
        objects: The live objects that the onboarding plan asked about or owns, by Ref; absent means absent.
        node_pools, node_overlays, node_claims, nodes, pods: All of the kind; `nodes` are those with a GPU
            pool's label or GPUs, `pods` those that request a slice and are not finished.
        failed_pods: Pods in phase Failed that requested a slice.
        disruption_budgets: PodDisruptionBudgets, of all namespaces.
        workloads: Deployments and StatefulSets that let us move them between the classes of their pool.
        templates: What makes pods of which one container requests more than one GPU, with the template's spec
            as its own; None where that was not read.
        publishers: Deployments and StatefulSets that request GPUs or have N published on them, as templates;
            None where they were not read, or not all.
        unread_kinds: Of these it cannot be read whether they do.
        gpu_servers: What allocates NVIDIA's GPUs, or shares them, beside GPU Operator's own operands.
        feature_discovery: DaemonSets of node-feature-discovery's workers that are not GPU Operator's.
        node_classes: EC2NodeClasses and Auto Mode's NodeClasses; read while we are admin, else empty.
        driver_nodes: Nodes on which GPU Operator runs a driver of its own.
        operator_chart: GPU Operator's chart's own values, in the version of this deployment; None where it
            was not asked for, or is not at hand.
        releases: Every helm release of GPU Operator and Karpenter, in any namespace.
        karpenter: None where no Karpenter Deployment was found.
    """

    version: str
    crds: frozenset[str] = frozenset()
    definitions: tuple[Object, ...] = ()
    objects: Mapping[Ref, Object] = field(default_factory=dict)
    node_pools: tuple[Object, ...] = ()
    node_overlays: tuple[Object, ...] = ()
    node_claims: tuple[Object, ...] = ()
    nodes: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    failed_pods: tuple[Object, ...] = ()
    disruption_budgets: tuple[Object, ...] = ()
    workloads: tuple[Object, ...] = ()
    templates: tuple[Object, ...] | None = None
    publishers: tuple[Object, ...] | None = None
    unread_kinds: tuple[str, ...] = ()
    gpu_servers: tuple[GpuServer, ...] = ()
    feature_discovery: tuple[Object, ...] = ()
    node_classes: tuple[Object, ...] = ()
    driver_nodes: int = 0
    operator_chart: Mapping[str, Any] | None = None
    releases: tuple[Release, ...] = ()
    karpenter: KarpenterInstall | None = None

    @cached_property
    def pods_by_node(self) -> Mapping[str, Sequence[Object]]:
        """Of `pods`, those that are bound: each NodePool picks its own, and there may be many."""
        found: dict[str, list[Object]] = {}
        for pod in self.pods:
            if node := pod["spec"].get("nodeName"):
                found.setdefault(node, []).append(pod)
        return found


@dataclass(frozen=True)
class Series:
    """
    One metric over time, named and labelled as its source does.

    Attributes:
        times: Seconds since the epoch, ascending; a point is of the step that begins then.
        incomplete: Why points may be missing, in the source's words; empty where it says nothing.
    """

    name: str
    labels: Mapping[str, str]
    times: tuple[int, ...]
    values: tuple[float, ...]
    incomplete: str = ""


_FEWER = "only the last "


def only_the_last(span: timedelta, series: int) -> str:
    """
    Series.incomplete of points that we did not ask for: a reconcile would not end in time with all of them.
    """
    hours = int(span.total_seconds() // 3600)
    number, word = (hours // 24, "day") if hours >= 24 else (max(1, hours), "hour")
    last = f"{word} was" if number == 1 else f"{number} {word}s were"
    return f"{_FEWER}{last} read, for there are {series} series"


def is_by_choice(incomplete: str) -> bool:
    """Whether it is we who left points out, and no source that lacks them."""
    return incomplete.startswith(_FEWER)
