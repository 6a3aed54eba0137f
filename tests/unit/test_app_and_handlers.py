from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from slicewise.app import App, MissingSetting
from slicewise.errors import LeaseHeld, Unavailable
from slicewise.reconcile.batch import retry_delay
from slicewise.trigger import Trigger

from tests.fakes.account import HOME, Account
from tests.support import builders

ROOT = Path(__file__).parents[2]
ENVIRON = {
    "AWS_REGION": "eu-west-1",
    "TABLE_NAME": "slicewise-state",
    "ONBOARDING_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/111122223333/slicewise-onboarding",
    "TUNING_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/111122223333/slicewise-tuning",
    "POLICY_PREFIX": "/slicewise/policies/",
    "INSTALLER_ROLE_ARN": "arn:aws-cn:iam::111122223333:role/slicewise-installer",
    "TUNER_ROLE_ARN": "arn:aws-cn:iam::111122223333:role/slicewise-tuner",
    "OFF_HOURS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/111122223333/slicewise-off-hours",
    "OFF_HOURS_QUEUE_ARN": "arn:aws-cn:sqs:eu-west-1:111122223333:slicewise-off-hours",
    "NOTICES_TOPIC_ARN": "arn:aws-cn:sns:eu-west-1:111122223333:notices",
    "SCHEDULE_GROUP": "slicewise-off-hours",
    "SCHEDULER_ROLE_ARN": "arn:aws-cn:iam::111122223333:role/schedules",
    "SLEEPER_ROLE_ARN": "arn:aws-cn:iam::111122223333:role/slicewise-sleeper",
    "GPU_OPERATOR_CHART": "charts/gpu-operator.tgz",
    "GPU_OPERATOR_VERSION": "v26.7.0",
}
OPTIONAL = {"AWS_REGION"}


def test_the_deployments_environment_is_enough():
    app = App.from_env(ENVIRON)

    assert app.scope.arn("a") == "arn:aws-cn:eks:eu-west-1:111122223333:cluster/a"
    assert not app.settings.can_install_karpenter
    assert app.default_policy == ""
    assert app.threads > 1 and app.off_hours._threads == app.threads, "objects are changed side by side"


@pytest.mark.parametrize(
    ("metrics", "gateway"),
    [
        ("{source: container-insights}", "CloudWatchMetrics"),
        ("{source: container-insights-otel}", "CloudWatchPromQl"),
        ('{source: prometheus, endpoint: "http://prometheus:9090"}', "PrometheusMetrics"),
        ("{source: none}", "NoMetrics"),
    ],
)
def test_a_policys_source_of_metrics_is_the_one_that_is_read(metrics, gateway):
    policy = builders.policy(builders.DEFAULT_POOLS, f"metrics: {metrics}")

    assert type(App.from_env(ENVIRON).ports.metrics(policy)).__name__ == gateway


@pytest.mark.parametrize("name", sorted(ENVIRON.keys() - OPTIONAL))
def test_a_missing_setting_is_named(name):
    with pytest.raises(MissingSetting, match=name):
        App.from_env({key: value for key, value in ENVIRON.items() if key != name})


@pytest.mark.parametrize(
    "function", ["onboard_cluster", "tune_slicing", "shift_capacity", "sweep_fleet", "watch_openings"]
)
def test_importing_a_handler_needs_no_environment(function, monkeypatch):
    for name in [*ENVIRON, "AWS_DEFAULT_REGION", "AWS_PROFILE"]:
        monkeypatch.delenv(name, raising=False)

    spec = importlib.util.spec_from_file_location(
        f"handler_of_{function}", ROOT / "lambdas" / function / "handler.py"
    )
    handler = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)

    assert callable(handler.lambda_handler)


def test_what_a_proof_does_not_need_is_not_imported():
    """YAML and subprocess cost a cold start; only reading a policy and running helm need them."""
    import subprocess

    code = "import slicewise.app, sys; print([m for m in ('yaml', 'subprocess') if m in sys.modules])"
    path = str(ROOT / "layers/slicewise/python")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "yaml" not in done.stdout


