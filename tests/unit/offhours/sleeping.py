"""Moments, a workload, and what is read off a cluster, for tests of the plan."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import count

from slicewise.kube.ref import Ref

from tests.fakes.kube.controllers import scaled
from tests.fakes.sleeper import Sleeper

NIGHT, MORNING = "2026-11-25T20:01", "2026-11-26T07:00"
SERVER = scaled("Deployment", "server", 3)
REPLICAS = ("spec", "replicas")


def objects_of(sleeper: Sleeper) -> dict[Ref, object]:
    """All that people wrote, without what the server keeps beside it."""
    kept = {}
    for ref, item in sleeper.server.objects.items():
        made = "ownerReferences" in item["metadata"]
        if not made and ref.kind not in ("Namespace", "CustomResourceDefinition"):
            found = copy.deepcopy(item)
            for field in ("generation", "resourceVersion", "creationTimestamp"):
                found["metadata"].pop(field, None)
            if not found["metadata"].get("annotations"):
                found["metadata"].pop("annotations", None)
            kept[ref] = found
    return kept


def codes(plan) -> set[str]:
    return {finding.code for finding in plan.outcome.findings}


def strike_each_call(play: Callable[[int], bool]) -> None:
    """
    Play it once for each call that may be struck.

    Args:
        play: Gets the call's number in its pass, from 0, and says whether a pass came to it.
    """
    struck = next(number for number in count() if not play(number))
    assert struck > 10, "it was struck at its first calls only"
