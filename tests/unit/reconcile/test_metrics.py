"""Which metrics a reconcile reports, and the lines of the log that they become: only where they are on."""

from __future__ import annotations

import json
import logging
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics
from slicewise.app import ONBOARDING, TUNING
from slicewise.kube.labels import ASLEEP, POLICY_TAG
from slicewise.model.measures import Measure, PoolMeasures
from slicewise.planning.measures import measures
from slicewise.planning.outcome import Finding, Stage
from slicewise.reconcile import metric_log
from slicewise.trigger import Trigger

from sandbox.aws.cloudwatch import embedded_metrics
from tests.fakes.account import HOME
from tests.support.tuning.tuned_account import TunedAccount

POOL = PoolMeasures("slicewise-shared-l4", n=4, slices_in_use=10, gpus=3, busy=0.25, asleep=False)
FOUND = [Finding("a", "", ""), Finding("b", "", ""), Finding("c", "", "", blocking=True)]


@pytest.fixture(scope="module")
def account() -> TunedAccount:
    """Five GPUs with four pods each, measured to be busy for a tenth of the time."""
    made = TunedAccount()
    made.hours(1)
    return made


def answered(account, capability, capsys, cluster="gpu-1", **settings) -> list[dict]:
    """The lines of metrics in the log of a function that answers one message."""
    app = replace(account.app(capability), **settings)
    message = {"messageId": "1", "body": Trigger(HOME.arn(cluster), "a test").message(), "receiptHandle": "1"}
    capsys.readouterr()
    log = logging.getLogger("test")
    assert app.answer({"Records": [message]}, capability, log, EphemeralMetrics) == {"batchItemFailures": []}
    account.queues.waiting.clear()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def by_dimensions(lines: list[dict]) -> dict[tuple[str, ...], dict[str, float]]:
    """Values by their metric's name, by the dimensions' values; each line has passed CloudWatch's rules."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for line in lines:
        for series, _, bucket in embedded_metrics.points(json.dumps(line), datetime.now(UTC)):
            assert series.namespace == "Slicewise"
            values = tuple(value for _, value in series.dimensions)
            found.setdefault(values, {})[series.name] = bucket.total
    return found


def test_a_reconcile_of_tuning_reports_each_node_pool_and_the_cluster(account, capsys):
    found = by_dimensions(answered(account, TUNING, capsys, metrics=True))

    assert found["gpu-1", "slicewise-shared-l4"] == {
        "SlicesPerGPU": 4,
        "SlicesInUse": 20,
        "GPUs": 5,
        "GPUsSaved": 15,
        "Asleep": 0,
        "GPUBusy": 10,
    }
    assert found["gpu-1",] == {"Changes": 0}
    assert found["tuning", "gpu-1"] == {"Findings": 0, "BlockingFindings": 0}
    assert len(found) == 3


def test_a_node_pool_that_off_hours_put_to_sleep_is_reported_as_asleep(account, capsys):
    asleep = deepcopy(account)
    (ref,) = [one for one in asleep.servers["gpu-1"].objects if one.kind == "NodePool"]
    asleep.servers["gpu-1"].objects[ref]["metadata"]["annotations"] = {ASLEEP: "Mon 07:00"}

    found = by_dimensions(answered(asleep, TUNING, capsys, metrics=True))

    assert found["gpu-1", "slicewise-shared-l4"]["Asleep"] == 1


def test_metrics_are_off_unless_the_deployment_says_so(account, capsys):
    assert answered(account, TUNING, capsys) == []
    assert answered(account, TUNING, capsys, metrics=False) == []


def test_a_cluster_that_no_policy_asks_for_costs_no_metric(account, capsys):
    account.create_cluster("theirs", tags={POLICY_TAG: ""})

    assert answered(account, ONBOARDING, capsys, "theirs", metrics=True) == []


def test_a_metric_that_cannot_be_written_repeats_no_reconcile(account, capsys, monkeypatch, caplog):
    def refuse(measures, new_metrics):
        raise ValueError("no room")

    monkeypatch.setattr(metric_log, "write", refuse)

    assert answered(account, TUNING, capsys, metrics=True) == []
    assert "metrics could not be written" in caplog.text


def test_changes_count_what_was_done_and_findings_by_severity():
    found = measures("gpu-1", "tuning", Stage.ONBOARDED, ["did", "would do", "did"], FOUND, ())

    assert {(one.name, one.value) for one in found} == {
        ("Changes", 2),
        ("Findings", 2),
        ("BlockingFindings", 1),
    }


@pytest.mark.parametrize(("slices", "gpus", "saved"), [(10, 3, 7), (3, 3, 0), (1, 3, 0)])
def test_gpus_are_saved_where_more_slices_are_in_use_than_there_are_gpus(slices, gpus, saved):
    assert replace(POOL, slices_in_use=slices, gpus=gpus).gpus_saved == saved


def test_what_was_not_measured_is_no_value(capsys):
    found = measures("gpu-1", "tuning", Stage.ONBOARDED, (), (), [replace(POOL, busy=None)])

    assert "GPUBusy" not in {one.name for one in found} and "GPUs" in {one.name for one in found}


def test_a_line_has_the_metrics_of_one_set_of_dimensions_a_hundred_at_most(capsys):
    many = [Measure(f"m{number}", "Count", number, (("Cluster", "a"),)) for number in range(150)]

    metric_log.write([*many, Measure("other", "Percent", 0.5, (("Cluster", "b"),))], EphemeralMetrics)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == ceil(150 / 100) + 1
    found = by_dimensions(lines)
    assert found["a",] == {f"m{number}": number for number in range(150)} and found["b",] == {"other": 0.5}
