"""
What an hour of EC2's GPU machines costs, for people to read; nothing is decided by it.

Dollars on demand, Linux, us-east-1. Source: aws/karpenter-provider-aws at 1d92708,
pkg/providers/pricing/zz_generated.pricing_aws.go, generated 2026-07-20; p5e is not in it. Other regions
mostly cost more, a contract makes it less, and Spot changes by the hour.
"""

from __future__ import annotations

from collections.abc import Iterable

REGION = "us-east-1"
TERMS = f"on demand in {REGION} on 2026-07-20"

_USD_AN_HOUR = {
    "g4dn": {
        "metal": 7.824,
        "xlarge": 0.526,
        "2xlarge": 0.752,
        "4xlarge": 1.204,
        "8xlarge": 2.176,
        "12xlarge": 3.912,
        "16xlarge": 4.352,
    },
    "g5": {
        "xlarge": 1.006,
        "2xlarge": 1.212,
        "4xlarge": 1.624,
        "8xlarge": 2.448,
        "12xlarge": 5.672,
        "16xlarge": 4.096,
        "24xlarge": 8.144,
        "48xlarge": 16.288,
    },
    "g5g": {
        "metal": 2.744,
        "xlarge": 0.42,
        "2xlarge": 0.556,
        "4xlarge": 0.828,
        "8xlarge": 1.372,
        "16xlarge": 2.744,
    },
    "g6": {
        "xlarge": 0.8048,
        "2xlarge": 0.9776,
        "4xlarge": 1.3232,
        "8xlarge": 2.0144,
        "12xlarge": 4.6016,
        "16xlarge": 3.3968,
        "24xlarge": 6.6752,
        "48xlarge": 13.3504,
    },
    "g6e": {
        "xlarge": 1.861,
        "2xlarge": 2.24208,
        "4xlarge": 3.00424,
        "8xlarge": 4.52856,
        "12xlarge": 10.49264,
        "16xlarge": 7.57719,
        "24xlarge": 15.06559,
        "48xlarge": 30.13118,
    },
    "g7": {
        "2xlarge": 2.52,
        "4xlarge": 3.04208,
        "8xlarge": 4.08624,
        "12xlarge": 7.12832,
        "24xlarge": 14.25664,
        "48xlarge": 28.51328,
    },
    "g7e": {
        "2xlarge": 3.36312,
        "4xlarge": 3.99816,
        "8xlarge": 5.26824,
        "12xlarge": 8.28608,
        "24xlarge": 16.57216,
        "48xlarge": 33.14432,
    },
    "gr6": {"4xlarge": 1.5392, "8xlarge": 2.4464},
    "p3dn": {"24xlarge": 31.212},
    "p4d": {"24xlarge": 21.957642},
    "p4de": {"24xlarge": 27.44705},
    "p5": {"4xlarge": 6.88, "48xlarge": 55.04},
    "p5en": {"48xlarge": 63.296},
    "p6-b200": {"48xlarge": 113.9328},
    "p6-b300": {"48xlarge": 142.416},
}


def cheapest(families: Iterable[str]) -> tuple[str, float] | None:
    """The cheapest machine of some families and its price; None where none has one."""
    known = [
        (usd, f"{family}.{size}") for family in families for size, usd in _USD_AN_HOUR.get(family, {}).items()
    ]
    usd, machine = min(known, default=(0.0, ""))
    return (machine, usd) if machine else None


def usd_an_hour(instance_type: str) -> float | None:
    """None for a machine that has no list price."""
    family, _, size = instance_type.partition(".")
    return _USD_AN_HOUR.get(family, {}).get(size)
