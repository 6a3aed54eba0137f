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


@pytest.mark.parametrize(
    ("machines", "paid"),
    [
        (0, {"metrics": 0, "requests": 4}),
        (10, {"metrics": 0, "requests": 34}),
        (20, {"metrics": 0, "requests": 64}),
        (21, {"metrics": 63, "requests": 4}),
    ],
)
def test_each_machine_with_a_gpu_is_three_requests_a_pass_and_of_many_machines_three_metrics(machines, paid):
    _, metrics, requests = own_cost.asked_of_cloudwatch(machines)

    assert {"metrics": metrics, "requests": requests} == paid


def test_what_is_paid_by_the_metric_is_seen(monkeypatch):
    monkeypatch.setattr(cloudwatch_metrics, "FEW_METRICS", 0)
    by_metric = own_cost.run()
    monkeypatch.setattr(cloudwatch_metrics, "_BY_MINUTE", {})
    by_statistic = own_cost.run()

    assert not by_metric["holds"]
    assert by_metric["usd_a_month"]["metrics that tuning reads"] == pytest.approx(0.219)
    assert by_statistic["usd_a_month"]["metrics that tuning reads"] == pytest.approx(0.292)
