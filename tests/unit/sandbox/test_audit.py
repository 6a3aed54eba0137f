"""Whose refusal a refused request met: a right of Slicewise's that is missing, or the owners' own policy."""

import pytest

from sandbox.cluster.audit import Request

DENIED = "ledger is forbidden: ValidatingAdmissionPolicy '{0}' with binding '{0}' denied request"


@pytest.mark.parametrize(
    ("code", "says", "refused", "by_owners"),
    [
        pytest.param(200, "", False, False, id="answered"),
        pytest.param(409, "the object has been modified", False, False, id="conflict"),
        pytest.param(403, 'User "x" cannot patch resource "deployments"', True, False, id="rbac"),
        pytest.param(422, DENIED.format("slicewise-sleeper"), True, False, id="ours"),
        pytest.param(422, DENIED.format("ledger-has-a-replica"), True, True, id="the-owners"),
        pytest.param(403, DENIED.format("ledger-has-a-replica"), True, True, id="the-owners-403"),
    ],
)
def test_a_refusal_is_a_users(code, says, refused, by_owners):
    request = Request("u", (), "patch", "apps", "deployments", "scale", "default", "a", "/", code, says)

    assert (request.is_refused, request.is_refused_by_owners) == (refused, by_owners)
