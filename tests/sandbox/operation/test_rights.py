"""
With which rights onboarded clusters were tuned and put to sleep: none were missing, none granted for nothing.

Runs last of its group (tests run in the order of their files' names), since it judges what the other files'
clusters have seen.
"""

from __future__ import annotations

import pytest

from tests.sandbox import rights
from tests.sandbox.system_fixtures import SLEEPER, TUNER, WATCHER
from tests.support.group_outcomes import needs_the_whole_group

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module", autouse=True)
def all_flows(request):
    needs_the_whole_group(request)


def test_no_call_to_aws_was_denied(system):
    assert rights.denied(system) == []


def test_no_request_to_kubernetes_was_forbidden(system):
    assert rights.forbidden(system) == []


@pytest.mark.parametrize("role", [TUNER, SLEEPER, WATCHER])
def test_every_action_that_a_role_may_do_was_done(system, role):
    assert rights.unused_actions(system, role) == []


@pytest.mark.parametrize("role", [TUNER, SLEEPER])
def test_every_verb_that_a_group_may_use_was_used(system, role):
    assert rights.unused_verbs(system, role) == []


@pytest.mark.parametrize("kind", ["deployments", "statefulsets"])
def test_the_right_to_publish_n_is_among_those_that_are_judged(system, kind):
    """A later reconcile of onboarding takes it away from a cluster whose policy publishes N no longer."""
    assert ("patch", "apps", kind) in rights.granted_verbs(system, TUNER)
