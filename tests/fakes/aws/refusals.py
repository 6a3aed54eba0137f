"""What AWS refuses of a call, for fakes: by the rules of the sandbox's AWS, and told as our gateways do."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from slicewise.errors import Refused
from slicewise.gateways.dynamodb_codec import item_of

from sandbox.aws import limits


def check(service: str, operation: str, **parameters: Any) -> None:
    """
    Raises:
        Refused: AWS takes no such call.
    """
    if found := limits.problems(service, operation, parameters):
        raise Refused(f"{service}:{operation}: {'; '.join(found)}")


@cache
def check_text(service: str, operation: str, **texts: str) -> None:
    """As check, of texts that come again and again."""
    check(service, operation, **texts)


def check_item(**attributes: Any) -> None:
    """
    An item of the state table, whose keys are pk and sk.

    Raises:
        Refused: It is larger than DynamoDB's items may be, or has no key or too long a one.
    """
    for key, most in (("pk", limits.DYNAMODB_PARTITION_KEY), ("sk", limits.DYNAMODB_SORT_KEY)):
        if not 0 < len(attributes[key].encode()) <= most:
            raise Refused(f"dynamodb:PutItem: {key} has {len(attributes[key].encode())} bytes of {most}")
    # A letter has four bytes at most: what is far from too large need not be counted.
    if len(repr(attributes)) * 4 > limits.DYNAMODB_ITEM:
        check("dynamodb", "PutItem", TableName="slicewise-state", Item=item_of(attributes))


def as_kept(value: Any) -> Any:
    """A value after its way through JSON: what was a tuple is a list, and nothing is shared."""
    return json.loads(json.dumps(value))
