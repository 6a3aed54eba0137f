"""One controller: its queue, the function that handles each message, and what that function may do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from cdk_app.assets.bundle import Asset
from cdk_app.components.function import ControllerFunction, Shared
from cdk_app.components.notices import Notices
from cdk_app.components.trigger_queue import Inbox


class Controller(Inbox):
    """
    Made in two steps, since each function's environment names the queues of all controllers.

    Attributes:
        timeout: Of the function. A message that it has received is hidden from others for as long.
    """

    def __init__(self, scope: Construct, id: str, name: str, *, timeout: Duration, notices: Notices):
        super().__init__(scope, id, name=name, function_timeout=timeout, notices=notices)
        self.timeout = timeout
        self._scope = scope

    def run(
        self,
        id: str,
        *,
        name: str,
        role: str,
        code: Asset,
        shared: Shared,
        grants: Iterable[iam.PolicyStatement],
        max_concurrency: int,
        memory_mib: int = 512,
        layers: Sequence[lambda_.ILayerVersion] = (),
        architecture: lambda_.Architecture = lambda_.Architecture.ARM_64,
    ) -> ControllerFunction:
        """
        Have a function handle the messages.

        It is beside the queue and not below it: the logical ids of both are deployed, and another one would
        be another function.

        Args:
            grants: All that it may do, but for reading its queue, which is granted here.
            max_concurrency: The most messages that are handled at once.
        """
        made = ControllerFunction(
            self._scope,
            id,
            name=name,
            role=role,
            code=code,
            shared=shared,
            timeout=self.timeout,
            memory_mib=memory_mib,
            layers=layers,
            architecture=architecture,
            enters_clusters=True,
            wakes_itself=True,
        )
        made.allow(*grants)
        self.feed(made.function, max_concurrency=max_concurrency)
        return made
