"""
The deployed installer is killed in the middle of its passes, again and again, with the helm that it runs.

Each new pass finds what the last one left. tests/scenarios kills at every single call, on fakes; here a
sample of moments meets the real API server, the real helm and the real Lambda runtime.
"""

from __future__ import annotations

import pytest

from tests.sandbox.onboarding.struck_cluster import NAME
from tests.sandbox.system_fixtures import (
    INSTALLER,
    NODE_OVERLAYS,
    NODE_POOLS,
    TUNER,
    has_entry,
    is_admin,
    onboard_now,
    operator_releases,
    ours,
)

pytestmark = pytest.mark.sandbox


def test_every_kill_struck_a_reconcile_at_work(struck):
    assert [moment for moment, left in struck.left.items() if not left["killed"]] == []


def test_the_killed_reconciles_left_their_work_half_done(struck):
    assert struck.left["cluster admin was granted"]["admin"]
    assert struck.left["helm was in the middle"]["releases"] == ["pending-install"]
    assert struck.left["two overlays were written"]["node pools"] == []
    assert not struck.left["cluster admin was revoked"]["admin"]


def test_all_that_belongs_to_the_cluster_is_there_in_the_end(system, struck):
    kube = struck.cluster.kube
    assert operator_releases(kube)[-1] == "deployed"
    assert set(ours(kube, NODE_POOLS)) == {"slicewise-shared-l4"}
    assert set(ours(kube, NODE_OVERLAYS)) == {f"slicewise-shared-l4-{count}" for count in (1, 4, 8)}
    assert set(ours(kube, "/apis/rbac.authorization.k8s.io/v1/clusterroles")) == {INSTALLER, TUNER}
    assert has_entry(system, NAME, INSTALLER) and has_entry(system, NAME, TUNER)


def test_the_next_reconcile_finds_nothing_to_change(system, struck):
    record = onboard_now(system, NAME, forced=True)

    assert (record["stage"], record["changed"], record["findings"]) == ("onboarded", [], [])


def test_nothing_holds_cluster_admin_any_more(system, struck):
    assert not is_admin(system, NAME)
