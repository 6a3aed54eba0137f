"""An example's own policy with what is another on this machine, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def with_fields(text: str, fields: Mapping[str, Any]) -> str:
    """
    The policy with these sections; of one that it has, fields given here are replaced, and others stay.

    It goes by YAML's nodes: what people wrote, such as a date or 20:00, stays as they wrote it.

    Raises:
        ValueError: The text is no mapping.
    """
    policy = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(policy, yaml.MappingNode):
        raise ValueError("a policy is a mapping of sections, such as `pools:`")
    _merge(policy, yaml.SafeDumper("").represent_data(dict(fields)))
    return yaml.serialize(policy, Dumper=yaml.SafeDumper)


def _merge(into: yaml.MappingNode, fields: yaml.MappingNode) -> None:
    for key, value in fields.value:
        there = next((old for name, old in into.value if name.value == key.value), None)
        if isinstance(there, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
            _merge(there, value)
        else:
            others = [pair for pair in into.value if pair[0].value != key.value]
            into.value = [*others, (key, value)]
