"""
EventBridge, Scheduler and hand-written messages, read as triggers: "reconcile this cluster".

A trigger never carries a decision. What happens is derived from the cluster itself, so a duplicate, late or
reordered message costs one reconcile and changes nothing. Shapes: alarms that changed state, and CloudTrail
management events of EKS as they reach the default bus. In the latter the field that names the cluster differs
between AWS's own samples (`name`, `clusterName`) and ARNs may be URL-encoded, so every variant is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from slicewise.errors import InvalidEvent
from slicewise.kube.labels import ALLOW_ACCESS_ENTRIES_TAG, CLUSTER_TAG, POLICY_TAG
from slicewise.model.cluster import AlarmName
from slicewise.sizes import cut

MESSAGE_VERSION = 1
# Far below what SQS and EventBridge Scheduler take of a message: a reconcile's reason may hold another's
# answer.
_LONGEST_REASON = 800
_TAGS_OF_OURS = frozenset({POLICY_TAG, ALLOW_ACCESS_ENTRIES_TAG})
# Source: EKS API reference, CreateCluster.
_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
_CLOUDTRAIL = "AWS API Call via CloudTrail"
_ALARM = "CloudWatch Alarm State Change"
# The end of these alarms is news, too: what was loosened while they lasted is tightened again.
_ALARMS_WITH_AN_END = frozenset({"idle"})


@dataclass(frozen=True)
class DeploymentScope:
    """Where this deployment works: one account, one Region."""

    account: str
    region: str
    partition: str = "aws"

    def arn(self, name: str) -> str:
        return f"arn:{self.partition}:eks:{self.region}:{self.account}:cluster/{name}"


@dataclass(frozen=True)
class Trigger:
    """
    A reason to reconcile one cluster.

    Attributes:
        cluster: The cluster's ARN.
        forced: A person asked: read the cluster again, also where nothing seems to have changed.
        due: When the reconcile is due that another one has requeued; None for all others.
        waits: It has found another reconcile at work; those that find it so later need not wait, too.
        tries: How often it has been sent again since.
        comes: When it comes back, as it was noted for those others (ports.Store.note_waiting).
    """

    cluster: str
    reason: str
    forced: bool = False
    due: datetime | None = None
    waits: bool = False
    tries: int = 0
    comes: datetime | None = None

    @property
    def name(self) -> str:
        return name_of(self.cluster)

    def message(self) -> str:
        """The trigger as the text of a queue message; `read` reads it, a long reason cut."""
        reason = cut(self.reason, _LONGEST_REASON)
        body = {"slicewise": MESSAGE_VERSION, "cluster": self.cluster, "reason": reason}
        times = {name: at.isoformat() for name in ("due", "comes") if (at := getattr(self, name))}
        tries = {"tries": self.tries} if self.tries else {}
        flags = {name: True for name in ("forced", "waits") if getattr(self, name)}
        return json.dumps(body | flags | times | tries)


@dataclass(frozen=True)
class Ignored:
    """A well-formed message that asks nothing of us, and why."""

    reason: str


def name_of(cluster_arn: str) -> str:
    return cluster_arn.rpartition(":cluster/")[2]


def read(body: str, scope: DeploymentScope) -> Trigger | Ignored:
    """
    Raises:
        InvalidEvent: The text is not JSON, has no known shape, or names no cluster. No retry can fix that.
    """
    try:
        event = json.loads(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"the message is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise InvalidEvent(f"the message is a JSON {type(event).__name__}, not an object")
    if "slicewise" in event:
        return _own_message(event, scope)
    if "detail-type" in event:
        return _eventbridge(event, scope)
    raise InvalidEvent(
        "the message is neither an EventBridge event (no 'detail-type') nor one of ours "
        '(write {"slicewise": 1, "cluster": "<name or ARN>", "reason": "..."})'
    )


def _own_message(event: Mapping[str, Any], scope: DeploymentScope) -> Trigger | Ignored:
    """
    Of our version every field is checked: a person may have written it. Of another version all that counts is
    which cluster to reconcile: functions of two releases read one queue while a deployment is under way.
    """
    version = event["slicewise"]
    if not isinstance(version, int) or isinstance(version, bool):
        raise InvalidEvent(f"'slicewise' is {version!r}; write the version of the message, {MESSAGE_VERSION}")
    if version != MESSAGE_VERSION:
        why = f"a message of version {version}"
        return _trigger(event.get("cluster"), why, scope, event.get("forced") is True)
    for flag in ("forced", "waits"):
        if not isinstance(event.get(flag, False), bool):
            raise InvalidEvent(f"{flag!r} is {event[flag]!r}; write true or false")
    reason = str(event.get("reason") or "a message by hand")
    trigger = _trigger(event.get("cluster"), reason, scope, event.get("forced", False))
    if isinstance(trigger, Ignored):
        return trigger
    waits, tries = event.get("waits", False), event.get("tries", 0)
    if not isinstance(tries, int) or isinstance(tries, bool) or tries < 0:
        raise InvalidEvent(f"'tries' is {tries!r}; write a number, 0 or more")
    return replace(trigger, due=_time(event, "due"), waits=waits, tries=tries, comes=_time(event, "comes"))


def _time(event: Mapping[str, Any], name: str) -> datetime | None:
    text = event.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidEvent(f"{name!r} is {text!r}; write a time with its zone, such as 2026-11-02T08:00:00Z")
    return found


def _eventbridge(event: Mapping[str, Any], scope: DeploymentScope) -> Trigger | Ignored:
    kind, detail = event["detail-type"], event.get("detail")
    if kind == _ALARM:
        return _alarm(detail, scope)
    if kind != _CLOUDTRAIL:
        return Ignored(f"detail-type {kind!r} asks nothing of this queue")
    if not isinstance(detail, dict):
        raise InvalidEvent(f"a CloudTrail event whose 'detail' is {type(detail).__name__}, not an object")
    if detail.get("eventSource") != "eks.amazonaws.com":
        return Ignored(f"a call of {detail.get('eventSource')!r}, not of EKS")
    call = detail.get("eventName")
    read_cluster = _CLUSTER_OF_CALL.get(str(call))
    if read_cluster is None:
        return Ignored(f"call {call!r} changes nothing that we act on")
    if detail.get("errorCode"):
        return Ignored(f"{call} failed with {detail['errorCode']}")
    found = read_cluster(_mapping(detail, "requestParameters"), _mapping(detail, "responseElements"))
    return found if isinstance(found, Ignored) else _trigger(found, f"{call} seen by CloudTrail", scope)


def _alarm(detail: object, scope: DeploymentScope) -> Trigger | Ignored:
    """
    One of our alarms was raised, or ended where that matters. The alarm's tags name the cluster; of an alarm
    that does not send them, its name does.
    """
    if not isinstance(detail, dict):
        raise InvalidEvent(f"an alarm's event whose 'detail' is {type(detail).__name__}, not an object")
    name = str(detail.get("alarmName") or "")
    ours = AlarmName.read(name)
    if ours is None:
        return Ignored(f"alarm {name!r} is not one of ours")
    state, before = (_mapping(detail, key).get("value") for key in ("state", "previousState"))
    ended = (before, state) == ("ALARM", "OK") and ours.kind in _ALARMS_WITH_AN_END
    if state == before or (state != "ALARM" and not ended):
        return Ignored(f"alarm {name} went from {before} to {state}")
    tag = _mapping(detail, "alarmTags").get(CLUSTER_TAG)
    if isinstance(tag, list):  # patterns have lists; whether events do is not documented
        tag = next(iter(tag), None)
    return _trigger(tag or ours.cluster, f"alarm {ours.kind} {'has ended' if ended else 'was raised'}", scope)


def _created(request: Mapping[str, Any], response: Mapping[str, Any]) -> object:
    cluster = _mapping(response, "cluster")
    return (
        _first(cluster, "arn", "name", "clusterName")
        or _first(request, "name", "clusterName")
        or _first(response, "arn")
    )


def _deleted(request: Mapping[str, Any], response: Mapping[str, Any]) -> object:
    return _first(request, "name", "clusterName") or _created(request, response)


def _tagged(request: Mapping[str, Any], _response: Mapping[str, Any]) -> object:
    arn = unquote(str(_first(request, "resourceArn", "resourceARN") or ""))
    if not arn:
        return None
    if ":cluster/" not in arn:
        return Ignored(f"tags of {arn}, which is not a cluster")
    tags = request.get("tags") or request.get("tagKeys") or ()
    # Of another shape they are taken for ours: that costs a reconcile.
    if isinstance(tags, dict | list | tuple) and not any(tag in tags for tag in _TAGS_OF_OURS):
        return Ignored("the tags that changed are not ours")
    return arn


_CLUSTER_OF_CALL = {
    "CreateCluster": _created,
    "DeleteCluster": _deleted,
    "TagResource": _tagged,
    "UntagResource": _tagged,
}


def _trigger(cluster: object, reason: str, scope: DeploymentScope, forced: bool = False) -> Trigger | Ignored:
    """A cluster's name or ARN as a trigger, if it is one of this account and Region."""
    if not isinstance(cluster, str) or not cluster:
        raise InvalidEvent(f"no cluster is named in the message ({reason})")
    cluster = unquote(cluster)
    if not cluster.startswith("arn:"):
        if not _NAME.fullmatch(cluster):
            raise InvalidEvent(f"{cluster!r} is not a name that EKS gives a cluster")
        return Trigger(scope.arn(cluster), reason, forced)
    parts = cluster.split(":", 5)
    if len(parts) != 6 or parts[2] != "eks" or not _NAME.fullmatch(parts[5].removeprefix("cluster/")):
        raise InvalidEvent(f"{cluster!r} is not the ARN of an EKS cluster")
    if (parts[3], parts[4]) != (scope.region, scope.account):
        return Ignored(
            f"{cluster} is of account {parts[4]} in {parts[3]}; "
            f"this deployment serves {scope.account} in {scope.region}"
        )
    return Trigger(cluster, reason, forced)


def _mapping(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def _first(source: Mapping[str, Any], *keys: str) -> object:
    return next((source[key] for key in keys if source.get(key)), None)
