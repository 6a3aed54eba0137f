"""
What others have is joined, tuned and left as it came: a team's GPU Operator, with a driver, slices and
tolerations of its own, and its NodePools, on the real API server, Karpenter and helm.

One story: tests go on where the one before has ended, and watches look on from the beginning to the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from slicewise.kube.labels import ORIGINAL_ANNOTATION, POOL_LABEL, ROLLOUT_ANNOTATION, TUNING_ANNOTATION
from slicewise.pools import layout

from sandbox.cluster import all_objects, audit
from sandbox.cluster.client import condition
from sandbox.demo.team_cluster import CONFIG_MAP, KEYS, NAMESPACE, RELEASE, VALUES
from sandbox.demo.tuned_cluster import TunedCluster
from sandbox.demo.tuning import FULL_MIB
from sandbox.metrics.replay import MetricsReplay
from sandbox.system import System
from tests.sandbox.operation.foreign_cluster import (
    DAY,
    DEDICATED,
    FEW,
    GPU,
    IDLE,
    STUCK,
    TAKEN,
    ForeignCluster,
    Seen,
    by_day,
    foreign_cluster,
)
from tests.sandbox.rights import REFUSED_BY_ITS_OWNERS
from tests.sandbox.system_fixtures import (
    NODE_CLAIMS,
    NODE_OVERLAYS,
    NODE_POOLS,
    NODES,
    PODS,
    POLICY_TAG,
    TUNER,
    asking_pods,
    check_capacity,
    nodes_of,
    onboard_now,
    requests_of,
)
from tests.support.nonempty import nonempty
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

NAME, POLICY = "before-us", "taking-over"
OURS = f"/api/v1/namespaces/{NAMESPACE}/configmaps/slicewise-device-plugin"
CLUSTER_POLICY = "/apis/nvidia.com/v1/clusterpolicies/cluster-policy"
KEY = layout.CONFIG_LABEL
# Joined and given back: each time the operator rolls its device plugins, which offer nothing meanwhile.
OPERATOR_CHANGES = 2


@dataclass
class Before:
    """All that is written in the cluster, and what helm says of the team's release."""

    objects: dict[str, Any]
    values: dict[str, Any]
    manifest: str
    pods: set[str]
    claims: set[str]


@pytest.fixture(scope="module")
def team(system: System) -> Iterator[ForeignCluster]:
    yield foreign_cluster(system.start_control_plane(NAME))
    # Offboarded in the end, so nothing reconciles it. Idle, it takes 0.03 s of a core a second.
    system.end_control_plane(NAME)


@pytest.fixture(scope="module")
def before(team: ForeignCluster) -> Before:
    # Karpenter marks a node some moments after it has its GPUs.
    eventually(lambda: all(offers(team)) and all(initialized(team)), lambda: offers(team), within_seconds=60)
    return Before(
        all_objects.written(team.kube),
        team.values(),
        manifest(team),
        names(team, PODS),
        names(team, NODE_CLAIMS),
    )


@pytest.fixture(scope="module")
def seen(team: ForeignCluster, before: Before) -> Iterator[Seen]:
    found = Seen(team.kube)
    yield found
    found.watches.stop()


@pytest.fixture(scope="module")
def joined(system: System, team: ForeignCluster, seen: Seen) -> None:
    system.create_cluster(NAME, tags={POLICY_TAG: POLICY})
    system.wait_for_stage(NAME, "onboarded")


@pytest.fixture(scope="module")
def adopted(system: System, team: ForeignCluster, joined: None) -> None:
    eventually(
        lambda: ORIGINAL_ANNOTATION in team.taken()["metadata"].get("annotations", {}),
        lambda: tuned(system),
    )


def test_the_release_is_joined_under_its_own_name_with_its_owners_values(team, joined):
    now = team.values()
    mark = now.pop("slicewise")

    assert mark["before"] == VALUES
    # Of their lists they keep the beginning, and our operands' tolerations come after.
    assert now["daemonsets"]["tolerations"][:2] == VALUES["daemonsets"]["tolerations"]
    ours = {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}
    assert ours in now["node-feature-discovery"]["worker"]["tolerations"]
    assert now["devicePlugin"]["config"] == {"name": "slicewise-device-plugin", "default": "whole"}
    rest = VALUES.keys() - {"daemonsets", "devicePlugin"}
    assert {key: now[key] for key in rest} == {key: VALUES[key] for key in rest}
    assert now.keys() - VALUES.keys() == {"node-feature-discovery"}
    listed = json.loads(team.helm("list", "--output", "json"))
    assert [(one["name"], one["revision"]) for one in listed] == [(RELEASE, "2")]
    assert team.kube.get(OURS)["data"].items() >= KEYS.items()


