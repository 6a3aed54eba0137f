"""Where alarms go."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct


class Notices(Construct):
    """
    A topic for the operators.

    Not encrypted with a key: CloudWatch may not publish through the AWS-managed key of SNS, and a key of our
    own would cost more than the rest of the deployment. Messages have alarm names, queue depths, and which
    pods still wait for a GPU when people come.

    Attributes:
        topic: Subscribe a pager to it.
    """

    def __init__(self, scope: Construct, id: str, *, email: str):
        super().__init__(scope, id)
        self.topic = sns.Topic(self, "Topic", enforce_ssl=True)
        # A policy of our own replaces the topic's default one, and with it the leave that alarms had.
        self.topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsOfThisAccount",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[self.topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
            )
        )
        if email:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))

    def notify_on(self, alarm: cloudwatch.Alarm) -> None:
        """Notify when the alarm is raised, and when it ends."""
        action = actions.SnsAction(self.topic)
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
