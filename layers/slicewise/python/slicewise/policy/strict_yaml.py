"""
YAML as people should write it: safe types only, and no key twice, which YAML would resolve in silence.

JSON is YAML, too. It is read without PyYAML, which takes longer to import than all that reads policies:
parameters that earlier releases wrote hold it.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from slicewise.errors import PolicyProblem

WHOLE = "(policy)"  # the path of the document itself


class Unreadable(Exception):
    """The text is not the YAML that we accept; `problem` says where and why."""

    def __init__(self, where: str, value: object, remedy: str):
        self.problem = PolicyProblem(where, value, remedy)
        super().__init__(str(self.problem))


def load(text: str) -> Any:
    """Raises Unreadable."""
    if text.startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_object, parse_constant=_refused)
        except (ValueError, RecursionError):
            pass  # YAML begins so, too, and says better what is wrong
    from slicewise.policy import yaml_text  # brings PyYAML, which only texts that people wrote need

    return yaml_text.load(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is a text in YAML")
