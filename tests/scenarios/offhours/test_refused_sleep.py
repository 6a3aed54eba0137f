"""What a policy, a webhook or a schema refuses to let sleep is reported once, and left for that night."""

from __future__ import annotations

import pytest
from slicewise.app import OFF_HOURS
from slicewise.errors import Refused
from slicewise.kube.ref import ref_of
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, Account
from tests.fakes.kube.controllers import scaled
from tests.scenarios.offhours.test_offhours import POOL, berlin, stage, until
from tests.scenarios.offhours.test_offhours import account as plain_account
from tests.scenarios.offhours.test_one_object_fails import findings

account = plain_account
EMBED, CHAT = scaled("Deployment", "a-embed", 1), scaled("Deployment", "b-chat", 1)
MODEL = scaled("ModelServer", "a-embed", 1, version="inference.example.com/v1")
POLICY = "422 \"a-embed\" forbidden: ValidatingAdmissionPolicy 'floor' with binding 'all' denied request: no"
WEBHOOK = '403 admission webhook "floor.example.com" denied the request: never below 1'
SCHEMA = 'PATCH …/scale: 422 "a-embed" is invalid: spec.replicas: Invalid value: 0: at least 1'
REFUSED = [
    pytest.param(EMBED, POLICY, "ValidatingAdmissionPolicy 'floor' with binding 'all'", id="a policy"),
    pytest.param(EMBED, WEBHOOK, 'Admission webhook "floor.example.com"', id="a webhook"),
    pytest.param(MODEL, SCHEMA, "The validation of its kind", id="a schema"),
]


def refuse(account: Account, item: dict, message: str) -> None:
    """Scaled to 0, and nothing else: what wakes it is let through."""
    replicas = account.servers["gpu-1"].objects[ref_of(item)]["spec"]
    what = f"kubernetes.scale {ref_of(item)}"
    account.calls.fails = lambda call: (
        Refused(message) if call.startswith(what) and replicas["replicas"] else None
    )


def tries(account: Account, item: dict) -> int:
    return sum(call.startswith(f"kubernetes.scale {ref_of(item)}") for call in account.calls.made)


def replicas(account: Account, item: dict) -> int:
    return account.servers["gpu-1"].objects[ref_of(item)]["spec"]["replicas"]


def create(account: Account, *items: dict) -> None:
    server = account.servers["gpu-1"]
    server.add_crds("modelservers.inference.example.com")
    for item in items:
        server.create(item)


@pytest.mark.parametrize(("item", "message", "who"), REFUSED)
def test_who_refuses_it_is_named_and_all_else_sleeps(account, item, message, who):
    create(account, item, CHAT)
    refuse(account, item, message)

    until(account, berlin(21))

    assert (replicas(account, item), replicas(account, CHAT)) == (1, 0) and tries(account, item) == 1
    assert stage(account) is Stage.ASLEEP
    assert findings(account)["change-refused"].startswith(f"{who} refuses to let us scale {ref_of(item)}")
    [(subject, text)] = account.notices.sent
    assert subject == "Slicewise: 1 object of gpu-1 cannot be changed" and who in text


def test_it_is_tried_once_a_night_and_the_operators_hear_of_it_once(account):
    create(account, EMBED, CHAT)
    refuse(account, EMBED, WEBHOOK)

    until(account, berlin(6.5, 1))
    assert replicas(account, EMBED) == tries(account, EMBED) == 1
    until(account, berlin(9, 1))
    assert (replicas(account, EMBED), replicas(account, CHAT)) == (1, 1)
    assert stage(account) is Stage.AWAKE and "change-refused" not in findings(account)

    until(account, berlin(22, 1))
    assert tries(account, EMBED) == 2 and replicas(account, CHAT) == 0
    assert sum("cannot be changed" in subject for subject, _ in account.notices.sent) == 1

    account.calls.fails = lambda call: None
    until(account, berlin(23, 1))
    assert replicas(account, EMBED) == 1, "nobody has said that it is allowed"
    until(account, berlin(21, 2))
    assert replicas(account, EMBED) == 0 and findings(account) == {}
    assert account.record(capability=OFF_HOURS).retries == ()
    assert account.lost == [] and account.queues.dead == []


def test_an_object_that_changes_is_tried_again_by_the_next_reconcile(account):
    create(account, EMBED)
    refuse(account, EMBED, WEBHOOK)
    until(account, berlin(21))
    account.calls.fails = lambda call: None
    exempt = ({"op": "add", "path": "/metadata/labels", "value": {"floor": "none"}},)
    account.servers["gpu-1"].patch(ref_of(EMBED), exempt, manager="kubectl")

    until(account, berlin(21.3))

    assert replicas(account, EMBED) == 0


def test_who_asks_has_it_tried_at_once(account):
    create(account, EMBED)
    refuse(account, EMBED, WEBHOOK)
    until(account, berlin(23))
    account.calls.fails = lambda call: None

    account.send(Trigger(HOME.arn("gpu-1"), "a test", forced=True), OFF_HOURS)
    until(account, berlin(23.02))

    assert replicas(account, EMBED) == 0


def test_what_is_left_awake_keeps_a_way_to_a_node(account):
    create(account, EMBED, CHAT)
    refuse(account, EMBED, WEBHOOK)

    until(account, berlin(20.5))

    # Its pod waits here: one node may start for it.
    assert account.servers["gpu-1"].objects[POOL]["spec"]["limits"]["nodes"] == "1"
    assert f"for what stays awake: {ref_of(EMBED)}." in findings(account)["open-for-what-stays"]


def test_what_is_refused_at_waking_is_tried_until_it_is_awake(account):
    """At 0 it is an outage, also where that is wanted; and a person who allows it need not ask us again."""
    create(account, EMBED)
    until(account, berlin(23))
    before = tries(account, EMBED)
    what = f"kubernetes.scale {ref_of(EMBED)}"
    account.calls.fails = lambda call: Refused(WEBHOOK) if call.startswith(what) else None

    until(account, berlin(7.5, 1))
    assert tries(account, EMBED) - before >= 30 and stage(account) is Stage.WAKING
    until(account, berlin(9, 1))
    late = tries(account, EMBED)
    assert "floor.example.com" in findings(account)["cannot-be-changed"]
    until(account, berlin(9.6, 1))
    assert tries(account, EMBED) > late

    account.calls.fails = lambda call: None
    until(account, berlin(10, 1))
    assert replicas(account, EMBED) == 1 and stage(account) is Stage.AWAKE
