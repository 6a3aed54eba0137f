"""
CloudFormation types that moto 5.2.5 lacks: properties in, a call to our own endpoint, attributes out.

moto leaves unknown types out with a warning, and fails the whole stack when an output
refers to one. These go through its own engine: create, update, delete, Ref and GetAtt.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from sandbox.aws.core import registry
from sandbox.aws.core.account import Account
from sandbox.aws.core.patching import Patches

Properties = dict[str, Any]


class StackResource:
    """
    One deployed resource. A subclass names its type and says how to make and drop one.

    `make` is called again on update, with the same name: it must overwrite.
    """

    type_name: ClassVar[str]
    name_property: ClassVar[str] = ""
    attributes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, properties: Properties, account: Account):
        self.name, self.properties, self.account = name, properties, account
        self.values: dict[str, str] = {}
        self.physical_resource_id = self.make() or name

    def make(self) -> str | None:
        """Create or overwrite; may fill `values` for GetAtt; returns the Ref where it is not the name."""

    def drop(self) -> None: ...

    def take(self, *keys: str) -> Properties:
        return {key: self.properties[key] for key in keys if key in self.properties}

    # What moto's engine calls.
    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type_name

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return cls.name_property

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in cls.attributes

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.values[attribute_name]

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> StackResource:
        return cls(resource_name, cloudformation_json.get("Properties", {}), registry.served(account_id))

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: StackResource, new_resource_name: str, cloudformation_json: Any, **_: Any
    ) -> StackResource:
        properties = cloudformation_json.get("Properties", {})
        name = properties.get(cls.name_property) or original_resource.name
        if name != original_resource.name:
            original_resource.drop()
        return cls(name, properties, original_resource.account)

    @classmethod
    def delete_from_cloudformation_json(cls, *_: Any) -> None: ...

    def delete(self, account_id: str, region_name: str) -> None:
        self.drop()

    def is_created(self) -> bool:
        return True


class Alarm(StackResource):
    type_name, name_property, attributes = "AWS::CloudWatch::Alarm", "AlarmName", ("Arn",)

    def make(self) -> None:
        self.account.client("cloudwatch").put_metric_alarm(
            AlarmName=self.name,
            **self.take(
                *("ActionsEnabled", "AlarmActions", "AlarmDescription", "ComparisonOperator"),
                *("DatapointsToAlarm", "Dimensions", "EvaluateLowSampleCountPercentile"),
                *("EvaluationPeriods", "ExtendedStatistic", "InsufficientDataActions", "MetricName"),
                *("Metrics", "Namespace", "OKActions", "Period", "Statistic", "Tags", "Threshold"),
                *("ThresholdMetricId", "TreatMissingData", "Unit"),
            ),
        )
        self.values["Arn"] = self.account.arn("cloudwatch", f"alarm:{self.name}")

    def drop(self) -> None:
        self.account.client("cloudwatch").delete_alarms(AlarmNames=[self.name])


class Schedule(StackResource):
    type_name, name_property, attributes = "AWS::Scheduler::Schedule", "Name", ("Arn",)

    def make(self) -> None:
        scheduler = self.account.client("scheduler")
        wanted = {"Name": self.name} | self.take(
            *("Description", "EndDate", "FlexibleTimeWindow", "GroupName", "KmsKeyArn", "ScheduleExpression"),
            *("ScheduleExpressionTimezone", "StartDate", "State", "Target"),
        )
        retry = wanted["Target"].get("RetryPolicy", {})
        for key in retry:
            retry[key] = int(retry[key])  # templates may hold numbers as text
        try:
            made = scheduler.create_schedule(**wanted)
        except scheduler.exceptions.ConflictException:
            made = scheduler.update_schedule(**wanted)
        self.values["Arn"] = made["ScheduleArn"]

    def drop(self) -> None:
        group = self.properties.get("GroupName", "default")
        self.account.client("scheduler").delete_schedule(Name=self.name, GroupName=group)


class ScheduleGroup(StackResource):
    type_name, name_property = "AWS::Scheduler::ScheduleGroup", "Name"
    attributes = ("Arn",)

    def make(self) -> None:
        scheduler = self.account.client("scheduler")
        try:
            self.values["Arn"] = scheduler.create_schedule_group(**{"Name": self.name} | self.take("Tags"))[
                "ScheduleGroupArn"
            ]
        except scheduler.exceptions.ConflictException:
            self.values["Arn"] = scheduler.get_schedule_group(Name=self.name)["Arn"]

    def drop(self) -> None:
        self.account.client("scheduler").delete_schedule_group(Name=self.name)


class QueuePolicy(StackResource):
    type_name, attributes = "AWS::SQS::QueuePolicy", ("Id",)

    def make(self) -> None:
        self._set(json.dumps(self.properties["PolicyDocument"]))
        self.values["Id"] = self.name

    def drop(self) -> None:
        sqs = self.account.client("sqs")
        # The queue may be gone already: a stack's resources are dropped in any order.
        for url in self.properties["Queues"]:
            try:
                sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
            except sqs.exceptions.QueueDoesNotExist:
                continue

    def _set(self, policy: str) -> None:
        for url in self.properties["Queues"]:
            self.account.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


class TopicPolicy(StackResource):
    type_name, attributes = "AWS::SNS::TopicPolicy", ("Id",)

    def make(self) -> None:
        policy = json.dumps(self.properties["PolicyDocument"])
        for arn in self.properties["Topics"]:
            self.account.client("sns").set_topic_attributes(
                TopicArn=arn, AttributeName="Policy", AttributeValue=policy
            )
        self.values["Id"] = self.name


class Subscription(StackResource):
    type_name, attributes = "AWS::SNS::Subscription", ("Arn",)

    def make(self) -> str:
        wanted = self.take("FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy")
        made = self.account.client("sns").subscribe(
            TopicArn=self.properties["TopicArn"],
            Protocol=self.properties["Protocol"],
            Endpoint=self.properties["Endpoint"],
            ReturnSubscriptionArn=True,
            Attributes={key: v if isinstance(v, str) else json.dumps(v) for key, v in wanted.items()},
        )
        self.values["Arn"] = made["SubscriptionArn"]
        return made["SubscriptionArn"]

    def drop(self) -> None:
        self.account.client("sns").unsubscribe(SubscriptionArn=self.physical_resource_id)


class BucketPolicy(StackResource):
    """
    Of the CDK CLI's bootstrap bucket. Accepted and kept, but not set: moto ignores a bucket
    policy's conditions, so "deny what is not TLS" would deny everything.
    """

    type_name = "AWS::S3::BucketPolicy"


class Metadata(StackResource):
    type_name = "AWS::CDK::Metadata"


class EventInvokeConfig(StackResource):
    """Accepted and kept; asynchronous invocations are never repeated here."""

    type_name = "AWS::Lambda::EventInvokeConfig"


TYPES: tuple[type[StackResource], ...] = (
    Alarm,
    Schedule,
    ScheduleGroup,
    QueuePolicy,
    TopicPolicy,
    Subscription,
    BucketPolicy,
    Metadata,
    EventInvokeConfig,
)


def install(patches: Patches) -> None:
    from moto.cloudformation import parsing

    def forget() -> None:
        parsing.get_model_map.cache_clear()
        parsing.get_name_type_map.cache_clear()

    # moto's list is a tuple of classes that it finds once; both look-ups are cached from it.
    patches.on_undo(forget)
    patches.wrap(parsing, "get_model_list", lambda real: lambda: [*real(), *TYPES])
    forget()
