"""The page of a report, read back by a parser: whole, self-contained, and its sums those of the report."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from hashlib import sha256
from itertools import pairwise

import pytest
from slicewise.costs.report import BillCheck, Cost, Interval, Parts, Report

from cli.report.html.tables import MOST_ROWS
from cli.report.page import page
from tests.support.costs import reports
from tests.support.nonempty import nonempty
from tests.support.pages.markup import Element, read

MADE_AT = datetime(2026, 11, 30, 10, 12, tzinfo=UTC)
REPORTS = {
    "believable": reports.believable,
    "one hour": reports.one_hour,
    "empty": reports.empty,
    "unpriced": reports.unpriced,
    "forty teams": lambda: reports.believable(days=4, teams=40),
    "long names": lambda: reports.believable(days=4, name=lambda text: text + reports.LONG),
    "hostile names": reports.hostile_names,
}
each_report = pytest.mark.parametrize("name", REPORTS)
SUMMED = ("teams", "namespaces", "workloads", "by-pool", "clusters")


@cache
def report(name: str = "believable") -> Report:
    return REPORTS[name]()


@cache
def document(name: str = "believable") -> Element:
    return read(page(report(name), MADE_AT))


def text_of(changed: Report, section: str) -> str:
    return read(page(changed, MADE_AT)).with_id(section).text


def amount(text: str) -> int:
    """Cents."""
    return int(re.sub(r"[$,.+]", "", text).replace("\N{MINUS SIGN}", "-"))


def rows(table: Element, part: str = "tbody") -> list[list[str]]:
    return [
        [cell.text for cell in row.children if isinstance(cell, Element)]
        for group in table.all(part)
        for row in group.all("tr")
    ]


@each_report
def test_every_reference_within_the_page_leads_to_one_element(name):
    elements = document(name).all()
    ids = [one.attributes["id"] for one in elements if "id" in one.attributes]
    referred = {
        reference
        for one in elements
        for key in ("aria-describedby", "aria-labelledby")
        for reference in (one.attributes.get(key) or "").split()
    } | {one.attributes["href"][1:] for one in elements if one.name == "a"}

    assert len(ids) == len(set(ids))
    assert nonempty(referred) <= set(ids)


@each_report
def test_nothing_is_loaded_from_anywhere(name):
    elements = document(name).all()
    style = document(name).one("style").text

    assert not {"src", "srcset", "data", "action", "xlink:href"} & {
        key for one in elements for key in one.attributes
    }
    links = nonempty([one.attributes["href"] for one in elements if "href" in one.attributes])
    assert [link for link in links if not link.startswith(("#", "data:,"))] == []
    assert re.findall(r"url\((?!#)|@import|https?:", style) == []


@each_report
def test_its_policy_lets_its_own_script_run_and_no_other(name):
    [script] = document(name).all("script")
    digest = b64encode(sha256(script.text.encode()).digest()).decode()
    [policy] = [one for one in document(name).all("meta") if "http-equiv" in one.attributes]

    assert "default-src 'none'; " in policy.attributes["content"]
    assert policy.attributes["content"].endswith(f"script-src 'sha256-{digest}'")


def test_names_are_text_wherever_they_stand():
    hostile = document("hostile names")

    assert {one.name for one in hostile.all()} == {one.name for one in document().all()}
    assert {key for one in hostile.all() for key in one.attributes} == {
        key for one in document().all() for key in one.attributes
    }
    for section in (
        "pools",
        "namespaces",
        "workloads",
        "teams",
        "clusters",
        "changes",
        "sum",
        "nights",
        "notes",
    ):
        assert reports.HOSTILE in hostile.with_id(section).text, section


@each_report
def test_every_section_shows_figures_or_says_why_it_has_none(name):
    for section in nonempty(document(name).all("section")):
        shown = section.all("table") + section.all("svg") + section.all("li") + section.all("dl")
        body = section.one("div", "body")
        assert shown or re.search(r"\w+ \w+.*\.$", body.text), section.attributes["id"]


def test_an_empty_report_says_in_each_section_that_nothing_was_there():
    nothing = document("empty")

    for section, words in {
        "time": "Nothing was counted",
        "pools": "No NodePool had machines",
        "week": "No GPU was there",
        "teams": "No pod held a GPU",
        "by-pool": "No machine was there",
        "changes": "did not change",
        "nights": "No cluster slept",
        "sum": "nothing to add up",
        "aws": "nothing to compare",
        "bill": "--bill FILE",
        "notes": "No GPU machine was seen in dev",
    }.items():
        assert words in nothing.with_id(section).text, section


@each_report
def test_headings_go_down_one_level_at_a_time(name):
    levels = [int(one.name[1]) for one in document(name).all() if re.fullmatch("h[1-6]", one.name)]

    assert levels.count(1) == 1 and levels[0] == 1
    assert all(next_one - one <= 1 for one, next_one in pairwise(levels))


@each_report
def test_every_picture_has_words_or_is_decoration(name):
    for svg in nonempty(document(name).all("svg")):
        assert (svg.attributes.get("role"), bool(svg.attributes.get("aria-label"))) == (
            "img",
            True,
        ) or svg.attributes.get("aria-hidden") == "true"


@each_report
def test_every_figure_that_can_be_focused_has_a_formula(name):
    for button in nonempty(document(name).all("button")):
        described = button.attributes.get("aria-describedby")
        assert described is None or " = " in "".join(map(str, document(name).with_id(described).children))
        assert described or "plain" in button.classes


@pytest.mark.parametrize("section", SUMMED)
@pytest.mark.parametrize("name", [name for name in REPORTS if name not in ("empty", "one hour")])
def test_shown_cents_add_up_across_and_down(name, section):
    table = document(name).with_id(section).one("table")
    body, foot = rows(table), rows(table, "tfoot")
    figures = [[amount(text) for text in row[2:] if text.startswith("$")] for row in nonempty(body)]
    held = [amount(text) for text in foot[0][2:] if text]

    assert all(row[0] == sum(row[1:]) for row in figures)
    assert [sum(column) for column in zip(*figures, strict=True)] == held
    assert amount(foot[-1][2]) == round(report(name).total.total.usd * 100)
    assert sum(amount(row[2]) for row in foot[:-1]) == amount(foot[-1][2]) or len(foot) == 1


@pytest.mark.parametrize("name", ["believable", "one hour", "unpriced"])
def test_used_idle_unmeasured_and_free_are_the_same_in_each_place(name):
    equation = [
        amount(one) for one in re.findall(r"\$[\d,.]+\d", document(name).with_id("sum").one("p", "sum").text)
    ]
    [clusters] = rows(document(name).with_id("clusters"), "tfoot")

    assert equation[4] == sum(equation[:4]) == round(report(name).total.total.usd * 100)
    assert [amount(one) for one in clusters[2:7]] == [equation[4], *equation[:4]]


def test_the_sum_is_checked_in_exact_fractions():
    assert document().with_id("sum").text.count("equals what was paid, exactly") == 3
    row, *others = report().by_machine
    cent = Parts(used=Cost(usd=Fraction(1, 100)))

    wrong = text_of(replace(report(), by_machine=(replace(row, parts=row.parts + cent), *others)), "sum")

    assert wrong.count("equals what was paid, exactly") == 2
    assert (
        "Machine-hours × price over all machines is" in wrong
        and "differs from what was paid by $0.01" in wrong
    )


def test_the_headline_says_what_was_saved_and_between_what():
    text = document().one("div", "hero").text

    assert "$21,243" in text and "Between $20,109 and $22,377" in text
    assert re.search(r"Of each dollar paid, 38 ¢ ran work, 47 ¢ went to .*, 14 ¢ .* and 1 ¢ ", text)


def test_the_cents_of_a_dollar_are_a_hundred():
    for name in ("believable", "one hour", "forty teams"):
        assert sum(map(int, re.findall(r"(\d+) ¢", document(name).one("p", "meaning").text))) == 100


def test_where_sharing_cost_more_the_headline_says_so():
    worse = replace(report(), headline=Interval(Fraction(-50), Fraction(-60), Fraction(-40)))

    text = read(page(worse, MADE_AT)).one("div", "hero").text

    assert "More than whole GPUs" in text and "$50.00" in text and "Saved" not in text


def test_where_nothing_has_a_price_charts_are_in_gpu_hours():
    unpriced = document("unpriced")

    assert "in GPU-hours" in unpriced.with_id("time").text
    assert "GPU-hours saved by sharing" in unpriced.one("div", "hero").text
    saved, total = report("unpriced").whole.gpu_hours, report("unpriced").total.total.gpu_hours
    assert unpriced.one("p", "hero-figure").text == f"{float(saved - total):,.1f}"
    assert "$" not in unpriced.with_id("saved").text
    assert "at least $0.00" in unpriced.one("dl", "facts").text
    assert "No price is known of g6.12xlarge reserved" in unpriced.with_id("notes").text


def test_a_short_span_is_drawn_by_hour():
    [figures] = document("one hour").with_id("time").all("table")

    assert [row[0] for row in rows(figures)] == ["2026-11-27 14:00"]
    assert "27 November 2026, 14:00 to 15:00 UTC" in document("one hour").one("h1").text


def test_hours_are_drawn_where_counting_began_a_few_hours_ago():
    asked = replace(report("one hour"), since=datetime(2026, 11, 1, tzinfo=UTC))

    found = read(page(asked, MADE_AT))

    assert [row[0] for row in rows(found.with_id("time").one("table"))] == ["2026-11-27 14:00"]
    assert "1 to 27 November 2026 (27 days)" in found.one("h1").text


def test_a_chart_and_its_table_say_the_same():
    first = report().by_day[0]
    [figures] = document().with_id("time").all("table")
    drawn = [*(part.usd for part in first.parts), first.whole.usd - first.parts.total.usd, 98.0 * 4 / 11]

    assert rows(figures)[0] == ["2026-10-31", *(f"${float(value):,.2f}" for value in drawn)]
    assert len(rows(figures)) == len(report().by_day)


def test_the_busiest_hour_of_the_week_has_its_figures_and_the_darkest_shade():
    week = document().with_id("week").one("table", "week")
    monday = week.one("tbody").all("tr")[0].all("td")

    assert monday[13].text == "8746" and monday[13].classes == ["h5"]
    assert rows(week)[2][5] == "–32" and rows(week)[6][2] == "0"


def test_days_without_a_machine_are_drawn_as_nothing():
    first, _, *others = report().by_day
    later = replace(report(), by_day=(first, *others[:-1]))

    [figures] = read(page(later, MADE_AT)).with_id("time").all("table")

    assert [row[0] for row in rows(figures)] == [f"{one.at:%Y-%m-%d}" for one in report().by_day]
    assert rows(figures)[1][1:6] == rows(figures)[-1][1:6] == ["$0.00"] * 5


def test_what_nights_saved_is_drawn_in_the_hours_and_days_in_which_they_lie():
    [figures] = document().with_id("time").all("table")
    slept = [amount(row[6]) for row in rows(figures)]

    assert slept[0] == round(9800 * 4 / 11) and min(slept) > 0
    assert abs(sum(slept) - round(report().nights_usd * 100)) <= len(slept)


def test_what_is_below_0_is_said_since_it_cannot_be_drawn():
    first, *others = report().by_day
    worse = replace(report(), by_day=(replace(first, whole=Cost()), *others))

    text = text_of(worse, "time")

    assert "Below 0, and not drawn: 1 figure of what was saved." in text
    assert "Below 0" not in document().with_id("time").text


def test_what_sleeping_saved_is_the_same_in_each_place():
    halves = Interval(*[Fraction("0.008")] * 3)
    night = replace(report().nights[0], usd=4.4264)
    of_one = replace(report(), nights=(night,), nights_usd=Fraction("4.4264"), sharing=halves)

    found = read(page(of_one, MADE_AT))

    assert "$0.01 by sharing + $4.42 by sleeping = $4.43" in found.with_id("saved").text
    assert {row[-1] for table in found.with_id("nights").all("table") for row in rows(table)} == {"$4.42"}


def test_changes_are_numbered_alike_in_charts_and_in_the_table():
    marked = [one.text for one in document().with_id("pools").all("text", "mark-number")]
    listed = rows(document().with_id("changes").one("table"))

    assert sorted(marked) == ["1", "3", "4"]
    assert [row[0].split()[0] for row in listed] == ["1", "2", "3", "4"]
    assert "4 → 5" in listed[0][0] and listed[0][2] == "$249.11" and listed[1][2] == "–"
    assert listed[0][3] == "10 Nov 2026, 09:00"


def test_nights_add_up_to_what_sleeping_saved():
    sums, each = document().with_id("nights").all("table")
    [total] = rows(sums, "tfoot")

    assert amount(total[3]) == sum(amount(row[3]) for row in rows(sums)) == round(report().nights_usd * 100)
    assert amount(total[3]) == sum(amount(row[4]) for row in rows(each))
    assert rows(each)[-1][2] == "still asleep"


def test_aws_split_cost_is_beside_ours_with_why_they_differ():
    section = document().with_id("aws")

    assert "counts a slice as a GPU" in section.text and "not by what they use" in section.text
    table = section.one("table")
    unheld, total = rows(table, "tfoot")
    for _, ours, theirs, difference in [*nonempty(rows(table)), unheld, total]:
        assert amount(theirs) - amount(ours) == amount(difference)
    assert unheld == ["Held by no pod", "$3,600.96", "$0.00", "−$3,600.96"]
    assert amount(total[1]) == round(report().total.total.usd * 100)


def test_the_bill_check_lists_what_differs():
    section = document().with_id("bill")

    assert "412 instances agree, 3 differ." in section.text and "credits" in section.text
    assert [row[1] for row in rows(section.one("table"))] == [
        "no reconcile saw it",
        "hours or price",
        "not in the bill",
    ]


def test_a_bill_in_another_currency_is_compared_by_hours():
    euros = replace(report().bill, currency="EUR")

    text = text_of(replace(report(), bill=euros), "bill")

    assert (
        "The bill is in EUR, so no dollars are compared." in text and "49.90" in text and "$49.90" not in text
    )


def test_a_bill_that_agrees_has_no_table():
    agreed = BillCheck("november.csv (FOCUS 1.2)", "USD", (), 415)

    section = read(page(replace(report(), bill=agreed), MADE_AT)).with_id("bill")

    assert "415 instances agree, 0 differ." in section.text and not section.all("table")


def test_rows_beyond_the_limit_are_in_the_sums_and_counted():
    many = reports.believable(days=1, teams=MOST_ROWS + 7)
    section = read(page(many, MADE_AT)).with_id("teams")

    assert len(rows(section.one("table"))) == MOST_ROWS
    assert "7 rows more, that cost least, are in the sums alone." in section.text
    assert amount(rows(section, "tfoot")[-1][2]) == round(many.total.total.usd * 100)


def test_rows_come_sorted_as_their_head_says():
    for table in nonempty(document("forty teams").all("table", "sorts")):
        heads = table.one("thead").all("th")
        for i, head in enumerate(heads):
            if head.attributes.get("aria-sort"):
                values = [
                    float(_cells(row)[i].attributes["data-value"]) for row in table.one("tbody").all("tr")
                ]
                assert values == sorted(values, reverse=True)


def _cells(row: Element) -> list[Element]:
    return [one for one in row.children if isinstance(one, Element)]


def test_what_cannot_be_said_is_listed():
    notes = document().with_id("notes")

    assert [one.text for one in notes.all("li")] == list(nonempty(report().notes))
    assert "all was counted, measured and priced" in text_of(replace(report(), notes=()), "notes")


def test_without_a_label_the_page_says_how_to_name_teams():
    assert "--team-label KEY" in document("one hour").with_id("teams").text


def test_the_footer_says_when_it_was_made_and_by_which_prices():
    assert document().one("footer").text == (
        "Prices: on demand in us-east-1, list prices of November 2026. "
        "Made by slicewise report, 30 Nov 2026, 10:12 UTC. All times are UTC."
    )
