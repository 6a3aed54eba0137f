"""The tracks that need the sandbox run; their figures are for `python -m bench` on an idle machine."""

import pytest

from bench.tracks import offhours_night, tuning_pass

pytestmark = pytest.mark.sandbox


def test_a_pass_over_a_cluster_of_plain_objects_is_measured_against_their_lists():
    found = tuning_pass.run(nodes=3, runs=1)

    assert found["runs"]["lists"][0]["said"] == "38 objects"  # 3 nodes, 3 claims, 30 pods, 2 system nodes
    assert found["measured"]["pass"]["seconds"] > 0
    assert "30 of 30 slices" in found["said"]


def test_workloads_that_sleep_and_wake_are_counted_in_passes():
    found = offhours_night.run(workloads=3)

    assert found["passes"] == 1 and found["holds"]
    for calls in found["calls"].values():
        assert calls["API server: PATCH"] == 3 + 3, "one a workload, and what a NodePool takes"
        assert calls["DynamoDB: UpdateItem"] == 3, "the lease is taken, renewed once and given back"
