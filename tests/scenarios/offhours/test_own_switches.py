"""
A switch of the policy's own from onboarding to the morning: checked, granted as narrowly as it is, and still
granted for as long as something sleeps by it, whatever the policy says by then.
"""

from __future__ import annotations

import pytest
from slicewise.errors import Refused
from slicewise.kube.labels import SWITCHES
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import AccessEntry
from slicewise.onboarding import admission, rbac
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from sandbox.controllers.stand_ins import predictors
from tests.fakes.account import HOME, Account
from tests.fakes.calls import Calls
from tests.fakes.kube.controllers import Controllers, predictor
from tests.fakes.kube.kubernetes import FakeKubernetes
from tests.scenarios.offhours.test_mornings import live
from tests.scenarios.offhours.test_offhours import ASLEEP_AT_NIGHT, POOL, berlin
from tests.scenarios.offhours.test_offhours import account as plain_account

account = plain_account
SWITCH = "{group: ml.example.com, kind: Predictor, path: spec.suspend, asleep: true}"
NAMING = ASLEEP_AT_NIGHT.replace('"Sat-Sun"]', f'"Sat-Sun"], kinds: [{SWITCH}]')
GPT = predictor("gpt")
KIND = ("ml.example.com", "predictors")
POLICY = Ref("admissionregistration.k8s.io/v1", admission.POLICY, rbac.SLEEPER)


def onboard(account: Account) -> None:
    account.send(Trigger(HOME.arn("gpu-1"), "a test", forced=True))
    account.run_until(account.clock.now.replace(second=59))


def item(account: Account, ref: Ref) -> Object:
    return account.servers["gpu-1"].objects[ref]


def rights(account: Account) -> set[str]:
    """The sleeper's verbs on the kind."""
    rules = item(account, rbac.SLEEPER_ROLE)["rules"]
    return {verb for rule in rules if (KIND[0] in rule["apiGroups"]) for verb in rule["verbs"]}


def held(account: Account) -> str:
    """What the admission policy says of the kind; empty where it is not about it."""
    spec = item(account, POLICY)["spec"]
    about = [KIND[1] in rule["resources"] for rule in spec["matchConstraints"]["resourceRules"]]
    found = [one["message"] for one, is_about in zip(spec["validations"], about, strict=True) if is_about]
    return found[0].split(";")[0] if found else ""


def suspended(account: Account) -> bool | None:
    return item(account, ref_of(GPT))["spec"].get("suspend")


def codes(account: Account) -> set[str]:
    record = account.store.record(HOME.arn("gpu-1"), "onboarding")
    return {finding.code for finding in record.findings}


@pytest.fixture
def asleep(account: Account) -> Account:
    """At ten in the evening."""
    account.policies["default"] = NAMING
    server = account.servers["gpu-1"]
    server.create(predictors())
    onboard(account)
    Controllers(server)
    server.create(GPT)
    live(account, berlin(22))
    assert suspended(account) is True
    return account


def test_it_is_granted_and_held_to_its_field(asleep: Account):
    assert rights(asleep) == {"list", "patch"}
    assert held(asleep) == (
        "slicewise-sleeper may patch predictors: metadata.annotations[slicewise.dev/asleep-was], spec.suspend"
    )
    live(asleep, berlin(32))
    assert suspended(asleep) is None
    assert SWITCHES not in item(asleep, POOL)["metadata"]["annotations"]


def test_what_the_policy_drops_at_night_is_woken_and_the_right_goes_after_it(asleep: Account):
    asleep.policies["default"] = ASLEEP_AT_NIGHT
    onboard(asleep)
    assert rights(asleep) == {"list", "patch"} and held(asleep), "something sleeps by it"

    live(asleep, berlin(32))
    assert suspended(asleep) is None
    onboard(asleep)
    assert rights(asleep) == set() and held(asleep) == ""


def test_while_the_right_goes_it_is_held_to_nothing(asleep: Account):
    """Roles and policies are written one by one: between the two, no field may be free."""
    live(asleep, berlin(32))
    asleep.policies["default"] = ASLEEP_AT_NIGHT
    server, seen = asleep.servers["gpu-1"], []

    def watch(changed: Object) -> None:
        if changed["kind"] in ("ClusterRole", admission.POLICY):
            seen.append((bool(rights(asleep)), held(asleep)))

    server.on_change.append(watch)
    onboard(asleep)

    nothing = "slicewise-sleeper may patch predictors"
    assert (True, nothing) in seen and (True, "") not in seen
    assert (rights(asleep), held(asleep)) == (set(), "")


@pytest.mark.parametrize(
    "crd",
    [None, predictors(scope="Cluster"), predictors(served=False)],
    ids=["none", "of the cluster", "not served"],
)
def test_what_cannot_work_is_reported_and_not_granted_and_nothing_else_suffers(account: Account, crd):
    account.policies["default"] = NAMING
    if crd:
        account.servers["gpu-1"].create(crd)
    onboard(account)

    assert "off-hours-kind-unknown" in codes(account) and rights(account) == set()
    assert account.store.record(HOME.arn("gpu-1"), "onboarding").stage is Stage.ONBOARDED


def test_a_mark_that_a_user_writes_gives_no_right(account: Account):
    account.policies["default"] = ASLEEP_AT_NIGHT
    server = account.servers["gpu-1"]
    server.create(predictors())
    onboard(account)
    mark = '[{"group":"ml.example.com","kind":"Predictor","path":"spec.count","asleep":0}]'
    path = f"/metadata/annotations/{SWITCHES.replace('/', '~1')}"
    server.patch(POOL, ({"op": "add", "path": path, "value": mark},))

    onboard(account)

    assert rights(account) == set() and held(account) == ""


def test_the_sleeper_is_refused_any_other_field(asleep: Account):
    """Of the very object that it may put to sleep."""
    kubernetes = FakeKubernetes(
        asleep.servers["gpu-1"], Calls(), lambda: AccessEntry("any", (rbac.SLEEPER_GROUP,))
    )
    with pytest.raises(Refused, match="patch predictors"):
        kubernetes.patch(ref_of(GPT), ({"op": "add", "path": "/spec/count", "value": 9},))
