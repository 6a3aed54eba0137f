"""A fallback model's NodePool between onboarding, which makes it, and off-hours, which open and close it."""

from __future__ import annotations

from slicewise.kube.labels import FALLBACK_LABEL
from slicewise.kube.ref import Ref
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, POLICY, Account

NIGHTS = 'offHours: {timeZone: Europe/Berlin, asleep: ["Mon-Fri 20:00-07:00", "Sat-Sun"]}\n'
WITH_FALLBACK = POLICY.replace("gpus: [l4]", "gpus: [l4], fallbackGpus: [l40s]") + NIGHTS
FALLBACK = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l40s")
NODES, MARK = "/spec/limits/nodes", "/metadata/annotations/slicewise.dev~1opened"


def onboarded() -> Account:
    account = Account(WITH_FALLBACK)
    account.create_cluster()
    account.send_created()
    account.run_until_idle()
    return account


def reconcile(account: Account) -> None:
    account.send(Trigger(HOME.arn("gpu-1"), "a test", forced=True))
    account.run_until_idle()
    record = account.record()
    assert record and record.stage is Stage.ONBOARDED, record


def patch(account: Account, *operations: dict[str, object], by: str = "slicewise") -> None:
    account.servers["gpu-1"].patch(FALLBACK, operations, by)


def limits(account: Account) -> dict[str, str]:
    return account.servers["gpu-1"].objects[FALLBACK]["spec"]["limits"]


def test_onboarding_makes_it_closed_with_overlays_for_each_machine():
    account = onboarded()

    assert limits(account)["nodes"] == "0"
    overlays = [ref.name for ref in account.servers["gpu-1"].objects if ref.kind == "NodeOverlay"]
    assert {f"slicewise-shared-l40s-{count}" for count in (1, 4, 8)} <= set(overlays)


def test_an_open_one_is_left_open_and_one_that_a_person_opened_is_closed():
    account = onboarded()
    patch(account, {"op": "add", "path": MARK, "value": "tonight"}, {"op": "remove", "path": NODES})
    reconcile(account)
    assert "nodes" not in limits(account)

    patch(account, {"op": "remove", "path": MARK})
    reconcile(account)
    assert limits(account)["nodes"] == "0", "drift: repair"


def test_a_model_that_the_policy_names_at_all_times_may_have_nodes_whoever_closed_it():
    account = onboarded()
    patch(account, {"op": "remove", "path": NODES})
    patch(account, {"op": "add", "path": NODES, "value": "0"})  # as off-hours close it

    account.policies["default"] = WITH_FALLBACK.replace(
        "gpus: [l4], fallbackGpus: [l40s]", "gpus: [l4, l40s]"
    )
    reconcile(account)

    assert "nodes" not in limits(account)
    item = account.servers["gpu-1"].objects[FALLBACK]
    assert FALLBACK_LABEL not in item["metadata"]["labels"]


def test_a_model_that_becomes_a_fallback_gets_no_further_nodes():
    account = onboarded()
    account.policies["default"] = WITH_FALLBACK.replace(
        "gpus: [l4], fallbackGpus: [l40s]", "gpus: [l4, l40s]"
    )
    reconcile(account)
    assert "nodes" not in limits(account)

    account.policies["default"] = WITH_FALLBACK
    reconcile(account)

    assert limits(account)["nodes"] == "0"
