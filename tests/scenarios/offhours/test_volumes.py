"""
A StatefulSet that retains its volumes for the night gets its own word back, whatever the policy says by then:
onboarding leaves the sleeper the right to do so for as long as something needs it.
"""

from __future__ import annotations

import json
import re

import pytest
from slicewise.app import OFF_HOURS
from slicewise.errors import Refused
from slicewise.kube.labels import ASLEEP, ASLEEP_WAS, RETAINS
from slicewise.kube.ref import Ref, ref_of
from slicewise.onboarding import rbac
from slicewise.planning.outcome import Stage
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, Account
from tests.fakes.kube.controllers import keeping_volumes, scaled
from tests.scenarios.offhours.test_mornings import live
from tests.scenarios.offhours.test_offhours import ASLEEP_AT_NIGHT, POLICY, POOL, berlin, stage
from tests.scenarios.offhours.test_offhours import account as plain_account

account = plain_account
STORE = keeping_volumes(scaled("StatefulSet", "store", 2))
LEAVING = ASLEEP_AT_NIGHT
RETAINING = ASLEEP_AT_NIGHT.replace('"Sat-Sun"]', '"Sat-Sun"], volumes: retain')


@pytest.fixture
def asleep(account: Account) -> Account:
    """A cluster whose set was told to retain its volumes, at ten in the evening."""
    account.policies["default"] = RETAINING
    onboard(account)
    account.servers["gpu-1"].create(STORE)
    live(account, berlin(22))
    assert store(account)["replicas"] == 0 and when_scaled(account) == "Retain"
    return account


def store(account: Account) -> dict:
    return account.servers["gpu-1"].objects[ref_of(STORE)]["spec"]


def when_scaled(account: Account) -> str:
    return store(account)["persistentVolumeClaimRetentionPolicy"]["whenScaled"]


def onboard(account: Account) -> None:
    account.send(Trigger(HOME.arn("gpu-1"), "a test", forced=True))
    account.run_until(account.clock.now.replace(second=59))


def may_patch_sets(account: Account) -> bool:
    return rbac.may_retain(account.servers["gpu-1"].objects[rbac.SLEEPER_ROLE])


def marks(account: Account, ref: Ref) -> set[str]:
    found = account.servers["gpu-1"].objects[ref]["metadata"].get("annotations") or {}
    return {key for key in found if key in (RETAINS, ASLEEP, ASLEEP_WAS)}


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(LEAVING, id="volumes: leave"),
        pytest.param(POLICY, id="no off-hours"),
        pytest.param("mode: observe\n" + LEAVING, id="volumes: leave, and observe"),
        pytest.param("pools: {}", id="a wrong one"),
    ],
)
@pytest.mark.parametrize("hour", [22, 31])
def test_its_own_word_comes_back_whatever_the_policy_says_by_then(asleep, policy, hour):
    live(asleep, berlin(hour))
    asleep.policies["default"] = policy
    onboard(asleep)

    live(asleep, berlin(10, 1))

    assert when_scaled(asleep) == "Delete" and store(asleep)["replicas"] == 2
    assert asleep.sleep._kept == {} and marks(asleep, POOL) == marks(asleep, ref_of(STORE)) == set()
    claims = [ref for ref in asleep.servers["gpu-1"].objects if ref.kind == "PersistentVolumeClaim"]
    assert len(claims) == 2


def test_the_right_goes_once_nothing_needs_it(asleep):
    asleep.policies["default"] = LEAVING
    onboard(asleep)
    assert may_patch_sets(asleep)

    live(asleep, berlin(10, 1))
    onboard(asleep)

    assert not may_patch_sets(asleep)
    live(asleep, berlin(22, 1))
    assert store(asleep)["replicas"] == 2, "it would lose its volumes"


def test_a_mark_alone_gives_no_right(account):
    account.servers["gpu-1"].patch(
        POOL,
        ({"op": "add", "path": f"/metadata/annotations/{RETAINS.replace('/', '~1')}", "value": "x"},),
    )

    onboard(account)

    assert not may_patch_sets(account)


