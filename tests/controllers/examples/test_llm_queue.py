"""`python -m sandbox try llm-queue`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controllers.examples.tries import claims_that_fail

pytestmark = pytest.mark.controllers("keda", "keda-adapter")


def test_its_claims_hold(tmp_path: Path):
    assert claims_that_fail("llm-queue", tmp_path) == []
