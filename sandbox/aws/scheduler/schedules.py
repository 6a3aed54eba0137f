"""
EventBridge Scheduler: schedules fire their targets when the sandbox's clock says so.

moto accepts any expression and fires none. Here an expression is checked as AWS does,
and `clock.advance` fires what became due, in order of time. Targets: SQS queues and Lambda functions.
The schedule's role is checked for the grant that it needs to reach its target. A flexible time
window fires at its beginning.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from sandbox.aws.core import registry
from sandbox.aws.core.account import Account
from sandbox.aws.core.patching import Patches
from sandbox.aws.functions.functions import Functions
from sandbox.aws.iam.enforcement import Iam
from sandbox.aws.iam.requests import Needed
from sandbox.aws.scheduler import expressions as schedule_expressions

log = logging.getLogger(__name__)

REAL_TIME_STEP_SECONDS = 1.0
TARGET_SERVICES = ("sqs", "lambda")
LONG_AGO = datetime.fromtimestamp(0, UTC)  # of schedules that a plain mock made


@dataclass(frozen=True)
class Firing:
    """One time that a schedule fired, or would have: `failure` says why its target got nothing."""

    schedule: str
    group: str
    at: datetime
    failure: str | None = None


@dataclass
class Progress:
    """By the sandbox's clock: since when a schedule is what it is, and until when what was due has fired."""

    started: datetime = LONG_AGO
    fired_until: datetime = LONG_AGO


# What moto's Schedule has no room for, as long as moto has the schedule.
_progress: WeakKeyDictionary[Any, Progress] = WeakKeyDictionary()


def _progress_of(schedule: Any) -> Progress:
    return _progress.setdefault(schedule, Progress())


