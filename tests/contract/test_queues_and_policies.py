from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.gateways.parameters import SsmPolicies
from slicewise.gateways.queues import SqsQueues

from tests.fakes.calls import Calls
from tests.fakes.clock import Clock
from tests.fakes.queues import FakePolicies, FakeQueues


class Sqs:
    """The far side of the gateway: what stands in the queue, with its delay in seconds."""

    def __init__(self, session, admin):
        self._sqs = admin.client("sqs")
        self.url = self._sqs.create_queue(QueueName="onboarding", Attributes={"VisibilityTimeout": "600"})[
            "QueueUrl"
        ]
        self.port = SqsQueues({"onboarding": self.url}, session, "eu-west-1")

    def standing(self) -> dict[str, int]:
        from moto.sqs.models import sqs_backends

        [queue] = [q for region in sqs_backends.values() for q in region["eu-west-1"].queues.values()]
        return {m.body: max(0, round((m.delayed_until - m.sent_timestamp) / 1000)) for m in queue._messages}

    def receive(self) -> str | None:
        [*found] = self._sqs.receive_message(QueueUrl=self.url).get("Messages", [])
        return found[0]["ReceiptHandle"] if found else None


class InMemory:
    def __init__(self):
        self.clock = Clock()
        self.port = FakeQueues(self.clock, Calls())

    def standing(self) -> dict[str, int]:
        return {m.body: round((m.due - self.clock.now).total_seconds()) for m in self.port.waiting}

    def receive(self) -> str | None:
        due = [m for m in self.port.waiting if m.due <= self.clock.now]
        if not due:
            return None
        receipt, message = self.port.receive(timedelta(minutes=10))
        self.port.waiting.append(message)  # SQS keeps it, hidden
        return receipt


@pytest.fixture(params=["fake", "gateway"])
def far_side(request):
    return InMemory() if request.param == "fake" else Sqs(*map(request.getfixturevalue, ("session", "admin")))


def test_a_message_comes_after_its_delay_and_never_later_than_sqs_can_delay(far_side):
    far_side.port.send("onboarding", "now")
    far_side.port.send("onboarding", "soon", timedelta(seconds=5))
    far_side.port.send("onboarding", "late", timedelta(hours=2))

    assert far_side.standing() == {"now": 0, "soon": 5, "late": 900}


def test_more_messages_than_sqs_takes_at_once_all_arrive(far_side):
    messages = [(f"look {number}", timedelta(seconds=number)) for number in range(23)]

    far_side.port.send_all("onboarding", messages)

    assert far_side.standing() == {f"look {number}": number for number in range(23)}


def test_no_messages_are_sent_without_a_call(far_side):
    far_side.port.send_all("onboarding", [])

    assert far_side.standing() == {}


def test_a_failed_message_comes_back_when_it_is_told_to(far_side):
    far_side.port.send("onboarding", "again")
    receipt = far_side.receive()
    assert far_side.receive() is None

    far_side.port.retry_in("onboarding", receipt, timedelta(0))

    assert far_side.receive() is not None


@pytest.fixture(params=["fake", "gateway"])
def policies(request):
    if request.param == "fake":
        return FakePolicies(Calls(), default="pools: {}")
    session = request.getfixturevalue("session")
    request.getfixturevalue("admin").client("ssm").put_parameter(
        Name="/slicewise/policies/default", Value="pools: {}", Type="String"
    )
    return SsmPolicies("/slicewise/policies/", session, "eu-west-1")


def test_a_policy_is_found_by_its_name(policies):
    assert policies.text("default") == "pools: {}"


@pytest.mark.parametrize("name", ["missing", "../policies/default", "", "a b", "x" * 300])
def test_a_name_that_names_no_policy_finds_none(policies, name):
    assert policies.text(name) is None
