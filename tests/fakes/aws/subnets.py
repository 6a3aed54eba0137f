"""Subnets in memory: which ones lead to an internet gateway."""

from __future__ import annotations

from collections.abc import Iterable

from tests.fakes.calls import Calls


class FakeSubnets:
    """Implements ports.Subnets. `with_gateway` may be changed by a test at any time."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.with_gateway: set[str] = set()

    def public(self, vpc: str, subnets: Iterable[str]) -> frozenset[str]:
        with self._calls.call(f"subnets.public {vpc}"):
            return frozenset(subnets) & self.with_gateway
