"""
From YAML to a Policy: strict, and with every problem said at once.

Whether a policy is good is decided once, at the end: by whether a problem was noted.
"""

from __future__ import annotations

from slicewise.errors import InvalidPolicy, PolicyProblem
from slicewise.policy import pairs, section_reader, strict_yaml
from slicewise.policy.model import Policy
from slicewise.policy.reader import Table


def parse(text: str, name: str) -> Policy:
    """See policy.parse."""
    problems: list[PolicyProblem] = []
    try:
        document = strict_yaml.load(text)
    except strict_yaml.Unreadable as error:
        raise InvalidPolicy(name, (error.problem,)) from error
    policy = section_reader.read(Policy, Table(document, "", problems), name=name)
    # Only of fields that are right: of others nobody knows what they would do together.
    problems += [] if problems else pairs.problems(document, policy)
    if problems:
        raise InvalidPolicy(name, tuple(problems))
    return policy
