"""
Whatever a policy's parameter holds, it is a policy or refused with what is wrong in it: a newer release's
fields, a person's slip, garbage. Nothing else is ever raised, since a pass would stop at it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.errors import InvalidPolicy
from slicewise.policy.model import found
from slicewise.schedule import holidays
from slicewise.schedule.holidays import UnreadableHolidays

from tests.support.mutations import mutated

pytestmark = pytest.mark.slow

POLICIES = sorted((Path(__file__).parents[3] / "policies").glob("*.yaml"))
ODD = (
    "",
    "[]",
    "&a [*a]",
    "a: &a {b: *a}",
    "pools: !!python/object:os.system x",
    "pools: {shared: {maxGpus: 1e400}}",
    "pools: {? [a] : 1}",
    "\x00",
    "pools: " + "[" * 5_000,
    '{"pools": ' + "[" * 100_000,
    '{"pools": {"a": 1, "a": 2}}',
    '{"pools": NaN}',
    '{"pools": ' + "1" * 5_000 + "}",
    '{"pools": "\\ud800"}',
    '{"mode": act, pools: {}}',
    "offHours: {timeZone: ../../etc/passwd, asleep: [Mon]}",
)


@pytest.mark.parametrize("path", POLICIES, ids=[path.stem for path in POLICIES])
def test_a_policy_is_one_or_is_refused_with_what_is_wrong(path):
    whole = yaml.safe_load(path.read_text())

    @settings(max_examples=60)
    @given(mutated(whole))
    def holds(value):
        _read(yaml.safe_dump(value))

    holds()


@pytest.mark.parametrize("text", ODD, ids=[text[:20] for text in ODD])
def test_odd_text_is_a_policy_or_refused(text):
    _read(text)


@settings(max_examples=300)
@given(st.text(alphabet="{}[]:,&*!|>-#?%@`'\"\n\t ab1", max_size=40))
def test_any_text_is_a_policy_or_refused(text):
    _read(text)


def _read(text: str) -> None:
    try:
        found(text, "odd")
    except InvalidPolicy as refused:
        assert refused.problems and all(str(problem) for problem in refused.problems)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            (
                "BEGIN:VCALENDAR",
                "END:VCALENDAR",
                "BEGIN:VEVENT",
                "END:VEVENT",
                "DTSTART;VALUE=DATE:20261224",
                "DTSTART:20261224T000000Z",
                "DTSTART;VALUE=DATE:99991231",
                "DTEND;VALUE=DATE:20261301",
                "RRULE:FREQ=YEARLY",
                "RRULE:FREQ=YEARLY;UNTIL=00010101",
                "SUMMARY:Day",
                ":",
                ";=",
            )
        ),
        max_size=8,
    ).map("\r\n".join)
    | st.text(max_size=30)
)
def test_any_file_of_holidays_is_read_or_said_to_be_none(text):
    try:
        holidays.read(text)
    except UnreadableHolidays as odd:
        assert str(odd)
