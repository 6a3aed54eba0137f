"""
What becomes of worlds that were struck; of those that are alike in everything it is played once.

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
from tests.fakes.kube.kubernetes import FakeKubernetes
from tests.fakes.sleeper import Sleeper

W = TypeVar("W", bound=Account | Sleeper)
A = TypeVar("A", bound=Account)
# Functions are made anew for each message that is told here; earlier calls, errors and plans decide nothing.
_OUTSIDE = ("_apps", "calls", "lost", "plans", "failed")


class Ends(Generic[W]):
    """
    Args:
        play: Plays on, until the world is to be judged.
    """

    def __init__(self, play: Callable[..., object]) -> None:
        self._play = play
        self._found: dict[Hashable, W] = {}

    def of(self, world: W, *more: Hashable) -> W:
        """What became of it, or of one like it; to be read, not changed. `more` is for `play`, beside it."""
        key = (*more, world.calls.lie_ahead, mark(world))
        if key not in self._found:
            self._play(world, *more)
            self._found[key] = world
        return self._found[key]


class Futures(Generic[A]):
    """
    Args:
        answer: Answers one message.
        go_on: Plays the rest, until the account is to be judged.
    """

    def __init__(self, answer: Callable[[A], object], go_on: Callable[..., object]) -> None:
        self._answer = answer
        self._ends: Ends[A] = Ends(go_on)

    def end(self, struck: A, *more: Hashable) -> A:
        """
        What became of it, or of one like it; to be read, not changed.

        Args:
            struck: With strikes that lie ahead; it is played on.
            more: For `go_on`, beside the account.
        """
        while struck.calls.lie_ahead and struck.queues.waiting:
            self._answer(struck)
        return self._ends.of(struck, *more)


def mark(world: Account | Sleeper) -> str:
    """The same for two worlds only where nothing in them differs: cluster, queue, table, clock and all."""
    reported = io.BytesIO()
    _Everything(reported, protocol=5).dump(
        {name: value for name, value in sorted(vars(world).items()) if name not in _OUTSIDE}
    )
    return hashlib.sha256(reported.getvalue()).hexdigest()


class _Everything(pickle.Pickler):
    """But what is outside, which parts of the world refer to."""

    def reducer_override(self, value: Any) -> Any:
        is_outside = isinstance(value, Account | Sleeper | Calls | FakeKubernetes)
        return (str, (type(value).__name__,)) if is_outside else NotImplemented
