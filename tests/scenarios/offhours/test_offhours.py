"""Off-hours from the policy to the morning after: through queues, schedules and the loop, on fakes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from slicewise.app import OFF_HOURS, TUNING
from slicewise.kube.labels import ASLEEP_WAS
from slicewise.kube.ref import Ref, ref_of
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, POLICY, SLEEPER, Account
from tests.fakes.kube.controllers import Controllers, cron_job, scaled

ASLEEP_AT_NIGHT = POLICY + 'offHours: {timeZone: Europe/Berlin, asleep: ["Mon-Fri 20:00-07:00", "Sat-Sun"]}\n'
POOL = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
SERVER = scaled("Deployment", "server", 3)
# A Tuesday, in the standard time of Berlin.
TUESDAY = datetime(2026, 3, 3, tzinfo=UTC)


def berlin(hour: float, days: int = 0) -> datetime:
    return TUESDAY + timedelta(days=days, hours=hour - 1)


@pytest.fixture
def account() -> Account:
    """A cluster that sleeps at night, onboarded by day, with a workload on it."""
    made = Account(ASLEEP_AT_NIGHT)
    made.clock.now = berlin(12)
    made.create_cluster()
    made.send_created()
    made.run_until_idle()
    server = made.servers["gpu-1"]
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}})
    Controllers(server)
    server.create(SERVER)
    return made


def replicas(account: Account) -> int:
    return account.servers["gpu-1"].objects[ref_of(SERVER)]["spec"]["replicas"]


def stage(account: Account) -> Stage:
    record = account.record(capability=OFF_HOURS)
    assert record
    return record.stage


def until(account: Account, moment: datetime) -> None:
    """Time passes: schedules fire, and messages are answered."""
    while True:
        at, message = account.schedules.waiting.get("gpu-1", (moment + timedelta(days=1), ""))
        account.run_until(min(at, moment))
        if at > moment:
            break
        if account.schedules.waiting.get("gpu-1") == (at, message):
            account.clock.now = max(at, account.clock.now)
            del account.schedules.waiting["gpu-1"]
            account.queues.put(OFF_HOURS, message)
    account.clock.now = moment


def test_onboarding_lets_the_sleeper_in_and_wakes_it(account):
    assert account.eks.entries["gpu-1", SLEEPER].groups == ("slicewise:sleeper",)
    assert stage(account) is Stage.AWAKE
    assert account.schedules.waiting["gpu-1"][0] == berlin(20)


def test_a_cluster_without_off_hours_gets_no_entry_and_no_schedule():
    account = Account()
    account.create_cluster()
    account.send_created()
    account.run_until_idle()

    assert ("gpu-1", SLEEPER) not in account.eks.entries
    assert not account.schedules.waiting
    assert Ref("rbac.authorization.k8s.io/v1", "ClusterRole", "slicewise-sleeper") not in (
        account.servers["gpu-1"].objects
    )


def test_schedules_alone_put_it_to_sleep_and_wake_it_in_time(account):
    until(account, berlin(20.1))
    assert replicas(account) == 0 and stage(account) is Stage.ASLEEP
    assert account.schedules.waiting["gpu-1"][0] == berlin(7, 1) - timedelta(minutes=10)

    until(account, berlin(6.9, 1))
    assert replicas(account) == 3 and stage(account) is Stage.WAKING

    until(account, berlin(7.1, 1))
    assert stage(account) is Stage.AWAKE
    # No Karpenter makes nodes here, so everybody still waits, and that is told once.
    [(subject, text)] = account.notices.sent
    assert subject == "Slicewise: 3 pods of gpu-1 do not run yet" and "Pod ml/server-0" in text
    saved = account.record(capability=OFF_HOURS).details[0]
    # From the first pass of the night to the one that began to wake it.
    assert (
        saved["began"] == berlin(20).isoformat()
        and saved["ended"] == berlin(6, 1).replace(minute=50).isoformat()
    )
    assert account.schedules.waiting["gpu-1"][0] == berlin(20, 1)
    assert account.lost == []


def test_of_many_pods_that_wait_ten_are_named_and_the_mail_goes_out_once(account):
    server = account.servers["gpu-1"]
    server.patch(ref_of(SERVER), ({"op": "replace", "path": "/spec/replicas", "value": 300},))
    until(account, berlin(20.1))
    until(account, berlin(7.1, 1))

    [(subject, text)] = account.notices.sent
    assert subject == "Slicewise: 300 pods of gpu-1 do not run yet"
    assert text.count("Pod ml/server-") == 10 and "And 290 more likewise." in text
    assert account.lost == []


def test_the_sweep_makes_up_for_a_schedule_that_was_lost(account):
    account.clock.now = berlin(20.5)
    account.sweep()
    account.run_until(berlin(20.9))

    assert replicas(account) == 0


def test_nothing_is_tuned_while_it_is_asleep(account):
    until(account, berlin(20.2))
    before = account.servers["gpu-1"].objects[POOL]["metadata"]["resourceVersion"]

    account.send(Trigger(HOME.arn("gpu-1"), "a test"), TUNING)
    account.run_until(berlin(20.4))

    assert account.servers["gpu-1"].objects[POOL]["metadata"]["resourceVersion"] == before
    record = account.record(capability=TUNING)
    assert "is asleep until" in record.details[0]["reason"]


def test_onboarding_leaves_a_sleeping_pool_asleep(account):
    until(account, berlin(20.2))
    asleep = account.servers["gpu-1"].objects[POOL]["spec"]

    account.send(Trigger(HOME.arn("gpu-1"), "a test", forced=True))
    account.run_until(berlin(20.4))

    assert account.servers["gpu-1"].objects[POOL]["spec"] == asleep


def test_what_a_sleeping_pool_carries_is_no_drift_to_onboarding_or_tuning(account):
    until(account, berlin(20.2))
    pool = account.servers["gpu-1"].objects[POOL]
    assert ASLEEP_WAS in pool["metadata"]["annotations"]

    for capability in (None, TUNING):
        trigger = Trigger(HOME.arn("gpu-1"), "a test", forced=True)
        account.send(trigger, *([capability] if capability else []))
        account.run_until(berlin(20.4))
    assert account.record().stage is Stage.ONBOARDED
    for record in (account.record(), account.record(capability=TUNING)):
        assert record.findings == record.changed == ()
    assert account.servers["gpu-1"].objects[POOL] == pool


def test_a_table_that_was_emptied_at_night_costs_no_cron_job_and_no_node_pool_its_morning(account):
    """All of it: also the records, by which the sweep knows that something sleeps."""
    server, nightly = account.servers["gpu-1"], cron_job("nightly", suspend=False)
    server.create(nightly)
    before = {ref: server.objects[ref]["spec"] for ref in (ref_of(nightly), POOL)}
    until(account, berlin(20.2))
    assert all(server.objects[ref]["spec"] != spec for ref, spec in before.items())
    account.sleep.delete_state(HOME.arn("gpu-1"))
    account.store._records.clear()

    until(account, berlin(7.1, 1))

    assert {ref: server.objects[ref]["spec"] for ref in before} == before
    assert all(ASLEEP_WAS not in marks(server.objects[ref]) for ref in before)
    assert replicas(account) == 0 and any("not in the table" in one for one, _ in account.notices.sent)


def marks(item):
    return item["metadata"].get("annotations") or {}


def marked(body: str, digested: str | None = None) -> str:
    """As other rules of this release checked it; edited since where `digested` is another text."""
    digest = hashlib.sha256((digested or body).encode()).hexdigest()[:8]
    return f"# slicewise 1 0.1.0 00000000 {digest}\n{body}"


OF_ANOTHER_COMMIT = marked(ASLEEP_AT_NIGHT + "drift: tell\n")
OF_A_NEWER_FORMAT = f"# slicewise 2 9.1.0, in words of its own\n{ASLEEP_AT_NIGHT}"


@pytest.mark.parametrize(
    "text",
    [
        "pools: {}",
        ASLEEP_AT_NIGHT + "drift: tell\n",
        marked(ASLEEP_AT_NIGHT + "drift: tell\n", digested=ASLEEP_AT_NIGHT),
    ],
    ids=["without pools", "unmarked", "edited by hand"],
)
def test_a_policy_that_is_broken_at_night_wakes_what_sleeps(account, text):
    until(account, berlin(20.2))
    account.policies["default"] = text

    account.sweep()
    account.run_until(berlin(20.9))

    assert replicas(account) == 3
    [finding] = account.record(capability=OFF_HOURS).findings
    assert finding.code == "policy"


@pytest.mark.parametrize("text", [OF_ANOTHER_COMMIT, OF_A_NEWER_FORMAT], ids=["commit", "format"])
def test_a_deployment_at_night_wakes_nothing_while_functions_and_policy_are_of_two_releases(account, text):
    until(account, berlin(20.2))
    before, deployed = account.record(capability=OFF_HOURS), account.policies["default"]
    account.policies["default"] = text

    account.sweep()
    account.run_until(berlin(20.9))

    waiting = account.record(capability=OFF_HOURS)
    assert replicas(account) == 0 and waiting.stage is Stage.ASLEEP and account.lost == []
    assert (waiting.details, waiting.fingerprint) == (before.details, before.fingerprint)
    [finding] = waiting.findings
    assert finding.code == "policy-skew" and "release 0.1.0" in finding.message

    account.policies["default"] = deployed
    account.run_until(berlin(20.95))
    after = account.record(capability=OFF_HOURS)
    assert (after.stage, after.findings, after.skew_since) == (Stage.ASLEEP, (), None)


def test_a_policy_of_another_release_counts_as_wrong_after_an_hour_for_good(account):
    until(account, berlin(20.2))
    account.policies["default"] = OF_ANOTHER_COMMIT
    account.sweep()

    account.run_until(berlin(21.5))
    assert replicas(account) == 3
    assert "policy" in {one.code for one in account.record(capability=OFF_HOURS).findings}

    account.sweep()
    account.run_until(berlin(21.6))
    assert "policy" in {one.code for one in account.record(capability=OFF_HOURS).findings}


def test_people_come_also_during_a_deployment(account):
    until(account, berlin(6.4, 1))
    assert replicas(account) == 0
    account.policies["default"] = OF_ANOTHER_COMMIT
    account.sweep()

    until(account, berlin(7, 1))

    assert replicas(account) == 3


def test_a_pause_during_a_deployment_wakes_what_sleeps(account):
    until(account, berlin(20.2))
    account.policies["default"] = OF_ANOTHER_COMMIT
    account.sweep()
    account.run_until(berlin(20.3))
    assert replicas(account) == 0

    account.store.pause(HOME.arn("gpu-1"), "a person's word")
    account.send(Trigger(HOME.arn("gpu-1"), "paused"), OFF_HOURS)
    account.run_until(berlin(20.6))

    assert replicas(account) == 3


def test_a_policy_that_was_repaired_is_followed_within_minutes(account):
    until(account, berlin(20.2))
    account.policies["default"], deployed = "pools: {}", account.policies["default"]
    account.sweep()
    account.run_until(berlin(20.5))
    assert replicas(account) == 3

    account.policies["default"] = deployed
    account.run_until(berlin(20.7))

    assert replicas(account) == 0


def test_a_policy_that_begins_to_ask_waits_until_onboarding_has_let_it_in():
    account = Account()
    account.clock.now = berlin(12)
    account.create_cluster()
    account.send_created()
    account.run_until_idle()
    account.policies["default"] = ASLEEP_AT_NIGHT

    account.send(Trigger(HOME.arn("gpu-1"), "sooner than onboarding"), OFF_HOURS)
    account.run_until(berlin(12.01))
    assert stage(account) is Stage.WAITING and account.lost == []

    account.sweep()
    account.run_until(berlin(12.5))
    assert stage(account) is Stage.AWAKE and account.lost == []


def test_who_stays_refused_is_not_quiet(account):
    del account.eks.entries["gpu-1", SLEEPER]

    account.send(Trigger(HOME.arn("gpu-1"), "a test"), OFF_HOURS)
    account.run_until(berlin(12.01))

    assert account.lost


def test_a_node_pool_that_the_policy_no_longer_names_is_left_unchanged(account):
    account.policies["default"] = ASLEEP_AT_NIGHT.replace("shared:", "other:")

    until(account, berlin(20.2))

    assert "nodes" not in account.servers["gpu-1"].objects[POOL]["spec"]["limits"]
    assert replicas(account) == 0
