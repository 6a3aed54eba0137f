"""What people do to a cluster that is tuned: by a mode, a pause, a policy or a hand in its objects."""

from __future__ import annotations

import pytest
from slicewise.errors import Unavailable
from slicewise.kube.labels import ROLLOUT_ANNOTATION, TUNING_ANNOTATION
from slicewise.planning.outcome import Stage
from slicewise.pools import layout

from tests.scenarios.tuning.test_tuning import OVERLAY, POOL_REF, codes, edit, writes
from tests.support.tuning.tuned_account import GPU_1, POLICY, POOL, TunedAccount


@pytest.mark.parametrize("mode", ["observe", "recommend"])
def test_whoever_only_wants_to_be_reported_is_only_reported(mode):
    account = TunedAccount()
    account.policies["default"] = POLICY + f"mode: {mode}\n"
    before = len(account.calls.made)

    account.hours(4)

    assert writes(account, before) == []
    assert account.n == 4
    assert "target 8 stable for 2 h" in account.tuned.reason
    assert any(
        line.startswith(f"would hold consolidation of NodePool {POOL}") for line in account.tuned.changed
    )


def test_a_paused_cluster_is_not_even_checked():
    account = TunedAccount()
    account.store.pause(GPU_1, "audit")
    before = len(account.calls.made)

    account.hours(4)

    assert not [call for call in account.calls.made[before:] if call.startswith("kubernetes")]
    assert account.tuned.stage is Stage.PAUSED


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        (POLICY.replace("dwell: 1h", "dwel: 1h"), 1),
        (f"# slicewise policy, format 2, checked by 9.1.0\n{POLICY}", 2),
    ],
    ids=["a slip", "of a newer format, an hour later"],
)
def test_a_wrong_policy_touches_nothing_and_is_reported(text, hours):
    account = TunedAccount()
    account.policies["default"] = text
    before = len(account.calls.made)

    account.hours(hours)

    assert account.tuned.stage is Stage.FAILED
    assert "policy" in codes(account)
    assert writes(account, before) == []


def test_a_wrong_policy_is_reported_also_where_the_cluster_does_not_answer():
    account = TunedAccount()
    account.tune()
    account.policies["default"] = POLICY.replace("dwell: 1h", "dwel: 1h")
    began = len(account.calls.made)
    account.tune()
    look = next(n for n, call in enumerate(account.calls.made[began:]) if call.startswith("kubernetes."))
    account.calls.refuse[len(account.calls.made) + look] = Unavailable("no connection")

    account.tune()

    assert "policy" in codes(account) and not account.lost


def test_a_foreign_edit_of_an_overlay_is_reported_and_put_back():
    account = TunedAccount()
    account.hours(1)
    edit(account, OVERLAY, "spec", "capacity", {"nvidia.com/gpu": "9"})

    account.hours(1)

    assert "foreign-edit" in codes(account)
    assert account.servers["gpu-1"].objects[OVERLAY]["spec"]["capacity"] == {"nvidia.com/gpu": "4"}


def test_a_foreign_edit_is_only_reported_where_the_policy_says_so():
    account = TunedAccount(policy=POLICY + "drift: report\n")
    account.hours(1)
    edit(account, OVERLAY, "spec", "capacity", {"nvidia.com/gpu": "9"})

    account.hours(1)
    account.send_created()
    account.answer_all()

    assert "foreign-edit" in codes(account)
    assert "foreign-edit" in {finding.code for finding in account.record().findings}
    assert account.servers["gpu-1"].objects[OVERLAY]["spec"]["capacity"] == {"nvidia.com/gpu": "9"}


def test_an_n_that_a_person_wrote_is_followed_and_reported():
    account = TunedAccount(pods=(2, 2))
    account.hours(1)
    server, template = account.servers["gpu-1"], account.node_pool["spec"]["template"]
    requirements = [
        {**one, "values": ["ts-2"]} if one["key"] == layout.CONFIG_LABEL else one
        for one in template["spec"]["requirements"]
    ]
    by_hand = {**template, "spec": {**template["spec"], "requirements": requirements}}
    server._keep(
        POOL_REF,
        account.node_pool,
        {**account.node_pool, "spec": {**account.node_pool["spec"], "template": by_hand}},
    )

    account.tune()

    assert "n-set-by-hand" in codes(account)
    assert server.objects[OVERLAY]["spec"]["capacity"] == {"nvidia.com/gpu": "2"}
    assert account.node_pool["spec"]["limits"] == {"nvidia.com/gpu": "32"}


def test_a_garbled_annotation_counts_as_absent_and_is_reported():
    account = TunedAccount()
    account.hours(1)
    annotations = {TUNING_ANNOTATION: "[]", ROLLOUT_ANNOTATION: '{"from": "x"}'}
    edit(account, POOL_REF, "metadata", "annotations", annotations)

    account.hours(1)
    assert "annotation-unreadable" in codes(account)
    account.hours(3)
    assert account.n == 5
