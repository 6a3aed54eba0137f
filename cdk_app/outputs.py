"""What a person needs to know about a deployment: the stack's outputs."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from cdk_app.components.function import ControllerFunction
from cdk_app.components.policy_parameters import POLICY_PREFIX
from cdk_app.resources import Resources


def write(
    scope: Construct,
    made: Resources,
    *,
    onboard: ControllerFunction,
    tune: ControllerFunction,
    shift: ControllerFunction,
) -> None:
    for name, value, description in (
        ("NoticesTopicArn", made.notices.topic.topic_arn, "Subscribe to it: alarms go there"),
        (
            "StateTableName",
            made.state.table.table_name,
            "The records of all reconciles of all clusters; it outlives the stack",
        ),
        (
            "OnboardingQueueUrl",
            made.onboarding.queue.queue_url,
            "Send a message by hand to reconcile a cluster now",
        ),
        ("TuningQueueUrl", made.tuning.queue.queue_url, "Likewise, to decide on a cluster's N now"),
        (
            "DeadLettersUrl",
            made.onboarding.dead_letters.queue_url,
            "Onboarding messages that failed for good",
        ),
        ("PolicyPrefix", POLICY_PREFIX, "The policies, as Systems Manager parameters"),
        ("InstallerRoleArn", onboard.role.role_arn, "Enters clusters; is their admin while it installs"),
        ("TunerRoleArn", tune.role.role_arn, "Enters clusters, in the group slicewise:tuner"),
        ("OffHoursQueueUrl", made.off_hours.queue.queue_url, "Likewise, to put to sleep or wake now"),
        ("OffHoursQueueArn", made.off_hours.queue.queue_arn, "Where schedules send"),
        ("ScheduleGroup", made.schedules.group, "Of the schedules, one a cluster that sleeps"),
        ("SchedulerRoleArn", made.schedules.role.role_arn, "With it they send"),
        ("SleeperRoleArn", shift.role.role_arn, "Enters clusters that sleep: slicewise:sleeper"),
    ):
        cdk.CfnOutput(scope, name, value=value, description=description)