def test_the_cluster_policy_differs_in_nothing_else(team, before, joined):
    was = before.objects["clusterpolicies//cluster-policy"]["spec"]
    now = team.kube.get(CLUSTER_POLICY)["spec"]

    assert {key for key in {*now, *was} if now.get(key) != was.get(key)} == {"daemonsets", "devicePlugin"}
    assert now["devicePlugin"]["config"] == {"name": "slicewise-device-plugin", "default": "whole"}


def test_a_nodepool_is_taken_over_as_it_is_with_no_node_replaced_and_no_pod_moved(
    team, before, adopted, seen
):
    was, now = before.objects[f"nodepools//{TAKEN}"]["spec"], team.taken()["spec"]

    assert (required(team)[KEY], required(team)[POOL_LABEL]) == (["exclusive"], ["taken"])
    assert (now["limits"], now["disruption"]) == (was["limits"], was["disruption"])
    assert now["template"]["metadata"] == was["template"]["metadata"]
    assert DEDICATED in now["template"]["spec"]["taints"]
    overlay = team.kube.get(f"{NODE_OVERLAYS}/slicewise-taken-l4-4")
    assert overlay["spec"]["capacity"] == {GPU: "4"}
    assert condition(overlay, "Ready") == "True"
    assert (names(team, PODS), names(team, NODE_CLAIMS)) == (before.pods, before.claims)
    assert seen.drifted == set()


def test_a_nodepool_that_refuses_every_write_is_reported_and_kept_the_others_from_nothing(
    system, team, before, adopted
):
    eventually(lambda: said(system, "cannot-be-changed"), lambda: tuned(system), within_seconds=60)

    [reported] = said(system, "cannot-be-changed")
    assert f"take over NodePool {STUCK}" in reported and "the platform team owns it" in reported
    assert all_objects.written(team.kube)[f"nodepools//{STUCK}"] == before.objects[f"nodepools//{STUCK}"]


def test_the_others_are_taken_over_though_one_refuses(system, team, before, adopted):
    def taken_over(name: str) -> bool:
        return ORIGINAL_ANNOTATION in pool(team, name)["metadata"].get("annotations", {})

    eventually(lambda: all(map(taken_over, IDLE)), lambda: tuned(system), within_seconds=60)

    for name in IDLE:
        was, now = before.objects[f"nodepools//{name}"]["spec"], pool(team, name)["spec"]
        assert (now["limits"], now["disruption"]) == (was["limits"], was["disruption"])
        assert required(team, name)[KEY] == ["exclusive"]


def test_a_pool_of_ours_is_sliced_beside_them(team, joined):
    assert team.kube.get(f"{NODE_POOLS}/slicewise-shared-l4")
    team.kube.apply(asking_pods("mine", 2, "shared"))
    team.wait_for(mine=2)

    [node] = nodes_of(team.kube, "shared")
    assert node["status"]["allocatable"][GPU] == "2"


def test_a_later_edit_of_the_teams_is_carried_over(system, team, joined):
    edited = f"{KEYS[FEW]}# of vision\n"
    team.kube.merge(CONFIG_MAP, {"data": {FEW: edited}})

    onboard_now(system, NAME, forced=True)

    eventually(lambda: team.kube.get(OURS)["data"][FEW] == edited, "it is not carried over")
    system.wait_for_stage(NAME, "onboarded")


@pytest.fixture(scope="module")
def wanting_more(system: System, team: ForeignCluster, adopted: None) -> None:
    """A week was measured in which the pods did little, and one more of them finds no GPU."""
    replay = MetricsReplay.of(system, NAME, at_most_mib=2500, load=0.3)
    replay.past(system, until=datetime.now(UTC) + timedelta(hours=1))
    team.run("vision", 2)


