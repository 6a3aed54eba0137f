"""The tracks that need the sandbox run; their figures are for `python -m bench` on an idle machine."""

import pytest

from bench.large_cluster import Size
from bench.tracks import assessing, offhours_night, tuning_pass

pytestmark = pytest.mark.sandbox


def test_a_reconcile_and_an_assessment_of_plain_objects_are_measured_against_their_lists():
    with tuning_pass.standing(Size(nodes=3)) as access:
        of_a_pass, of_assess = tuning_pass.compared(access, runs=1), assessing.compared(access, runs=1)

    # 3 nodes, 3 claims, 30 pods, 2 system nodes; the NodePool of the policy in place of the claims
    assert of_a_pass["runs"]["lists"][0]["said"] == "38 objects"
    assert of_assess["runs"]["lists"][0]["said"] == "36 objects"
    assert of_a_pass["measured"]["pass"]["seconds"] > 0
    assert "30 of 30 slices" in of_a_pass["said"]
    assert of_assess["said"].startswith("3 GPUs on 3 nodes")


def test_workloads_that_sleep_and_wake_are_counted_in_reconciles():
    found = offhours_night.run(workloads=3)

    assert found["passes"] == 1 and found["holds"]
    for calls in found["calls"].values():
        assert calls["API server: PATCH"] == 3 + 3, "one a workload, and what a NodePool takes"
        assert calls["DynamoDB: UpdateItem"] == 3, "the lease is taken, renewed once and given back"
