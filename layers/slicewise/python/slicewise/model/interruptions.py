"""
Frozen values of what stands in AWS so that Karpenter learns of interruptions: a queue, and its rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Of the target that we give a rule, within that rule.
TARGET_ID = "slicewise"


@dataclass(frozen=True)
class EventQueue:
    """
    A standard SQS queue.

    Attributes:
        policy: Who may send to it; empty without one.
        retention: Seconds after which a message that nothing received is deleted.
        is_encrypted: At rest, with keys of SQS's own (SSE-SQS).
    """

    name: str
    policy: Mapping[str, Any]
    retention: int
    is_encrypted: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EventRule:
    """
    An EventBridge rule of the default bus.

    Attributes:
        pattern: Which events match; empty where it follows a clock.
        targets: ARNs of what gets them, sorted.
    """

    name: str
    pattern: Mapping[str, Any]
    targets: tuple[str, ...] = ()
    is_enabled: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InterruptionEvents:
    """
    What was read of one cluster's; None where nothing is there by its name.

    Attributes:
        unread: Why it is not known what is there; empty where it is.
    """

    queue: EventQueue | None = None
    rule: EventRule | None = None
    unread: str = ""
