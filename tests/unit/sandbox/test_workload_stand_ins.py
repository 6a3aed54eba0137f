"""What KEDA's stand-in writes; that the real KEDA does so is held by tests/controllers."""

from __future__ import annotations

import pytest

from sandbox.controllers.stand_ins import PAUSED, PAUSED_REPLICAS, _set_of, _wanted, notebook


@pytest.mark.parametrize(
    ("annotations", "now", "least", "wanted"),
    [
        pytest.param({}, 3, 1, 3, id="it runs, and its autoscaler is left out"),
        pytest.param({}, 0, 2, 2, id="it starts with its minimum"),
        pytest.param({}, 0, 0, 1, id="and with one pod at least"),
        pytest.param({PAUSED_REPLICAS: "0"}, 3, 1, 0, id="paused at 0"),
        pytest.param({PAUSED_REPLICAS: "4"}, 0, 1, 4, id="paused at a count"),
        pytest.param({PAUSED: "true"}, 0, 1, 0, id="paused as it stands"),
        pytest.param({PAUSED: "true", PAUSED_REPLICAS: "4"}, 0, 1, 4, id="the count is the stronger"),
    ],
)
def test_keda_scales_as_its_annotations_say(annotations, now, least, wanted):
    assert _wanted(annotations, now, least) == wanted


def test_a_notebooks_set_is_owned_by_it_and_selects_its_own_pods():
    made = notebook("ada", {"containers": []})
    made["metadata"]["uid"] = "u1"

    found = _set_of(made, 1)

    assert found["metadata"]["ownerReferences"] == [
        {"apiVersion": "kubeflow.org/v1", "kind": "Notebook", "name": "ada", "uid": "u1", "controller": True}
    ]
    assert found["spec"]["selector"]["matchLabels"] == found["spec"]["template"]["metadata"]["labels"]
