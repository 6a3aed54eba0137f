"""What an hour of each GPU node costs, by the table that ships and by what a person gives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slicewise.hardware import prices as shipped

from cli.assessment.inventory import GpuNode

SPOT = ":spot"


@dataclass(frozen=True)
class Prices:
    """
    Attributes:
        listed: Dollars an hour on demand by instance type, where `is_live`; else the table that ships counts.
        terms: What is listed, for people.
        given: What a person pays, by "g6.xlarge" or "g6.xlarge:spot": a contract, or the usual Spot price.
    """

    listed: Mapping[str, float] = field(default_factory=dict)
    terms: str = shipped.TERMS
    given: Mapping[str, float] = field(default_factory=dict)
    is_live: bool = False

    def usd_an_hour(self, node: GpuNode) -> float | None:
        """None where nothing is known of its machine. Of Spot the price on demand, unless one was given."""
        key = node.instance_type + (SPOT if node.spot else "")
        if key in self.given:
            return self.given[key]
        if self.is_live:
            return self.listed.get(node.instance_type)
        return shipped.usd_an_hour(node.instance_type)

    def is_overstated(self, node: GpuNode) -> bool:
        """Whether a Spot machine is counted at its price on demand."""
        return node.spot and node.instance_type + SPOT not in self.given


def given(texts: list[str]) -> dict[str, float]:
    """
    What `--price` says, such as "g6.xlarge=0.62" or "g6.xlarge:spot=0.31".

    Raises:
        ValueError: Names the text and what to write.
    """
    found: dict[str, float] = {}
    for text in texts:
        machine, _, amount = text.rpartition("=")
        try:
            usd = float(amount)
        except ValueError:
            usd = -1.0
        if "." not in machine or not 0 <= usd < float("inf"):
            raise ValueError(f"--price {text}: write a type and dollars an hour, such as g6.xlarge=0.62")
        found[machine] = usd
    return found
