"""What an hour of each machine costs: by the table that ships, AWS's list, or as a person gives it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from slicewise.hardware import prices as shipped

# Terms at which a machine is paid, as policies and Karpenter name them.
ON_DEMAND, SPOT, RESERVED = "on-demand", "spot", "reserved"


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

    def usd_an_hour(self, instance_type: str, term: str = ON_DEMAND) -> float | None:
        """None where nothing is known of such a machine. Of other terms the price on demand, unless given."""
        key = key_of(instance_type, term)
        if key in self.given:
            return self.given[key]
        if self.is_live:
            return self.listed.get(instance_type)
        return shipped.usd_an_hour(instance_type)

    def exact(self, instance_type: str, term: str = ON_DEMAND) -> Fraction | None:
        """The same as a fraction, by its decimal digits: sums of it lose nothing."""
        usd = self.usd_an_hour(instance_type, term)
        return None if usd is None else Fraction(str(usd))

    def is_overstated(self, instance_type: str, term: str) -> bool:
        """Whether a Spot or a reserved machine is counted at its price on demand."""
        return term != ON_DEMAND and key_of(instance_type, term) not in self.given


def key_of(instance_type: str, term: str) -> str:
    """As `--price` names what is paid for it."""
    return instance_type if term == ON_DEMAND else f"{instance_type}:{term}"