def test_a_failed_message_is_told_to_come_back_soon_and_the_others_are_done():
    account = Account()
    account.create_cluster("good")
    account.create_cluster("bad")
    describe = account.eks.describe

    def refusing(name):
        if name == "bad":
            raise Unavailable("eks:DescribeCluster of bad: throttled")
        return describe(name)

    account.eks.describe = refusing
    account.queues.put("onboarding", json.dumps({"slicewise": 1, "cluster": "bad"}))
    account.queues.put("onboarding", json.dumps({"slicewise": 1, "cluster": "good"}))
    received = [account.queues.receive(timedelta(minutes=16)) for _ in range(2)]
    event = {
        "Records": [
            {
                "messageId": f"id-{message.number}",
                "receiptHandle": receipt,
                "body": message.body,
                "attributes": {"ApproximateReceiveCount": "2"},
            }
            for receipt, message in received
        ]
    }

    answer = account.person().answer(event, "onboarding", Quiet())

    assert answer == {"batchItemFailures": [{"itemIdentifier": "id-1"}]}
    assert received[0][1].due == account.clock.now + timedelta(seconds=20)
    assert account.record("good") is not None


def test_the_reason_of_a_failure_is_kept_where_status_finds_it():
    account = Account()
    account.create_cluster()
    account.calls.refuse[2] = Unavailable("eks:DescribeCluster of gpu-1: throttled")
    account.send_created()
    account.reconcile()
    account._answer(*account.queues.receive(timedelta(minutes=16)))

    assert "throttled" in account.record().reason


@pytest.mark.parametrize(("times", "seconds"), [(0, 10), (1, 10), (2, 20), (5, 160), (50, 900)])
def test_retries_double_up_to_a_quarter_of_an_hour(times, seconds):
    assert retry_delay(times) == timedelta(seconds=seconds)


def test_a_record_that_cannot_be_read_whole_is_swept_and_logged():
    account = Account()
    for name in ("gpu-1", "gpu-2"):
        account.create_cluster(name)
        account.send_created(name)
    account.run_until_idle()
    key = HOME.arn("gpu-1"), "onboarding"
    record, token = account.store._records[key]
    account.store._records[key] = replace(record, stage="quarantined", unreadable=("since",)), token
    log = Listening()

    triggers = account.person().sweep(log)

    asked = {(one.capability, one.trigger.name) for one in triggers}
    assert asked >= {(name, cluster) for name in ("onboarding", "tuning") for cluster in ("gpu-1", "gpu-2")}
    [(message, reported)] = log.warned
    assert message == "a record cannot be read whole"
    assert reported == {"cluster": HOME.arn("gpu-1"), "capability": "onboarding", "fields": ("since",)}


def test_a_sweep_is_noted_once_its_reconciles_are_asked_for_and_goes_on_where_that_fails():
    account = Account()
    account.create_cluster()
    account.sweep()
    assert account.store.sweeps() == (account.clock.now,) and account.store.fleet_size() == 1

    def refusing(at, clusters):
        raise Unavailable("dynamodb:PutItem sweep: throttled")

    account.store.note_sweep, log = refusing, Listening()
    triggers = account.person().sweep(log)

    assert len(account.queues.waiting) == 2 * len(triggers) > 0
    assert [message for message, _ in log.warned] == ["this sweep could not be noted"]


def test_a_reconcile_that_gave_up_is_an_error_in_the_log():
    account = Account()
    account.create_cluster()

    def refusing(record, lease, *, history):
        raise LeaseHeld("a later reconcile has recorded it already")

    account.store.save, log = refusing, Listening()
    body = Trigger(HOME.arn("gpu-1"), "a test", tries=8).message()
    account.queues.put("onboarding", body)
    receipt, message = account.queues.receive(timedelta(minutes=16))
    record = {"messageId": "1", "receiptHandle": receipt, "body": message.body}

    answer = account.person().answer({"Records": [record]}, "onboarding", log)

    assert answer == {"batchItemFailures": []}
    [(reported, line)] = log.failed
    assert reported == "gave up" and line["stage"] == "given-up" and "gpu-1" in line["cluster"]


class Listening:
    def __init__(self):
        self.warned, self.failed = [], []

    def info(self, *_, **__): ...

    def warning(self, message, extra):
        self.warned.append((message, extra))

    def error(self, message, extra):
        self.failed.append((message, extra))


class Quiet:
    def info(self, *_, **__): ...

    error = exception = info
