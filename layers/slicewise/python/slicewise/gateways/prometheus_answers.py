"""
Answers of Prometheus' API, read series by series while they arrive.

An answer about 50,000 pods is 30 MB of JSON, and as objects of Python ten times that: it would not fit into a
function's memory. So no more than one series and one chunk of text is in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


class Answer:
    """
    Iterates over `data.result`, once.

    Attributes:
        warnings: What the API said beside its data. Complete once all series have been taken, since it comes
            after them.

    Raises while it is iterated over:
        ValueError: It is no such answer, or ended early.
    """

    def __init__(self, chunks: Iterable[str]):
        self.warnings: list[str] = []
        self._text = _Text(chunks)

    def __iter__(self) -> Iterator[Any]:
        has_result = False
        for key in self._text.fields():
            if key == "data":
                for inner in self._text.fields():
                    if inner == "result":
                        has_result = True
                        yield from self._text.elements()
                    else:
                        self._text.value()
            elif key == "warnings":
                self.warnings += self._text.value() or ()
            else:
                self._text.value()
        if not has_result:
            raise ValueError("it has no result")


@dataclass(frozen=True)
class WholeAnswer:
    """One of which all series are here."""

    series: list[Any]
    warnings: list[str]

    @classmethod
    def of(cls, answer: Answer) -> WholeAnswer:
        return cls(list(answer), answer.warnings)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.series)


class _Text:
    """JSON that arrives in chunks; what has been read of it is dropped."""

    def __init__(self, chunks: Iterable[str]):
        self._chunks = iter(chunks)
        self._buffer, self._at = "", 0

    def fields(self) -> Iterator[str]:
        """Names of the object that begins here; the caller takes the value after each."""
        for _ in self._entries("{", "}"):
            key = self.value()
            if not isinstance(key, str) or self._next() != ":":
                raise ValueError(f"{key!r} is no key")
            self._at += 1
            yield key

    def elements(self) -> Iterator[Any]:
        """Of the array that begins here."""
        for _ in self._entries("[", "]"):
            yield self.value()

    def _entries(self, begin: str, end: str) -> Iterator[None]:
        if self._next() != begin:
            raise ValueError(f"{self._next()!r} in place of {begin!r}")
        self._at += 1
        if self._next() == end:
            self._at += 1
            return
        while True:
            yield
            sign = self._next()
            self._at += 1
            if sign == end:
                return
            if sign != ",":
                raise ValueError(f"{sign!r} in place of a comma")

    def value(self) -> Any:
        self._next()
        while True:
            try:
                found, at = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            # A number that ends with the chunk may go on in the next one.
            if at == len(self._buffer) and self._more():
                continue
            self._at = at
            return found

    def _next(self) -> str:
        """The next sign that is no space; it is not taken."""
        while True:
            while self._at < len(self._buffer):
                if (sign := self._buffer[self._at]) not in _SPACE:
                    return sign
                self._at += 1
            if not self._more():
                raise ValueError("it ended early")

    def _more(self) -> bool:
        """
        As much again as is in memory already, so that a long value is begun few times; False at the end.
        """
        wanted, got = len(self._buffer) - self._at, 0
        parts = [self._buffer[self._at :]]
        for chunk in self._chunks:
            parts.append(chunk)
            got += len(chunk)
            if got and got >= wanted:
                break
        self._buffer, self._at = "".join(parts), 0
        return got > 0
