"""Days off, as files of holidays hold them; dateutil is the referee of yearly rules."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st
from slicewise.schedule.holidays import UnreadableHolidays, read


def calendar(*lines: str) -> str:
    event = "\r\n".join(("BEGIN:VEVENT", *lines, "END:VEVENT"))
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{event}\r\nEND:VCALENDAR\r\n"


def days_off(text: str, year: int) -> list[str]:
    holidays, day = read(text), date(year, 1, 1)
    return [f"{day + timedelta(days=n):%m-%d}" for n in range(366) if day + timedelta(days=n) in holidays]


def test_a_day_a_span_and_a_yearly_day():
    assert days_off(calendar("DTSTART;VALUE=DATE:20261225", "SUMMARY:Christmas"), 2026) == ["12-25"]
    span = calendar("DTSTART;VALUE=DATE:20261230", "DTEND;VALUE=DATE:20270102")
    assert days_off(span, 2026) == ["12-30", "12-31", "01-01"] and days_off(span, 2027) == ["01-01"]
    yearly = calendar("DTSTART;VALUE=DATE:20200501", "DURATION:P1D", "RRULE:FREQ=YEARLY")
    assert days_off(yearly, 2026) == ["05-01"] and days_off(yearly, 2019) == []


def test_thanksgiving_is_the_fourth_thursday():
    text = calendar("DTSTART;VALUE=DATE:20201126", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH")

    assert [days_off(text, year) for year in (2026, 2027)] == [["11-26"], ["11-25"]]


def test_what_calendars_add_is_passed_over():
    text = calendar(
        "UID:1",
        'DTSTART;VALUE="DATE":20261003',
        "SUMMARY:Day of German",
        "  Unity\\, a holiday",
        "TRANSP:TRANSPARENT",
        "BEGIN:VALARM",
        "DTSTART:20200101T000000Z",
        "END:VALARM",
        'X-APPLE-UNIVERSAL-ID;X="a:b":1',
    ).replace(
        "BEGIN:VEVENT", "BEGIN:VTIMEZONE\r\nDTSTART:19701025T030000\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT", 1
    )

    assert days_off(text, 2026) == ["10-03"]
    assert read(text).named(date(2026, 10, 3)) == "Day of German Unity, a holiday"


def test_cancelled_and_left_out_days_are_working_days():
    assert days_off(calendar("DTSTART;VALUE=DATE:20261225", "STATUS:CANCELLED"), 2026) == []
    text = calendar(
        "DTSTART;VALUE=DATE:20250601", "RRULE:FREQ=YEARLY", "EXDATE;VALUE=DATE:20260601", "RDATE:20260607"
    )
    assert days_off(text, 2026) == ["06-07"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "must begin with BEGIN:VCALENDAR|write NAME:VALUE"),
        ("", "no iCalendar file"),
        (calendar("DTSTART:20261225T100000Z"), "line 5: '20261225T100000Z': a holiday is a whole day"),
        (calendar("DTSTART:20260230"), "no such date"),
        (calendar("DTSTART:20261225", "DTSTART:20261226"), "line 6: DTSTART is there twice"),
        (calendar("SUMMARY:x"), "without DTSTART"),
        (calendar("DTSTART:20261225", "RRULE:FREQ=WEEKLY"), "line 6: .*FREQ=YEARLY"),
        (calendar("DTSTART:20261225", "RRULE:FREQ=YEARLY;BYSETPOS=1"), "BYSETPOS is not read"),
        (calendar("DTSTART:20261225", "RRULE:FREQ=YEARLY;BYMONTH=1,7"), "write one whole number"),
        (calendar("DTSTART:20261225", "RRULE:FREQ=YEARLY;BYMONTH=11"), "not a day of this rule"),
        (calendar("DTSTART:20261225", "DTEND:20261220"), "the day after the last one"),
        (calendar("DTSTART:20261225", "DURATION:PT8H"), "whole days such as P1D"),
        (calendar("DTSTART:20261225", "RECURRENCE-ID:20261225"), "as an event of its own"),
        (calendar("DTSTART:20261225").replace("END:VCALENDAR", ""), "not whole"),
    ],
)
def test_what_is_no_day_off_is_refused_with_its_line(text, message):
    with pytest.raises(UnreadableHolidays, match=message):
        read(text)


RULES = st.one_of(
    st.tuples(st.just(""), st.dates(date(1990, 1, 1), date(2020, 12, 31))),
    st.builds(
        lambda month, nth, day, year: (f";BYMONTH={month};BYDAY={nth}{day}", date(year, month, 1)),
        st.integers(1, 12),
        st.sampled_from([1, 2, 3, 4, 5, -1, -2]),
        st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]),
        st.integers(1990, 2020),
    ),
)


@given(
    RULES,
    st.one_of(st.just(""), st.integers(1, 30).map(lambda n: f";COUNT={n}"), st.just(";UNTIL=20240601")),
    st.integers(1, 4),
)
@settings(max_examples=50, deadline=None)
def test_yearly_rules_are_read_as_dateutil_reads_them(rule, bound, interval):
    words, near = rule
    text = f"RRULE:FREQ=YEARLY;INTERVAL={interval}{words}{bound}"
    plain = rrulestr(f"RRULE:FREQ=YEARLY{words}", dtstart=datetime(near.year, near.month, near.day))
    first = next(iter(plain))
    # dateutil takes 29 February as written; a fifth Monday may first come years later.
    wanted = rrulestr(text, dtstart=first).between(datetime(2022, 1, 1), datetime(2026, 12, 31), inc=True)

    found = read(calendar(f"DTSTART;VALUE=DATE:{first:%Y%m%d}", text))

    days = [date(2022, 1, 1) + timedelta(days=n) for n in range(5 * 365 + 1)]
    assert [day for day in days if day in found] == [moment.date() for moment in wanted]