def test_the_mark_stands_before_the_first_is_told_to_retain_and_until_the_last_has_its_word(account):
    account.policies["default"] = RETAINING
    onboard(account)
    account.servers["gpu-1"].create(STORE)
    seen = []

    def watch(call: str) -> None:
        if call in (f"kubernetes.patch {ref_of(STORE)}", f"kubernetes.scale {ref_of(STORE)}"):
            seen.append(RETAINS in marks(account, POOL))

    account.calls.fails = watch
    live(account, berlin(10, 1))

    assert seen == [True, True, True, True] and RETAINS not in marks(account, POOL)


def test_where_the_right_is_removed_a_person_reads_what_to_do_and_doing_it_ends_it(asleep):
    """As where somebody else has edited the role."""
    role = asleep.servers["gpu-1"].objects[rbac.SLEEPER_ROLE]
    for rule in role["rules"]:
        if "statefulsets" in rule["resources"] and "patch" in rule["verbs"]:
            role["rules"].remove(rule)
    asleep.calls.fails = lambda call: _no_onboarding(call)

    live(asleep, berlin(9, 1))
    record = asleep.record(capability=OFF_HOURS)
    assert store(asleep)["replicas"] == 2 and when_scaled(asleep) == "Retain"
    assert record.stage is Stage.WAKING
    [finding] = [one for one in record.findings if one.code == "still-retains-volumes"]
    [kept] = asleep.sleep._kept.values()
    assert kept.original == "Delete"

    command = re.search(r"kubectl patch statefulset store -n ml --type merge -p '(.*)'", finding.remedy)
    assert command
    merge(asleep, json.loads(command[1]))
    live(asleep, berlin(9.5, 1))

    assert asleep.sleep._kept == {} and stage(asleep) is Stage.AWAKE
    assert when_scaled(asleep) == "Delete" and marks(asleep, ref_of(STORE)) == set()


@pytest.mark.parametrize("denied", ["first", "last"])
def test_the_right_stays_as_long_as_one_of_several_sets_needs_it(account, denied):
    """The policy says by noon that volumes are left, and a webhook lets go of the one in the evening."""
    account.policies["default"] = RETAINING
    onboard(account)
    sets = [keeping_volumes(scaled("StatefulSet", name, 1)) for name in ("first", "last")]
    for one in sets:
        account.servers["gpu-1"].create(one)
    live(account, berlin(6.5, 1))
    refused = Refused("admission webhook: not now")
    account.calls.fails = lambda call: (
        refused if call.startswith(f"kubernetes.patch StatefulSet ml/{denied}") else None
    )

    live(account, berlin(12, 1))
    account.policies["default"] = LEAVING
    onboard(account)
    live(account, berlin(13, 1))
    words = {one["metadata"]["name"]: _said_by(account, one) for one in sets}
    assert words == {"first": "Delete", "last": "Delete"} | {denied: "Retain"}
    assert may_patch_sets(account) and RETAINS in marks(account, POOL)

    account.calls.fails = lambda call: None
    live(account, berlin(14, 1))
    onboard(account)
    assert [_said_by(account, one) for one in sets] == ["Delete", "Delete"]
    assert not may_patch_sets(account) and account.sleep._kept == {}


def _said_by(account: Account, one: dict) -> str:
    found = account.servers["gpu-1"].objects[ref_of(one)]["spec"]
    return found["persistentVolumeClaimRetentionPolicy"]["whenScaled"]


def _no_onboarding(call: str) -> Exception | None:
    return Refused("403") if call.startswith("kubernetes.apply ClusterRole") else None


def merge(account: Account, change: dict) -> None:
    """What kubectl does with a merge patch of two levels."""
    operations = []
    for key, value in change["metadata"]["annotations"].items():
        assert value is None
        path = f"/metadata/annotations/{key.replace('/', '~1')}"
        operations.append({"op": "remove", "path": path})
    [(field, value)] = change["spec"].items()
    [(name, word)] = value.items()
    operations.append({"op": "replace", "path": f"/spec/{field}/{name}", "value": word})
    account.servers["gpu-1"].patch(ref_of(STORE), operations, "kubectl")
