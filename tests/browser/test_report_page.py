"""
The page of a report in a real browser: Chromium or Chrome, where the machine has one.

All cases are one test function, so that a machine without a browser skips one test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from cli.report.page import page
from tests.support.costs import reports
from tests.support.pages import browser

MADE_AT = datetime(2026, 11, 30, 10, 12, tzinfo=UTC)
HEAD = "#teams th:nth-child({}) button"


class Desk:
    """A browser, and pages of reports as files."""

    def __init__(self, chromium: Browser, folder: Path):
        self.chromium, self._folder = chromium, folder

    def open(self, text: str, width: int = 1280, **options: object):
        file = self._folder / "report.html"
        file.write_text(text, encoding="utf-8")
        return browser.opened(self.chromium, file.as_uri(), width, **options)


def believable(days: int = 30) -> str:
    return page(reports.believable(days), MADE_AT)


def looks_right(desk: Desk, width: int, scheme: str) -> None:
    """Of days enough for each sort of figure: axe takes long for each cell of a table."""
    with desk.open(believable(days=6), width, color_scheme=scheme) as view:
        assert len(view.requested) == 1, "it loads something"
        assert view.overflow() == 0
        for details in view.page.locator("summary").all():
            details.click()
        assert view.overflow() == 0
        assert view.findings() == []
        assert view.complaints == []


def bears(desk: Desk, text: str) -> None:
    for width in (360, 1280):
        with desk.open(text, width) as view:
            assert view.overflow() == 0
            assert view.complaints == []


def sorts_by_keyboard(desk: Desk) -> None:
    with desk.open(believable()) as view:

        def column(number: int) -> list[str]:
            return view.page.locator(f"#teams tbody tr > :nth-child({number})").all_inner_texts()

        before = column(1)
        view.page.focus(HEAD.format(1))
        view.page.keyboard.press("Enter")
        assert column(1) == sorted(before) != before
        view.page.keyboard.press("Space")
        assert column(1) == sorted(before, reverse=True)
        view.page.keyboard.press("Tab")
        view.page.keyboard.press("Enter")
        hours = [float(one.replace(",", "")) for one in column(2)]
        assert hours == sorted(hours, reverse=True)
        states = view.page.eval_on_selector_all("#teams thead th", "all => all.map(th => th.ariaSort)")
        assert states == [None, "descending", *[None] * 6]
        assert view.page.locator("#teams tfoot th").all_inner_texts()[-1] == "Paid"


def shows_formulas(desk: Desk) -> None:
    with desk.open(believable(), 360) as view:
        formula = view.page.locator("#formula-headline")
        assert not formula.is_visible()
        view.page.focus(".hero-figure button")
        assert formula.is_visible() and "$16,204.32 + $5,038.74 = $21,243.06" in formula.inner_text()
        assert view.overflow() == 0
        view.page.keyboard.press("Escape")
        assert not formula.is_visible()
        view.page.hover("#teams th:nth-child(2) button")
        of_column = view.page.locator("#formula-teams-gpu-hours")
        assert of_column.is_visible() and is_within_the_window(of_column.bounding_box(), 360, 800)
        view.page.hover("#teams tbody tr:nth-child(2) td:nth-child(3)")
        assert not of_column.is_visible() and view.page.locator("#formula-teams-total").is_visible()


def is_within_the_window(box: dict[str, float], width: int, height: int) -> bool:
    return (
        box["x"] >= 0
        and box["y"] >= 0
        and box["x"] + box["width"] <= width
        and box["y"] + box["height"] <= height
    )


def needs_no_script(desk: Desk) -> None:
    with desk.open(believable(), java_script_enabled=False) as view:
        assert view.page.locator("#teams tbody tr").count() == 6
        view.page.keyboard.press("Tab")
        assert view.page.locator("a.skip").is_visible()
        view.page.keyboard.press("Tab")
        assert view.page.locator("#formula-headline").is_visible()
        assert not view.page.locator("#teams .arrow").first.is_visible(), "it would promise to sort"


def prints(desk: Desk) -> None:
    """As wide as A4 between its margins."""
    with desk.open(believable(), 690, color_scheme="dark") as view:
        view.page.emulate_media(media="print")
        assert view.overflow() == 0
        assert view.page.locator("#formulas").is_visible() and not view.page.locator("nav").is_visible()
        assert view.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def finds_what_is_wrong(desk: Desk) -> None:
    """The checks above can fail."""
    wrong = (
        '<main><p style="width:3000px;color:#ddd;background:#eee">pale</p><script>nothing()</script></main>'
    )
    with desk.open(f"<!doctype html><title>x</title>{wrong}") as view:
        assert view.overflow() > 1000
        assert sorted(one.partition(":")[0] for one in view.findings()) == ["color-contrast", "html-has-lang"]
        assert len(view.complaints) == 1


CASES: dict[str, Callable[[Desk], None]] = {
    "right at 1280 px in light": partial(looks_right, width=1280, scheme="light"),
    "right at 1280 px in dark": partial(looks_right, width=1280, scheme="dark"),
    "right at 360 px in light": partial(looks_right, width=360, scheme="light"),
    "right at 360 px in dark": partial(looks_right, width=360, scheme="dark"),
    "bears very long names": lambda desk: bears(desk, page(reports.long_names(), MADE_AT)),
    "bears names that are markup": lambda desk: bears(desk, page(reports.hostile_names(), MADE_AT)),
    "bears a report of nothing": lambda desk: bears(desk, page(reports.empty(), MADE_AT)),
    "sorts a table by keyboard": sorts_by_keyboard,
    "shows a formula on focus and on hover": shows_formulas,
    "needs no script to be read": needs_no_script,
    "prints in light colours within the paper": prints,
    "finds what is wrong": finds_what_is_wrong,
}
NO_BROWSER = pytest.mark.skip(
    f"needs Chromium or Chrome: {browser.NAMED_BY}=<its path> .venv/bin/python -m pytest tests/browser"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.started() as started:
        yield started


@pytest.mark.parametrize("case", CASES if browser.path() else [pytest.param("any", marks=NO_BROWSER)])
def test_the_page_in_a_browser(case, chromium, tmp_path):
    CASES[case](Desk(chromium, tmp_path))
