"""1,000 clusters that open at the same minute are awake in time, as deployed; and would not be otherwise."""

from __future__ import annotations

import pytest
from slicewise.gateways.botocore_clients import client

from bench.tracks.openings import EKS_TRIES, Fleet, Morning
from tests.support import functions_aws


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("seconds", [5.0, 10.0])
def test_a_thousand_clusters_are_awake_at_their_opening_as_deployed(seconds, seed):
    found = Morning(Fleet(1000, passes=3, seconds=seconds, seed=seed)).run()

    assert found["awake_at_the_opening"] == found["clusters"] > 950
    assert found["dead_letters"] == found["false_alarms"] == 0


def test_those_whose_messages_are_all_lost_are_awake_five_minutes_later():
    found = Morning(Fleet(1000, lost=1.0)).run()

    assert found["awake_five_minutes_later"] == found["clusters"] > 950


@pytest.mark.parametrize(
    "other", [{"at_once": 10}, {"is_spread": False}, {"at_once": 10, "is_spread": False}], ids=str
)
def test_ten_passes_at_once_or_no_spread_would_be_too_late_for_most(other):
    found = Morning(Fleet(1000, **other)).run()

    assert found["awake_at_the_opening"] < found["clusters"] / 2


def test_every_cluster_that_answers_is_woken_once_and_its_opening_is_over():
    morning = Morning(Fleet(50))
    morning.run()
    clusters = morning.clusters.values()
    answering = [one for one in clusters if not one.silent]

    assert all(one.left == 0 and one.opened is not None and one.opening is None for one in answering)
    assert all(one.restored is None for one in clusters if one.silent)


def test_a_refused_call_is_made_again_as_often_as_by_our_client():
    eks = client("eks", functions_aws.session(region="eu-west-1"), "eu-west-1")

    assert eks.meta.config.retries["total_max_attempts"] == EKS_TRIES
