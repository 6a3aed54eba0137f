"""Of EC2 only which subnets are public: Fargate takes no others than private ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from botocore.session import Session

from slicewise.gateways.botocore_clients import client, own_errors

_MAIN = "main"


class Ec2Api:
    """Implements ports.Subnets."""

    def __init__(self, session: Session, region: str):
        self._session, self._region = session, region

    @cached_property
    def _ec2(self) -> Any:
        return client("ec2", self._session, self._region)

    def public(self, vpc: str, subnets: Iterable[str]) -> frozenset[str]:
        with own_errors(f"ec2:DescribeRouteTables of {vpc}"):
            pages = self._ec2.get_paginator("describe_route_tables").paginate(
                Filters=[{"Name": "vpc-id", "Values": [vpc]}]
            )
            tables = [table for page in pages for table in page["RouteTables"]]
        of = {subnet: table for table in tables for subnet in _subnets(table)}
        # A subnet that no table names follows the VPC's main one.
        return frozenset(one for one in subnets if _leads_out(of.get(one) or of.get(_MAIN) or {}))


def _subnets(table: Mapping[str, Any]) -> Iterable[str]:
    for association in table.get("Associations") or ():
        if association.get("Main"):
            yield _MAIN
        elif association.get("SubnetId"):
            yield association["SubnetId"]


def _leads_out(table: Mapping[str, Any]) -> bool:
    return any((route.get("GatewayId") or "").startswith("igw-") for route in table.get("Routes") or ())
