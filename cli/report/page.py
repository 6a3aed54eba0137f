"""
A report as one HTML page that needs nothing else: no network, no font, no script to be read. Pure.

It can be sent as it is: all of it is in the file, and a policy in its head keeps it from loading anything.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256

from slicewise.costs.report import Report

from cli.output import plural
from cli.report.html import breakdown, events, formulas, headline, over_time, proof
from cli.report.html.charts import patterns
from cli.report.html.markup import Markup, join, tag
from cli.report.html.section import moment, section, sentence, span
from cli.report.html.style import SCRIPT, STYLE

_LINKS = {
    "saved": "Saved", "time": "Over time", "pools": "Sharing", "week": "Week", "teams": "Teams",
    "namespaces": "Namespaces", "workloads": "Workloads", "by-pool": "Pools", "clusters": "Clusters",
    "changes": "Changes", "nights": "Nights", "sum": "Sum", "aws": "AWS's split cost",
    "bill": "Bill", "notes": "Notes", "formulas": "Formulas",
}  # fmt: skip


def page(report: Report, made_at: datetime) -> str:
    """
    Args:
        made_at: In UTC; the page says it.
    """
    body = tag(
        "body",
        tag("a", "Skip to the figures", href="#saved", class_="skip"),
        patterns(),
        _header(report),
        tag("main", list(_sections(report)), class_="page"),
        _footer(report, made_at),
        tag("script", Markup(SCRIPT)),
    )
    return "<!doctype html>\n" + tag("html", _head(report), body, lang="en") + "\n"


def _head(report: Report) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"What GPUs cost: {_clusters(report)}, {span(report.since, report.until)}"),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(STYLE)),
    )


def _policy() -> str:
    """Nothing is loaded, and no script runs but ours."""
    digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _clusters(report: Report) -> str:
    if len(report.clusters) > 3:
        return plural(len(report.clusters), "cluster")
    return ", ".join(report.clusters) or "no cluster"


def _header(report: Report) -> Markup:
    places = ", ".join(f"{name} ({report.regions.get(name, 'Region unknown')})" for name in report.clusters)
    return tag(
        "header",
        tag("p", places or "No cluster", class_="kicker"),
        tag("h1", f"What GPUs cost, {span(report.since, report.until)}"),
        headline.hero(report),
        tag("nav", tag("ul", [_link(*one) for one in _LINKS.items()]), aria_label="Contents"),
        class_="page",
    )


def _link(key: str, title: str) -> Markup:
    return tag("li", tag("a", title, href=f"#{key}"))


def _sections(report: Report) -> Iterator[Markup]:
    yield headline.comparison(report)
    yield from over_time.sections(report)
    yield from breakdown.sections(report)
    yield from events.sections(report)
    yield from proof.sections(report)
    yield _notes(report)
    yield _formulas()


def _notes(report: Report) -> Markup:
    title, lede = "What cannot be said", "What is missing from these figures, and why."
    if not report.notes:
        message = "Nothing that is known of: all was counted, measured and priced."
        return section("notes", title, lede, sentence(message))
    return section(
        "notes", title, lede, tag("ul", [tag("li", note) for note in report.notes], class_="notes")
    )


def _formulas() -> Markup:
    lede = "The same as each figure shows when the pointer or the keyboard is on it."
    halves = [formula.partition(" = ") for formula in formulas.EVERY]
    terms = [join(tag("dt", name), tag("dd", f"= {text}")) for name, _, text in halves]
    return section("formulas", "Formulas", lede, tag("dl", terms, class_="terms"))


def _footer(report: Report, made_at: datetime) -> Markup:
    prices = f"Prices: {report.terms}. " if report.terms else ""
    made = f"{prices}Made by slicewise report, {moment(made_at)} UTC. All times are UTC."
    return tag("footer", tag("p", made, class_="fine"), class_="page")
