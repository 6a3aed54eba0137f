"""A plan goes through pods, claims and series as often for many nodes and NodePools as for few."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.kube.labels import POOL_LABEL, ROLLOUT_ANNOTATION
from slicewise.policy.model import parse
from slicewise.pools import layout
from slicewise.tuning.plan import plan
from slicewise.tuning.state.observation import Complete, Observed
from slicewise.tuning.state.pool_state import Rollout
from slicewise.tuning.usage.history import NOTHING
from slicewise.tuning.usage.pool_usage import read

from tests.support import builders
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import one_gpu

NO_METRICS = "metrics: {source: none}\n"


class Counted(tuple):
    """A tuple that knows how often somebody went through it."""

    times = 0

    def __iter__(self) -> Iterator:
        self.times += 1
        return super().__iter__()


def pools(count: int) -> str:
    one = "{{sharing: time-slicing, gpus: [l4], maxGpus: 1000, gpuCounts: [1]}}"
    return "pools:\n" + "".join(f"  p{number}: {one.format()}\n" for number in range(count))


def pod(number: int, slot: int) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"a-{number}-{slot}", "namespace": "team", "labels": {"app": "a"}},
        "spec": {
            "nodeName": f"n-{number}",
            "nodeSelector": {POOL_LABEL: "p0"},
            "containers": [{"name": "m", "resources": {"limits": {"nvidia.com/gpu": "1"}}}],
        },
        "status": {"phase": "Running", "startTime": (NOW - timedelta(days=9)).isoformat()},
    }


def world(nodes: int, state: str) -> Observed:
    policy = parse(pools(1) + NO_METRICS, "default")
    [one] = policy.pools
    key = "ts-5" if state == "drifted" else "ts-4"
    node_pool = json.loads(json.dumps(layout.node_pool(policy, one, one.models()[0], 4)))
    if state == "drifted":
        rollout = Rollout(5, 4, NOW - timedelta(hours=1), "r", narrowed=NOW - timedelta(minutes=40))
        node_pool["metadata"]["annotations"][ROLLOUT_ANNOTATION] = rollout.dumped()
    offers = {"nvidia.com/gpu": "4" if state == "standing" else "0" if state != "drifted" else "5"}
    age = timedelta(minutes=3) if state == "starting" else timedelta(days=9)
    live, claims = [], []
    for number in range(nodes):
        node = builders.node(key, name=f"n-{number}", pool="p0", allocatable=offers, age=age)
        node["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        live.append(node)
        claim = builders.node_claim(node_pool["metadata"]["name"], name=f"c-{number}")
        claim["metadata"]["labels"][layout.CONFIG_LABEL] = key
        met = {"status": "True", "lastTransitionTime": (NOW - age).isoformat()}
        types = ["Registered", "Drifted"] if state == "drifted" else ["Registered"]
        claim["status"] = {"nodeName": f"n-{number}", "conditions": [{"type": type} | met for type in types]}
        claims.append(claim)
    pods = Counted(pod(number, slot) for number in range(nodes) for slot in range(4))
    contents = builders.contents(
        node_pools=(node_pool,), nodes=tuple(live), node_claims=Counted(claims), pods=pods
    )
    return Observed(builders.cluster(), "default", policy, contents)


@pytest.mark.parametrize("state", ["standing", "starting", "never initialised", "drifted"])
def test_pods_and_claims_are_not_gone_through_for_each_node(state):
    seen = []
    for nodes in (3, 30):
        found = world(nodes, state)
        plan(found, NOW)
        seen.append((found.contents.pods.times, found.contents.node_claims.times))

    assert seen[0] == seen[1]


def test_pods_claims_and_nodes_are_not_gone_through_for_each_node_pool():
    seen = []
    for count in (1, 9):
        found, policy = world(9, "standing"), parse(pools(count) + NO_METRICS, "default")
        node_pools = tuple(layout.node_pool(policy, one, one.models()[0], 4) for one in policy.pools)
        contents = replace(
            found.contents,
            node_pools=node_pools,
            nodes=Counted(_in(node, number % count) for number, node in enumerate(found.contents.nodes)),
            node_claims=Counted(
                _in(claim, number % count) for number, claim in enumerate(found.contents.node_claims)
            ),
        )
        planned = plan(replace(found, policy=policy, contents=contents), NOW)
        assert planned.outcome.reason.startswith("9 GPU nodes, 36 of 36 slices")
        seen.append((contents.pods.times, contents.node_claims.times))
        # Whether one is cordoned is still asked for each NodePool, which costs little.
        assert contents.nodes.times <= 4 + count

    assert seen[0] == seen[1]


def _in(item: dict, number: int) -> dict:
    labels = {POOL_LABEL: f"p{number}", layout.NODE_POOL_LABEL: f"slicewise-p{number}-l4"}
    return {**item, "metadata": {**item["metadata"], "labels": {**item["metadata"]["labels"], **labels}}}


@pytest.mark.parametrize("source", ["container-insights", "prometheus"])
def test_series_are_not_gone_through_for_each_node_pool(source):
    seen = []
    for count in (1, 9):
        metrics = f"source: {source}" + (", endpoint: 'http://p:9090'" if source == "prometheus" else "")
        policy = parse(f"{pools(count)}metrics: {{{metrics}}}\n", "default")
        node_pools = tuple(layout.node_pool(policy, one, one.models()[0], 4) for one in policy.pools)
        series = Counted(one_gpu())
        contents = builders.contents(
            node_pools=node_pools, nodes=(builders.node("ts-4", name="n-1", pool="p0"),)
        )
        found = read(series, source, contents)
        found = replace(found, devices=Counted(found.devices), pods=Counted(found.pods))
        measured = Complete(found, NOTHING, NOW)
        plan(Observed(builders.cluster(), "default", policy, contents, measured), NOW)
        seen.append((series.times, found.devices.times, found.pods.times))

    assert seen[0] == seen[1] and min(seen[0]) > 0
