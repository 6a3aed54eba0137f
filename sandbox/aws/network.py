"""A VPC as most clusters have it: a subnet that leads to an internet gateway, and two that do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Network:
    """
    Attributes:
        private: With a route table of its own, and by the VPC's main one.
    """

    vpc: str
    public: str
    private: tuple[str, str]

    @property
    def of_a_cluster(self) -> dict[str, Any]:
        """As eks:CreateCluster takes it."""
        return {"subnetIds": [self.public, *self.private]}


def create(ec2: Any) -> Network:
    """
    Args:
        ec2: A boto3 client.
    """
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    public, own, by_main = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
        for number in range(3)
    )
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    outside, inside = (ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2))
    ec2.create_route(RouteTableId=outside, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    for table, subnet in ((outside, public), (inside, own)):
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return Network(vpc, public, (own, by_main))
