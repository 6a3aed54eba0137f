"""A promise is broken where it is measured to be, after the change that is on trial."""

from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.kube.labels import CHANGED_ANNOTATION
from slicewise.tuning.rule.promises import violations
from slicewise.tuning.rule.stabilization import Breach
from slicewise.tuning.usage.pool_usage import read
from slicewise.tuning.usage.readings import Readings

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import POOL, contents, one_gpu, pod, scraped

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SINCE = NOW - HOUR
# Two days of steps end with NOW; the last six are the hour since SINCE.
LATE = 282


def found(seen, series=(), source="container-insights", nodes=("n-1",), since=SINCE, **more):
    return [
        one.breach
        for one in violations(seen, read(series, source, seen), POOL, since, NOW, nodes=nodes, **more)
    ]


def stamp(before_now):
    return (NOW - before_now).isoformat().replace("+00:00", "Z")


def ended(finished, began=6 * HOUR, code=1, reason="Error", restarts=1):
    """The status of a pod whose container ended `finished` ago and runs again."""
    end = {"startedAt": stamp(began), "finishedAt": stamp(finished), "exitCode": code, "reason": reason}
    return {
        "containerStatuses": [{"name": "main", "restartCount": restarts, "lastState": {"terminated": end}}]
    }


def test_a_quiet_hour_breaks_nothing():
    series = one_gpu(busy=20, memory_mib=8000)

    assert found(contents(pod("a-0"), pod("b-0")), series, memory_bound_mib=20_000, slowdown_budget=2.0) == []


# Memory


@pytest.mark.parametrize(("mib", "breaches"), [(19_000, []), (21_000, [Breach.MEMORY])])
def test_memory_over_its_bound(mib, breaches):
    assert found(contents(pod("a-0")), one_gpu(memory_mib=mib), memory_bound_mib=20_000) == breaches


def test_memory_before_the_change_does_not_count():
    series = scraped("4.5.3-virtual-gpus", gpu_memory=lambda step: 21_000.0 if step < LATE - 1 else 8000.0)

    assert found(contents(pod("a-0")), series, "prometheus", memory_bound_mib=20_000) == []


# Pods that end


@pytest.mark.parametrize(
    ("status", "breaches"),
    [
        pytest.param(ended(10 * MINUTE), [Breach.OUT_OF_MEMORY], id="ran before and failed since"),
        pytest.param(ended(2 * HOUR), [], id="failed before"),
        pytest.param(ended(10 * MINUTE, code=0, reason="Completed"), [], id="ended well"),
        pytest.param(ended(10 * MINUTE, began=20 * MINUTE), [], id="came since and failed once"),
        pytest.param(
            ended(10 * MINUTE, began=20 * MINUTE, restarts=3),
            [Breach.OUT_OF_MEMORY],
            id="fails again and again",
        ),
    ],
)
def test_pods_of_a_canary_that_fail(status, breaches):
    assert found(contents(pod("a-0", status=status))) == breaches


def test_a_pod_that_is_being_deleted_may_end_as_it_likes():
    leaving = pod("a-0", status=ended(10 * MINUTE, code=137))
    leaving["metadata"]["deletionTimestamp"] = stamp(11 * MINUTE)

    assert found(contents(leaving)) == []


def test_a_pod_that_reached_its_own_limit_of_main_memory_says_nothing_about_n():
    killed = pod("a-0", status=ended(10 * MINUTE, code=137, reason="OOMKilled"))
    assert found(contents(killed)) == [Breach.OUT_OF_MEMORY]

    killed["spec"]["containers"][0]["resources"]["limits"]["memory"] = "16Gi"
    assert found(contents(killed)) == []


def test_beside_a_canary_a_pods_end_counts_only_where_gpu_memory_was_short():
    seen = contents(pod("a-0", status=ended(10 * MINUTE)))

    assert found(seen, one_gpu(memory_mib=8000), nodes=None, memory_bound_mib=20_000) == []
    assert found(seen, one_gpu(memory_mib=21_000), nodes=None, memory_bound_mib=20_000) == [
        Breach.OUT_OF_MEMORY,
        Breach.MEMORY,
    ]


# Xid


def xids(code, before=0.0):
    """The error of each step."""
    return lambda step: code if step >= LATE + 2 else before


@pytest.mark.parametrize(
    ("xid", "breaches"),
    [
        pytest.param(xids(79.0), [Breach.XID], id="fell off the bus"),
        pytest.param(xids(48.0, before=79.0), [Breach.XID], id="another one than before"),
        pytest.param(xids(79.0, before=79.0), [], id="still the one from before"),
        pytest.param(
            lambda step: 0.0 if step == LATE + 1 else 79.0,
            [Breach.XID],
            id="the same one, after the driver was loaded again",
        ),
        pytest.param(xids(0.0), [], id="none"),
        pytest.param(xids(31.0), [], id="an application's own fault"),
    ],
)
def test_a_new_xid_error_of_the_gpu(xid, breaches):
    series = scraped("4.5.3-virtual-gpus", xid=xid)

    assert found(contents(pod("a-0"), pod("b-0")), series, "prometheus") == breaches


# Admission


