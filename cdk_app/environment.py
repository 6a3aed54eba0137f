"""What the functions read from their environment (slicewise.app)."""

from __future__ import annotations

from cdk_app import permissions
from cdk_app.components.policy_parameters import POLICY_PREFIX
from cdk_app.config import Config
from cdk_app.resources import Resources


def environment(config: Config, roles: permissions.RoleNames, made: Resources) -> dict[str, str]:
    """One for all functions: they share their composition root."""
    karpenter = made.karpenter
    fargate_pods = karpenter.fargate_pods if karpenter else None
    return {
        "TABLE_NAME": made.state.table.table_name,
        "ONBOARDING_QUEUE_URL": made.onboarding.queue.queue_url,
        "TUNING_QUEUE_URL": made.tuning.queue.queue_url,
        "POLICY_PREFIX": POLICY_PREFIX,
        "DEFAULT_POLICY": config.default_policy,
        "INSTALLER_ROLE_ARN": permissions.role_arn(roles.installer),
        "TUNER_ROLE_ARN": permissions.role_arn(roles.tuner),
        "SLEEPER_ROLE_ARN": permissions.role_arn(roles.sleeper),
        "GPU_OPERATOR_CHART": config.gpu_operator.for_runtime,
        "GPU_OPERATOR_VERSION": config.gpu_operator.version,
        "GPU_OPERATOR_SHA256": config.gpu_operator.digest,
        "KARPENTER_CHART": config.karpenter.for_runtime,
        "KARPENTER_CRD_CHART": config.karpenter_crd.for_runtime,
        "KARPENTER_VERSION": config.karpenter.version,
        "KARPENTER_SHA256": config.karpenter.digest,
        "KARPENTER_CRD_SHA256": config.karpenter_crd.digest,
        "KARPENTER_CONTROLLER_ROLE_ARN": karpenter.controller.role_arn if karpenter else "",
        "KARPENTER_NODE_ROLE_NAME": karpenter.nodes.role_name if karpenter else config.node_role,
        "OFF_HOURS_QUEUE_URL": made.off_hours.queue.queue_url,
        "OFF_HOURS_QUEUE_ARN": made.off_hours.queue.queue_arn,
        "SCHEDULE_GROUP": made.schedules.group,
        "NOTICES_TOPIC_ARN": made.notices.topic.topic_arn,
        "SCHEDULER_ROLE_ARN": made.schedules.role.role_arn,
        "CLOUDWATCH_METRICS": "on" if config.metrics else "",
        "FARGATE_POD_ROLE_ARN": fargate_pods.role_arn if fargate_pods else "",
        "FARGATE_CONTROLLER_ROLE_PREFIX": roles.on_fargate,
        "FARGATE_CONTROLLER_POLICY_ARN": karpenter.controller_policy.managed_policy_arn
        if karpenter and fargate_pods
        else "",
        "KARPENTER_INTERRUPTIONS": "on" if roles.interruptions else "",
    }
