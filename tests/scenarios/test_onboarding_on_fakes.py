"""
Onboarding from the event to "nothing to change", and what strikes it on the way.

Fakes stand for AWS, the cluster and helm; all else is the product: batch, loop, plan. The clock moves only
when a message waits, so each run tells how long it would have taken.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta

import pytest
from slicewise.errors import Conflict, Refused, Unauthorized, Unavailable
from slicewise.events import Hint
from slicewise.model import CLUSTER_ADMIN_POLICY, Ref, Release
from slicewise.outcomes import Stage

from tests.fakes.account import HOME, INSTALLER, POLICY, TUNER, Account, created_event
from tests.fakes.calls import REFUSALS, Calls, strike
from tests.fakes.clock import START
from tests.fakes.helm import FakeHelm
from tests.fakes.kubernetes import FakeKubernetes

POOL = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
GPU_1 = HOME.arn("gpu-1")
MARK = {"slicewise": {"adopted": False}}
INSTALLS_KARPENTER = POLICY + "karpenter: {install: true}\n"


def onboarded(policy: str = POLICY, strike: Callable[[Calls], object] | None = None, **cluster) -> Account:
    """An account in which one cluster's event was answered until nothing was left to answer."""
    account = created(policy, **cluster)
    if strike:
        strike(account.calls)
    account.run_until_idle()
    return account


def created(policy: str = POLICY, **cluster) -> Account:
    account = Account(policy)
    account.create_cluster(**cluster)
    account.send_created()
    return account


def smooth_way(policy: str = POLICY, **cluster) -> list[Account]:
    """The account before each message that is answered, and at the end."""
    account = created(policy, **cluster)
    found = [deepcopy(account)]
    while account.answer_one():
        found.append(deepcopy(account))
    return found


def struck_at(number: int, kind: str, way: list[Account]) -> Account:
    """Goes the way from the message of which this call is part, since up to there nothing differs."""
    account = deepcopy([account for account in way if len(account.calls.made) <= number][-1])
    strike(kind, number)(account.calls)
    account.run_until_idle()
    return account


def stage(account: Account, name: str = "gpu-1") -> Stage | None:
    record = account.record(name)
    return record.stage if record else None


def entry(account: Account, principal: str = INSTALLER):
    return account.eks.entries.get(("gpu-1", principal))


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


def test_the_history_tells_what_was_done_and_why():
    told = [line for record in onboarded().store.history for line in record.changed]

    assert any(line.startswith("install gpu-operator v26.7.0 in gpu-operator: ") for line in told)
    assert told.index("apply NodePool slicewise-shared-l4: its nodes are born with N slices a GPU")


def test_an_onboarded_cluster_is_proven_once():
    account = onboarded()

    assert account.record(capability="tuning").stage is Stage.ONBOARDED
    assert account.calls.made.count("queues.send tuning") == 1


def test_a_second_look_changes_nothing_and_says_so():
    account = onboarded()
    before, lines = account.state(), len(account.store.history)

    account.send_created()
    account.run_until_idle()

    assert account.state() == before
    assert account.record().reason == "nothing to change: the cluster is as its policy says"
    account.send_created()
    account.run_until_idle()
    assert len(account.store.history) <= lines + 1


def test_a_second_look_needs_no_admin_and_no_write():
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


def test_a_cluster_that_never_becomes_active_is_given_up_in_the_open():
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

    assert stage(account) is Stage.REFUSED
    assert any("VPC" in finding.remedy for finding in account.record().findings)
    assert CLUSTER_ADMIN_POLICY not in (entry(account).policies if entry(account) else ())


# Killed, refused, unanswered: at every single call


@pytest.mark.parametrize("kind", ["killed", "answer lost", *REFUSALS])
def test_struck_once_at_any_call_the_next_passes_reach_the_same_end(kind):
    """Killed after the call before is killed before this one, so "after" covers every place there is."""
    way = smooth_way()
    end = way[-1].state()

    for number, call in enumerate(way[-1].calls.made):
        struck = struck_at(number, kind, way)

        assert struck.state() == end, f"{kind} at call {number}, {call}"
        assert not struck.queues.dead, f"{kind} at call {number}, {call}"


