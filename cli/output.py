"""What a command found, for people and for programs: it is printed in one place."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from slicewise.planning.actions import Action
from slicewise.planning.outcome import Finding

# Of what a person gives as a reason, in bytes: it is shown on one line.
LONGEST_REASON = 800


@dataclass(frozen=True)
class Answer:
    """
    Attributes:
        value: As JSON can say it, times included: they are written in ISO 8601. None where there is nothing
            to say: what is wrong is on standard error then.
        lines: The same for people.
        status: The command's exit status.
    """

    value: Any
    lines: tuple[str, ...] = field(default=())
    status: int = 0


def show(answer: Answer, as_json: bool) -> int:
    """Prints it; returns the exit status."""
    if as_json and answer.value is not None:
        print(json.dumps(answer.value, indent=2, ensure_ascii=False, default=_plain))
    if answer.lines and not as_json:
        print("\n".join(answer.lines))
    # Where what reads a pipe has ended, that is known here and not when Python ends.
    sys.stdout.flush()
    return answer.status


def _plain(value: object) -> object:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, tuple):
        return list(value)
    return str(value)


def finding_lines(findings: Iterable[Finding]) -> Iterable[str]:
    for finding in findings:
        yield f"  {'blocks' if finding.blocking else 'note'} [{finding.code}] {finding.message}"
        yield f"    {finding.remedy}"


def findings_value(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {"code": one.code, "blocking": one.blocking, "message": one.message, "remedy": one.remedy}
        for one in findings
    ]


def actions_value(actions: Iterable[Action]) -> list[dict[str, Any]]:
    return [{"action": str(action), "why": action.why} for action in actions]


def plural(count: int, what: str) -> str:
    """Such as "1 pod" and "2 pods"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
