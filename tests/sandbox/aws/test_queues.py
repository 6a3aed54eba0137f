"""What is sent or put back for later waits as long as was asked, or for the share of it that a test wants."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.aws.server import Aws
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with Aws.start(tmp_path_factory.mktemp("aws"), delay_share=0.01) as aws:
        yield aws


@pytest.fixture
def queue(aws: Aws) -> Iterator[str]:
    url = aws.client("sqs").create_queue(QueueName="later")["QueueUrl"]
    yield url
    aws.client("sqs").delete_queue(QueueUrl=url)


def received(aws: Aws, queue: str) -> list[dict[str, Any]]:
    return aws.client("sqs").receive_message(QueueUrl=queue).get("Messages", [])


def test_a_message_for_later_waits_for_its_share(aws, queue):
    aws.client("sqs").send_message(QueueUrl=queue, MessageBody="one", DelaySeconds=100)
    began = time.monotonic()

    assert received(aws, queue) == []
    eventually(lambda: received(aws, queue), within_seconds=60)
    assert time.monotonic() - began > 0.9


def test_so_do_messages_of_a_batch(aws, queue):
    entry = {"Id": "1", "MessageBody": "one", "DelaySeconds": 100}
    aws.client("sqs").send_message_batch(QueueUrl=queue, Entries=[entry])

    assert received(aws, queue) == []
    eventually(lambda: received(aws, queue), within_seconds=60)


def test_so_does_one_that_is_put_back(aws, queue):
    sqs = aws.client("sqs")
    sqs.send_message(QueueUrl=queue, MessageBody="one")
    (taken,) = received(aws, queue)
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=taken["ReceiptHandle"], VisibilityTimeout=100)

    assert received(aws, queue) == []
    eventually(lambda: received(aws, queue), within_seconds=60)


def test_a_reader_keeps_its_message_as_long_as_the_queue_says(aws, queue):
    aws.client("sqs").send_message(QueueUrl=queue, MessageBody="one")
    assert received(aws, queue)

    time.sleep(0.5)  # longer than its share of the queue's 30 seconds
    assert received(aws, queue) == []


def test_without_a_share_the_whole_time_passes(aws, queue):
    aws.delay_share, before = 1.0, aws.delay_share
    try:
        aws.client("sqs").send_message(QueueUrl=queue, MessageBody="one", DelaySeconds=2)
        began = time.monotonic()
        eventually(lambda: received(aws, queue), within_seconds=60)
    finally:
        aws.delay_share = before
    assert time.monotonic() - began > 1.9