@pytest.mark.parametrize(
    ("policy", "cluster"),
    [
        pytest.param(INSTALLS_KARPENTER, {"karpenter": False}, id="installing Karpenter, too"),
        pytest.param(
            POLICY,
            {
                "authentication_mode": "CONFIG_MAP",
                "tags": {
                    "slicewise.dev/policy": "default",
                    "slicewise.dev/allow-access-entries": "true",
                },
            },
            id="switching the authentication mode",
        ),
    ],
)
def test_killed_after_any_call_of_a_longer_way_the_end_is_the_same(policy, cluster):
    way = smooth_way(policy, **cluster)
    end = way[-1].state()

    for number, call in enumerate(way[-1].calls.made):
        assert struck_at(number, "killed", way).state() == end, call


def test_a_release_that_a_killed_helm_left_pending_is_mended():
    begin = onboarded().calls.made.index("helm.upgrade gpu-operator/gpu-operator: begin")

    struck = onboarded(strike=strike("killed", begin))

    assert "helm.uninstall gpu-operator/gpu-operator" in struck.calls.made
    assert stage(struck) is Stage.ONBOARDED


def test_an_uninstallation_that_was_killed_is_ended_before_the_next_installation():
    """helm refuses to upgrade what is `uninstalling` for ever: it has no deployed release to start from."""
    undisturbed = onboarded()
    account = Account()
    account.create_cluster()
    begun = Release("gpu-operator", "gpu-operator", 1, "uninstalling", "gpu-operator", "v26.7.0", MARK)
    account.releases["gpu-1"].revisions["gpu-operator", "gpu-operator"] = [begun]
    account.send_created()
    account.run_until_idle()

    assert "helm.uninstall gpu-operator/gpu-operator" in account.calls.made
    assert stage(account) is Stage.ONBOARDED
    assert account.state()["releases"] == undisturbed.state()["releases"]


def test_a_killed_pass_holds_the_cluster_no_longer_than_its_lease():
    undisturbed = onboarded()
    begin = undisturbed.calls.made.index("helm.upgrade gpu-operator/gpu-operator: begin")
    account = Account()
    account.create_cluster()
    account.send_created()
    account.calls.kill_after = begin
    while not account.lost:
        account.reconcile()
        account._answer(*account.queues.receive(timedelta(minutes=16)))
    killed_at = account.clock.now

    account.send_created()
    while stage(account) is not Stage.ONBOARDED:
        account.reconcile()
        account._answer(*account.queues.receive(timedelta(minutes=16)))

    assert account.clock.now - killed_at < timedelta(minutes=9)


def _come_in_the_middle(account: Account, *hints: Hint) -> None:
    """While a pass looks, these are received by other processes."""
    describe = account.eks.describe

    def looking(name: str):
        account.eks.describe = describe
        for hint in hints:
            account.send(hint)
            account._answer(*account.queues.receive(timedelta(minutes=16)))
        return describe(name)

    account.eks.describe = looking


def test_of_the_hints_that_come_while_a_pass_is_at_work_one_waits_for_its_end():
    account = created(status="CREATING")
    _come_in_the_middle(account, *(Hint(GPU_1, f"number {n}") for n in range(20)))

    account.answer_one()

    waiting = [json.loads(message.body) for message in account.queues.waiting]
    assert [body["reason"] for body in waiting if body.get("waits")] == ["number 0"]
    assert len(waiting) == 2  # and the look at a cluster that is being made
    account.answer_one()
    assert not account.lost and len(account.queues.waiting) == 1


def test_what_a_person_insists_on_is_not_dropped_for_another_that_waits():
    account = created(status="CREATING")
    _come_in_the_middle(account, Hint(GPU_1, "a sweep"), Hint(GPU_1, "by hand", forced=True))

    account.answer_one()

    waiting = [json.loads(message.body) for message in account.queues.waiting]
    assert {"a sweep", "by hand"} <= {body["reason"] for body in waiting if body.get("waits")}


