"""The schedules of the times at which clusters sleep and wake."""

from __future__ import annotations

from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct


class OffHoursSchedules(Construct):
    """
    A group of schedules, one a cluster, which the function keeps. One that is lost costs five minutes of a
    morning (OpeningsWatch), or of a night what is left until the hourly sweep: none has dead letters.

    Attributes:
        group: Its name.
        role: With it a schedule sends its message to the queue.
    """

    group = "slicewise-off-hours"

    def __init__(self, scope: Construct, id: str, *, queue: sqs.IQueue):
        super().__init__(scope, id)
        scheduler.CfnScheduleGroup(self, "Group", name=self.group)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com"),
            description="Slicewise: lets schedules request a reconcile of a cluster",
        )
        send = iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue.queue_arn])
        self.role.add_to_policy(send)
