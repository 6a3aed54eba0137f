"""SQS queues and EventBridge rules in memory, with what the two services refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.errors import Conflict, Refused
from slicewise.model.interruptions import EventQueue, EventRule

from tests.fakes.calls import Calls
from tests.fakes.clock import Clock

# SQS API reference, CreateQueue: the name of a deleted queue is free after a minute. moto does not play it.
NAME_IS_KEPT = timedelta(seconds=60)
_QUEUE, _RULE = re.compile(r"[A-Za-z0-9_-]{1,80}"), re.compile(r"[.A-Za-z0-9_-]{1,64}")
_LEAST, _MOST = 60, 1_209_600  # seconds of retention
_MOST_RULES = 300  # of a bus (EventBridge quotas)


class FakeEventQueues:
    """Implements ports.EventQueues. `queues` may be changed by a test at any time."""

    def __init__(self, calls: Calls, clock: Clock | None = None) -> None:
        self._calls, self._clock = calls, clock or Clock()
        self.queues: dict[str, EventQueue] = {}
        self._deleted_at: dict[str, datetime] = {}

    def queue(self, name: str) -> EventQueue | None:
        with self._calls.call(f"sqs.queue {name}"):
            return self.queues.get(name)

    def create_queue(self, queue: EventQueue) -> None:
        with self._calls.call(f"sqs.create_queue {queue.name}"):
            _named(_QUEUE, queue.name)
            _sound(queue)
            deleted = self._deleted_at.get(queue.name)
            if deleted is not None and self._clock.now - deleted < NAME_IS_KEPT:
                raise Conflict(f"{queue.name} was deleted less than a minute ago")
            there = self.queues.setdefault(queue.name, queue)
            if replace(there, tags=queue.tags) != queue:
                raise Conflict(f"{queue.name} is there, with other attributes")

    def set_queue(self, queue: EventQueue) -> None:
        with self._calls.call(f"sqs.set_queue {queue.name}"):
            if queue.name not in self.queues:
                raise Conflict(f"there is no queue {queue.name}")
            _sound(queue)
            tags = {**self.queues[queue.name].tags, **queue.tags}
            self.queues[queue.name] = replace(queue, tags=tags)

    def delete_queue(self, name: str) -> None:
        with self._calls.call(f"sqs.delete_queue {name}"):
            if self.queues.pop(name, None):
                self._deleted_at[name] = self._clock.now


class FakeEventRules:
    """Implements ports.EventRules. `rules` may be changed by a test at any time, and so may `most`."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self.most = calls, _MOST_RULES
        self.rules: dict[str, EventRule] = {}

    def rule(self, name: str) -> EventRule | None:
        with self._calls.call(f"events.rule {name}"):
            return self.rules.get(name)

    def put_rule(self, rule: EventRule) -> None:
        with self._calls.call(f"events.put_rule {rule.name}"):
            _named(_RULE, rule.name)
            _matching(rule.pattern)
            there = self.rules.get(rule.name)
            if there is None and len(self.rules) >= self.most:
                raise Refused(f"LimitExceededException: the bus has {len(self.rules)} rules")
            kept = there or replace(rule, targets=())
            self.rules[rule.name] = replace(rule, targets=kept.targets, tags=kept.tags)

    def put_target(self, name: str, target: str) -> None:
        with self._calls.call(f"events.put_target {name}"):
            if name not in self.rules:
                raise Conflict(f"there is no rule {name}")
            found = self.rules[name]
            self.rules[name] = replace(found, targets=tuple(sorted({*found.targets, target})))

    def delete_rule(self, name: str) -> None:
        with self._calls.call(f"events.delete_rule {name}"):
            self.rules.pop(name, None)


def _named(pattern: re.Pattern[str], name: str) -> None:
    if not pattern.fullmatch(name):
        raise Refused(f"{name!r} is no name: {pattern.pattern}")


def _sound(queue: EventQueue) -> None:
    if not _LEAST <= queue.retention <= _MOST:
        raise Refused(f"a retention of {queue.retention} s: from {_LEAST} to {_MOST}")
    for statement in queue.policy.get("Statement", ()):
        if not str(statement["Resource"]).endswith(f":{queue.name}"):
            raise Refused(f"a statement is about {statement['Resource']}, and the queue is {queue.name}")


def _matching(pattern: Mapping[str, Any]) -> None:
    """Each field of a pattern is a list of what it may be."""
    if not pattern or not all(isinstance(value, list) and value for value in pattern.values()):
        raise Refused(f"InvalidEventPatternException: {json.dumps(pattern)}")
