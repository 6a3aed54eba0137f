"""What wakes us: CloudTrail's word of a cluster, and the clock, since CloudTrail's word is best effort."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from cdk_app import alarms
from cdk_app.components.function import ControllerFunction
from cdk_app.components.notices import Notices
from cdk_app.components.trigger_queue import DeadLetters, Inbox
from cdk_app.permissions import ALARM_PREFIX

CALLS = {
    "source": ["aws.eks"],
    "detail_type": ["AWS API Call via CloudTrail"],
}
SUCCEEDED = [{"exists": False}]


class ClusterCalls(Construct):
    """
    EKS calls that make, end or re-tag a cluster go to the queue.

    There is no native event for a cluster's state, so the calls are all there is to see. Failed ones carry an
    `errorCode`. Who called does not matter: CloudFormation, Terraform and eksctl all end in the same call.
    """

    def __init__(self, scope: Construct, id: str, *, inbox: Inbox):
        super().__init__(scope, id)
        target = targets.SqsQueue(inbox.queue, dead_letter_queue=inbox.dead_letters)
        events.Rule(
            self,
            "MadeOrEnded",
            rule_name="slicewise-cluster-made-or-ended",
            description="Slicewise: an EKS cluster was created or deleted",
            event_pattern=events.EventPattern(
                **CALLS,
                detail={
                    "eventSource": ["eks.amazonaws.com"],
                    "eventName": ["CreateCluster", "DeleteCluster"],
                    "errorCode": SUCCEEDED,
                },
            ),
            targets=[target],
        )
        events.Rule(
            self,
            "Tagged",
            rule_name="slicewise-cluster-tagged",
            description="Slicewise: tags of an EKS cluster changed",
            event_pattern=events.EventPattern(
                **CALLS,
                detail={
                    "eventSource": ["eks.amazonaws.com"],
                    "eventName": ["TagResource", "UntagResource"],
                    "errorCode": SUCCEEDED,
                    # Node groups and add-ons are tagged by the same call. A URI parameter may arrive encoded.
                    "requestParameters": {
                        "resourceArn": [
                            {"wildcard": "arn:*:cluster/*"},
                            {"wildcard": "arn%3A*%3Acluster%2F*"},
                        ]
                    },
                },
            ),
            targets=[target],
        )


class AlarmChanges(Construct):
    """
    Alarms of clusters that were raised, or have ended, are sent to the queue.

    Recognised by their names, of which a rule can match the prefix. That they came back to OK matters for one
    kind, which the function knows.
    """

    def __init__(self, scope: Construct, id: str, *, inbox: Inbox):
        super().__init__(scope, id)
        events.Rule(
            self,
            "Changed",
            rule_name="slicewise-alarm-changed",
            description="Slicewise: GPUs of a cluster became idle or full, or are used again",
            event_pattern=events.EventPattern(
                source=["aws.cloudwatch"],
                detail_type=["CloudWatch Alarm State Change"],
                detail={
                    "alarmName": [{"prefix": ALARM_PREFIX}],
                    "state": {"value": ["ALARM", "OK"]},
                },
            ),
            targets=[targets.SqsQueue(inbox.queue, dead_letter_queue=inbox.dead_letters)],
        )


class OpeningsWatch(Construct):
    """
    Calls the function every five minutes. By a rule and not by EventBridge Scheduler, which wakes clusters
    already: what ends the one leaves the other.

    A failed call is retried; that there was none raises an alarm, and so does what the function counts.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        watch: ControllerFunction,
        *,
        dead_letters: DeadLetters,
        notices: Notices,
    ):
        super().__init__(scope, id)
        notices.notify_on(self._missing(watch.function))
        notices.notify_on(self._late(watch.name))
        target = targets.LambdaFunction(
            watch.function,
            dead_letter_queue=dead_letters.queue,
            event=events.RuleTargetInput.from_object({"slicewise": 1, "reason": "openings"}),
            # Five minutes later the next one does the same work.
            max_event_age=Duration.minutes(4),
            retry_attempts=3,
        )
        events.Rule(
            self,
            "Rule",
            rule_name="slicewise-openings",
            description="Slicewise: requests a reconcile of each cluster whose waking is due",
            schedule=events.Schedule.rate(Duration.minutes(5)),
            targets=[target],
        )

    def _missing(self, function: lambda_.IFunction) -> cloudwatch.Alarm:
        """No data are no calls. The hourly sweep is no help here: no cluster is to sleep an hour too long."""
        return _not_called(
            self, function, "slicewise-no-look-at-openings", alarms.NO_LOOK, Duration.minutes(5), periods=3
        )

    def _late(self, service: str) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "Late",
            alarm_name="slicewise-asleep-past-its-hour",
            alarm_description=str(alarms.ASLEEP_PAST_ITS_HOUR),
            metric=cloudwatch.Metric(
                namespace="Slicewise",
                metric_name="AsleepPastItsHour",
                dimensions_map={"service": service},
                period=Duration.minutes(5),
                statistic="Maximum",
            ),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )


class HourlySweep(Construct):
    """
    Calls the function each hour, at a minute that the scheduler chooses. A failed call is retried; that there
    was none raises an alarm.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        sweep: ControllerFunction,
        *,
        dead_letters: DeadLetters,
        notices: Notices,
    ):
        super().__init__(scope, id)
        function, missed = sweep.function, dead_letters.queue
        notices.notify_on(self._missing(function))
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("scheduler.amazonaws.com"),
            description="Slicewise: lets the schedule call the sweep",
        )
        call = iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[function.function_arn])
        keep = iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[missed.queue_arn])
        policy = iam.Policy(self, "Policy", statements=[call, keep], roles=[role])
        # Not the L2 target: that would also grant every version and alias of the function.
        schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            name="slicewise-sweep",
            description="Slicewise: repairs what lost events left undone",
            schedule_expression="rate(1 hour)",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(
                mode="FLEXIBLE", maximum_window_in_minutes=15
            ),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=function.function_arn,
                role_arn=role.role_arn,
                input='{"slicewise": 1, "reason": "sweep"}',
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=missed.queue_arn),
                # An hour later the next one does the same work.
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=int(Duration.minutes(45).to_seconds()),
                    maximum_retry_attempts=3,
                ),
            ),
        )
        schedule.node.add_dependency(policy)

    def _missing(self, function: lambda_.IFunction) -> cloudwatch.Alarm:
        """
        By Lambda's own metric, which costs nothing; a sweep that was called and failed is among the dead
        letters. No data are no calls. Two sweeps are 75 minutes apart at most, so that two hours have one.
        """
        return _not_called(
            self, function, "slicewise-no-sweep", alarms.NO_SWEEP, Duration.hours(1), periods=2
        )


def _not_called(
    scope: Construct,
    function: lambda_.IFunction,
    name: str,
    meaning: alarms.Meaning,
    period: Duration,
    *,
    periods: int,
) -> cloudwatch.Alarm:
    """Rings once a function has not been called for so many periods. No data are no calls."""
    return cloudwatch.Alarm(
        scope,
        "Missing",
        alarm_name=name,
        alarm_description=str(meaning),
        metric=function.metric_invocations(period=period, statistic="Sum"),
        threshold=1,
        evaluation_periods=periods,
        comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
        treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
    )
