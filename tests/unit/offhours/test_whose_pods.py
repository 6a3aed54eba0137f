"""Which pods are of our pools, by what they choose and where they run, and whose they are."""

from __future__ import annotations

import pytest
from slicewise.offhours.targets import chooses, on_our_pools

from tests.fakes.kube.controllers import owned, pod_spec
from tests.fakes.sleeper import Sleeper
from tests.unit.offhours.sleeping import NIGHT

OURS, NAMED = {"key": "slicewise.dev/pool", "operator": "Exists"}, "slicewise.dev/pool"
SHARED = {"key": NAMED, "operator": "In", "values": ["shared"]}
CPU = {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]}
NOT_OURS = {"key": NAMED, "operator": "DoesNotExist"}


def pod(*terms, selector=None, node="") -> dict:
    """`terms` are the alternatives of its required node affinity."""
    found = {"nodeSelectorTerms": [{"matchExpressions": list(term)} for term in terms]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": found}} if terms else {}
    return {"nodeSelector": selector or {}, "affinity": affinity, "nodeName": node}


@pytest.mark.parametrize(
    ("pod_spec", "ours"),
    [
        pytest.param(pod(selector={NAMED: "shared"}), True, id="by its selector"),
        pytest.param(pod([OURS]), True, id="any pool"),
        pytest.param(pod([SHARED, CPU]), True, id="a pool, and more"),
        pytest.param(pod([SHARED], [OURS, CPU]), True, id="a pool either way"),
        pytest.param(pod([SHARED], [CPU]), False, id="a pool, or nodes of somebody else"),
        pytest.param(pod([CPU], [SHARED]), False, id="nodes of somebody else, or a pool"),
        pytest.param(pod([SHARED], []), False, id="an alternative that says nothing"),
        pytest.param(pod([NOT_OURS]), False, id="no pool"),
        pytest.param(pod([CPU]), False, id="somebody else's alone"),
        pytest.param(pod(), False, id="anywhere"),
        pytest.param(pod([SHARED], [CPU], node="n-1"), True, id="either, and it is on a node of ours"),
        pytest.param(pod([SHARED], [CPU], node="n-9"), False, id="either, and it is elsewhere"),
    ],
)
def test_who_may_run_elsewhere_is_ours_only_while_it_runs_on_a_node_of_ours(pod_spec, ours):
    assert on_our_pools(pod_spec, frozenset({"n-1"})) is ours


@pytest.mark.parametrize(
    ("pod_spec", "may"),
    [
        (pod(selector={NAMED: "shared"}), True),
        (pod(selector={NAMED: "other"}), False),
        (pod([SHARED], [CPU]), True),
        (pod([CPU], [OURS]), True),
        (pod([NOT_OURS]), False),
        (pod([{**SHARED, "operator": "NotIn"}]), False),
        (pod([CPU]), False),
        (pod(), False),
    ],
)
def test_who_may_run_on_a_pool_and_asks_for_one_waits_for_it(pod_spec, may):
    assert chooses(pod_spec, "shared") is may


def test_what_has_no_switch_that_we_know_is_reported_once_by_the_name_of_what_makes_its_pods():
    spark = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication"}
    spark["metadata"] = {"name": "etl", "namespace": "ml", "uid": "uid-etl"}
    sleeper = Sleeper()
    for number in range(3):
        metadata = {"name": f"etl-exec-{number}", "namespace": "ml"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec()}
        sleeper.create(owned(pod, spark))

    asleep = sleeper.at(NIGHT).settle()

    [finding] = [one for one in asleep.outcome.findings if one.code == "cannot-be-scaled"]
    assert finding.message.startswith("SparkApplication ml/etl has no scale subresource")
    assert "3 GPU slices" in finding.message


def test_a_static_pod_is_reported_by_its_own_name():
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "uid": "uid-node-1"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "etl-node-1", "namespace": "ml"}}
    sleeper = Sleeper()
    sleeper.create(owned({**pod, "spec": pod_spec()}, node))

    asleep = sleeper.at(NIGHT).settle()

    [finding] = [one for one in asleep.outcome.findings if one.code == "cannot-be-scaled"]
    assert finding.message.startswith("Pod ml/etl-node-1 has no scale subresource")


def test_a_pod_that_outlives_what_made_it_is_no_object_to_be_scaled():
    """Its ReplicaSet is gone, and a finalizer keeps it: to scale what is not there would fail all night."""
    sleeper = Sleeper()
    gone = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "old-7d9c", "uid": "uid-old"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "old-0", "namespace": "ml"}}
    sleeper.create(owned({**pod, "spec": pod_spec()}, gone))

    asleep = sleeper.at(NIGHT).settle()

    assert sleeper.failed == () and "Pod ml/old-0" in str(asleep.outcome.findings)
