"""Policies, stored as SSM parameters under one prefix."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import Session

from slicewise.gateways.botocore_clients import client, code_of, own_errors

# A policy's, or "holidays/" and that of a file of holidays, as the deployment names its parameters.
_NAME = re.compile(r"(holidays/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


class SsmPolicies:
    """
    Implements ports.Policies.

    Args:
        prefix: Such as "/slicewise/policies/".
    """

    def __init__(self, prefix: str, session: Session, region: str):
        self._prefix = prefix
        self._session, self._region = session, region

    @cached_property
    def _ssm(self) -> Any:
        return client("ssm", self._session, self._region)

    def text(self, name: str) -> str | None:
        # The name comes from a tag that anybody who may tag the cluster writes: it must not leave the prefix.
        if not _NAME.fullmatch(name):
            return None
        with own_errors(f"ssm:GetParameter {self._prefix}{name}"):
            try:
                answer = self._ssm.get_parameter(Name=self._prefix + name)
            except ClientError as error:
                if code_of(error) == "ParameterNotFound":
                    return None
                raise
        value: str = answer["Parameter"]["Value"]
        return value
