"""
A job that was suspended for the night is resumed, whatever the policy says by then: onboarding leaves the
sleeper the right to do so for as long as one needs it.
"""

from __future__ import annotations

import pytest
from slicewise.kube.labels import SUSPENDS
from slicewise.kube.ref import ref_of
from slicewise.onboarding import rbac

from tests.fakes.account import Account
from tests.fakes.jobs import JobControllers, job
from tests.scenarios.offhours.test_mornings import live
from tests.scenarios.offhours.test_offhours import ASLEEP_AT_NIGHT, POLICY, POOL, berlin
from tests.scenarios.offhours.test_offhours import account as plain_account
from tests.scenarios.offhours.test_volumes import onboard

account = plain_account
TRAIN = job("train")
SUSPENDING = ASLEEP_AT_NIGHT.replace('"Sat-Sun"]', '"Sat-Sun"], jobs: suspend')


def is_suspended(account: Account) -> bool:
    return account.servers["gpu-1"].objects[ref_of(TRAIN)]["spec"]["suspend"]


def may_suspend(account: Account) -> bool:
    return rbac.may_suspend(account.servers["gpu-1"].objects[rbac.SLEEPER_ROLE])


def is_marked(account: Account) -> bool:
    return SUSPENDS in account.servers["gpu-1"].objects[POOL]["metadata"].get("annotations", {})


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(ASLEEP_AT_NIGHT, id="jobs: finish"),
        pytest.param(POLICY, id="no off-hours"),
        pytest.param("pools: {}", id="a wrong one"),
    ],
)
def test_it_is_resumed_whatever_the_policy_says_by_then_and_then_the_right_goes(account, policy):
    account.policies["default"] = SUSPENDING
    onboard(account)
    JobControllers(account.servers["gpu-1"])
    account.servers["gpu-1"].create(TRAIN)
    live(account, berlin(22))
    assert is_suspended(account) and is_marked(account) and may_suspend(account)

    account.policies["default"] = policy
    onboard(account)
    live(account, berlin(10, 1))
    assert not is_suspended(account) and not is_marked(account) and account.sleep._kept == {}

    account.policies["default"] = ASLEEP_AT_NIGHT
    onboard(account)
    assert not may_suspend(account)
    live(account, berlin(22, 1))
    assert not is_suspended(account), "jobs finish by now"


def test_a_mark_alone_gives_no_right(account):
    path = f"/metadata/annotations/{SUSPENDS.replace('/', '~1')}"
    account.servers["gpu-1"].patch(POOL, ({"op": "add", "path": path, "value": "x"},))

    onboard(account)

    assert not may_suspend(account)
