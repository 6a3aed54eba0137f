"""What operators are told: the fake topic and SNS, held to the same behaviour."""

from __future__ import annotations

import pytest
from slicewise.gateways.sns import SnsNotices

from tests.fakes.aws.notices import FakeNotices
from tests.fakes.calls import Calls


class InMemory:
    def __init__(self):
        self.port = FakeNotices(Calls())

    def arrived(self) -> list[tuple[str, str]]:
        return self.port.sent


class Sns:
    def __init__(self, session, admin):
        self.topic = admin.client("sns").create_topic(Name="notices")["TopicArn"]
        self.port = SnsNotices(self.topic, session, "eu-west-1")

    def arrived(self) -> list[tuple[str, str]]:
        from moto.sns.models import sns_backends

        [topic] = [region["eu-west-1"].topics[self.topic] for region in sns_backends.values()]
        return [(subject, text) for _, text, subject, *_ in topic.sent_notifications]


@pytest.fixture(params=["fake", "gateway"])
def far_side(request):
    return InMemory() if request.param == "fake" else Sns(*map(request.getfixturevalue, ("session", "admin")))


def test_what_is_reported_arrives(far_side):
    far_side.port.publish(
        "Slicewise: 3 pods of gpu-1 wait for a GPU", "Pod ml/server-0 …\nLook at Karpenter."
    )

    assert far_side.arrived() == [
        ("Slicewise: 3 pods of gpu-1 wait for a GPU", "Pod ml/server-0 …\nLook at Karpenter.")
    ]


@pytest.mark.parametrize(
    ("subject", "arrives"),
    [
        pytest.param("s" * 400, "s" * 99, id="of the longest names"),
        pytest.param("a\nb\tc\x00d", "a b c d", id="of several lines"),
    ],
)
def test_a_subject_that_is_no_short_line_is_cut_and_stands_whole_above_the_text(far_side, subject, arrives):
    far_side.port.publish(subject, "text")

    assert far_side.arrived() == [(arrives, f"{subject}\n\ntext")]


@pytest.mark.parametrize("sign", ["x", "→"], ids=["one byte", "three bytes"])
def test_a_text_that_is_too_long_is_cut_and_says_so_and_no_reconcile_fails(far_side, sign):
    far_side.port.publish("subject", sign * 300_000)

    [(_, text)] = far_side.arrived()
    assert 262_140 < len(text.encode()) <= 262_144
    assert text.endswith(f"(cut: {len(sign.encode()) * 300_000} bytes)")
