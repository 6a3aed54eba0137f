"""A night and a morning of jobs that the policy suspends, the same under each of their real controllers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from slicewise.kube.labels import SUSPENDS
from slicewise.planning.outcome import Stage
from slicewise.policy.off_hours import Jobs

from tests.fakes.sleeper import NIGHTS
from tests.sandbox.offhours.test_offhours import (
    EARLY,
    MORNING,
    NIGHT,
    NODE_CLASS,
    POOL_PATH,
    POOLS,
    SLEEPS,
    Cluster,
)
from tests.support import builders
from tests.support.waiting import eventually

Object = dict[str, Any]
SUSPENDING = builders.policy(POOLS, SLEEPS.replace("}", ", jobs: suspend}"), NODE_CLASS)
BEFORE = {"unset": None, "false": False, "by-its-user": True}


def each_way(make: Callable[[str], Object], *path: str) -> list[Object]:
    """One made without its switch, which some definitions set; one with false; one that its user suspends."""
    return [_switched(make(name), path, value) for name, value in BEFORE.items()]


def _switched(item: Object, path: Sequence[str], value: bool | None) -> Object:
    *maps, last = path
    if value is None:
        return item
    holds = item
    for key in maps:
        holds = holds.setdefault(key, {})
    holds[last] = value
    return item


def have_jobs_suspended(cluster: Cluster) -> None:
    """With the rights that onboarding gives under such a policy."""
    cluster.grant(SUSPENDING)
    cluster.night = cluster.another_night()
    cluster.night.off_hours = replace(NIGHTS, jobs=Jobs.SUSPEND)


def sleep_and_wake_as_they_were(cluster: Cluster, jobs: Sequence[Object], app: str, pods: int) -> None:
    """
    Args:
        jobs: Of `each_way`; those run that may.
        pods: How many of them run, by their label `app`.
    """
    kube, night, paths = cluster.kube, cluster.night, [cluster.kube.path(job) for job in jobs]

    def requests() -> list[Any]:
        return [(one["spec"], one["metadata"].get("annotations")) for one in map(kube.get, paths)]

    def uids() -> set[str]:
        return {pod["metadata"]["uid"] for pod in cluster.pods(app)}

    eventually(lambda: cluster.running(app) == pods, lambda: cluster.pods(app))
    before, ran = requests(), uids()

    night.at(NIGHT)
    asleep = cluster.settle(Stage.ASLEEP)
    assert asleep.outcome.findings == () and not night.failed, (asleep.outcome.findings, night.failed)
    assert cluster.pods(app) == [], cluster.pods(app)
    # One that Karpenter had begun by dusk may join a moment later, and goes since it is empty.
    eventually(lambda: cluster.gpu_nodes() == [], lambda: cluster.gpu_nodes())
    assert requests() != before and requests()[-1] == before[-1], "but for the one that slept already"
    assert SUSPENDS in kube.get(POOL_PATH)["metadata"]["annotations"]

    night.at(EARLY)
    cluster.settle(Stage.WAKING)
    assert requests() == before, requests()
    eventually(lambda: cluster.running(app) == pods, lambda: cluster.pods(app))
    night.at(MORNING)
    awake = cluster.settle(Stage.AWAKE)
    assert awake.outcome.findings == (), awake.outcome.findings
    assert requests() == before, requests()
    assert len(uids()) == pods and not uids() & ran, cluster.pods(app)
    assert SUSPENDS not in kube.get(POOL_PATH)["metadata"]["annotations"]
