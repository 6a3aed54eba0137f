"""
IAM, enforced: a request signed with an assumed role's keys is checked against that role's policies.

Every decision is kept, so that "denied" and "granted but never used" are results that a test
can assert. Other keys (the administrator's) pass unchecked, and so do the roles of the CDK CLI's
bootstrap, which are not the product's.

Not played: resource policies, permission boundaries, organisations' policies, and S3.
moto's own check knows action names only, denies scoped policies and ignores conditions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from moto.core.exceptions import ServiceException

from sandbox.aws.core import registry
from sandbox.aws.core.patching import Patches
from sandbox.aws.iam import policy_language
from sandbox.aws.iam.policy_language import Statement
from sandbox.aws.iam.requests import Call, Needed, needed

# The service's name in IAM where it differs from boto3's.
PREFIXES = {"stepfunctions": "states", "ses": "ses"}
# Where boto3 callers see `AccessDenied` and not `AccessDeniedException`.
PLAIN_CODE = {"sqs", "sts", "iam", "cloudwatch", "cloudformation", "s3"}


@dataclass(frozen=True)
class Decision:
    """
    Attributes:
        by: The statements that allowed it, or that denied it; none where nothing allowed it.
    """

    role: str
    action: str
    resource: str
    allowed: bool
    by: tuple[Statement, ...]

    def __str__(self) -> str:
        verdict = "allowed" if self.allowed else "denied"
        by = ", ".join(map(str, self.by)) or "no statement"
        return f"{verdict} {self.role} {self.action} on {self.resource} by {by}"


@dataclass(frozen=True)
class Grant:
    """An action (or a pattern of actions) that one statement allows."""

    role: str
    policy: str
    index: int
    action: str
    resources: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.role}: {self.action} on {', '.join(self.resources)} ({self.policy}[{self.index}])"


class AccessDenied(ServiceException):
    """Of a module of ours: moto looks an error up in the service model that its module names."""


class Iam:
    """
    Attributes:
        decisions: All of them, in order.
        enforced: Whether a denial is also refused.
    """

    def __init__(self, account: str, enforced: bool):
        self.enforced, self.decisions = enforced, list[Decision]()
        self._account, self._lock = account, threading.Lock()

    def decide(self, role: str, wants: Iterable[Needed]) -> Decision | None:
        """Record a decision for each; return the first denial."""
        granted = self.granted(role)
        denial = None
        for want in wants:
            allows, denies = policy_language.matching(granted, want.action, want.resource, want.context)
            decision = Decision(
                role, want.action, want.resource, bool(allows) and not denies, tuple(denies or allows)
            )
            with self._lock:
                self.decisions.append(decision)
            if not decision.allowed:
                denial = denial or decision
        return denial

    def denied(self, role: str | None = None) -> list[Decision]:
        return [one for one in self.decisions if not one.allowed and role in (None, one.role)]

    def used(self, role: str) -> set[str]:
        """Actions that the role was allowed and used."""
        return {one.action for one in self.decisions if one.allowed and one.role == role}

    def unused_grants(self, role: str) -> list[Grant]:
        """
        What the role's policies allow and no call has needed so far, statement by statement.

        A pattern such as `dynamodb:Get*` counts as used when any action that it covers was.
        Where several statements allow one call, all of them count as used by it.
        """
        decisions = [one for one in self.decisions if one.allowed and one.role == role]
        return [
            Grant(role, *statement.place, pattern, statement.resources or ("NotResource",))
            for statement in self.granted(role)
            if statement.effect == "Allow"
            for pattern in statement.actions or ("NotAction",)
            if not any(
                statement in one.by and policy_language.covers(pattern, one.action) for one in decisions
            )
        ]

    def granted(self, role: str) -> list[Statement]:
        """The statements of a role's inline and attached policies, as they are now."""
        from moto.iam.models import iam_backends

        backend = iam_backends[self._account]["aws"]
        found = list[Statement]()
        for name in backend.list_role_policies(role):
            found += _parsed(name, _text(backend.get_role_policy(role, name)[1]))
        for policy in backend.list_attached_role_policies(role)[0]:
            current = next(version for version in policy.versions if version.is_default)
            found += _parsed(policy.name, current.document)
        return found


def _text(document: Any) -> str:
    return document if isinstance(document, str) else json.dumps(document)


@lru_cache(maxsize=512)
def _parsed(policy: str, document: str) -> tuple[Statement, ...]:
    body = json.loads(document if document.lstrip().startswith("{") else unquote(document))
    return tuple(policy_language.statements(policy, body))


def install(patches: Patches) -> None:
    from moto.core import errors
    from moto.core.responses import ActionResult, BaseResponse

    # Every service may answer these, though few models list them; moto warns of what it does not find.
    common = {*errors.COMMON_ERROR_CODES, "AccessDenied", "AccessDeniedException"}
    patches.replace(errors, "COMMON_ERROR_CODES", common)

    def wrapped(real: Any) -> Any:
        def call_action(self: Any) -> Any:
            account = registry.of(self.current_account)
            session = account and _session(self)
            if account is None or not session or "role/cdk-" in session.role_arn:
                return real(self)
            call = Call(
                service=PREFIXES.get(self.boto3_service_name, self.boto3_service_name),
                operation=self._get_action(),
                parameters=_parameters(self),
                account=self.current_account,
                region=self.region,
            )
            role, iam = session.role_arn.split("/")[-1], account.service(Iam)
            account.witness(role)
            denial = iam.decide(role, needed(call))
            if denial is None or not iam.enforced:
                return real(self)
            code = "AccessDenied" if call.service in PLAIN_CODE else "AccessDeniedException"
            error = AccessDenied(code, _message(session, denial))
            status, headers, body = self.serialized(ActionResult(error))
            # moto gives 400 for every such error; REST and query services answer 403.
            return (status if call.service in ("dynamodb", "ssm", "events", "logs") else 403), headers, body

        return call_action

    patches.wrap(BaseResponse, "call_action", wrapped)


def _message(session: Any, denial: Decision) -> str:
    """In AWS's words, as far as they are known; match on the code, never on this."""
    reason = (
        "with an explicit deny in an identity-based policy"
        if denial.by
        else f"because no identity-based policy allows the {denial.action} action"
    )
    who = session.arn
    return (
        f"User: {who} is not authorized to perform: {denial.action} on resource: {denial.resource} {reason}"
    )


def _session(response: Any) -> Any | None:
    """The assumed role's session that signed the request, or None for other keys."""
    from moto.sts.models import sts_backends

    key = response.get_access_key()
    sessions = sts_backends[response.current_account]["aws"].assumed_roles
    return next((one for one in reversed(sessions) if one.access_key_id == key), None)


def _parameters(response: Any) -> Mapping[str, Any]:
    """The call's parameters under the API's own names, read by moto's parser of the service's protocol."""
    if not response.automated_parameter_parsing:
        response.parse_parameters(response.normalized_request)
    return dict(response.params)
