"""A NodePool that a team made before us is taken over on the real Karpenter, and given back as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import samples
from sandbox.kube import condition
from sandbox.system import Cluster, System
from tests.sandbox.rights import REFUSED_BY_ITS_OWNERS
from tests.sandbox.system_fixtures import (
    NODE_CLAIMS,
    NODE_OVERLAYS,
    NODE_POOLS,
    NODES,
    OPERATOR_SECRETS,
    PODS,
    POLICY_TAG,
    TUNER,
    requests_of,
    running,
)
from tests.support.nonempty import nonempty
from tests.waiting import eventually

pytestmark = pytest.mark.sandbox

NAME, THEIRS = "before-us", f"{NODE_POOLS}/gpu"
KINDS = (
    NODE_POOLS,
    NODE_OVERLAYS,
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/roles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
)
POOL_LABEL, KEY = "slicewise.dev/pool", "nvidia.com/device-plugin.config"
TUNERS = "slicewise:tuner"
LOOKS_AFTER_SECONDS = 12


def team_s_node_pool(name: str = "gpu") -> dict[str, Any]:
    """Of whole GPUs, one pod each, with a limit and a budget of their own."""
    pool = samples.node_pool(name, key="none", labels={"team": "vision"})
    spec = pool["spec"]["template"]["spec"]
    spec["requirements"] = [one for one in spec["requirements"] if one["key"] != KEY]
    pool["spec"]["disruption"] |= {"consolidateAfter": "1h", "budgets": [{"nodes": "1"}]}
    return {**pool, "spec": {**pool["spec"], "limits": {"cpu": "500", "nvidia.com/gpu": "10"}}}


def platform_s_policy(node_pool: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its owners let nobody of ours write this NodePool."""
    group, metadata = "admissionregistration.k8s.io/v1", {"name": "platform-owns"}
    kind = {"apiGroups": ["karpenter.sh"], "apiVersions": ["v1"], "resources": ["nodepools"]}
    allows = f"object.metadata.name != '{node_pool}' || !request.userInfo.groups.exists(g, g == '{TUNERS}')"
    spec = {
        "matchConstraints": {"resourceRules": [{**kind, "operations": ["UPDATE"]}]},
        "validations": [{"expression": allows, "message": "the platform team owns it"}],
    }
    bound = {"policyName": "platform-owns", "validationActions": ["Deny"]}
    return (
        {"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec},
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": bound,
        },
    )


@pytest.fixture(scope="module")
def cluster(system: System) -> Cluster:
    """Onboarded, with three nodes of the team's on which pods run, each on a GPU of its own."""
    cluster = system.start_control_plane(NAME)
    cluster.kube.apply(team_s_node_pool(), field_manager="their-helm")
    cluster.kube.apply(team_s_node_pool("gpu-stuck"), field_manager="their-helm")
    for item in platform_s_policy("gpu-stuck"):
        cluster.kube.apply(item)
    cluster.kube.apply(samples.deployment("vision", 3, "gpu"))
    system.create_cluster(NAME, tags={POLICY_TAG: "one-pool"})
    system.wait_for_stage(NAME, "onboarded")
    eventually(lambda: running(cluster.kube, "vision") == 3, "the team's pods do not run", within_seconds=120)
    return cluster


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> dict[str, Any]:
    return cluster.kube.get(THEIRS)


@pytest.fixture(scope="module")
def adopted(system: System, cluster: Cluster, before: dict[str, Any]) -> Iterator[set[str]]:
    """All NodeClaims that were ever seen to drift, until Karpenter has had its time to look."""
    pods, claims = names(cluster, PODS), names(cluster, NODE_CLAIMS)
    drifted: set[str] = set()
    follow(system, "adopting-a-pool")
    eventually(
        lambda: KEY in required(cluster) and not drifted.update(drifting(cluster)),
        lambda: system.record(NAME, "tuning"),
        within_seconds=180,
    )
    watch_for_drift(cluster, drifted)
    assert names(cluster, PODS) == pods
    assert names(cluster, NODE_CLAIMS) == claims
    yield drifted