def test_while_pods_ask_for_two_gpus_n_stays_1_and_they_are_named(system, team, wanting_more):
    eventually(
        lambda: check_capacity(system, NAME) and detail(system)["pending"] == 1,
        lambda: detail(system),
        within_seconds=60,
    )

    [reported] = said(system, "more-than-one-gpu")
    assert "Deployment default/training (2 GPUs)" in reported and "so N stays 1" in reported
    assert (detail(system)["target"] > 1, detail(system)["after"]) == (True, 1), detail(system)
    assert required(team)[KEY] == ["exclusive"]


@pytest.fixture(scope="module")
def raised(system: System, team: ForeignCluster, wanting_more: None) -> None:
    team.kube.delete("/apis/apps/v1/namespaces/default/deployments/training")
    team.wait_for(training=0)
    tune(system)
    settled_at(system, team, 2)


def test_once_they_are_deleted_n_grows_on_the_nodes_that_run(system, team, before, raised, seen):
    team.wait_for(vision=2)

    now = team.taken()["spec"]
    assert now["limits"] == {"cpu": "500", GPU: "10"}
    assert now["disruption"] == before.objects[f"nodepools//{TAKEN}"]["spec"]["disruption"]
    assert said(system, "more-than-one-gpu") == []
    assert seen.drifted == set()
    assert before.claims <= names(team, NODE_CLAIMS)
    assert {pod for pod in seen.gone if not pod.startswith("training-")} == set()


@pytest.fixture(scope="module")
def blocked(system: System, team: ForeignCluster, raised: None) -> list[str]:
    """What is said while N falls under the budget by which no node may go by day."""
    team.run("vision", 1)
    team.wait_for(vision=1)
    memory_runs_short(system, team)
    tune(system)
    return eventually(lambda: said(system, "roll-blocked"), lambda: tuned(system), within_seconds=150)


def test_a_budget_that_lets_no_node_go_by_day_is_reported_and_kept(team, before, blocked):
    [reported] = blocked

    assert f"A disruption budget of NodePool {TAKEN} allows no drifted node to be replaced until" in reported
    assert before.claims <= names(team, NODE_CLAIMS)


@pytest.fixture(scope="module")
def lowered(system: System, team: ForeignCluster, blocked: list[str]) -> None:
    """The team has its day end, at a full minute as cron has it."""
    ends = (datetime.now(UTC) + timedelta(seconds=62)).replace(second=0, microsecond=0)
    team.set_budgets(by_day(ends))
    settled_at(system, team, 1)


def test_once_the_day_is_over_karpenter_replaces_what_does_not_fit(system, team, before, lowered):
    team.wait_for(vision=1)

    assert len(before.claims - names(team, NODE_CLAIMS)) == 1
    assert team.taken()["spec"]["limits"] == {"cpu": "500", GPU: "5"}
    assert said(system, "roll-blocked") == []


@pytest.fixture(scope="module")
def offboarded(system: System, team: ForeignCluster, lowered: None) -> None:
    """The team has again what it had in the beginning."""
    team.set_budgets(DAY)
    team.kube.merge(CONFIG_MAP, {"data": KEYS})
    team.run("training", 1)
    team.kube.delete("/apis/apps/v1/namespaces/default/deployments/mine")
    team.wait_for(vision=1, training=1, mine=0)
    pods = names(team, PODS)
    system.aws.client("eks").tag_resource(resourceArn=system.arn(NAME), tags={POLICY_TAG: "offboard"})
    eventually(
        lambda: not (entries(system) or left(system)),
        lambda: (system.record(NAME), tuned(system)),
        within_seconds=180,
    )
    assert names(team, PODS) == pods


def test_offboarded_every_object_is_what_it_was(team, before, offboarded):
    now = all_objects.written(team.kube)
    changed = all_objects.differences(before.objects, now)

    assert {name: how for name, how in changed.items() if not is_karpenters(name, how)} == {}
    # Of a node that Karpenter started meanwhile its own list of requirements says for good what it was for.
    came = [now[name] for name, how in changed.items() if how == ["came"]]
    assert "slicewise" not in json.dumps([(one["labels"], one["annotations"]) for one in nonempty(came)])
    assert (team.values(), manifest(team)) == (before.values, before.manifest)


def test_at_every_moment_every_node_offered_what_it_had_or_what_its_pool_says(seen, offboarded):
    assert seen.watches.lost == []
    assert nonempty(seen.offers) and seen.wrong == []
    assert max(seen.blanks.values()) <= OPERATOR_CHANGES


