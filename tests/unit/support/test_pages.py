"""Which browser tests use, and that a machine without one skips a single test, which says how to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import browser

ROOT = Path(__file__).parents[3]


def test_a_browser_is_found_on_the_path_or_named(monkeypatch, tmp_path):
    monkeypatch.delenv(browser.NAMED_BY, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.path() is None

    (tmp_path / "google-chrome").touch(mode=0o755)
    assert browser.path() == str(tmp_path / "google-chrome")

    monkeypatch.setenv(browser.NAMED_BY, "elsewhere/chrome")
    assert browser.path() == "elsewhere/chrome"


@pytest.mark.slow
def test_without_a_browser_one_test_is_skipped_and_says_how_to_run_it(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != browser.NAMED_BY}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/browser"]

    answer = subprocess.run(
        command, cwd=ROOT, env={**environment, "PATH": str(tmp_path)}, capture_output=True, text=True
    )

    assert answer.returncode == 0 and "1 skipped" in answer.stdout and "passed" not in answer.stdout
    assert "SLICEWISE_CHROMIUM=<its path> .venv/bin/python -m pytest tests/browser" in answer.stdout
