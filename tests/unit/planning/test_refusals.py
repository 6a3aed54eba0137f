"""Who refuses a write for good, by the words of a real API server."""

from __future__ import annotations

import pytest
from slicewise.errors import Conflict, Refused, Unauthorized, Unavailable
from slicewise.planning.refusals import refused_by

SCALE = "PATCH /apis/apps/v1/namespaces/ml/deployments/embed/scale of https://127.0.0.1:6443"
BY_POLICY = "ValidatingAdmissionPolicy 'at-least-one' with binding 'everywhere'"
BY_WEBHOOK = 'admission webhook "replicas.example.com"'
POLICY = f'{SCALE}: 422 deployments.apps "embed" is forbidden: {BY_POLICY} denied request: embed needs one'
OURS = POLICY.replace("at-least-one", "slicewise-sleeper")
WEBHOOK = f"{SCALE}: 400 {BY_WEBHOOK} denied the request: never below 1"
SCHEMA = (
    f'{SCALE}: 422 Model.kubeai.org "embed" is invalid: spec.replicas: Invalid value: 0: spec.replicas in '
    "body should be greater than or equal to 1"
)
RIGHT = f'{SCALE}: 403 deployments.apps "embed" is forbidden: User "sleeper" cannot patch "deployments/scale"'


@pytest.mark.parametrize(
    ("error", "by"),
    [
        pytest.param(Refused(POLICY), BY_POLICY, id="a policy"),
        pytest.param(Refused(WEBHOOK), BY_WEBHOOK, id="a webhook"),
        pytest.param(Refused(SCHEMA), "the validation of its kind", id="a schema"),
        pytest.param(Refused(RIGHT), "", id="a right that is lacking"),
        pytest.param(Refused(OURS), "", id="our own policy, until the next onboarding"),
        pytest.param(Unavailable(f"500 failed calling {BY_WEBHOOK[10:]}: timed out"), "", id="no answer"),
        pytest.param(Unavailable(WEBHOOK.replace("400", "500")), "", id="a webhook that says 500"),
        pytest.param(Unauthorized(POLICY), "", id="nobody who is known"),
        pytest.param(Conflict(SCHEMA), "", id="something that changed"),
    ],
)
def test_who_refuses_for_good_is_named(error, by):
    assert refused_by(error) == by
