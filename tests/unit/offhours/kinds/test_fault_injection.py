"""
Each kind with a switch of its own, through a night in which any call may be the last or come to nothing.

All of them stand in one cluster, since most calls of a pass are for no kind in particular. Others are struck
elsewhere: what is scaled, CronJobs and NodePools in test_any_sequence.py, KEDA as it resumes in test_keda.py,
and Kueue in test_kueue.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from slicewise.kube.ref import Object, ref_of
from slicewise.offhours.sleep_fields import NO_SCALE_UP

from tests.fakes.calls import REFUSALS
from tests.fakes.kube.controllers import (
    KSERVE_STOP,
    STOPPED,
    autoscaler,
    inference_service,
    notebook,
    ray_cluster,
    scaled,
)
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import MORNING, NIGHT, SERVER, objects_of, strike_each_call

IDLE = scaled("Deployment", "queue", 0)
SUSPEND, STOP = ("spec", "suspend"), ("metadata", "annotations", STOPPED)
KSERVE = ("metadata", "annotations", KSERVE_STOP)
BEHAVIOR = ("spec", "behavior")


def is_held(found: Any) -> bool:
    return found == NO_SCALE_UP.asleep


# What stands for a kind, its field, and whether it sleeps by what it has there.
KINDS: tuple[tuple[Object, tuple[str, ...], Callable[[Any], bool]], ...] = (
    (ray_cluster("rc"), SUSPEND, lambda found: found is True),
    (notebook("nb-ada"), STOP, bool),
    (inference_service("llm"), KSERVE, lambda found: found == "true"),
    (autoscaler("server", SERVER), BEHAVIOR, is_held),
    (autoscaler("queue", IDLE), BEHAVIOR, is_held),
)


def cluster() -> Sleeper:
    sleeper = Sleeper()
    sleeper.cluster = replace(sleeper.cluster, version="1.37")
    sleeper.create(*copy.deepcopy((SERVER, IDLE, *(item for item, _, _ in KINDS))))
    return sleeper


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "answer lost", *REFUSALS])
def test_a_reconcile_that_ends_at_any_call_leaves_the_rest_to_the_next(how):
    before = objects_of(cluster())

    def is_struck(number: int) -> bool:
        sleeper = cluster().at(NIGHT)
        at_night = sleeper.struck_reconcile(how, number)
        sleeper.later(minutes=16).settle()
        for item, path, sleeps in KINDS:
            assert sleeps(sleeper.value(ref_of(item), *path)), (ref_of(item), number)
        in_the_morning = sleeper.at(MORNING).struck_reconcile(how, number)
        sleeper.later(minutes=16).settle()
        assert objects_of(sleeper) == before, number
        return at_night or in_the_morning

    strike_each_call(is_struck)
