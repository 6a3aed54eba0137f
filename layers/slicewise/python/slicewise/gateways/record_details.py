"""
What led to the decisions of a reconcile, as items of the table in state_store.py. Pure.

    pk                sk
    cluster#<arn>     detail#<capability>#<half>#<index>#<part>     one of Record.details, or a part of it

An item takes 400 KB, so each mapping has one of its own, and a long one several. They are written before the
record that counts them, into the half that the record before does not use: a reconcile that is killed between
the two leaves that record as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.gateways.dynamodb_codec import Fields, table_of

HALVES = 2
# Far below 400 KB (409,600 bytes), with names and keys. json.dumps writes one byte a letter.
_PART_BYTES = 300_000
# Of a line of history, which is one item and has the changes and findings of its reconcile, too.
_HISTORY_BYTES = 150_000

# In place of a part that cannot be read: then the whole cannot, either.
_NO_JSON = "}"

Item = dict[str, Any]
Details = tuple[Mapping[str, Any], ...]


def prefix(capability: str, half: int) -> str:
    """Of the sort keys of all items of a half."""
    return f"detail#{capability}#{half}#"


def items(details: Sequence[Mapping[str, Any]], capability: str, half: int, token: int) -> Iterator[Item]:
    """Without their partition key."""
    for index, detail in enumerate(details):
        text = json.dumps(detail, sort_keys=True)
        for part, start in enumerate(range(0, len(text), _PART_BYTES)):
            sort = f"{prefix(capability, half)}{index:04}#{part:03}"
            yield {"sk": sort, "token": token, "text": text[start : start + _PART_BYTES]}


@dataclass(frozen=True)
class Read:
    """
    Details as they are in the table.

    Attributes:
        whole: Those that can be read.
        unreadable: Sort keys of the others: of one that is being written over now, some parts are missing; or
            another release, or a person, wrote it otherwise than we do.
    """

    whole: Details = ()
    unreadable: tuple[str, ...] = ()


NONE = Read()


def read(found: Iterable[Mapping[str, Any]], token: int) -> Read:
    """
    Args:
        found: Items of one half, by sort key.
        token: Of the record. Items of another are of a reconcile that was killed, or came since.
    """
    texts: dict[str, str] = {}
    for item in found:
        index, fields = item["sk"].rpartition("#")[0], Fields(item, needed=("token", "text"))
        theirs, text = fields.whole("token"), fields.text("text")
        if theirs == token or fields.unreadable:
            texts[index] = texts.get(index, "") + (_NO_JSON if fields.unreadable else text)
    details = {index: _whole(text) for index, text in texts.items()}
    return Read(
        tuple(detail for detail in details.values() if detail is not None),
        tuple(index for index, detail in details.items() if detail is None),
    )


def _whole(text: str) -> Mapping[str, Any] | None:
    try:
        return table_of(text)
    except UNREADABLE:
        return None


def in_history(details: Sequence[Mapping[str, Any]]) -> list[str]:
    """As texts, as many as one item has room for: history is for people, and the record has them all."""
    kept: list[str] = []
    room = _HISTORY_BYTES
    for detail in details:
        text = json.dumps(detail, sort_keys=True)
        room -= len(text)
        if room < 0:
            left = len(details) - len(kept)
            return [*kept, json.dumps({"says": f"history has no room for {left} more"})]
        kept.append(text)
    return kept
