"""
Onboarding from the event to "nothing to change", with sweeps, pauses and modes.

Fakes stand for AWS, the cluster and helm; all else is the product: batch, loop, plan. The clock moves only
when a message waits, so each run tells how long it would have taken.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.app import OFF_HOURS, ONBOARDING, TUNING
from slicewise.errors import Unauthorized, Unavailable
from slicewise.model.cluster import CLUSTER_ADMIN_POLICY
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, POLICY, TUNER, Account
from tests.fakes.clock import START
from tests.fakes.kube.helm import FakeHelm
from tests.fakes.kube.kubernetes import FakeKubernetes
from tests.support.onboarding_runs import GPU_1, INSTALLS_KARPENTER, POOL, entry, onboarded, stage

# The way through


def test_an_event_is_enough_to_onboard_a_cluster():
    account = onboarded()

    assert stage(account) is Stage.ONBOARDED
    assert POOL in account.servers["gpu-1"].objects
    assert account.releases["gpu-1"].revisions["gpu-operator", "gpu-operator"][-1].status == "deployed"
    assert not account.lost
    assert account.clock.now - START < timedelta(minutes=2)


def test_cluster_admin_is_held_only_while_installing():
    account = onboarded()

    assert any("grant_admin" in call for call in account.calls.made)
    assert entry(account).policies == ()
    assert entry(account).groups == ("slicewise:installer",)
    assert entry(account, TUNER).groups == ("slicewise:tuner",)


def test_the_history_reports_what_was_done_and_why():
    reported = [line for record in onboarded().store.history for line in record.changed]

    assert any(line.startswith("install gpu-operator v26.7.0 in gpu-operator: ") for line in reported)
    assert reported.index("apply NodePool slicewise-shared-l4: its new nodes start with N slices a GPU")


def test_an_onboarded_cluster_is_proven_once():
    account = onboarded()

    assert account.record(capability="tuning").stage is Stage.ONBOARDED
    assert account.calls.made.count("queues.send tuning") == 1


def test_a_second_reconcile_changes_nothing_and_says_so():
    account = onboarded()
    before, lines = account.state(), len(account.store.history)

    account.send_created()
    account.run_until_idle()

    assert account.state() == before
    assert account.record().reason == "nothing to change: the cluster is as its policy says"
    account.send_created()
    account.run_until_idle()
    assert len(account.store.history) <= lines + 1


def test_a_second_reconcile_needs_no_admin_and_no_write():
    account = onboarded()
    done = len(account.calls.made)

    account.send_created()
    account.run_until_idle()

    writes = ("apply", "delete", "upgrade", "put_", "grant", "revoke")
    assert not [call for call in account.calls.made[done:] if any(word in call for word in writes)]


def test_karpenter_is_installed_where_the_policy_says_so():
    account = onboarded(INSTALLS_KARPENTER, karpenter=False)

    assert stage(account) is Stage.ONBOARDED
    releases = account.releases["gpu-1"].revisions
    assert {name for name, _ in releases} == {"karpenter-crd", "karpenter", "gpu-operator"}
    assert account.eks.addons_there == {("gpu-1", "eks-pod-identity-agent")}
    assert list(account.eks.pod_identities) == [("gpu-1", "kube-system", "karpenter")]


def test_a_tag_allows_the_one_way_switch_of_the_authentication_mode():
    tags = {"slicewise.dev/policy": "default", "slicewise.dev/allow-access-entries": "true"}
    account = onboarded(authentication_mode="CONFIG_MAP", tags=tags)

    assert stage(account) is Stage.ONBOARDED
    assert account.eks.clusters["gpu-1"].authentication_mode == "API_AND_CONFIG_MAP"


def test_a_cluster_that_becomes_active_later_is_waited_for():
    account = Account()
    cluster = account.create_cluster(status="CREATING")
    account.send_created()
    for _ in range(13):
        account._answer(*account.queues.receive(timedelta(minutes=16)))
    assert stage(account) is Stage.WAITING

    account.eks.clusters["gpu-1"] = replace(cluster, status="ACTIVE")
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    assert account.clock.now - START > timedelta(minutes=10)


def test_a_cluster_that_never_becomes_active_is_abandoned_in_the_open():
    account = onboarded(status="CREATING")

    assert stage(account) is Stage.FAILED
    assert "CREATING" in account.record().reason
    assert timedelta(minutes=45) < account.clock.now - START < timedelta(minutes=50)


def test_a_private_endpoint_that_nobody_reaches_is_refused_with_the_remedy():
    account = Account()
    account.create_cluster(public_endpoint=False)

    def out_of_reach(*_):
        raise Unavailable("endpoint out of reach (ConnectTimeoutError)")

    app = account._apps["onboarding"]
    app.ports = replace(app.ports, kubernetes=out_of_reach)
    account.send_created()
    account.run_until_idle()

    assert stage(account) is Stage.BLOCKED
    assert any("VPC" in finding.remedy for finding in account.record().findings)
    assert CLUSTER_ADMIN_POLICY not in (entry(account).policies if entry(account) else ())


# Sweep, pause, modes


def test_a_lost_event_is_repaired_by_the_sweep():
    account = Account()
    account.create_cluster()

    account.sweep()
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED


def test_the_sweep_forgets_a_cluster_whose_deletion_nobody_told():
    account = onboarded()
    del account.eks.clusters["gpu-1"]

    account.sweep()
    account.run_until_idle()

    assert account.store.records() == ()


def test_a_cluster_without_a_policy_is_left_unchanged():
    account = onboarded(tags={})

    assert stage(account) is Stage.UNMANAGED
    assert not account.eks.entries


def test_nothing_reaches_into_a_cluster_that_no_policy_asks_for():
    """Whoever is woken for it, by whatever, asks EKS what it is, and no more."""
    account = Account()
    account.create_cluster(tags={})
    before = account.state()
    account.calls.made.clear()

    account.send_created()
    for capability in (ONBOARDING, TUNING, OFF_HOURS):
        account.send(Trigger(HOME.arn("gpu-1"), "a test"), capability)
    account.run_until_idle()
    account.sweep()
    account.watch_openings()
    account.run_until_idle()

    reached = {what.partition(" ")[0] for what in account.calls.made}
    ours = {one for one in reached if one.partition(".")[0] in ("store", "queues", "sleep", "schedules")}
    assert reached - ours <= {"eks.describe", "eks.access_entry", "eks.cluster_names", "alarms.named"}
    assert "eks.describe" in reached
    assert {**account.state(), "stages": {}} == {**before, "stages": {}}


def test_the_default_policy_serves_untagged_clusters_and_a_tag_opts_out():
    account = Account(default_policy="default")
    account.create_cluster("plain", tags={})
    account.create_cluster("out", tags={"slicewise.dev/policy": "none"})
    account.sweep()
    account.run_until_idle()

    assert stage(account, "plain") is Stage.ONBOARDED
    assert stage(account, "out") is Stage.UNMANAGED


def test_a_tag_that_names_no_policy_says_what_to_do():
    account = Account()
    account.create_cluster(tags={"slicewise.dev/policy": "gpus"})
    account.send_created()
    # Not until nothing is left to do: whether it was repaired is asked each few minutes.
    account.run_until(account.clock.now + timedelta(minutes=2))

    assert stage(account) is Stage.FAILED
    [finding] = account.record().findings
    assert "gpus" in finding.message
    assert "correct the tag" in finding.remedy


@pytest.mark.parametrize("paused", ["gpu-1", None], ids=["the cluster", "the fleet"])
def test_nothing_is_touched_while_paused_and_all_goes_on_after(paused):
    account = Account()
    account.create_cluster()
    account.store.pause(HOME.arn(paused) if paused else None, "audit")
    account.send_created()
    account.run_until_idle()
    assert (stage(account), account.eks.entries) == (Stage.PAUSED, {})

    account.store.resume(HOME.arn(paused) if paused else None)
    account.sweep()
    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED


def test_a_pause_in_the_middle_of_an_installation_takes_the_admin_rights_back():
    account = Account()
    account.create_cluster()
    account.send_created()
    account._answer(*account.queues.receive(timedelta(minutes=16)))
    assert entry(account).policies == (CLUSTER_ADMIN_POLICY,)

    account.store.pause(None, "audit")
    account.run_until_idle()

    assert entry(account).policies == ()


@pytest.mark.parametrize("mode", ["observe", "recommend"])
def test_a_policy_that_does_not_act_is_only_reported(mode):
    account = onboarded(POLICY + f"mode: {mode}\n")

    assert not account.eks.entries
    assert POOL not in account.servers["gpu-1"].objects
    assert all(line.startswith("would ") for line in account.record().changed)
    assert account.record().changed
    assert not account.queues.waiting


def test_a_refused_cluster_keeps_nothing_of_ours():
    account = Account()
    account.create_cluster()
    account.gate = False
    account.send_created()
    account.run_until_idle()

    assert stage(account) is Stage.BLOCKED
    assert not account.eks.entries
    assert not [ref for ref in account.servers["gpu-1"].objects if ref.kind.startswith("Node")]


def test_a_refused_cluster_is_read_again_by_hand_and_not_by_each_sweep():
    account = Account()
    account.create_cluster()
    account.gate = False
    account.send_created()
    account.run_until_idle()
    account.gate = True
    asked = len(account.calls.made)

    account.sweep()
    account.run_until_idle()
    assert stage(account) is Stage.BLOCKED
    assert not [call for call in account.calls.made[asked:] if call.startswith(("kubernetes.l", "eks.grant"))]

    account.send(Trigger(GPU_1, "by hand", forced=True))
    account.run_until_idle()
    assert stage(account) is Stage.ONBOARDED


def test_a_changed_policy_converges_at_the_next_sweep():
    account = onboarded()
    account.policies["default"] = POLICY.replace("maxGpus: 16", "maxGpus: 8")

    account.sweep()
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    limits = account.servers["gpu-1"].objects[POOL]["spec"]["limits"]
    assert limits["nvidia.com/gpu"] == str(8 * 4)
    assert entry(account).policies == ()


def test_a_reconcile_that_lost_its_lease_stops_before_its_next_action():
    account = Account()
    account.create_cluster()
    put = account.eks.put_access_entry

    def slow(*arguments):
        put(*arguments)
        account.clock.pass_by(timedelta(minutes=20))
        account.store.acquire(GPU_1, "another function", account.clock.now, timedelta(minutes=5))

    account.eks.put_access_entry = slow
    account.send_created()
    account._answer(*account.queues.receive(timedelta(minutes=16)))

    assert not [call for call in account.calls.made if call.startswith("eks.grant_admin")]
    assert account.record() is None
    assert len(account.queues.waiting) == 1
    assert not account.lost


def test_admin_is_returned_where_every_reconcile_fails_at_the_same_call(monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise Unavailable("helm upgrade gpu-operator: an admission webhook denied the request")

    monkeypatch.setattr(FakeHelm, "upgrade", refused)
    account = onboarded()
    assert entry(account).is_admin  # the message is a dead letter by now

    account.clock.now += timedelta(hours=1)
    account.sweep()
    account.run_until_idle()

    assert not entry(account).is_admin
    assert stage(account) is Stage.FAILED
    assert account.record().reason.startswith("after 30 minutes there is still to do")


def test_a_private_endpoint_out_of_reach_is_refused_before_anything_is_touched(monkeypatch):
    def silent(*_: object, **__: object) -> None:
        raise Unavailable("endpoint out of reach")

    for call in ("version", "get", "list"):
        monkeypatch.setattr(FakeKubernetes, call, silent)

    account = onboarded(public_endpoint=False)

    assert stage(account) is Stage.BLOCKED
    assert [finding.code for finding in account.record().findings] == ["endpoint-out-of-reach"]
    assert account.eks.entries == {}
    assert not [call for call in account.calls.made if "access_entry" in call and "put" in call]


def test_one_401_in_the_life_of_an_entry_neither_ends_it_nor_makes_us_admin(monkeypatch):
    account = onboarded()
    account.clock.now += timedelta(days=30)
    done = len(account.calls.made)
    knows = FakeKubernetes._known
    times = iter([True])

    def _known(self):
        if next(times, False):
            raise Unauthorized("401: the authenticator is busy")
        return knows(self)

    monkeypatch.setattr(FakeKubernetes, "_known", _known)
    account.sweep()
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    assert not [call for call in account.calls.made[done:] if "grant" in call or "delete" in call]


def test_a_thousand_broken_nodes_fit_into_a_record():
    account = onboarded()
    key = {"nvidia.com/device-plugin.config": "nonsense", "slicewise.dev/pool": "shared"}
    for number in range(1000):
        metadata = {"name": f"ip-10-0-0-{number}.eu-west-1.compute.internal", "labels": key}
        account.servers["gpu-1"].create({"apiVersion": "v1", "kind": "Node", "metadata": metadata})

    account.sweep()
    account.run_until_idle()

    findings = account.record(capability="tuning").findings
    assert len(findings) == 101
    assert findings[-1].message == "900 more are not saved."
    assert len(str(findings)) < 200_000  # of DynamoDB's 400 KB for an item


def test_a_cluster_that_eks_already_rules_out_is_not_even_knocked_at():
    account = onboarded(auto_mode=True)

    assert stage(account) is Stage.BLOCKED
    assert not [call for call in account.calls.made if call.startswith("kubernetes.")]