def test_what_waits_goes_on_waiting_while_one_pass_follows_another():
    account = Account()
    cluster = account.create_cluster()
    account.send(Hint(cluster.arn, "waits", waits=True))
    for number in range(5):
        lease = account.store.acquire(cluster.arn, f"pass {number}", account.clock.now, timedelta(minutes=1))
        account._answer(*account.queues.receive(timedelta(minutes=16)))
        account.store.release(lease)

    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED


def test_hints_that_wait_do_not_all_come_back_at_once():
    account = Account()
    cluster = account.create_cluster()
    account.store.acquire(cluster.arn, "another pass", account.clock.now, timedelta(seconds=60))
    for _ in range(20):
        account.send(Hint(cluster.arn, "waits", waits=True))
    for _ in range(20):
        account._answer(*account.queues.receive(timedelta(minutes=16)))

    waits = [message.due - account.clock.now for message in account.queues.waiting]
    assert len(waits) == 20 and len(set(waits)) > 10
    assert timedelta(seconds=5) <= min(waits) and max(waits) <= timedelta(seconds=20)


def test_what_stays_refused_ends_on_the_dead_letter_queue_and_in_the_record():
    account = Account()
    account.create_cluster()
    account.eks.grant_admin = _always(Refused("eks:AssociateAccessPolicy: AccessDenied"))
    account.send_created()
    account.run_until_idle()

    assert len(account.queues.dead) == 1
    assert stage(account) is Stage.FAILED
    assert "eks:AssociateAccessPolicy" in account.record().reason


def test_what_never_stops_changing_is_given_to_the_alarm_in_the_end():
    account = Account()
    account.create_cluster()
    account.eks.grant_admin = _always(Conflict("another writer"))
    account.send_created()
    account.run_until_idle()

    assert len(account.queues.dead) == 1
    assert account.clock.now - START < timedelta(hours=1)


def _always(error: Exception):
    def call(*_args):
        raise error

    return call


# Events that must come to nothing


def test_a_hundred_duplicates_of_an_event_change_nothing_more():
    once = onboarded()

    account = Account()
    account.create_cluster()
    for _ in range(100):
        account.send_created()
    account.run_until_idle(limit=1000)

    assert account.state() == once.state()
    assert not account.lost


def test_a_hundred_duplicates_do_not_queue_a_hundred_looks_each_minute():
    account = Account()
    account.create_cluster(status="CREATING")
    for _ in range(100):
        account.send_created()

    for _ in range(100):
        account._answer(*account.queues.receive(timedelta(minutes=16)))

    assert len(account.queues.waiting) == 1


def _with_a_look_to_come() -> Account:
    """Of a cluster that is still being created."""
    account = created(status="CREATING")
    account.answer_one()
    return account


def test_looks_that_come_early_by_our_clock_are_followed_by_the_next_all_the_same():
    """Clocks differ between machines; a look that waited for itself would be the last."""
    account = _with_a_look_to_come()

    for _ in range(3):
        [look] = account.queues.waiting
        look.due = account.clock.now
        account.answer_one()

    assert len(account.queues.waiting) == 1


def test_a_look_that_is_delivered_twice_queues_one():
    account = _with_a_look_to_come()
    [look] = account.queues.waiting
    account.queues.put("onboarding", look.body, timedelta(seconds=61))

    account.answer_one()
    account.answer_one()

    assert len(account.queues.waiting) == 1


