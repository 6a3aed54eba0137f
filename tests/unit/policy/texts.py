"""Policies as text, and the problems that reading one finds."""

import pytest
import yaml
from slicewise.errors import InvalidPolicy
from slicewise.policy.model import parse

Problem = tuple[str, object, str]


def problems(text: str) -> list[Problem]:
    """Of one that has some."""
    found = problems_of_any(text)
    if not found:
        pytest.fail(f"this was taken:\n{text}")
    return found


def problems_of_any(text: str) -> list[Problem]:
    try:
        parse(text, "test")
    except InvalidPolicy as refused:
        return [(p.path, p.value, p.remedy) for p in refused.problems]
    return []


def pool(**fields) -> str:
    body = {"sharing": "time-slicing", "gpus": ["l4"], "maxGpus": 4} | fields
    return yaml.safe_dump({"pools": {"shared": {k: v for k, v in body.items() if v is not ...}}})
