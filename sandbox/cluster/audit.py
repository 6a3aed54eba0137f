"""Who asked the API server for what, and was it allowed: read from its audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """
    One answered request.

    Attributes:
        user: Name as authenticated; for EKS tokens the role's session ARN.
        verb: As RBAC names it: get, list, watch, create, update, patch, delete, deletecollection.
        api_group: Empty for the core group.
        resource, subresource, namespace, name: Empty where there is none.
        path: Of the URL, for requests that are for no resource (`/version`, `/openapi/v3`).
        code: HTTP status; 401 has no user.
        says: The answer's message; empty where it is no error.
    """

    user: str
    groups: tuple[str, ...]
    verb: str
    api_group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    path: str
    code: int
    says: str = ""

    @property
    def is_refused(self) -> bool:
        """By RBAC or by an admission policy, which may also have failed: that is told as 422."""
        return self.code == 403 or (self.code == 422 and "ValidatingAdmissionPolicy" in self.says)

    @property
    def is_refused_by_owners(self) -> bool:
        """By an admission policy of the cluster's own, not of Slicewise's: no right is missing."""
        policy = "ValidatingAdmissionPolicy '"
        return self.is_refused and policy in self.says and f"{policy}slicewise-" not in self.says


def requests(path: Path, user_contains: str = "") -> Iterator[Request]:
    """
    Requests in the order in which they were answered.

    A watch counts when it begins, since it may never end. Events of the control plane's own
    parts are not in the log (`components.audit_policy`). A last line that is still being
    written is left out.
    """
    with path.open() as log:
        for line in log:
            if not line.endswith("\n"):
                return
            event = json.loads(line)
            if _counts(event) and user_contains in event.get("user", {}).get("username", ""):
                yield _request(event)


def _counts(event: dict[str, Any]) -> bool:
    if event["stage"] == "ResponseStarted":
        # Long-running requests, and the only stage that is written for a 401.
        return event["verb"] == "watch" or event["responseStatus"]["code"] == 401
    return event["verb"] != "watch"


def _request(event: dict[str, Any]) -> Request:
    user, target = event.get("user", {}), event.get("objectRef", {})
    return Request(
        user=user.get("username", ""),
        groups=tuple(user.get("groups", ())),
        verb=event["verb"],
        api_group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        path=event["requestURI"].partition("?")[0],
        code=event.get("responseStatus", {}).get("code", 0),
        says=event.get("responseStatus", {}).get("message", ""),
    )
