"""
A capability's queue: triggers come in, what fails for good is moved to the dead-letter queue, a person is
notified.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_app import alarms
from cdk_app.components.notices import Notices

# Then a message is moved to the dead-letter queue. The runtime reports how many tries are left
# (slicewise.reconcile.batch); a test compares.
MOST_RECEIVES = 5
# Long enough for a long weekend and to investigate it.
DEAD_LETTERS_KEPT = Duration.days(14)
# The sweep sends a trigger a cluster and hour: older ones wait in line, or fail again and again.
OLDEST_MESSAGE = Duration.hours(1)


class DeadLetters(Construct):
    """
    Messages that a person has to investigate, with the alarm that says so.

    Attributes:
        queue: Redrive from here once the cause is fixed.
    """

    def __init__(self, scope: Construct, id: str, *, name: str, notices: Notices):
        super().__init__(scope, id)
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"slicewise-{name}-dead-letters",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=DEAD_LETTERS_KEPT,
        )
        alarm = cloudwatch.Alarm(
            self,
            "NotEmpty",
            alarm_name=f"slicewise-{name}-dead-letters",
            alarm_description=str(alarms.given_up(name)),
            metric=self.queue.metric_approximate_number_of_messages_visible(
                period=Duration.minutes(5), statistic="Maximum"
            ),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        notices.notify_on(alarm)


class Inbox(Construct):
    """
    Attributes:
        queue: A standard queue: it delays single messages, which a FIFO queue cannot.
        dead_letters: Also for rules that cannot deliver to `queue`.
    """

    def __init__(self, scope: Construct, id: str, *, name: str, function_timeout: Duration, notices: Notices):
        super().__init__(scope, id)
        self.dead_letters = DeadLetters(self, "DeadLetters", name=name, notices=notices).queue
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"slicewise-{name}",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            visibility_timeout=_visibility(function_timeout),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=MOST_RECEIVES),
        )
        alarm = cloudwatch.Alarm(
            self,
            "TooOld",
            alarm_name=f"slicewise-{name}-waits",
            alarm_description=str(alarms.too_old(name)),
            metric=self.queue.metric_approximate_age_of_oldest_message(
                period=Duration.minutes(5), statistic="Maximum"
            ),
            threshold=OLDEST_MESSAGE.to_seconds(),
            evaluation_periods=3,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        notices.notify_on(alarm)

    def feed(self, function: lambda_.Function, *, max_concurrency: int) -> None:
        """
        Let the function handle the messages one by one, a failed one alone coming back.

        A reconcile may take minutes, so a batch would make its last message wait for the others. The limit of
        concurrent reconciles spares the EKS API, which throttles a fleet's worth of calls.
        """
        mapping = lambda_.EventSourceMapping(
            self,
            "Mapping",
            target=function,
            event_source_arn=self.queue.queue_arn,
            batch_size=1,
            report_batch_item_failures=True,
            max_concurrency=max_concurrency,
        )
        # Lambda refuses a mapping whose role cannot read the queue yet.
        iam.Grant.add_to_principal(
            grantee=function,
            actions=[
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                # Called by our code: a message that failed comes back sooner than its visibility timeout.
                "sqs:ChangeMessageVisibility",
            ],
            resource_arns=[self.queue.queue_arn],
        ).apply_before(mapping)


def _visibility(function_timeout: Duration) -> Duration:
    """
    A minute more than the function may run.

    AWS advises six times that, for functions that are throttled while messages pile up. Here the next
    reconcile must come soon after one that was killed, since it may have left the installer's admin right
    behind: 16 minutes, not 90. A message that throttling moves to the dead-letter queue is only a trigger;
    the next sweep repeats it.
    """
    return function_timeout.plus(Duration.minutes(1))
