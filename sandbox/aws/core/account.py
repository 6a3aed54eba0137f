"""What a service may know of the account that it serves; `server.Aws` is the one that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sandbox.aws.core.clock import Clock

Service = TypeVar("Service")


@dataclass(frozen=True)
class Attachment:
    """The control plane behind a cluster."""

    endpoint: str
    ca_pem: str
    control_plane: str


class Account(Protocol):
    """
    One account in one Region. Services name this and not `server.Aws`, which makes them.

    Attributes:
        account: Its 12 digits.
        endpoint: The URL for every service.
        clock: What schedules follow.
        creating_seconds: How long clusters and add-ons are CREATING, and clusters UPDATING.
        delay_share: How long queues hold back what is sent for later, as a share of what was asked for.
        webhook_ca_pem: Of the token webhook's serving certificate, PEM text.
        witness: Called with an assumed role's name before its request is answered.
    """

    # Read only: a service that changed one would change it for all others.
    @property
    def account(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def creating_seconds(self) -> float: ...
    @property
    def delay_share(self) -> float: ...
    @property
    def webhook_ca_pem(self) -> str: ...
    @property
    def witness(self) -> Callable[[str], None]: ...

    def client(self, service: str) -> Any:
        """A boto3 client with an administrator's keys; the same one each time."""
        ...

    def arn(self, service: str, resource: str) -> str: ...

    def environment(self) -> dict[str, str]:
        """What a process needs to be an administrator here."""
        ...

    def attachment(self, cluster_name: str) -> Attachment | None: ...

    def clusters_of(self, control_plane: str) -> list[str]:
        """Names of the clusters behind which the control plane stands."""
        ...

    def service(self, kind: type[Service]) -> Service:
        """
        The account's own `Events`, `Functions`, `Iam` or `MetricStore`: for patches of moto, which are called
        with an account's number alone. What is made with an account is given the services that it uses.

        Raises:
            LookupError: It has none of that kind.
        """
        ...
