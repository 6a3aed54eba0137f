"""`python -m sandbox try kserve`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controllers.examples.tries import claims_that_fail

pytestmark = pytest.mark.controllers("kserve")


def test_its_claims_hold(tmp_path: Path):
    assert claims_that_fail("kserve", tmp_path) == []
