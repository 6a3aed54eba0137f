"""Values for tests: whole and valid, so that a test names only what it is about."""

from __future__ import annotations

from slicewise.policy import Policy, parse

DEFAULT_POOLS = "{shared: {sharing: time-slicing, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: 16}}"


def policy(pools: str = DEFAULT_POOLS, *more: str, name: str = "default") -> Policy:
    """A policy from the YAML of its pools and, where the test is about them, of further fields."""
    return parse("\n".join((f"pools: {pools}", *more)), name)
