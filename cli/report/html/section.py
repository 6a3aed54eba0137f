"""A section of the page: its heading and what it is about at the side, its figures beside that."""

from __future__ import annotations

from datetime import datetime, timedelta

from cli.output import plural
from cli.report.html.markup import NOTHING, Child, Markup, tag


def section(key: str, title: str, lede: Child, *body: Child) -> Markup:
    return tag(
        "section",
        tag("div", tag("h2", title, id=f"{key}-title"), tag("p", lede, class_="lede") if lede else NOTHING),
        tag("div", *body, class_="body"),
        id=key,
        aria_labelledby=f"{key}-title",
    )


def sentence(text: Child) -> Markup:
    return tag("p", text)


def span(since: datetime, until: datetime) -> str:
    """Both ends, each year and day once; a midnight ends the day before it."""
    last = until - timedelta(microseconds=1)
    if until - since == timedelta(days=1) and since.date() == last.date():
        return date(since)
    if since.date() == last.date() and until - since < timedelta(days=1):
        return f"{date(since)}, {since:%H:%M} to {until:%H:%M} UTC"
    if until - since < timedelta(days=2):
        return f"{moment(since)} to {moment(until)} UTC"
    begin = (
        date(since).removesuffix(f" {last:%Y}").removesuffix(f" {last:%B}" if since.year == last.year else "")
    )
    return f"{begin} to {date(last)} ({plural(-((since - until) // timedelta(days=1)), 'day')})"


def date(at: datetime) -> str:
    return f"{at.day} {at:%B %Y}"


def moment(at: datetime) -> str:
    return f"{at.day} {at:%b %Y, %H:%M}"


def sortable_time(at: datetime) -> Markup:
    return tag("time", moment(at), datetime=f"{at:%Y-%m-%dT%H:%MZ}")
