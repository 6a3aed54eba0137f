"""
One counter through which every call of every fake goes, so that a test can strike at the n-th.

Killed is no Exception: like the end of a Lambda, nothing in the code under test can answer it, and nothing
after it reaches the world, also not what stands in a `finally`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from slicewise.errors import Conflict, Refused, Unauthorized, Unavailable

from tests.fakes.copies import twin


class Killed(BaseException):
    """The process has ended here."""


class Calls:
    """
    Attributes:
        made: The calls so far, as text: "kubernetes.apply NodePool a".
        kill_before, kill_after: Number of the call, from 0, before or after which the process ends.
        refuse: Error for the call of this number, which then has no effect.
        lose_answer: Error for the call of this number, which has its effect all the same.
        fails: What each call of this text fails with, for as long as that lasts; None where it does not.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self.kill_before: int | None = None
        self.kill_after: int | None = None
        self.refuse: dict[int, Exception] = {}
        self.lose_answer: dict[int, Exception] = {}
        self.fails: Callable[[str], Exception | None] = _fine
        self._dead = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return twin(self, memo, logs="made")

    def call(self, what: str) -> _Call:
        """To be entered around what the call does: its effect comes between what strikes before and after."""
        return _Call(self, what)

    def begin(self, what: str) -> int:
        """Its number."""
        if self._dead:
            raise Killed(what)
        number = len(self.made)
        self.made.append(what)
        if number == self.kill_before:
            self._end(what)
        if error := self.refuse.get(number) or self.fails(what):
            raise error
        return number

    def end(self, number: int, what: str) -> None:
        if number == self.kill_after:
            self._end(what)
        if number in self.lose_answer:
            raise self.lose_answer[number]

    @property
    def lie_ahead(self) -> tuple[int, ...]:
        """Numbers of the calls that will still be struck, counted from the next one."""
        kills = (number for number in (self.kill_before, self.kill_after) if number is not None)
        ahead = (number - len(self.made) for number in (*kills, *self.refuse, *self.lose_answer))
        return tuple(sorted(number for number in ahead if number >= 0))

    def revive(self) -> None:
        """A new process; it is not killed again."""
        self._dead = False
        self.kill_before = self.kill_after = None

    def _end(self, what: str) -> None:
        self._dead = True
        raise Killed(what)


class _Call:
    """A class of its own: a generator with contextlib around it took as long as many a call itself."""

    __slots__ = ("_calls", "_number", "_what")

    def __init__(self, calls: Calls, what: str) -> None:
        self._calls, self._what = calls, what

    def __enter__(self) -> None:
        self._number = self._calls.begin(self._what)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """What failed by itself is not struck as well."""
        if kind is None:
            self._calls.end(self._number, self._what)


def _fine(what: str) -> Exception | None:
    return None


# What can befall a call, as `strike` names it, beside being killed and losing the answer.
REFUSALS: dict[str, Exception] = {
    "409": Conflict("409: the object has changed"),
    "429, 500 or no connection": Unavailable("503"),
    "403": Refused("403"),
    "401": Unauthorized("401"),
}


def strike(kind: str, number: int) -> Callable[[Calls], None]:
    """Lets the call of this number be "killed" after its effect, lose its answer, or be refused."""

    def apply(calls: Calls) -> None:
        if kind == "killed":
            calls.kill_after = number
        elif kind == "answer lost":
            calls.lose_answer[number] = Unavailable("read timed out")
        else:
            calls.refuse[number] = REFUSALS[kind]

    return apply
