"""
IAM's policy language as pure functions: which statements match a request, and what follows.

Covers Effect, Action/NotAction, Resource/NotResource and the condition operators of
`_TESTS`, with IfExists, ForAllValues, ForAnyValue and Null. An operator that is not there is an
error, not a silent match. Evaluation order as in IAM's evaluation logic within one account and
identity-based policies only: an explicit Deny wins, else any Allow, else denied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Context = Mapping[str, Sequence[str]]


class UnknownOperator(Exception):
    """A policy uses a condition operator that is not played here."""


@dataclass(frozen=True)
class Statement:
    """One statement of a role's policies. `place` is its policy's name and its index in it."""

    place: tuple[str, int]
    effect: str
    actions: tuple[str, ...]
    not_actions: tuple[str, ...]
    resources: tuple[str, ...]
    not_resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        return f"{self.place[0]}[{self.place[1]}]"


def statements(policy: str, document: Mapping[str, Any]) -> list[Statement]:
    return [
        Statement(
            place=(policy, index),
            effect=body["Effect"],
            actions=_texts(body.get("Action", [])),
            not_actions=_texts(body.get("NotAction", [])),
            resources=_texts(body.get("Resource", [])),
            not_resources=_texts(body.get("NotResource", [])),
            conditions=tuple(
                (operator, key, _texts(values))
                for operator, pairs in body.get("Condition", {}).items()
                for key, values in pairs.items()
            ),
        )
        for index, body in enumerate(_listed(document["Statement"]))
    ]


def matching(
    candidates: Iterable[Statement], action: str, resource: str, context: Context
) -> tuple[list[Statement], list[Statement]]:
    """The statements that allow the request, and those that deny it."""
    hits = [
        one
        for one in candidates
        if _covers_action(one, action) and _covers_resource(one, resource) and _holds(one, context)
    ]
    return [one for one in hits if one.effect == "Allow"], [one for one in hits if one.effect == "Deny"]


def like(pattern: str, value: str) -> bool:
    """`*` any characters, `?` one; nothing else is special."""
    return _compiled(pattern).fullmatch(value) is not None


def covers(pattern: str, action: str) -> bool:
    """Whether an Action element's pattern covers the action; case does not matter there."""
    return like(pattern.lower(), action.lower())


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(
        "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern), re.DOTALL
    )


def _covers_action(statement: Statement, action: str) -> bool:
    if statement.not_actions:
        return not any(covers(pattern, action) for pattern in statement.not_actions)
    return any(covers(pattern, action) for pattern in statement.actions)


def _covers_resource(statement: Statement, resource: str) -> bool:
    if statement.not_resources:
        return not any(like(pattern, resource) for pattern in statement.not_resources)
    return any(like(pattern, resource) for pattern in statement.resources)


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "NumericEquals": lambda wanted, value: float(value) == float(wanted),
    "NumericLessThan": lambda wanted, value: float(value) < float(wanted),
    "NumericLessThanEquals": lambda wanted, value: float(value) <= float(wanted),
    "NumericGreaterThan": lambda wanted, value: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, value: float(value) >= float(wanted),
}


def _holds(statement: Statement, context: Context) -> bool:
    return all(_condition(operator, key, wanted, context) for operator, key, wanted in statement.conditions)


def _condition(operator: str, key: str, wanted: tuple[str, ...], context: Context) -> bool:
    quantifier, _, name = operator.rpartition(":")
    values = _values(context, key)
    if name == "Null":
        return (wanted[0].lower() == "true") == (not values)
    if_exists, name = name.endswith("IfExists"), name.removesuffix("IfExists")
    negated, positive = "Not" in name, name.replace("Not", "")
    if positive not in _TESTS:
        raise UnknownOperator(f"condition operator {operator} of key {key} is not played by the sandbox")
    if not values:
        # A key that the request lacks: negated and IfExists hold, and so does "all of none".
        return if_exists or negated or quantifier == "ForAllValues"
    test = _TESTS[positive]
    results = [any(test(one, value) for one in wanted) != negated for value in values]
    return any(results) if quantifier == "ForAnyValue" else all(results)


def _values(context: Context, key: str) -> Sequence[str]:
    # Names of keys are case-insensitive; tag keys after the slash are, too.
    return next((values for name, values in context.items() if name.lower() == key.lower()), ())


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in _listed(value))
