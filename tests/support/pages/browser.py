"""A real browser for tests that look at a page: the Chromium or Chrome that the machine has, if any."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

NAMED_BY = "SLICEWISE_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# It asks its maker for components and settings otherwise.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")


def path() -> str | None:
    return os.environ.get(NAMED_BY) or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def started() -> Iterator[Browser]:
    """Without a window, with an empty profile, spoken to through pipes; it is ended with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class View:
    """
    A page that is open.

    Attributes:
        complaints: Errors and warnings of its console, and exceptions.
        requested: What it asked for, itself included.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def findings(self) -> list[str]:
        """Of axe, those that it calls serious or critical: the rule, and the first element."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]


@contextmanager
def opened(browser: Browser, address: str, width: int = 1280, **options: object) -> Iterator[View]:
    """
    Args:
        options: Of playwright's new_page, such as color_scheme.
    """
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)
    view = View(page)
    page.on("console", lambda one: one.type in ("error", "warning") and view.complaints.append(one.text))
    page.on("pageerror", lambda one: view.complaints.append(str(one)))
    page.on("request", lambda one: view.requested.append(one.url))
    try:
        page.goto(address)
        yield view
    finally:
        page.close()
