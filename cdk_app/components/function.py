"""The one way in which our functions are made, so that their defaults are read in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_app.assets.bundle import Asset
from cdk_app.config import Config


@dataclass(frozen=True)
class Shared:
    """
    What all functions have alike.

    Attributes:
        layer: Our package with its dependencies.
        environment: One for all: they share their composition root.
        role_prefix: Of each role's name.
        subnet_ids, security_group_ids: Of those that talk to clusters; empty means outside any VPC.
    """

    layer: lambda_.ILayerVersion
    environment: Mapping[str, str]
    role_prefix: str
    subnet_ids: Sequence[str]
    security_group_ids: Sequence[str]

    @classmethod
    def of(cls, config: Config, layer: lambda_.ILayerVersion, environment: Mapping[str, str]) -> Shared:
        return cls(layer, environment, config.role_prefix, config.subnet_ids, config.security_group_ids)


class ControllerFunction(Construct):
    """
    A function with its own role and log group.

    Attributes:
        name: Without what all our functions' names begin with; also the service of its metrics.
        function: Named `slicewise-<name>`.
        role: Has what logging needs and nothing else; the stack grants the rest.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        role: str,
        code: Asset,
        shared: Shared,
        timeout: Duration,
        memory_mib: int = 512,
        layers: Sequence[lambda_.ILayerVersion] = (),
        architecture: lambda_.Architecture = lambda_.Architecture.ARM_64,
        enters_clusters: bool = False,
        wakes_itself: bool = False,
        dead_letters: sqs.IQueue | None = None,
    ):
        """
        Args:
            role: The role's name behind the prefix.
            layers: Beside the shared one, and before it.
            enters_clusters: It runs in the VPC, where one is given. What talks to AWS only stays outside.
            wakes_itself: It sends messages to the queue that feeds it, on purpose: a reconcile that waits for
                a cluster comes back each minute for up to 45. Lambda's loop detection would stop it after 16.
            dead_letters: For a function that is called asynchronously.
        """
        super().__init__(scope, id)
        self.name = name
        log_group = logs.LogGroup(
            self,
            "Log",
            log_group_name=f"/aws/lambda/slicewise-{name}",
            retention=logs.RetentionDays.THREE_MONTHS,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.role = iam.Role(
            self,
            "Role",
            role_name=f"{shared.role_prefix}-{role}",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Slicewise: {name}",
        )
        log_group.grant_write(self.role)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=f"slicewise-{name}",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=architecture,
            handler="handler.lambda_handler",
            code=lambda_.Code.from_asset(str(code.folder), asset_hash=code.hash),
            layers=[*layers, shared.layer],
            role=self.role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment={
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_LOG_LEVEL": "INFO",
                **shared.environment,
            },
            timeout=timeout,
            memory_size=memory_mib,
            recursive_loop=lambda_.RecursiveLoop.ALLOW if wakes_itself else None,
            dead_letter_queue=dead_letters,
        )
        if enters_clusters and shared.subnet_ids:
            self._place(shared.subnet_ids, shared.security_group_ids)

    def allow(self, *statements: iam.PolicyStatement) -> None:
        for statement in statements:
            self.role.add_to_policy(statement)

    def _place(self, subnet_ids: Sequence[str], security_group_ids: Sequence[str]) -> None:
        # Below the L2: that wants a Vpc object, which means a lookup with credentials at synth.
        resource = self.function.node.default_child
        assert isinstance(resource, lambda_.CfnFunction)
        resource.vpc_config = lambda_.CfnFunction.VpcConfigProperty(
            subnet_ids=list(subnet_ids), security_group_ids=list(security_group_ids)
        )
        interfaces = iam.Policy(
            self,
            "Interfaces",
            statements=[
                iam.PolicyStatement(
                    actions=[
                        "ec2:CreateNetworkInterface",
                        "ec2:DescribeNetworkInterfaces",
                        "ec2:DescribeSubnets",
                        "ec2:DeleteNetworkInterface",
                        "ec2:AssignPrivateIpAddresses",
                        "ec2:UnassignPrivateIpAddresses",
                    ],
                    resources=["*"],
                )
            ],
        )
        interfaces.attach_to_role(self.role)
        # Lambda makes the interfaces with the role while the function is being created.
        resource.node.add_dependency(interfaces)