def test_an_event_that_arrives_while_a_pass_runs_is_looked_at_later():
    account = Account()
    account.create_cluster()
    account.store.acquire(GPU_1, "another function", account.clock.now, timedelta(minutes=2))
    account.send_created()
    account.run_until_idle()

    assert stage(account) is Stage.ONBOARDED
    assert not account.lost
    assert account.clock.now - START >= timedelta(minutes=2)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("{", id="malformed JSON"),
        pytest.param(json.dumps({"hello": "world"}), id="an unknown shape"),
    ],
)
def test_a_malformed_message_is_dropped_with_one_loud_line(body):
    account = Account()
    account.queues.put("onboarding", body)
    account.run_until_idle()

    assert [str(error)[:27] for error in account.lost] == ["dropped a malformed message"]
    assert not account.queues.dead
    assert account.calls.made == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({"detail-type": "Something Else", "detail": {}}), id="unknown detail-type"),
        pytest.param(
            json.dumps(
                json.loads(created_event("gpu-1"))
                | {
                    "detail": json.loads(created_event("gpu-1"))["detail"]
                    | {"errorCode": "ResourceLimitExceeded"}
                }
            ),
            id="a failed CreateCluster",
        ),
        pytest.param(
            json.dumps({"slicewise": 1, "cluster": GPU_1.replace("eu-west-1", "us-east-1")}),
            id="another Region's ARN",
        ),
    ],
)
def test_what_is_not_for_us_makes_no_call(body):
    account = Account()
    account.create_cluster()
    account.queues.put("onboarding", body)
    account.run_until_idle()

    assert account.calls.made == []
    assert not account.lost


def test_a_cluster_that_is_deleted_already_leaves_nothing_behind():
    account = Account()
    account.send_created()
    account.run_until_idle()

    assert account.record() is None
    assert account.store.history == []
    assert not account.lost


def test_a_proof_that_comes_after_the_deletion_leaves_nothing_behind():
    account = Account()
    account.send(Hint(GPU_1, "the hourly sweep"), "tuning")
    account.run_until_idle()

    assert account.store.records() == ()


def test_a_deleted_cluster_is_forgotten():
    account = onboarded()
    del account.eks.clusters["gpu-1"]
    account.send(Hint(GPU_1, "DeleteCluster seen by CloudTrail"))
    account.run_until_idle()

    assert account.store.records() == ()


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


def test_a_cluster_without_a_policy_is_left_alone():
    account = onboarded(tags={})

    assert stage(account) is Stage.LEFT_ALONE
    assert not account.eks.entries


def test_the_default_policy_serves_untagged_clusters_and_a_tag_opts_out():
    account = Account(default_policy="default")
    account.create_cluster("plain", tags={})
    account.create_cluster("out", tags={"slicewise.dev/policy": "none"})
    account.sweep()
    account.run_until_idle()

    assert stage(account, "plain") is Stage.ONBOARDED
    assert stage(account, "out") is Stage.LEFT_ALONE


def test_a_tag_that_names_no_policy_says_what_to_do():
    account = onboarded(tags={"slicewise.dev/policy": "gpus"})

    assert stage(account) is Stage.FAILED
    [finding] = account.record().findings
    assert "gpus" in finding.says
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
def test_a_policy_that_does_not_act_is_only_told(mode):
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

    assert stage(account) is Stage.REFUSED
    assert not account.eks.entries
    assert not [ref for ref in account.servers["gpu-1"].objects if ref.kind.startswith("Node")]


def test_a_refused_cluster_is_looked_into_again_by_hand_and_not_by_each_sweep():
    account = Account()
    account.create_cluster()
    account.gate = False
    account.send_created()
    account.run_until_idle()
    account.gate = True
    asked = len(account.calls.made)

    account.sweep()
    account.run_until_idle()
    assert stage(account) is Stage.REFUSED
    assert not [call for call in account.calls.made[asked:] if call.startswith(("kubernetes.l", "eks.grant"))]

    account.send(Hint(GPU_1, "by hand", forced=True))
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


def test_a_pass_that_lost_its_lease_stops_before_its_next_action():
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


def test_admin_is_given_back_where_every_pass_fails_at_the_same_call(monkeypatch):
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

    assert stage(account) is Stage.REFUSED
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
    assert findings[-1].says == "900 more are not kept."
    assert len(str(findings)) < 200_000  # of DynamoDB's 400 KB for an item


def test_a_cluster_that_eks_already_rules_out_is_not_even_knocked_at():
    account = onboarded(auto_mode=True)

    assert stage(account) is Stage.REFUSED
    assert not [call for call in account.calls.made if call.startswith("kubernetes.")]
