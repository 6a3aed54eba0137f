"""What an hour of each GPU node costs, by the table that ships and by what a person gives. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from slicewise.hardware import prices as shipped

from cli.assessment.inventory import ON_DEMAND, RESERVED, SPOT, GpuNode


@dataclass(frozen=True)
class Prices:
    """
    Attributes:
        listed: Dollars an hour on demand by instance type, where `is_live`; else the table that ships counts.
        terms: What is listed, for people.
        given: What a person pays, by "g6.xlarge", "g6.xlarge:spot" or "g6.xlarge:reserved".
    """

    listed: Mapping[str, float] = field(default_factory=dict)
    terms: str = shipped.TERMS
    given: Mapping[str, float] = field(default_factory=dict)
    is_live: bool = False

    def usd_an_hour(self, node: GpuNode) -> float | None:
        """None where nothing is known of its machine. Of other terms the price on demand, unless given."""
        key = self.key_of(node)
        if key in self.given:
            return self.given[key]
        if self.is_live:
            return self.listed.get(node.instance_type)
        return shipped.usd_an_hour(node.instance_type)

    def is_overstated(self, node: GpuNode) -> bool:
        """Whether a Spot or a reserved machine is counted at its price on demand."""
        return node.term != ON_DEMAND and self.key_of(node) not in self.given

    @staticmethod
    def key_of(node: GpuNode) -> str:
        """As `--price` names what is paid for it."""
        return node.instance_type if node.term == ON_DEMAND else f"{node.instance_type}:{node.term}"


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
        _check(machine, text)
        found[machine] = usd
    return found


def _check(machine: str, text: str) -> None:
    """What is misspelled would count for no node, and in silence."""
    kind, sign, term = machine.partition(":")
    if sign and term not in (SPOT, RESERVED):
        raise ValueError(f"--price {text}: write {kind}, {kind}:{SPOT} or {kind}:{RESERVED}")


def unknown(given: Mapping[str, float], types: Collection[str]) -> list[str]:
    """
    Of what was given, the types that neither the table has nor a node is of.

    Args:
        types: Of the nodes that were read.
    """
    kinds = {machine.partition(":")[0] for machine in given}
    return sorted(kind for kind in kinds if kind not in types and shipped.usd_an_hour(kind) is None)
