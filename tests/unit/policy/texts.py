"""Policies as text, and the problems that reading one finds."""

import pytest
import yaml
from slicewise.errors import InvalidPolicy
from slicewise.policy import (
    parse,
)


def problems(text: str) -> list[tuple[str, object, str]]:
    with pytest.raises(InvalidPolicy) as refused:
        parse(text, "test")
    return [(p.path, p.value, p.remedy) for p in refused.value.problems]


def pool(**fields) -> str:
    body = {"sharing": "time-slicing", "gpus": ["l4"], "maxGpus": 4} | fields
    return yaml.safe_dump({"pools": {"shared": {k: v for k, v in body.items() if v is not ...}}})