def test_no_pod_was_evicted_or_deleted_by_us(team, offboarded):
    log = team.cluster.plane.audit_log
    ours = nonempty(list(audit.requests(log, user_contains="assumed-role/slicewise-")))

    assert [one for one in ours if one.resource == "pods" and one.verb not in ("get", "list", "watch")] == []


def test_a_sweep_finds_an_offboarded_cluster_and_leaves_no_trace_of_it(system, offboarded):
    # It would come back for the NodePool that refused to be written; this cluster is the first of its group.
    system.aws.client("sqs").purge_queue(QueueUrl=system.outputs["TuningQueueUrl"])
    system.sweep()
    eventually(system.is_quiet, "the queues are not empty")

    assert left(system) == [] and entries(system) == []


def test_the_tuner_needed_no_right_that_it_did_not_have(team, offboarded):
    asked = nonempty(requests_of(team.cluster, TUNER))

    assert [one for one in asked if one.code == 403 and one.name != REFUSED_BY_ITS_OWNERS] == []


# What is there


def is_karpenters(name: str, how: list[str]) -> bool:
    """A node that came or went."""
    return name.startswith(("nodes/", "nodeclaims/", "csinodes/")) and how in (["came"], ["went"])


def manifest(team: ForeignCluster) -> str:
    return team.helm("get", "manifest", RELEASE)


def offers(team: ForeignCluster) -> list[int]:
    return [int(node["status"]["allocatable"].get(GPU, 0)) for node in karpenters(team)]


def initialized(team: ForeignCluster) -> list[bool]:
    return ["karpenter.sh/initialized" in node["metadata"]["labels"] for node in karpenters(team)]


def karpenters(team: ForeignCluster) -> list[dict[str, Any]]:
    return team.kube.list(NODES, labelSelector="karpenter.sh/nodepool")


def memory_runs_short(system: System, team: ForeignCluster) -> None:
    """Half a day after N changed, the pod's GPU is nearly full."""
    kept = json.loads(team.taken()["metadata"]["annotations"][TUNING_ANNOTATION])
    changed = datetime.fromisoformat(kept["changed_at"]) - timedelta(hours=12)
    kept["changed_at"] = changed.strftime("%Y-%m-%dT%H:%M:%SZ")
    mark = {TUNING_ANNOTATION: json.dumps(kept)}
    team.kube.merge(f"{NODE_POOLS}/{TAKEN}", {"metadata": {"annotations": mark}})
    [pod] = team.pods_of("vision")
    TunedCluster(system, NAME).fill_memory(pod["spec"]["nodeName"], FULL_MIB)


def names(team: ForeignCluster, kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in team.kube.list(kind)}


def pool(team: ForeignCluster, name: str) -> dict[str, Any]:
    return team.kube.get(f"{NODE_POOLS}/{name}")


def required(team: ForeignCluster, name: str = TAKEN) -> dict[str, list[str]]:
    requirements = pool(team, name)["spec"]["template"]["spec"]["requirements"]
    return {one["key"]: one["values"] for one in requirements}


def settled_at(system: System, team: ForeignCluster, n: int) -> None:
    """N is this, and no change of it is under way."""

    def settled() -> bool:
        is_changing = ROLLOUT_ANNOTATION in team.taken()["metadata"]["annotations"]
        return required(team)[KEY] == [layout.EXCLUSIVE if n == 1 else f"ts-{n}"] and not is_changing

    eventually(settled, lambda: (tuned(system), team.taken()), within_seconds=180)


# What Slicewise says


def tune(system: System) -> None:
    system.send_message("TuningQueueUrl", {"slicewise": 1, "cluster": system.arn(NAME), "reason": "a test"})


def tuned(system: System) -> dict[str, Any]:
    return system.record(NAME, "tuning") or {}


def said(system: System, code: str) -> list[str]:
    return [one["says"] for one in tuned(system).get("findings", ()) if one["code"] == code]


def detail(system: System) -> dict[str, Any]:
    return next(one for one in system.details(NAME, "tuning") if one["node_pool"] == TAKEN)


def entries(system: System) -> list[str]:
    return list(system.aws.client("eks").list_access_entries(clusterName=NAME)["accessEntries"])


def left(system: System) -> list[str]:
    """Capabilities with a record of the cluster."""
    return [one for one in ("onboarding", "tuning", "off-hours") if system.record(NAME, one)]
