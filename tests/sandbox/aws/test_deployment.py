"""A synthesized app on the sandbox's AWS: deployed, updated and destroyed, with its functions running."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.aws.cloudformation.assembly import DeploymentFailed, deploy, destroy, update
from sandbox.aws.functions.functions import Run
from sandbox.aws.server import Aws
from tests.sandbox.aws.aws_fixtures import write_assembly
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws"), creating_seconds=0) as aws:
        yield aws


@pytest.fixture(scope="module")
def app(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return deploy(write_assembly(tmp_path_factory.mktemp("cdk")), aws)


def send(aws: Aws, app: dict[str, str], *bodies: dict[str, Any], **options: Any) -> None:
    entries = [{"Id": str(i), "MessageBody": json.dumps(body), **options} for i, body in enumerate(bodies)]
    aws.client("sqs").send_message_batch(QueueUrl=app["QueueUrl"], Entries=entries)


def row(aws: Aws, name: str) -> dict[str, str] | None:
    item = aws.client("dynamodb").get_item(TableName="clusters", Key={"pk": {"S": name}}).get("Item")
    return item and {key: next(iter(value.values())) for key, value in item.items()}


def invoke(aws: Aws, **event: Any) -> tuple[Any, str | None]:
    answer = aws.client("lambda").invoke(FunctionName="work", Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


def run_of(aws: Aws, error: dict[str, str]) -> Run:
    """The run that this error tells of."""
    request_id = re.search(r"RequestId: (\S+)", error["errorMessage"]).group(1)
    return next(run for run in aws.functions.runs if run.request_id == request_id)


def test_a_created_cluster_reaches_the_table_through_rule_queue_and_function(aws, app):
    aws.client("eks").create_cluster(
        name="gpu-1", roleArn="arn:aws:iam::123456789012:role/eks", resourcesVpcConfig={}
    )

    event = json.loads(eventually(lambda: row(aws, "gpu-1"))["body"])

    assert event["source"] == "aws.eks"
    assert event["account"] == aws.account
    assert event["detail"]["eventName"] == "CreateCluster"
    assert event["detail"]["responseElements"]["cluster"]["status"] == "CREATING"


def test_while_a_function_is_held_none_of_its_runs_begins(aws, app):
    ran = len(aws.functions.runs)

    with aws.functions.held("work"):
        assert aws.functions.busy("work") == 0
        aws.functions.invoke_later("work", json.dumps({"ping": "held"}).encode())
        time.sleep(0.3)
        assert (aws.functions.busy("work"), len(aws.functions.runs)) == (0, ran)

    eventually(lambda: len(aws.functions.runs) > ran)


def test_a_function_that_is_not_deployed_cannot_be_held(aws, app):
    with pytest.raises(LookupError, match="no function wrok"), aws.functions.held("wrok"):
        pass


def test_a_function_runs_as_its_role_with_its_layer_and_nothing_of_ours(aws, app, monkeypatch):
    monkeypatch.setenv("LEAKED_FROM_THE_TEST", "1")
    aws.functions.forget_warm()

    answer, error = invoke(aws)

    assert error is None
    assert answer["who"] == "arn:aws:sts::123456789012:assumed-role/runner/work"
    assert answer["greeting"] == "hello"
    assert answer["tool_is_executable"]
    assert answer["memory"] == "256"
    assert 0 < answer["remaining_ms"] <= 3000
    assert answer["environment"]["TABLE_NAME"] == "clusters"
    assert answer["environment"]["AWS_LAMBDA_LOG_FORMAT"] == "JSON"
    assert "LEAKED_FROM_THE_TEST" not in answer["environment"]
    assert "VIRTUAL_ENV" not in answer["environment"]
    assert os.environ["HOME"] not in answer["environment"].values()


def test_a_second_invocation_finds_a_warm_environment(aws, app):
    invoke(aws)
    answer, _ = invoke(aws)

    assert answer["invocations"] > 1


def test_only_the_failed_record_of_a_batch_comes_back_and_ends_in_the_dead_letter_queue(aws, app):
    send(aws, app, {"name": "good"}, {"name": "bad", "fail": True})

    assert eventually(lambda: row(aws, "good"))["receives"] == "1"
    [dead] = eventually(
        lambda: (
            aws.client("sqs")
            .receive_message(QueueUrl=app["DlqUrl"], WaitTimeSeconds=1, AttributeNames=["All"])
            .get("Messages")
        )
    )
    assert json.loads(dead["Body"])["name"] == "bad"
    aws.client("sqs").delete_message(QueueUrl=app["DlqUrl"], ReceiptHandle=dead["ReceiptHandle"])


def test_a_delayed_message_arrives_no_sooner(aws, app):
    sent = time.monotonic()
    send(aws, app, {"name": "later"}, DelaySeconds=2)

    eventually(lambda: row(aws, "later"))

    assert time.monotonic() - sent >= 2


def test_an_environment_that_takes_too_long_is_killed_and_never_used_again(aws, app):
    answer, error = invoke(aws, sleep=30)

    assert error == "Unhandled"
    assert "Task timed out after 3.00 seconds" in answer["errorMessage"]
    # Others may be warm, of messages of the tests before: the next start need not be cold.
    killed = run_of(aws, answer).log_stream
    assert killed not in aws.functions.warm("work")
    next_one = invoke(aws)[0]["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"]
    assert next_one != killed
    assert next_one in aws.functions.warm("work")


def test_a_function_whose_process_ends_is_reported_as_crashed(aws, app):
    answer, error = invoke(aws, exit=True)

    assert error == "Unhandled"
    assert answer["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in answer["errorMessage"]


@pytest.mark.parametrize("end", [{"exit": True}, {"sleep": 30}], ids=["crash", "timeout"])
def test_what_a_function_started_ends_with_it(aws, app, end):
    invoke(aws, spawn=True, **end)

    pid = int(re.findall(r"spawned (\d+)", aws.functions.log("work"))[-1])
    eventually(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_function_can_be_killed_in_the_middle_of_an_invocation(aws, app):
    eventually(lambda: not aws.functions.busy("work"))
    before = len(aws.functions.runs)
    aws.client("lambda").invoke(FunctionName="work", InvocationType="Event", Payload=b'{"sleep": 30}')

    eventually(lambda: aws.functions.kill("work"), every=0.01)

    [killed] = eventually(lambda: aws.functions.runs[before:])
    assert killed.failed
    assert killed.log_stream not in aws.functions.warm("work")
    eventually(lambda: "signal: 9" in aws.functions.log("work"))


def test_a_function_that_is_not_there_is_not_found(aws, app):
    client = aws.client("lambda")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="nobody", Payload=b"{}")


def test_what_a_template_says_of_a_function_and_a_table_is_kept(aws, app):
    function = aws.client("lambda").get_function(FunctionName="work")

    assert function["Configuration"]["Architectures"] == ["arm64"]
    assert [layer["Arn"] for layer in function["Configuration"]["Layers"]] == [app["LayerArn"]]
    assert function["Tags"] == {"app": "slicewise"}
    expiry = aws.client("dynamodb").describe_time_to_live(TableName="clusters")["TimeToLiveDescription"]
    assert (expiry["AttributeName"], expiry["TimeToLiveStatus"]) == ("expires", "ENABLED")
    assert app["AlarmArn"] == aws.arn("cloudwatch", "alarm:work-dead")
    assert app["LayerArn"].startswith(aws.arn("lambda", "layer:"))


def test_update_changes_what_changed_and_destroy_leaves_nothing(tmp_path):
    with Aws.start(tmp_path / "aws", account="111122223333") as aws:
        first = deploy(write_assembly(tmp_path / "cdk"), aws)
        assert invoke_locally(aws)["greeting"] == "hello"

        changed = write_assembly(
            tmp_path / "cdk", words="goodbye", timeout=9, alarm_threshold=5, extra_queue=True
        )
        second = update(changed, aws)

        assert invoke_locally(aws)["greeting"] == "goodbye"
        assert second["LayerArn"] != first["LayerArn"]
        assert second["TopicArn"] == first["TopicArn"]
        assert aws.client("lambda").get_function_configuration(FunctionName="work")["Timeout"] == 9
        [alarm] = aws.client("cloudwatch").describe_alarms(AlarmNames=["work-dead"])["MetricAlarms"]
        assert alarm["Threshold"] == 5
        assert aws.client("sqs").get_queue_url(QueueName="extra")["QueueUrl"]

        assert [kind for kind, found in listed(aws).items() if not found] == []
        destroy(changed, aws)

        assert {kind: found for kind, found in listed(aws).items() if found} == {}


def invoke_locally(aws: Aws) -> Any:
    return json.loads(aws.functions.invoke("work", {}).payload)


def listed(aws: Aws) -> dict[str, list[Any]]:
    """All that there is, of each kind that the stack makes."""
    listings = [
        ("cloudwatch", "describe_alarms", "MetricAlarms"),
        ("dynamodb", "list_tables", "TableNames"),
        ("events", "list_rules", "Rules"),
        ("iam", "list_roles", "Roles"),
        ("lambda", "list_event_source_mappings", "EventSourceMappings"),
        ("lambda", "list_functions", "Functions"),
        ("lambda", "list_layers", "Layers"),
        ("logs", "describe_log_groups", "logGroups"),
        ("scheduler", "list_schedules", "Schedules"),
        ("sns", "list_subscriptions", "Subscriptions"),
        ("sns", "list_topics", "Topics"),
        ("sqs", "list_queues", "QueueUrls"),
    ]
    return {
        f"{service} {key}": getattr(aws.client(service), verb)().get(key, [])
        for service, verb, key in listings
    }


def test_a_type_that_nobody_makes_fails_the_deployment_by_name(tmp_path, aws):
    body = {"Resources": {"Ghost": {"Type": "AWS::GameLift::Fleet", "Properties": {}}}}
    (tmp_path / "G.template.json").write_text(json.dumps(body))
    artifact = {"type": "aws:cloudformation:stack", "properties": {"templateFile": "G.template.json"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": {"G": artifact}}))

    with (
        pytest.warns(UserWarning, match="not supported by moto"),
        pytest.raises(DeploymentFailed, match=r"Ghost \(AWS::GameLift::Fleet\)"),
    ):
        deploy(tmp_path, aws)


@pytest.mark.parametrize(
    ("queue", "more"),
    [
        pytest.param("work.fifo", {}, id="FIFO"),
        pytest.param("work-dlq", {"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, id="filter"),
    ],
)
def test_a_mapping_that_is_not_played_is_refused(aws, app, queue, more):
    client = aws.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="standard SQS queues"):
        client.create_event_source_mapping(EventSourceArn=aws.arn("sqs", queue), FunctionName="work", **more)


def test_it_starts_again_after_a_stop_and_remembers_nothing(tmp_path: Path):
    for _ in range(2):
        with Aws.start(tmp_path, account="444455556666") as aws:
            assert aws.client("sqs").list_queues().get("QueueUrls") is None
            aws.client("sqs").create_queue(QueueName="kept")


def test_two_accounts_live_side_by_side_and_one_account_is_served_once(tmp_path, aws):
    with Aws.start(tmp_path / "other", account="444455556666") as other:
        other.client("sqs").create_queue(QueueName="theirs")

        assert other.client("sts").get_caller_identity()["Account"] == "444455556666"
        assert not any("theirs" in url for url in aws.client("sqs").list_queues().get("QueueUrls", []))
        with pytest.raises(RuntimeError, match="444455556666 is served"):
            Aws.start(tmp_path / "again", account="444455556666")
