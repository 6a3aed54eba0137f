"""Trying an example as `python -m sandbox try NAME` does; its claims are the test's."""

from __future__ import annotations

import json
from pathlib import Path

from sandbox.examples import catalog
from sandbox.examples.run import run


def claims_that_fail(name: str, folder: Path) -> list[object]:
    """Claims of the example that did not hold, or that it never came to."""
    example, kept = catalog.named(name), folder / f"try-{name}.json"
    holds = run(example, kept)
    claims = {claim["id"]: claim for claim in json.loads(kept.read_text())["claims"]}
    missing: list[object] = [f"never came to {id}" for id in example.claims if id not in claims]
    failed = missing + [claim for claim in claims.values() if not claim["holds"]]
    assert holds == (not failed), "what a person reads and what machines read differ"
    return failed
