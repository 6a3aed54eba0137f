"""
Which actions of a plan are done side by side, and doing so. Plan.abreast says which parts wait for no other.

A lane is the actions of one part, in their order. Lanes of one rank run side by side, begun in the plan's
order; a lane of another rank, or of none, waits until they have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias

from slicewise.planning.actions import Action, part_of

Lane: TypeAlias = tuple[Action, ...]


def stretches(actions: Iterable[Action], abreast: Mapping[str, str]) -> Iterator[tuple[Lane, ...]]:
    """
    Args:
        abreast: The rank of each part that waits for no other of its rank.

    Returns:
        What is done one after another: each time, the lanes that run side by side.
    """
    for rank, some in groupby(actions, key=lambda action: abreast.get(part_of(action))):
        if rank is None:
            yield (tuple(some),)
        else:
            lanes: dict[str, Lane] = {}
            for action in some:
                part = part_of(action)
                lanes[part] = (*lanes.get(part, ()), action)
            yield tuple(lanes.values())


def run(lanes: Sequence[Lane], do: Callable[[Lane], None], threads: int) -> None:
    """Each lane once; what one of them raises is raised when all have ended."""
    if threads == 1 or len(lanes) == 1:
        for lane in lanes:
            do(lane)
        return
    # A function that starts pays for what it imports, and most reconciles change nothing.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        begun = [pool.submit(do, lane) for lane in lanes]
    for one in begun:
        one.result()
