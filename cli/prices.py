"""Which prices `slicewise assess` and `slicewise report` count with: what `--prices` and `--price` say."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from typing import Any

from slicewise.costs.prices import RESERVED, SPOT, Prices
from slicewise.errors import Refused, Unavailable
from slicewise.hardware import prices as shipped

SHIPPED, LIVE = "shipped", "live"


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--price",
        metavar="TYPE=DOLLARS",
        action="append",
        default=[],
        help="an hour of one, such as g6.xlarge=0.62, or g6.xlarge:spot=0.31, or :reserved; may be repeated",
    )
    command.add_argument(
        "--prices",
        choices=(SHIPPED, LIVE),
        default=SHIPPED,
        help="on demand: of the table that ships, or of AWS's Price List in the cluster's Region",
    )


def read(
    choice: str, given: Mapping[str, float], types: Collection[str], place: Callable[[], tuple[Any, str]]
) -> tuple[Prices, tuple[str, ...]]:
    """
    With why they are not those that were asked for.

    Args:
        types: Of the machines that are to have a price.
        place: Gives a session of botocore and the Region; what it raises is such a reason.
    """
    if choice == SHIPPED:
        return Prices(given=given), ()
    from cli import live_prices

    try:
        session, region = place()
        listed = live_prices.read(session, region, types)
    except (Refused, Unavailable) as error:
        return Prices(given=given), (f"Live prices: {error}. The table that ships counts instead.",)
    return Prices(listed, f"on demand in {region}, of AWS's Price List", given, is_live=True), ()


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
