from __future__ import annotations

from datetime import timedelta

import pytest
from slicewise.errors import Refused
from slicewise.gateways.sqs import SqsQueues
from slicewise.gateways.ssm import SsmPolicies
from slicewise.model.capabilities import CAPABILITIES
from slicewise.trigger import DeploymentScope, Trigger

from tests.fakes.aws.queues import FakePolicies, FakeQueues
from tests.fakes.calls import Calls
from tests.fakes.clock import Clock


class Sqs:
    """The far side of the gateway: what stands in the queue, with its delay in seconds."""

    def __init__(self, session, admin):
        self._sqs = admin.client("sqs")
        urls = {
            name: self._sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
            for name in CAPABILITIES
        }
        self.url = urls["onboarding"]
        self.port = SqsQueues(urls, session, "eu-west-1")

    def standing(self, capability: str = "onboarding") -> dict[str, int]:
        from moto.sqs.models import sqs_backends

        [queue] = [region["eu-west-1"].queues[capability] for region in sqs_backends.values()]
        return {m.body: max(0, round((m.delayed_until - m.sent_timestamp) / 1000)) for m in queue._messages}

    def receive(self) -> str | None:
        [*found] = self._sqs.receive_message(QueueUrl=self.url).get("Messages", [])
        return found[0]["ReceiptHandle"] if found else None


class InMemory:
    def __init__(self):
        self.clock = Clock()
        self.port = FakeQueues(self.clock, Calls())

    def standing(self, capability: str = "onboarding") -> dict[str, float]:
        return {
            m.body: (m.due - self.clock.now).total_seconds()
            for m in self.port.waiting
            if m.capability == capability
        }

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


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_each_capability_has_a_queue_of_its_own(far_side, capability):
    far_side.port.send(capability, "one")
    far_side.port.send_all(capability, [("two", timedelta(seconds=2))])

    standing = {name: far_side.standing(name) for name in CAPABILITIES}
    assert standing == {name: {"one": 0, "two": 2} if name == capability else {} for name in CAPABILITIES}


def test_a_message_for_nobody_is_an_error(far_side):
    with pytest.raises(KeyError):
        far_side.port.send("defragmentation", "one")


def test_delays_are_whole_seconds_and_a_reconcile_never_comes_before_its_time(far_side):
    """As triggers that found the lease taken are spread, and the looks of a sweep."""
    far_side.port.send("onboarding", "spread", timedelta(seconds=5.3))
    far_side.port.send_all(
        "onboarding", [("paced", timedelta(seconds=0.27)), ("over", timedelta(seconds=-3))]
    )

    assert far_side.standing() == {"spread": 6, "paced": 1, "over": 0}


LONGEST = Trigger(
    DeploymentScope("111122223333", "us-gov-west-1", "aws-us-gov").arn("c" * 100), "→" * 500_000, waits=True
)


def test_the_longest_trigger_is_taken(far_side):
    far_side.port.send("onboarding", LONGEST.message())
    far_side.port.send_all("onboarding", [(LONGEST.message(), timedelta(0))] * 10)

    assert list(far_side.standing()) == [LONGEST.message()]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("é" * 600_000, id="more than 1 MiB, though not as many letters"),
        pytest.param("a\x00", id="a character that SQS does not take"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_body_that_sqs_does_not_take_is_refused(far_side, body):
    with pytest.raises(Refused):
        far_side.port.send("onboarding", body)
    with pytest.raises(Refused):
        far_side.port.send_all("onboarding", [(body, timedelta(0))])
    assert far_side.standing() == {}


def test_a_batch_that_is_too_large_together_is_refused(far_side):
    with pytest.raises(Refused):
        far_side.port.send_all("onboarding", [(f"{n}{'é' * 60_000}", timedelta(0)) for n in range(10)])
    assert far_side.standing() == {}


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


def test_a_receipt_that_nobody_holds_is_refused(far_side):
    """Its message was deleted, or another copy of it was received since."""
    with pytest.raises(Refused):
        far_side.port.retry_in("onboarding", "no-receipt", timedelta(seconds=10))


# As the deployment names its parameters: policies, and files of holidays beside them.
DEPLOYED = {
    "default": "pools: {}",
    "p" * 63: "x" * 4096,
    "holidays/de-by": "BEGIN:VCALENDAR",
    f"holidays/{'h' * 63}": "BEGIN:VCALENDAR",
}


@pytest.fixture(params=["fake", "gateway"])
def policies(request):
    if request.param == "fake":
        return FakePolicies(Calls(), **DEPLOYED)
    session, ssm = request.getfixturevalue("session"), request.getfixturevalue("admin").client("ssm")
    for name, text in DEPLOYED.items():
        ssm.put_parameter(Name=f"/slicewise/policies/{name}", Value=text, Type="String")
    return SsmPolicies("/slicewise/policies/", session, "eu-west-1")


@pytest.mark.parametrize("name", DEPLOYED)
def test_whatever_was_deployed_is_found_by_its_name(policies, name):
    assert policies.text(name) == DEPLOYED[name]


# A policy's name is the value of a tag, which may hold much: letters, spaces, and + - = . _ : / @.
@pytest.mark.parametrize(
    "name",
    [
        *("missing", "../policies/default", "", "a b", "x" * 300, "default:1", "/default", "default/", ".."),
        *("holidays/missing", "holidays/../default", "holidays/", "holidays/a/b", "other/de-by", "de-by"),
        *("holidays/holidays/de-by", "münchen", "a@b+c=d"),
    ],
)
def test_a_name_that_names_no_policy_finds_none(policies, name):
    assert policies.text(name) is None