def refused(reason, ago=10 * MINUTE, slices="1"):
    away = pod("c-0", status={"phase": "Failed", "reason": reason, "startTime": stamp(ago)})
    away["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = slices
    return away


@pytest.mark.parametrize(
    ("away", "breaches"),
    [
        pytest.param(refused("UnexpectedAdmissionError"), [Breach.ADMISSION], id="not allocated"),
        pytest.param(refused("OutOfnvidia.com/gpu"), [Breach.ADMISSION], id="too few slices"),
        pytest.param(refused("OutOfcpu"), [], id="too few CPUs"),
        pytest.param(refused("UnexpectedAdmissionError", 2 * HOUR), [], id="before"),
        pytest.param(refused("UnexpectedAdmissionError", slices="2"), [], id="asked for two slices"),
        pytest.param(refused("Evicted"), [], id="evicted"),
    ],
)
def test_pods_that_the_canary_turned_away(away, breaches):
    assert found(changed(), failed_pods=[away, away]) == breaches


def changed(*names, before=HOUR):
    """Nodes that were relabelled so long ago."""
    nodes = [builders.node(name=name, age=timedelta(days=9)) for name in names or ("n-1",)]
    for node in nodes:
        node["metadata"]["annotations"] = {CHANGED_ANNOTATION: stamp(before)}
    return contents(pod("a-0"), nodes=nodes)


def on(node, count=2):
    away = [refused("UnexpectedAdmissionError") for _ in range(count)]
    for one in away:
        one["spec"]["nodeName"] = node
    return away


def test_one_pod_that_was_turned_away_is_an_accident():
    assert found(changed(), failed_pods=on("n-1", 1)) == []


def test_pods_that_were_turned_away_while_the_plugin_reloaded_say_nothing_about_n():
    assert found(changed(before=10 * MINUTE), failed_pods=on("n-1")) == []


@pytest.mark.parametrize(
    "seen", [contents(pod("a-0")), changed(before=30 * HOUR)], ids=["never changed", "changed long ago"]
)
def test_a_node_that_was_not_changed_says_nothing_about_n(seen):
    assert found(seen, failed_pods=on("n-1")) == []


def test_beside_a_canary_one_node_that_refuses_pods_is_unhealthy_and_two_are_not():
    seen = changed("n-1", "n-2", "n-3")

    assert found(seen, nodes=None, failed_pods=on("n-1", 9)) == []
    assert found(seen, nodes=None, failed_pods=[*on("n-1"), *on("n-2")]) == [Breach.ADMISSION] * 2


def test_of_a_hundred_nodes_more_than_five_have_to_refuse_pods():
    names = [f"n-{number}" for number in range(100)]
    away = [pod for name in names[:6] for pod in on(name)]

    assert found(changed(*names), nodes=None, failed_pods=away[2:]) == []
    assert found(changed(*names), nodes=None, failed_pods=away) == [Breach.ADMISSION] * 6


def test_a_storm_of_refused_pods_is_one_line():
    away = [refused("UnexpectedAdmissionError") for _ in range(50)]
    [one] = violations(changed(), Readings(), POOL, SINCE, NOW, nodes=["n-1"], failed_pods=away)

    assert one.message == (
        "n-1 turned 50 pods away (c-0, c-0, c-0) after it was changed; 1 would be an accident"
    )


# Slowdown


@pytest.mark.parametrize(
    ("busy", "slots", "breaches"),
    [
        pytest.param(50, 4, [], id="half busy"),
        pytest.param(90, 4, [Breach.SLOWDOWN], id="nearly always busy"),
        pytest.param(90, 1, [], id="nobody beside it"),
    ],
)
def test_requests_slower_than_the_budget(busy, slots, breaches):
    seen = contents(*(pod(f"a-{n}") for n in range(slots)))

    assert found(seen, one_gpu(busy=busy, slots=slots), slowdown_budget=2.0) == breaches


def test_an_hour_over_the_budget_is_none_in_a_days_mean():
    seen = contents(*(pod(f"a-{n}") for n in range(4)))
    series = one_gpu(busy=lambda step: 90 if step >= LATE else 30, slots=4)

    assert found(seen, series, slowdown_budget=2.0) == [Breach.SLOWDOWN]
    assert found(seen, series, nodes=None, since=NOW - 24 * HOUR, slowdown_budget=2.0) == []


def test_one_busy_step_may_be_a_start():
    seen, now = contents(pod("a-0")), NOW - timedelta(minutes=5)

    assert found(seen, one_gpu(busy=95, slots=4), since=now, slowdown_budget=2.0) == []


def test_batch_work_has_no_slowdown_to_break():
    assert found(contents(pod("a-0")), one_gpu(busy=100, slots=4), slowdown_budget=None) == []


# Where


def test_only_the_canarys_nodes_are_checked():
    nodes = [builders.node(name=name, age=timedelta(days=9)) for name in ("n-1", "n-2")]
    seen = contents(pod("a-0"), pod("c-0", "n-2", status=ended(10 * MINUTE)), nodes=nodes)
    series = [*one_gpu(), *one_gpu(node="n-2", memory_mib=21_000)]

    assert found(seen, series, memory_bound_mib=20_000) == []
    both = violations(
        seen,
        read(series, "container-insights", seen),
        POOL,
        SINCE,
        NOW,
        nodes=["n-1", "n-2"],
        memory_bound_mib=20_000,
    )
    assert [(one.breach, one.node) for one in both] == [(Breach.OUT_OF_MEMORY, "n-2"), (Breach.MEMORY, "n-2")]


def test_another_pools_nodes_are_none_of_a_pools():
    other = builders.node(name="n-2", gpu="a10g", age=timedelta(days=9))
    seen = contents(pod("a-0"), nodes=[*contents().nodes, other])

    other["metadata"]["annotations"] = {CHANGED_ANNOTATION: stamp(HOUR)}
    series = one_gpu(node="n-2", memory_mib=21_000)

    assert found(seen, series, nodes=["n-2"], memory_bound_mib=20_000, failed_pods=on("n-2")) == []
