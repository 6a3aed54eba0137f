"""What is stored outside the clusters."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct


class State(Construct):
    """
    Leases, records, history, pause switches, and what sleeps.

    It outlives the stack, and is protected from deletion: without its snapshots what sleeps could not be
    woken.

    Attributes:
        table: pk `cluster#<arn>` or `fleet`; sk `lease`, `record#<capability>`, `pass#...` or `pause`. Its
            index `records` has one row a cluster and capability: the fleet is listed without history. Its
            index `openings` has one row a cluster that sleeps, by when its waking is due.
    """

    def __init__(self, scope: Construct, id: str):
        super().__init__(scope, id)
        self.table = dynamodb.Table(
            self,
            "Table",
            table_name="slicewise-state",
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expires",
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self._add_index("records", "capability", "pk")
        self._add_index("openings", "watch", "due")

    def _add_index(self, name: str, partition: str, sort: str) -> None:
        self.table.add_global_secondary_index(
            index_name=name,
            partition_key=dynamodb.Attribute(name=partition, type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name=sort, type=dynamodb.AttributeType.STRING),
            projection_type=dynamodb.ProjectionType.ALL,
        )