def test_it_is_taken_over_with_no_node_replaced_and_no_pod_moved(cluster, before, adopted):
    pool = cluster.kube.get(THEIRS)

    assert adopted == set()
    assert (required(cluster)[KEY], required(cluster)[POOL_LABEL]) == (["exclusive"], ["taken"])
    assert pool["spec"]["limits"] == {"cpu": "500", "nvidia.com/gpu": "16"}
    # All but what the policy writes, which is `after: Never`.
    assert pool["spec"]["disruption"] == {**before["spec"]["disruption"], "consolidateAfter": "Never"}
    assert pool["spec"]["template"]["metadata"] == before["spec"]["template"]["metadata"]
    overlay = cluster.kube.get(f"{NODE_OVERLAYS}/slicewise-taken-l4-1")
    assert overlay["spec"]["capacity"] == {"nvidia.com/gpu": "1"}
    assert condition(overlay, "Ready") == "True"


def test_a_node_that_is_born_later_is_one_of_the_pool(cluster, adopted):
    cluster.kube.apply(samples.deployment("vision", 4, "gpu"))
    eventually(
        lambda: running(cluster.kube, "vision") == 4, "the fourth pod does not run", within_seconds=120
    )

    nodes = cluster.kube.list(NODES, labelSelector=f"{POOL_LABEL}=taken,{KEY}=exclusive")
    assert len(nodes) == 4
    assert drifting(cluster) == set()


def test_a_nodepool_that_refuses_every_write_is_told_and_kept_the_other_from_nothing(
    system, cluster, adopted
):
    stuck = cluster.kube.get(f"{NODE_POOLS}/gpu-stuck")

    assert ours(stuck) == [] and stuck["spec"]["limits"] == {"cpu": "500", "nvidia.com/gpu": "10"}
    eventually(
        lambda: codes_and_texts(system).get("cannot-be-changed"),
        lambda: system.record(NAME, "tuning"),
        within_seconds=60,
    )
    [told] = codes_and_texts(system)["cannot-be-changed"]
    assert "take over NodePool gpu-stuck" in told and "the platform team owns it" in told


def test_a_template_that_asks_for_two_gpus_is_read_and_named(system, cluster, adopted):
    job = {"template": samples.deployment("training", 1, "gpu")["spec"]["template"]}
    job["template"]["spec"]["restartPolicy"] = "Never"
    job["template"]["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": "2"}
    metadata = {"name": "training", "namespace": "default"}
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}
    cluster.kube.apply({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec})

    system.send_message("TuningQueueUrl", {"slicewise": 1, "cluster": system.arn(NAME), "reason": "a test"})
    eventually(
        lambda: codes_and_texts(system).get("more-than-one-gpu"),
        lambda: system.record(NAME, "tuning"),
        within_seconds=60,
    )

    [told] = codes_and_texts(system)["more-than-one-gpu"]
    assert "CronJob default/training (2 GPUs)" in told and "so N stays 1" in told


def codes_and_texts(system: System) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in (system.record(NAME, "tuning") or {}).get("findings", ()):
        found.setdefault(one["code"], []).append(one["says"])
    return found


def test_it_is_given_back_as_it_was(system, cluster, before, adopted):
    claims, drifted = names(cluster, NODE_CLAIMS), set[str]()
    nonempty(ours(cluster.kube.get(THEIRS)))
    follow(system, "one-pool")
    eventually(
        lambda: cluster.kube.get(THEIRS)["spec"] == before["spec"],
        lambda: (cluster.kube.get(THEIRS), system.record(NAME, "tuning")),
        within_seconds=180,
    )
    watch_for_drift(cluster, drifted)

    now = cluster.kube.get(THEIRS)
    assert drifted == set()
    assert names(cluster, NODE_CLAIMS) == claims
    assert now["metadata"].get("labels") == before["metadata"].get("labels")
    assert ours(now) == []