class Schedules:
    """
    Attributes:
        fired: What fired so far, in order.
    """

    def __init__(self, account: Account, iam: Iam, functions: Functions):
        self.fired = list[Firing]()
        self._account, self._iam, self._functions = account, iam, functions
        self._lock, self._stopping = threading.RLock(), threading.Event()
        account.clock.on_tick(self.fire_due)
        threading.Thread(target=self._follow_real_time, name="schedules", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def fire_due(self, now: datetime) -> None:
        """Fire everything due until `now`, earliest first; at equal times by name."""
        with self._lock:
            while due := min(self._due(now), default=None, key=lambda one: (one[0], one[1].name)):
                when, schedule = due
                _progress_of(schedule).fired_until = when
                self._fire(schedule, when)
                if getattr(schedule, "action_after_completion", None) == "DELETE":
                    self._delete_if_over(schedule)

    def _follow_real_time(self) -> None:
        while not self._stopping.wait(REAL_TIME_STEP_SECONDS):
            self._account.clock.tick()

    def _due(self, now: datetime) -> Iterator[tuple[datetime, Any]]:
        for schedule in self._all():
            when = _following(schedule)
            if when is not None and when <= now and schedule.state == "ENABLED":
                yield when, schedule

    def _all(self) -> list[Any]:
        groups = _backend(self._account).schedule_groups.values()
        return [schedule for group in list(groups) for schedule in list(group.schedules.values())]

    def _fire(self, schedule: Any, when: datetime) -> None:
        failure = None
        try:
            self._check_role(schedule)
            self._deliver(schedule, when)
        except Exception as error:
            # AWS retries and then gives up, or sends to the schedule's dead-letter queue.
            failure = f"{type(error).__name__}: {error}"
            log.warning("schedule %s could not reach its target: %s", schedule.name, failure)
        self.fired.append(Firing(schedule.name, schedule.group_name, when, failure))

    def _check_role(self, schedule: Any) -> None:
        arn = schedule.target["Arn"]
        action = {"sqs": "sqs:SendMessage", "lambda": "lambda:InvokeFunction"}[arn.split(":")[2]]
        role = schedule.target["RoleArn"].split("/")[-1]
        denial = self._iam.decide(role, [Needed(action, arn)])
        if denial and self._iam.enforced:
            raise PermissionError(str(denial))

    def _deliver(self, schedule: Any, when: datetime) -> None:
        arn, body = schedule.target["Arn"], _input(schedule, when)
        if arn.split(":")[2] == "lambda":
            # Scheduler invokes asynchronously: it does not wait for the function.
            self._functions.invoke_later(arn.split(":")[6], body.encode())
            return
        sqs = self._account.client("sqs")
        url = sqs.get_queue_url(QueueName=arn.split(":")[-1])["QueueUrl"]
        group = schedule.target.get("SqsParameters", {}).get("MessageGroupId")
        sqs.send_message(QueueUrl=url, MessageBody=body, **({"MessageGroupId": group} if group else {}))

    def _delete_if_over(self, schedule: Any) -> None:
        if _following(schedule) is None:
            _backend(self._account).delete_schedule(schedule.group_name, schedule.name)


def _following(schedule: Any) -> datetime | None:
    """The next time after the last one that fired, within the schedule's own start and end."""
    progress = _progress_of(schedule)
    begin, end = _time(schedule.start_date), _time(schedule.end_date)
    after, started = progress.fired_until, progress.started
    if begin:
        after, started = max(after, begin), max(started, begin)
    expression = schedule_expressions.parse(
        schedule.schedule_expression, schedule.schedule_expression_timezone
    )
    when = expression.following(after, started)
    return None if when is None or (end and when > end) else when


def _input(schedule: Any, when: datetime) -> str:
    """The target's Input with its context tokens filled in, or the envelope that AWS sends without one."""
    text = schedule.target.get("Input")
    if text is None:
        envelope = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": schedule.arn.split(":")[4],
            "time": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": schedule.arn.split(":")[3],
            "resources": [schedule.arn],
            "detail": "{}",  # a string, not an object: so AWS sends it
        }
        return json.dumps(envelope)
    tokens = {
        "<aws.scheduler.schedule-arn>": schedule.arn,
        "<aws.scheduler.scheduled-time>": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "<aws.scheduler.execution-id>": str(uuid.uuid4()),
        "<aws.scheduler.attempt-number>": "1",
    }
    for token, value in tokens.items():
        text = text.replace(token, value)
    return text


def _time(value: Any) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromtimestamp(float(value), UTC)


def _backend(account: Account) -> Any:
    from moto.scheduler.models import scheduler_backends

    return scheduler_backends[account.account][account.region]


def install(patches: Patches) -> None:
    """Fault healed: nonsense is accepted as an expression, a time zone or a target."""
    from moto.scheduler.exceptions import ScheduleGroupNotFound, ValidationException
    from moto.scheduler.models import EventBridgeSchedulerBackend

    def checked(real: Any) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            account = registry.of(self.account_id)
            if account is None:
                return real(self, *args, **kwargs)
            try:
                zone = kwargs.get("schedule_expression_timezone") or "UTC"
                schedule_expressions.parse(kwargs["schedule_expression"], zone)
            except schedule_expressions.InvalidExpression as error:
                raise ValidationException(str(error)) from None
            group = kwargs.get("group_name") or "default"
            if group not in self.schedule_groups:
                raise ScheduleGroupNotFound(group)  # else a KeyError, HTTP 500
            service = kwargs["target"]["Arn"].split(":")[2]
            if service not in TARGET_SERVICES:
                raise ValidationException(f"the sandbox fires {' and '.join(TARGET_SERVICES)} targets only")
            schedule = real(self, *args, **kwargs)
            # From now on, by the sandbox's clock; an update starts a rate afresh.
            now = account.clock.now()
            _progress[schedule] = Progress(started=now, fired_until=now)
            return schedule

        return method

    patches.wrap(EventBridgeSchedulerBackend, "create_schedule", checked)
    patches.wrap(EventBridgeSchedulerBackend, "update_schedule", checked)
