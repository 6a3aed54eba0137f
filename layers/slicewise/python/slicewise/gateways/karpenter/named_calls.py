"""Calls to one AWS service, each about a thing that may not be there."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import Session

from slicewise.errors import Conflict
from slicewise.gateways.botocore_clients import client, code_of, own_errors


class NamedCalls:
    """
    Args:
        absent: Codes of the errors that say that there is no such thing.
        conflicts: Those after which it is to be read again, beside these.
    """

    def __init__(
        self,
        service: str,
        session: Session,
        region: str,
        *,
        absent: Collection[str],
        conflicts: Collection[str],
    ):
        self._service, self._session, self._region = service, session, region
        self._absent, self._conflicts = absent, frozenset((*conflicts, *absent))

    @cached_property
    def client(self) -> Any:
        return client(self._service, self._session, self._region)

    def made(self, call: str, name: str, **arguments: Any) -> dict[str, Any]:
        """
        Args:
            call: A method of the client, such as "create_role".
            name: What the call is about, for errors.

        Raises:
            Conflict: What it needs is not there, or it is there already, or changes at the same moment.
        """
        operation = "".join(word.capitalize() for word in call.split("_")).replace("OpenId", "OpenID")
        with own_errors(what := f"{self._service}:{operation} of {name}"):
            try:
                answer: dict[str, Any] = getattr(self.client, call)(**arguments)
                return answer
            except ClientError as error:
                if code_of(error) in self._conflicts:
                    raise Conflict(f"{what}: {error}") from error
                raise

    def found(self, call: str, name: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer, or None where what is named does not exist; else as `made`."""
        try:
            return self.made(call, name, **arguments)
        except Conflict as conflict:
            if isinstance(conflict.__cause__, ClientError) and code_of(conflict.__cause__) in self._absent:
                return None
            raise
