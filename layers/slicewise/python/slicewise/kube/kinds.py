"""
The kinds of objects that our requests name, each in the version that we use.

Where an object's kind is compared alone, its word is written there; where its version counts, too, it is one
of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class ApiKind(NamedTuple):
    """As the first two fields of a Ref: `kubernetes.list(*NODE)`, `Ref(*NODE, name)`."""

    api_version: str
    kind: str

    @property
    def in_group(self) -> tuple[str, str]:
        """Group and kind, the same in all versions; the core group is ""."""
        return self.api_version.rpartition("/")[0], self.kind


CONFIG_MAP = ApiKind("v1", "ConfigMap")
EVENT = ApiKind("v1", "Event")
NAMESPACE = ApiKind("v1", "Namespace")
NODE = ApiKind("v1", "Node")
POD = ApiKind("v1", "Pod")
SECRET = ApiKind("v1", "Secret")
SERVICE_ACCOUNT = ApiKind("v1", "ServiceAccount")
DAEMON_SET = ApiKind("apps/v1", "DaemonSet")
DEPLOYMENT = ApiKind("apps/v1", "Deployment")
DISRUPTION_BUDGET = ApiKind("policy/v1", "PodDisruptionBudget")
REPLICA_SET = ApiKind("apps/v1", "ReplicaSet")
STATEFUL_SET = ApiKind("apps/v1", "StatefulSet")
CRON_JOB = ApiKind("batch/v1", "CronJob")
JOB = ApiKind("batch/v1", "Job")
ADMISSION_POLICY = ApiKind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
ADMISSION_BINDING = ApiKind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding")
CRD = ApiKind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
CLUSTER_ROLE = ApiKind("rbac.authorization.k8s.io/v1", "ClusterRole")
CLUSTER_ROLE_BINDING = ApiKind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding")
ROLE = ApiKind("rbac.authorization.k8s.io/v1", "Role")
ROLE_BINDING = ApiKind("rbac.authorization.k8s.io/v1", "RoleBinding")
NODE_POOL = ApiKind("karpenter.sh/v1", "NodePool")
NODE_CLAIM = ApiKind("karpenter.sh/v1", "NodeClaim")
NODE_OVERLAY = ApiKind("karpenter.sh/v1alpha1", "NodeOverlay")
EC2_NODE_CLASS = ApiKind("karpenter.k8s.aws/v1", "EC2NodeClass")
KWOK_NODE_CLASS = ApiKind("karpenter.kwok.sh/v1alpha1", "KWOKNodeClass")
EKS_NODE_CLASS = ApiKind("eks.amazonaws.com/v1", "NodeClass")
DEVICE_CLASS = ApiKind("resource.k8s.io/v1", "DeviceClass")
CLUSTER_POLICY = ApiKind("nvidia.com/v1", "ClusterPolicy")
NVIDIA_DRIVER = ApiKind("nvidia.com/v1alpha1", "NVIDIADriver")
NODE_FEATURE = ApiKind("nfd.k8s-sigs.io/v1alpha1", "NodeFeature")
NODE_FEATURE_GROUP = ApiKind("nfd.k8s-sigs.io/v1alpha1", "NodeFeatureGroup")
NODE_FEATURE_RULE = ApiKind("nfd.k8s-sigs.io/v1alpha1", "NodeFeatureRule")
ROLLOUT = ApiKind("argoproj.io/v1alpha1", "Rollout")
SCALED_JOB = ApiKind("keda.sh/v1alpha1", "ScaledJob")
SCALED_OBJECT = ApiKind("keda.sh/v1alpha1", "ScaledObject")
LEADER_WORKER_SET = ApiKind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")
NODE_SET = ApiKind("slinky.slurm.net/v1beta1", "NodeSet")
AUTOSCALER = ApiKind("autoscaling/v2", "HorizontalPodAutoscaler")
NOTEBOOK = ApiKind("kubeflow.org/v1", "Notebook")
RAY_CLUSTER = ApiKind("ray.io/v1", "RayCluster")
RAY_JOB = ApiKind("ray.io/v1", "RayJob")
RAY_CRON_JOB = ApiKind("ray.io/v1", "RayCronJob")
RAY_SERVICE = ApiKind("ray.io/v1", "RayService")
JOB_SET = ApiKind("jobset.x-k8s.io/v1alpha2", "JobSet")
TRAIN_JOB = ApiKind("trainer.kubeflow.org/v1alpha1", "TrainJob")
PYTORCH_JOB = ApiKind("kubeflow.org/v1", "PyTorchJob")
TF_JOB = ApiKind("kubeflow.org/v1", "TFJob")
XGBOOST_JOB = ApiKind("kubeflow.org/v1", "XGBoostJob")
PADDLE_JOB = ApiKind("kubeflow.org/v1", "PaddleJob")
JAX_JOB = ApiKind("kubeflow.org/v1", "JAXJob")
MPI_JOB = ApiKind("kubeflow.org/v1", "MPIJob")
# Of Kubeflow's training operator (v1.9): all have the same runPolicy.
TRAINING_JOBS = (PYTORCH_JOB, TF_JOB, XGBOOST_JOB, PADDLE_JOB, JAX_JOB, MPI_JOB)
KNATIVE_REVISION = ApiKind("serving.knative.dev/v1", "Revision")
INFERENCE_SERVICE = ApiKind("serving.kserve.io/v1beta1", "InferenceService")
CLUSTER_QUEUE = ApiKind("kueue.x-k8s.io/v1beta2", "ClusterQueue")
LOCAL_QUEUE = ApiKind("kueue.x-k8s.io/v1beta2", "LocalQueue")
RESOURCE_FLAVOR = ApiKind("kueue.x-k8s.io/v1beta2", "ResourceFlavor")
KUEUE_WORKLOAD = ApiKind("kueue.x-k8s.io/v1beta2", "Workload")

# Group and kind → (plural, namespaced): every kind that our requests name, so that none has to be discovered.
RESOURCES: Mapping[tuple[str, str], tuple[str, bool]] = {
    CONFIG_MAP.in_group: ("configmaps", True),
    EVENT.in_group: ("events", True),
    NAMESPACE.in_group: ("namespaces", False),
    NODE.in_group: ("nodes", False),
    POD.in_group: ("pods", True),
    SECRET.in_group: ("secrets", True),
    SERVICE_ACCOUNT.in_group: ("serviceaccounts", True),
    DAEMON_SET.in_group: ("daemonsets", True),
    DEPLOYMENT.in_group: ("deployments", True),
    DISRUPTION_BUDGET.in_group: ("poddisruptionbudgets", True),
    REPLICA_SET.in_group: ("replicasets", True),
    STATEFUL_SET.in_group: ("statefulsets", True),
    CRON_JOB.in_group: ("cronjobs", True),
    JOB.in_group: ("jobs", True),
    ADMISSION_POLICY.in_group: ("validatingadmissionpolicies", False),
    ADMISSION_BINDING.in_group: ("validatingadmissionpolicybindings", False),
    CRD.in_group: ("customresourcedefinitions", False),
    CLUSTER_ROLE.in_group: ("clusterroles", False),
    CLUSTER_ROLE_BINDING.in_group: ("clusterrolebindings", False),
    ROLE.in_group: ("roles", True),
    ROLE_BINDING.in_group: ("rolebindings", True),
    NODE_POOL.in_group: ("nodepools", False),
    NODE_CLAIM.in_group: ("nodeclaims", False),
    NODE_OVERLAY.in_group: ("nodeoverlays", False),
    EC2_NODE_CLASS.in_group: ("ec2nodeclasses", False),
    KWOK_NODE_CLASS.in_group: ("kwoknodeclasses", False),
    EKS_NODE_CLASS.in_group: ("nodeclasses", False),
    DEVICE_CLASS.in_group: ("deviceclasses", False),
    CLUSTER_POLICY.in_group: ("clusterpolicies", False),
    NVIDIA_DRIVER.in_group: ("nvidiadrivers", False),
    NODE_FEATURE.in_group: ("nodefeatures", True),
    NODE_FEATURE_GROUP.in_group: ("nodefeaturegroups", True),
    NODE_FEATURE_RULE.in_group: ("nodefeaturerules", False),
    ROLLOUT.in_group: ("rollouts", True),
    SCALED_JOB.in_group: ("scaledjobs", True),
    SCALED_OBJECT.in_group: ("scaledobjects", True),
    LEADER_WORKER_SET.in_group: ("leaderworkersets", True),
    NODE_SET.in_group: ("nodesets", True),
    AUTOSCALER.in_group: ("horizontalpodautoscalers", True),
    NOTEBOOK.in_group: ("notebooks", True),
    RAY_CLUSTER.in_group: ("rayclusters", True),
    RAY_JOB.in_group: ("rayjobs", True),
    RAY_CRON_JOB.in_group: ("raycronjobs", True),
    RAY_SERVICE.in_group: ("rayservices", True),
    JOB_SET.in_group: ("jobsets", True),
    TRAIN_JOB.in_group: ("trainjobs", True),
    PYTORCH_JOB.in_group: ("pytorchjobs", True),
    TF_JOB.in_group: ("tfjobs", True),
    XGBOOST_JOB.in_group: ("xgboostjobs", True),
    PADDLE_JOB.in_group: ("paddlejobs", True),
    JAX_JOB.in_group: ("jaxjobs", True),
    MPI_JOB.in_group: ("mpijobs", True),
    KNATIVE_REVISION.in_group: ("revisions", True),
    INFERENCE_SERVICE.in_group: ("inferenceservices", True),
    CLUSTER_QUEUE.in_group: ("clusterqueues", False),
    LOCAL_QUEUE.in_group: ("localqueues", True),
    RESOURCE_FLAVOR.in_group: ("resourceflavors", False),
    KUEUE_WORKLOAD.in_group: ("workloads", True),
}
