"""Somebody's GPU Operator, under a name and in a namespace of its own, from being found to being joined."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.kube.labels import POLICY_TAG
from slicewise.model.cluster import OFFBOARD, Release
from slicewise.onboarding.helm.operator_values import theirs
from slicewise.planning.outcome import Stage
from slicewise.pools import layout
from slicewise.trigger import Trigger

from tests.fakes.account import Account
from tests.fakes.aws.refusals import as_kept
from tests.fakes.calls import REFUSALS, strike
from tests.support.onboarding_runs import FUTURES, GPU_1, stage
from tests.support.operators import CLUSTER_POLICY, KEYS, OURS, PLACE, TEAM, THEIRS, install, occupied


def joined(account: Account | None = None) -> Account:
    account = account or occupied()
    account.send_created()
    account.run_until_idle()
    return account


def newest(account: Account) -> Release:
    return account.releases["gpu-1"].revisions[PLACE][-1]


def reconcile(account: Account) -> None:
    account.send(Trigger(GPU_1, "a test", forced=True))
    account.run_until_idle()


def test_it_is_joined_where_it_is_and_keeps_all_that_is_its_owners():
    account = joined()

    assert stage(account) is Stage.ONBOARDED
    assert list(account.releases["gpu-1"].revisions) == [PLACE], "no second one"
    spec = account.servers["gpu-1"].objects[CLUSTER_POLICY]["spec"]
    assert spec["driver"] == TEAM["driver"] and spec["mig"] == TEAM["mig"]
    assert spec["daemonsets"]["tolerations"][0] == TEAM["daemonsets"]["tolerations"][0]
    assert spec["devicePlugin"]["config"] == {"name": OURS.name, "default": "any"}
    for ref in (OURS, layout.CONFIG_MAP):
        data = account.servers["gpu-1"].objects[ref]["data"]
        assert data == layout.device_plugin_configs() | KEYS
    assert account.servers["gpu-1"].objects[THEIRS]["data"] == KEYS
    assert theirs(newest(account)).values == TEAM


def test_the_api_server_looks_at_it_before_anything_of_it_is_written():
    made = joined().calls.made

    assert made.index("helm.try_upgrade nvidia/gpus") < made.index("helm.upgrade nvidia/gpus: begin")


def test_afterwards_a_reconcile_needs_no_admin_and_changes_nothing():
    account = joined()
    before, called = account.state(), len(account.calls.made)

    reconcile(account)

    assert account.state() == before
    assert not [one for one in account.calls.made[called:] if "grant_admin" in one or ".apply" in one]
    assert "helm.revisions nvidia/gpus" in account.calls.made[called:]


@pytest.mark.parametrize("kind", ["killed", "answer lost", *REFUSALS])
def test_struck_once_at_any_call_the_next_reconciles_reach_the_same_end(kind):
    account = occupied()
    account.send_created()
    way = [deepcopy(account)]
    while account.answer_one():
        way.append(deepcopy(account))
    end = way[-1].state()

    for number, call in enumerate(way[-1].calls.made):
        struck = deepcopy([one for one in way if len(one.calls.made) <= number][-1])
        strike(kind, number)(struck.calls)
        struck = FUTURES.end(struck)

        assert struck.state() == end, f"{kind} at call {number}, {call}"
        assert theirs(newest(struck)).values == TEAM, f"{kind} at call {number}, {call}"
        assert not struck.queues.dead, f"{kind} at call {number}, {call}"


def test_an_edit_of_the_owners_configurations_is_carried_over_by_the_next_reconcile():
    account = joined()
    server = account.servers["gpu-1"]
    server.create({**server.objects[THEIRS], "data": KEYS | {"few": "version: v1\n# 3\n"}})

    reconcile(account)

    assert server.objects[OURS]["data"]["few"] == "version: v1\n# 3\n"
    assert server.objects[layout.CONFIG_MAP]["data"]["few"] == "version: v1\n# 3\n"


def test_the_driver_that_the_owner_upgrades_is_the_owners():
    account = joined()
    values = deepcopy(dict(newest(account).values))
    values["driver"]["version"] = "580.1"
    install(account, values)

    reconcile(account)

    assert newest(account).values["driver"]["version"] == "580.1"
    assert theirs(newest(account)).values == TEAM | {"driver": {"enabled": True, "version": "580.1"}}


def test_whoever_overwrites_us_is_joined_once_more_and_then_reported():
    account = joined()
    install(account, TEAM)
    reconcile(account)
    assert newest(account).values["devicePlugin"]["config"]["name"] == OURS.name

    install(account, TEAM)
    reconcile(account)

    assert newest(account).values == TEAM, "nobody is fought"
    [finding] = [one for one in account.record().findings if one.code == "gpu-operator-kept"]
    assert "slicewise-device-plugin" in finding.remedy


def test_a_users_helm_at_work_is_not_rolled_back_until_it_must_be_dead():
    account = joined()
    in_progress_stage = replace(
        newest(account), revision=9, status="pending-upgrade", changed_at=account.clock.now
    )
    account.releases["gpu-1"].revisions[PLACE].append(in_progress_stage)
    called = len(account.calls.made)

    account.send(Trigger(GPU_1, "a test", forced=True))
    account.run_until(account.clock.now + timedelta(minutes=14))
    assert not [one for one in account.calls.made[called:] if "rollback" in one or "uninstall" in one]
    assert "helm-at-work" in [one.code for one in account.record().findings]

    account.run_until_idle()
    assert "helm.rollback nvidia/gpus" in account.calls.made[called:]
    assert newest(account).status == "deployed" and stage(account) is Stage.ONBOARDED


FLUX = {"labels": {"helm.toolkit.fluxcd.io/name": "gpus", "helm.toolkit.fluxcd.io/namespace": "flux-system"}}
TRACKED = "gpus:nvidia.com/ClusterPolicy:nvidia/cluster-policy"
ARGO = {"annotations": {"argocd.argoproj.io/tracking-id": TRACKED}}


@pytest.mark.parametrize(
    ("marks", "by_helm", "whose"),
    [
        pytest.param(FLUX, True, "Flux manages GPU Operator (nvidia/gpus)", id="Flux"),
        pytest.param(ARGO, False, "Argo CD manages GPU Operator (nvidia/gpus)", id="Argo CD"),
        pytest.param({}, False, "A tool that renders the chart manages", id="helm template"),
    ],
)
def test_what_a_tool_keeps_is_waited_for_and_never_written(marks, by_helm, whose):
    account = joined(occupied(marks=marks, by_helm=by_helm))

    [finding] = [one for one in account.record().findings if one.code == "gpu-operator-kept"]
    assert finding.message.startswith(whose)
    assert stage(account) is Stage.VERIFYING
    assert not [one for one in account.calls.made if one.startswith(("helm.upgrade", "helm.chart_crds"))]
    assert account.servers["gpu-1"].objects[OURS]["data"] == layout.device_plugin_configs() | KEYS

    tolerations = [*TEAM["daemonsets"]["tolerations"], *layout.TOLERATIONS]
    config = {"name": OURS.name, "default": "any"}
    said = TEAM | {"daemonsets": {"tolerations": tolerations}, "devicePlugin": {"config": config}}
    said |= {"node-feature-discovery": {"worker": {"tolerations": [{"operator": "Exists"}]}}}
    install(account, said, marks, by_helm)
    reconcile(account)

    assert stage(account) is Stage.ONBOARDED
    assert not [one for one in account.calls.made if one.startswith(("helm.upgrade", "helm.chart_crds"))]


def test_a_contradiction_leaves_everything_as_it_is():
    account = occupied()
    install(account, {"devicePlugin": {"enabled": False}})
    before = account.state()["objects"]

    joined(account)

    assert stage(account) is Stage.BLOCKED
    assert account.state()["objects"] == before


def test_offboarded_it_is_what_it_was():
    account = occupied()
    server = account.servers["gpu-1"]
    policy_before = as_kept(server.objects[CLUSTER_POLICY]["spec"])
    map_before = as_kept(server.objects[THEIRS])
    joined(account)
    assert server.objects[CLUSTER_POLICY]["spec"] != policy_before

    cluster = account.eks.clusters["gpu-1"]
    account.eks.clusters["gpu-1"] = replace(cluster, tags={POLICY_TAG: OFFBOARD})
    reconcile(account)

    assert newest(account).values == TEAM
    # The fake's server merges what is created over what is there; helm's own manifests are in tests/sandbox.
    assert server.objects[CLUSTER_POLICY]["spec"]["devicePlugin"] == policy_before["devicePlugin"]
    assert server.objects[CLUSTER_POLICY]["spec"]["daemonsets"] == policy_before["daemonsets"]
    assert server.objects[THEIRS]["data"] == map_before["data"]
    assert OURS not in server.objects and layout.CONFIG_MAP not in server.objects
    assert not account.eks.entries and account.record() is None
