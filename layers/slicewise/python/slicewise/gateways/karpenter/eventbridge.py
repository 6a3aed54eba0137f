"""EventBridge: rules of the default bus, and the queues that they send events to."""

from __future__ import annotations

import json
from typing import Any

from botocore.session import Session

from slicewise.errors import Unavailable
from slicewise.gateways.karpenter.named_calls import NamedCalls
from slicewise.model.interruptions import TARGET_ID, EventRule

_ABSENT, _CONFLICTS = {"ResourceNotFoundException"}, {"ConcurrentModificationException"}


class EventBridgeRules:
    """Implements ports.EventRules."""

    def __init__(self, session: Session, region: str):
        self._calls = NamedCalls("events", session, region, absent=_ABSENT, conflicts=_CONFLICTS)

    def rule(self, name: str) -> EventRule | None:
        found = self._calls.found("describe_rule", name, Name=name)
        targets = self._targets(name) if found else None
        tags = self._calls.found("list_tags_for_resource", name, ResourceARN=found["Arn"]) if found else None
        if found is None or targets is None or tags is None:
            return None
        return EventRule(
            name,
            pattern=json.loads(found.get("EventPattern") or "{}"),
            targets=tuple(sorted(one["Arn"] for one in targets)),
            is_enabled=found.get("State") == "ENABLED",
            tags={one["Key"]: one["Value"] for one in tags.get("Tags") or ()},
        )

    def put_rule(self, rule: EventRule) -> None:
        self._calls.made(
            "put_rule",
            rule.name,
            Name=rule.name,
            EventPattern=json.dumps(rule.pattern, sort_keys=True),
            State="ENABLED" if rule.is_enabled else "DISABLED",
            Description="Slicewise: interruptions of instances, for one cluster's Karpenter",
            Tags=[{"Key": key, "Value": value} for key, value in sorted(rule.tags.items())],
        )

    def put_target(self, name: str, target: str) -> None:
        answer = self._calls.made("put_targets", name, Rule=name, Targets=[{"Id": TARGET_ID, "Arn": target}])
        _all_taken("events:PutTargets", name, answer)

    def delete_rule(self, name: str) -> None:
        targets = self._targets(name)
        if targets:
            ids = [one["Id"] for one in targets]
            answer = self._calls.found("remove_targets", name, Rule=name, Ids=ids)
            _all_taken("events:RemoveTargets", name, answer or {})
        if targets is not None:
            self._calls.found("delete_rule", name, Name=name)

    def _targets(self, name: str) -> list[dict[str, Any]] | None:
        """A rule has five at most, and one answer a hundred."""
        found = self._calls.found("list_targets_by_rule", name, Rule=name)
        return found["Targets"] if found else None


def _all_taken(call: str, name: str, answer: dict[str, Any]) -> None:
    """These two calls succeed even where EventBridge could not do what they ask for."""
    if answer.get("FailedEntryCount"):
        raise Unavailable(f"{call} of {name}: {answer['FailedEntries'][0]}")
