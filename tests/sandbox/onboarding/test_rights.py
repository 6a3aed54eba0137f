"""
With which rights clusters were onboarded: none were missing, and none were granted for nothing.

Runs last of its group (tests run in the order of their files' names), since it judges what the other files'
clusters have seen. What the tuner and the sleeper use of theirs, `tests/sandbox/operation/test_rights.py`
judges.
"""

from __future__ import annotations

import pytest

from tests.sandbox import rights
from tests.sandbox.system_fixtures import INSTALLER, SWEEPER, is_admin
from tests.support.group_outcomes import needs_the_whole_group

pytestmark = pytest.mark.sandbox

# On `bare` somebody gives the installer's entry another group: one look is refused, then the entry is mended.
AFTER_SOMEBODY_CHANGED_OUR_ENTRY = ["bare: get namespaces gpu-operator"]


@pytest.fixture(scope="module", autouse=True)
def all_flows(request):
    needs_the_whole_group(request)


def test_no_call_to_aws_was_denied(system):
    assert rights.denied(system) == []


def test_no_request_to_kubernetes_was_forbidden(system):
    assert rights.forbidden(system) == AFTER_SOMEBODY_CHANGED_OUR_ENTRY


@pytest.mark.parametrize("role", [INSTALLER, SWEEPER])
def test_every_action_that_a_role_may_do_was_done(system, role):
    assert rights.unused_actions(system, role) == []


def test_every_verb_that_the_installers_group_may_use_was_used(system):
    assert rights.unused_verbs(system, INSTALLER) == []


def test_the_installer_is_cluster_admin_nowhere_any_more(system):
    """Of those clusters that other files do not delete in the end."""
    assert [name for name in ("struck", "occupied") if is_admin(system, name)] == []
