"""What a cluster costs a month stays within its bound, and follows what the product asks for."""

from __future__ import annotations

import pytest
from slicewise.gateways import cloudwatch_metrics

from bench.tracks import own_cost


def test_a_cluster_of_ten_gpus_stays_within_its_bound():
    found = own_cost.run()

    assert found["holds"]
    assert found["total_usd"] == pytest.approx(sum(found["usd_a_month"].values()))
    assert found["counted"]["the cluster's alarms"] == {"alarm": 2}
    assert set(found["prices"]) - {"request"} == {
        price for of_one in found["counted"].values() for price in of_one
    }


def test_each_machine_with_a_gpu_is_three_metrics_a_pass():
    assert own_cost.asked_of_cloudwatch(machines=10)[1:] == (30, 4)
    assert own_cost.asked_of_cloudwatch(machines=0)[1:] == (0, 4)


def test_one_statistic_more_is_seen(monkeypatch):
    monkeypatch.setattr(cloudwatch_metrics, "_BY_MINUTE", {})

    assert not own_cost.run()["holds"]
