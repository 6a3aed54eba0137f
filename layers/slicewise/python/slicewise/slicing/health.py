"""Promises broken on the nodes of a NodePool, as pods and series show them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from slicewise.model import ClusterContents, Object, Series
from slicewise.slicing.control import Breach


class Broken(NamedTuple):
    """A promise that does not hold; `node` is empty where it is the pool's as a whole."""

    breach: Breach
    says: str
    node: str = ""


def broken(
    contents: ClusterContents,
    series: Sequence[Series],
    source: str,
    node_pool: str,
    since: datetime,
    *,
    nodes: Collection[str] | None = None,
    memory_bound_mib: float | None = None,
    slowdown_budget: float | None = None,
    failed_pods: Sequence[Object] = (),
) -> tuple[Broken, ...]:
    """
    What broke after `since`, worst first.

    Args:
        series: As for `pool_use`.
        nodes: The canary's; None looks at all of the NodePool's.
        memory_bound_mib: What a GPU's memory may reach, (1 − h) · M; None does not look.
        slowdown_budget: As the policy's; None does not look.
        failed_pods: Pods with phase Failed, which `contents.pods` leaves out.
    """
    return ()
