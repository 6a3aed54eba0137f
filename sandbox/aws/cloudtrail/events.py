"""
CloudTrail events as EventBridge delivers them, and how they arrive: late, or not at all.

Shapes, with their sources: the record's fields are CloudTrail's record contents; AWS's only
published EKS sample (2018) says `clusterName` where the API's member is `name`, and recorded
CreateAccessEntry and AssociateAccessPolicy events (Stratus Red Team) show `name` and URL-encoded
ARNs. So builders exist for every shape, and a consumer has to read them all. None was
taken from a live account.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sandbox.aws.core.account import Account

Record = dict[str, Any]
Entry = dict[str, Any]

DETAIL_TYPE = "AWS API Call via CloudTrail"


class Events:
    """
    Delivers what AWS services put on the default bus, as unreliably as a test wants it.

    Attributes:
        delay_seconds: How late each CloudTrail event arrives; alarm events come at once.
        lose_next: That many of the next events are lost.
        lost: What was lost, for whoever wonders.
    """

    def __init__(self, account: Account, delay_seconds: float = 0.0):
        self.delay_seconds, self.lose_next, self.lost = delay_seconds, 0, list[Entry]()
        self._account, self._lock = account, threading.Lock()
        self._losing: Callable[[Record], bool] = lambda detail: False
        self._late: set[threading.Timer] = set()

    def lose(self, predicate: Callable[[Record], bool] | None) -> None:
        """Lose every event whose detail satisfies `predicate`, until told otherwise; None: lose none."""
        self._losing = predicate or (lambda detail: False)

    def send_record(self, record: Record) -> None:
        """Deliver a CloudTrail record: late, or not at all, as set."""
        self.send(
            {"Source": "aws.eks", "DetailType": DETAIL_TYPE, "Detail": json.dumps(record), "Resources": []},
            late_by_seconds=self.delay_seconds,
        )

    def send(self, entry: Entry, late_by_seconds: float = 0.0) -> None:
        """Deliver anything, of any source, as services do (PutEvents refuses `aws.*`)."""
        if self._is_lost(entry):
            self.lost.append(entry)
        elif late_by_seconds > 0:
            self._deliver_later(entry, late_by_seconds)
        else:
            self._deliver(entry)

    def pending(self) -> int:
        """How many are on their way."""
        with self._lock:
            return len(self._late)

    def stop(self) -> None:
        with self._lock:
            for timer in self._late:
                timer.cancel()

    def _is_lost(self, entry: Entry) -> bool:
        with self._lock:
            if self.lose_next > 0:
                self.lose_next -= 1
                return True
        return self._losing(json.loads(entry["Detail"]))

    def _deliver_later(self, entry: Entry, seconds: float) -> None:
        def fire() -> None:
            self._deliver(entry)
            with self._lock:
                self._late.discard(timer)

        timer = threading.Timer(seconds, fire)
        timer.daemon = True
        with self._lock:
            self._late.add(timer)
        timer.start()

    def _deliver(self, entry: Entry) -> None:
        from moto.events.models import events_backends

        events_backends[self._account.account][self._account.region].put_events([entry])


def spot_interruption(instance: str) -> Entry:
    """What EC2 says two minutes before (EC2 user guide, "Spot Instance interruption notices")."""
    return {
        "Source": "aws.ec2",
        "DetailType": "EC2 Spot Instance Interruption Warning",
        "Detail": json.dumps({"instance-id": instance, "instance-action": "terminate"}),
        "Resources": [],
    }


def record(
    event_name: str,
    request: Mapping[str, Any] | None,
    response: Mapping[str, Any] | None,
    *,
    account: str,
    region: str,
    error_code: str | None = None,
    error_message: str = "",
) -> Record:
    """A management event of EKS; `error_code` makes it one of a call that failed."""
    body: Record = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLE:admin",
            "arn": f"arn:aws:sts::{account}:assumed-role/admin/admin",
            "accountId": account,
        },
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "eks.amazonaws.com",
        "eventName": event_name,
        "awsRegion": region,
        "sourceIPAddress": "192.0.2.1",
        "userAgent": "sandbox",
        "requestParameters": dict(request) if request is not None else None,
        "responseElements": dict(response) if response is not None else None,
        "requestID": str(uuid.uuid4()),
        "eventID": str(uuid.uuid4()),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    }
    if error_code:
        body |= {"errorCode": error_code, "errorMessage": error_message, "responseElements": None}
    return body


def cluster_arn(name: str, *, account: str, region: str) -> str:
    return f"arn:aws:eks:{region}:{account}:cluster/{name}"


def create_cluster(
    name: str,
    *,
    account: str,
    region: str,
    name_field: str = "name",
    tags: Mapping[str, str] | None = None,
    error_code: str | None = None,
) -> Record:
    """`name_field`: `name` as the API says, or `clusterName` as in AWS's sample."""
    arn = cluster_arn(name, account=account, region=region)
    request = {name_field: name, "roleArn": f"arn:aws:iam::{account}:role/eks", "tags": dict(tags or {})}
    answer = {"cluster": {name_field: name, "arn": arn, "status": "CREATING", "tags": dict(tags or {})}}
    return record("CreateCluster", request, answer, account=account, region=region, error_code=error_code)


def delete_cluster(
    name: str, *, account: str, region: str, name_field: str = "name", error_code: str | None = None
) -> Record:
    arn = cluster_arn(name, account=account, region=region)
    answer = {"cluster": {name_field: name, "arn": arn, "status": "DELETING"}}
    return record(
        "DeleteCluster", {name_field: name}, answer, account=account, region=region, error_code=error_code
    )


def tag_resource(
    arn: str, tags: Mapping[str, str], *, account: str, region: str, encoded: bool = True
) -> Record:
    """`encoded`: the ARN percent-encoded, as URI parameters are recorded."""
    request = {"resourceArn": quote(arn, safe="") if encoded else arn, "tags": dict(tags)}
    return record("TagResource", request, None, account=account, region=region)


def untag_resource(
    arn: str, tag_keys: list[str], *, account: str, region: str, encoded: bool = True
) -> Record:
    request = {"resourceArn": quote(arn, safe="") if encoded else arn, "tagKeys": tag_keys}
    return record("UntagResource", request, None, account=account, region=region)


def associate_access_policy(
    cluster: str, principal_arn: str, policy_arn: str, *, account: str, region: str
) -> Record:
    """For SIEM-like consumers: names the cluster `name` and encodes the principal, as recorded."""
    request = {
        "name": cluster,
        "principalArn": quote(principal_arn, safe=""),
        "policyArn": policy_arn,
        "accessScope": {"type": "cluster"},
    }
    return record("AssociateAccessPolicy", request, {"clusterName": cluster}, account=account, region=region)
