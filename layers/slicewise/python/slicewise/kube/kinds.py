"""
The kinds of objects that our requests name, each in the version that we speak.

Where an object's kind is compared alone, its word is written there; where its version counts, too, it is one
of these.
"""

from __future__ import annotations

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
AUTOSCALER = ApiKind("autoscaling/v2", "HorizontalPodAutoscaler")
NOTEBOOK = ApiKind("kubeflow.org/v1", "Notebook")
RAY_CLUSTER = ApiKind("ray.io/v1", "RayCluster")
RAY_JOB = ApiKind("ray.io/v1", "RayJob")
JOB_SET = ApiKind("jobset.x-k8s.io/v1alpha2", "JobSet")
TRAIN_JOB = ApiKind("trainer.kubeflow.org/v1alpha1", "TrainJob")
PYTORCH_JOB = ApiKind("kubeflow.org/v1", "PyTorchJob")
TF_JOB = ApiKind("kubeflow.org/v1", "TFJob")
XGBOOST_JOB = ApiKind("kubeflow.org/v1", "XGBoostJob")
PADDLE_JOB = ApiKind("kubeflow.org/v1", "PaddleJob")
JAX_JOB = ApiKind("kubeflow.org/v1", "JAXJob")
MPI_JOB = ApiKind("kubeflow.org/v1", "MPIJob")
INFERENCE_SERVICE = ApiKind("serving.kserve.io/v1beta1", "InferenceService")
CLUSTER_QUEUE = ApiKind("kueue.x-k8s.io/v1beta2", "ClusterQueue")
LOCAL_QUEUE = ApiKind("kueue.x-k8s.io/v1beta2", "LocalQueue")
RESOURCE_FLAVOR = ApiKind("kueue.x-k8s.io/v1beta2", "ResourceFlavor")
KUEUE_WORKLOAD = ApiKind("kueue.x-k8s.io/v1beta2", "Workload")
