"""The one way in which our functions are made, so that their defaults are read in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk_app.assets.bundle import Asset


class PassFunction(Construct):
    """
    A function with its own role and log group.

    Attributes:
        function: Named `slicewise-<name>`.
        role: Has what logging needs and nothing else; the stack grants the rest.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        role_name: str,
        code: Asset,
        layers: Sequence[lambda_.ILayerVersion],
        environment: Mapping[str, str],
        timeout: Duration,
        memory_mib: int,
        architecture: lambda_.Architecture = lambda_.Architecture.ARM_64,
        wakes_itself: bool = False,
        subnet_ids: Sequence[str] = (),
        security_group_ids: Sequence[str] = (),
        dead_letters: sqs.IQueue | None = None,
    ):
        """
        Args:
            wakes_itself: It sends messages to the queue that feeds it, on purpose: a pass that waits for a
                cluster comes back each minute for up to 45. Lambda's loop detection would stop it after 16.
            dead_letters: For a function that is called asynchronously.
        """
        super().__init__(scope, id)
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
            role_name=role_name,
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
            layers=list(layers),
            role=self.role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment={
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_LOG_LEVEL": "INFO",
                **environment,
            },
            timeout=timeout,
            memory_size=memory_mib,
            recursive_loop=lambda_.RecursiveLoop.ALLOW if wakes_itself else None,
            dead_letter_queue=dead_letters,
        )
        if subnet_ids:
            self._place(subnet_ids, security_group_ids)

    def allow(self, *statements: iam.PolicyStatement) -> None:
        for statement in statements:
            self.role.add_to_policy(statement)

    def _place(self, subnet_ids: Sequence[str], security_group_ids: Sequence[str]) -> None:
        # Below the L2: that wants a Vpc object, which means a look-up with credentials at synth.
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
