"""`python -m sandbox try video-encode`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controllers.examples.tries import claims_that_fail

pytestmark = pytest.mark.controllers("kueue")


def test_its_claims_hold(tmp_path: Path):
    assert claims_that_fail("video-encode", tmp_path) == []
