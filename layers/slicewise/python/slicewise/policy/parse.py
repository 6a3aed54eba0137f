"""
From a policy's text to a Policy.

What a deployment has checked is taken as it is (checked.py). Any other text is read strictly, with every
problem reported at once: whether it is good is decided once, at the end, by whether a problem was noted.
"""

from __future__ import annotations

from slicewise.errors import InvalidPolicy, PolicyProblem
from slicewise.policy import checked
from slicewise.policy.model import Policy


def parse(text: str, name: str) -> Policy:
    """See policy.parse."""
    return checked.read(text, name) or strictly(text, name)


def strictly(text: str, name: str) -> Policy:
    """Also where it was checked before: as policies are checked for a deployment."""
    # Brings the rules, and for YAML PyYAML: functions start without them.
    from slicewise.policy import pairs, section_reader, strict_yaml
    from slicewise.policy.reader import Table

    problems: list[PolicyProblem] = []
    try:
        document = strict_yaml.load(text)
    except strict_yaml.Unreadable as error:
        another = checked.checked_by_another(text)
        found = (*([another] if another else []), error.problem)
        raise InvalidPolicy(name, found, is_skew=another is not None) from error
    policy = section_reader.read(Policy, Table(document, "", problems), name=name)
    # Only of fields that are right: of others it is not known what they would do together.
    problems += [] if problems else pairs.problems(document, policy)
    if problems:
        another = checked.checked_by_another(text)
        raise InvalidPolicy(name, (*([another] if another else []), *problems), is_skew=another is not None)
    return policy
