"""
How long a GPU takes to start: from the request for a node to the first pod that is ready on it. Pure.

Nodes are deleted, and their NodeClaims with them, so the newest measurements are saved in the NodePool's own
metadata.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from slicewise.kube import json_patch
from slicewise.kube.json_patch import annotation_path
from slicewise.kube.labels import STARTUP_ANNOTATION
from slicewise.kube.objects import condition, created_at, name, since, spec, status
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.actions import Patch
from slicewise.pools.startup_history import recorded_startups

KEPT = 50
# A pod that was ready so late was pending for something else, or has become ready a second time.
LONGEST = timedelta(hours=1)


@dataclass(frozen=True)
class Startup:
    """
    Counted from the creation of the NodeClaim. `ready` is when the first pod that was pending for it was.
    """

    claim: str
    registered: timedelta
    initialized: timedelta
    ready: timedelta


def measured(claims: Iterable[Object], pods: Iterable[Object]) -> tuple[Startup, ...]:
    """
    Of those claims whose node has a pod that was pending for it; the earliest that was ready comes first.
    """
    on_node = defaultdict(list)
    for pod in pods:
        on_node[spec(pod).get("nodeName")].append(pod)
    found = [
        (finished, startup)
        for claim in claims
        for finished, startup in _measured(claim, on_node.get(status(claim).get("nodeName"), ()))
    ]
    return tuple(startup for _, startup in sorted(found, key=lambda item: (item[0], item[1].claim)))


def _measured(claim: Object, pods: Sequence[Object]) -> Iterable[tuple[datetime, Startup]]:
    created = created_at(claim)
    registered, initialized = _true_at(claim, "Registered"), _true_at(claim, "Initialized")
    if not (created and registered and initialized):
        return
    waited = [pod for pod in pods if (created_at(pod) or initialized) < initialized and not _restarted(pod)]
    ready = min((at for pod in waited if (at := _true_at(pod, "Ready"))), default=None)
    if ready and timedelta(0) < ready - created <= LONGEST:
        yield ready, Startup(name(claim), registered - created, initialized - created, ready - created)


def _true_at(item: Object, kind: str) -> datetime | None:
    found = condition(item, kind)
    return since(found) if found and found.get("status") == "True" else None


def _restarted(pod: Object) -> bool:
    """Its condition has the last time it became ready, not the first."""
    return any(container.get("restartCount") for container in status(pod).get("containerStatuses") or ())


def learned(node_pool: Object, startups: Sequence[Startup]) -> dict[str, int]:
    """
    The newest `KEPT`: what is recorded, and what was measured after the last of these.

    Args:
        startups: As `measured` gives them. Those before the last recorded one have been counted already, also
            where more nodes run than are recorded.
    """
    known = recorded_startups(node_pool)
    counted = max((i for i, startup in enumerate(startups, 1) if startup.claim in known), default=0)
    known |= {startup.claim: round(startup.ready.total_seconds()) for startup in startups[counted:]}
    return dict(list(known.items())[-KEPT:])


def dumped(known: Mapping[str, int]) -> str:
    return json.dumps([[claim, seconds] for claim, seconds in known.items()], separators=(",", ":"))


def keep(node_pool: Object, known: Mapping[str, int]) -> tuple[Patch, ...]:
    """Save what was learned; nothing where it is saved already."""
    if recorded_startups(node_pool) == known:
        return ()
    path = annotation_path(STARTUP_ANNOTATION)
    return (
        Patch(
            ref_of(node_pool),
            json_patch.set_value(node_pool, path, dumped(known)),
            f"remember how long {len(known)} nodes of {name(node_pool)} took to start",
            "nodes go, and what was measured of them would go with them",
        ),
    )
