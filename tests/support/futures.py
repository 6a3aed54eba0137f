"""
What becomes of accounts that were struck; of those that are alike in everything it is played once.

A pass that is killed after one read or after the next leaves the very same world.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from tests.fakes.account import Account
from tests.fakes.calls import Calls

A = TypeVar("A", bound=Account)
# Functions are made anew for each message that is told here; calls and errors of before decide nothing more.
_OUTSIDE = ("_apps", "calls", "lost")


class Futures(Generic[A]):
    """
    Args:
        answer: Answers one message.
        go_on: Plays the rest, until the account is to be judged.
    """

    def __init__(self, answer: Callable[[A], object], go_on: Callable[..., object]) -> None:
        self._answer, self._go_on = answer, go_on
        self._ends: dict[Hashable, A] = {}

    def end(self, struck: A, *more: Hashable) -> A:
        """
        What became of it, or of one like it; to be read, not changed.

        Args:
            struck: With strikes that lie ahead; it is played on.
            more: For `go_on`, beside the account.
        """
        while struck.calls.lie_ahead and struck.queues.waiting:
            self._answer(struck)
        key = (*more, struck.calls.lie_ahead, mark(struck))
        if key not in self._ends:
            self._go_on(struck, *more)
            self._ends[key] = struck
        return self._ends[key]


def mark(account: Account) -> str:
    """The same for two accounts only where nothing in them differs: cluster, queue, table, clock and all."""
    told = io.BytesIO()
    _Everything(told, protocol=5).dump(
        {name: value for name, value in sorted(vars(account).items()) if name not in _OUTSIDE}
    )
    return hashlib.sha256(told.getvalue()).hexdigest()


class _Everything(pickle.Pickler):
    """But what is outside, which parts of the account refer to."""

    def reducer_override(self, value: Any) -> Any:
        return (str, (type(value).__name__,)) if isinstance(value, Account | Calls) else NotImplemented
