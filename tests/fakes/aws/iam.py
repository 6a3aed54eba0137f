"""IAM in memory: roles by name and OIDC providers by ARN, with what IAM refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from slicewise.errors import Conflict, Refused
from slicewise.model.fargate import IamRole, OidcProvider

from tests.fakes.calls import Calls

_ROLE_NAME = 64


class FakeIam:
    """Implements ports.Iam. `roles` and `providers` may be changed by a test at any time."""

    def __init__(self, account: str, calls: Calls, managed: tuple[str, ...] = ()) -> None:
        self._account, self._calls = account, calls
        self.roles: dict[str, IamRole] = {}
        self.providers: dict[str, OidcProvider] = {}
        self.managed = set(managed)  # ARNs of the policies that there are

    def role(self, name: str) -> IamRole | None:
        with self._calls.call(f"iam.role {name}"):
            return self.roles.get(name)

    def create_role(self, role: IamRole) -> None:
        with self._calls.call(f"iam.create_role {role.name}"):
            if len(role.name) > _ROLE_NAME:
                raise Refused(f"{role.name}: {len(role.name)} characters, and the most is {_ROLE_NAME}")
            if role.name in self.roles:
                raise Conflict(f"{role.name} is there")
            if role.boundary not in self.managed:
                raise Conflict(f"there is no policy {role.boundary}")
            self.roles[role.name] = replace(role, policies=())

    def attach_policy(self, name: str, policy: str) -> None:
        with self._calls.call(f"iam.attach_policy {name}"):
            if name not in self.roles or policy not in self.managed:
                raise Conflict(f"there is no role {name}, or no policy {policy}")
            found = self.roles[name]
            self.roles[name] = replace(found, policies=tuple(sorted({*found.policies, policy})))

    def delete_role(self, name: str) -> None:
        with self._calls.call(f"iam.delete_role {name}"):
            self.roles.pop(name, None)

    def oidc_provider(self, arn: str) -> OidcProvider | None:
        with self._calls.call(f"iam.oidc_provider {arn}"):
            return self.providers.get(arn)

    def create_oidc_provider(self, issuer: str, audience: str, tags: Mapping[str, str]) -> None:
        with self._calls.call(f"iam.create_oidc_provider {issuer}"):
            arn = f"arn:aws:iam::{self._account}:oidc-provider/{issuer.removeprefix('https://')}"
            if arn in self.providers:
                raise Conflict(f"{arn} is there")
            self.providers[arn] = OidcProvider(arn, (audience,), dict(tags))

    def delete_oidc_provider(self, arn: str) -> None:
        with self._calls.call(f"iam.delete_oidc_provider {arn}"):
            self.providers.pop(arn, None)

    def roles_trusting(self, provider: str) -> tuple[str, ...]:
        with self._calls.call(f"iam.roles_trusting {provider}"):
            found = (role.name for role in self.roles.values() if provider in json.dumps(role.trust))
            return tuple(sorted(found))