@pytest.fixture(scope="module")
def offboarded(system: System, cluster: Cluster, adopted: set[str]) -> dict[str, Any]:
    """What runs there, just before its tag says `offboard`: on nodes that still carry our labels."""
    eventually(system.is_quiet, "the queues are not empty")
    seen = {"pods": names(cluster, PODS), "claims": names(cluster, NODE_CLAIMS), "drifted": set[str]()}
    nonempty(cluster.kube.list(NODES, labelSelector=f"{POOL_LABEL}=taken"))
    follow(system, "offboard")
    eventually(
        lambda: not (seen["drifted"].update(drifting(cluster)) or entries(system) or left(system)),
        lambda: (system.record(NAME), system.record(NAME, "tuning")),
        within_seconds=240,
    )
    watch_for_drift(cluster, seen["drifted"])
    return seen


def test_offboarded_what_a_team_made_is_as_it_was_and_ran_on(cluster, before, offboarded):
    now = cluster.kube.get(THEIRS)

    assert offboarded["drifted"] == set()
    assert names(cluster, PODS) == offboarded["pods"] and running(cluster.kube, "vision") == 4
    assert names(cluster, NODE_CLAIMS) == offboarded["claims"]
    assert (now["spec"], marks(now)) == (before["spec"], marks(before))
    for item in nonempty([*cluster.kube.list(NODES), *cluster.kube.list(NODE_CLAIMS)]):
        assert ours(item) == [], item["metadata"]["name"]
        assert not {POOL_LABEL, KEY} & item["metadata"]["labels"].keys(), item["metadata"]["name"]


def test_offboarded_nothing_of_ours_is_left_but_the_operator_that_others_gpus_rest_on(
    system, cluster, offboarded
):
    of_us = {"labelSelector": "app.kubernetes.io/managed-by=slicewise"}
    kinds = [*KINDS, "/apis/apps/v1/daemonsets"]

    assert [item["metadata"]["name"] for kind in kinds for item in cluster.kube.list(kind, **of_us)] == []
    assert cluster.kube.list(OPERATOR_SECRETS, labelSelector="owner=helm") != []
    assert cluster.kube.find("/api/v1/namespaces/gpu-operator/configmaps/slicewise-device-plugin")
    alarms = system.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"slicewise/{NAME}/")
    assert alarms["MetricAlarms"] == []


def test_a_sweep_finds_an_offboarded_cluster_and_leaves_no_trace_of_it(system, offboarded):
    system.sweep()
    eventually(system.is_quiet, "the queues are not empty")

    assert left(system) == [] and entries(system) == []


def test_the_tuner_needed_no_right_that_it_did_not_have(cluster, adopted):
    asked = nonempty(requests_of(cluster, TUNER))

    assert [one for one in asked if one.code == 403 and one.name != REFUSED_BY_ITS_OWNERS] == []


def entries(system: System) -> list[str]:
    return list(system.aws.client("eks").list_access_entries(clusterName=NAME)["accessEntries"])


def left(system: System) -> list[str]:
    """Capabilities with a record of the cluster."""
    return [one for one in ("onboarding", "tuning", "off-hours") if system.record(NAME, one)]


def marks(item: dict[str, Any]) -> tuple[Any, Any]:
    return item["metadata"].get("labels"), item["metadata"].get("annotations")


def follow(system: System, policy: str) -> None:
    """What the cluster's owner tags is onboarded anew, and then tuned."""
    system.aws.client("eks").tag_resource(resourceArn=system.arn(NAME), tags={POLICY_TAG: policy})


def required(cluster: Cluster) -> dict[str, list[str]]:
    requirements = cluster.kube.get(THEIRS)["spec"]["template"]["spec"]["requirements"]
    return {one["key"]: one["values"] for one in requirements}


def names(cluster: Cluster, kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in cluster.kube.list(kind)}


def drifting(cluster: Cluster) -> set[str]:
    claims = cluster.kube.list(NODE_CLAIMS)
    return {claim["metadata"]["name"] for claim in claims if condition(claim, "Drifted") == "True"}


def watch_for_drift(cluster: Cluster, drifted: set[str]) -> None:
    """Karpenter looks at NodeClaims again within seconds after a NodePool changed."""
    end = time.monotonic() + LOOKS_AFTER_SECONDS
    while time.monotonic() < end:
        drifted.update(drifting(cluster))
        time.sleep(0.3)


def ours(pool: dict[str, Any]) -> list[str]:
    return [name for name in pool["metadata"].get("annotations", {}) if name.startswith("slicewise.dev/")]
