"""What AWS's Price List says, from answers as its API gives them."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.stub import ANY, Stubber
from slicewise.errors import Refused

from cli import live_prices


def product(*hours: str, unit: str = "Hrs") -> str:
    """One product, its term's dimensions by price, as JSON in a string."""
    dimensions = {f"RATE{n}": {"unit": unit, "pricePerUnit": {"USD": usd}} for n, usd in enumerate(hours)}
    return json.dumps({"product": {}, "terms": {"OnDemand": {"TERM": {"priceDimensions": dimensions}}}})


class Session:
    """Gives one client, whose answers are set; requests and answers are checked against botocore's model."""

    def __init__(self):
        real = get_session()
        real.set_credentials("x", "y")
        self.client = real.create_client("pricing", region_name="us-east-1")
        self.stub = Stubber(self.client)

    def create_client(self, service, region_name):
        assert (service, region_name) == ("pricing", "us-east-1"), "it answers in few Regions"
        return self.client


@pytest.fixture
def session():
    found = Session()
    with found.stub:
        yield found


def asked(machine: str, region: str):
    wanted = {"instanceType": machine, "regionCode": region, **live_prices._ONE_OF_ITS_KIND}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    return {"ServiceCode": "AmazonEC2", "Filters": filters}


def test_each_type_is_asked_for_once_in_the_cluster_s_region(session):
    session.stub.add_response(
        "get_products", {"PriceList": [product("0.9")]}, asked("g6.xlarge", "eu-west-1")
    )
    session.stub.add_response("get_products", {"PriceList": []}, asked("p9.huge", "eu-west-1"))

    assert live_prices.read(session, "eu-west-1", ["p9.huge", "g6.xlarge", "g6.xlarge"]) == {"g6.xlarge": 0.9}
    session.stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("product_", "usd"),
    [
        (product("0.8048000000"), 0.8048),
        (product("0.0000000000"), None),  # reserved capacity is free by the hour
        (product("0.0000000000", "1.25"), 1.25),
        (product("3", unit="Quantity"), None),
        ("{}", None),
    ],
)
def test_the_price_is_the_hour_on_demand(product_, usd):
    assert live_prices.usd_of(json.loads(product_)) == usd


def test_a_right_that_is_missing_is_named(session):
    session.stub.add_client_error(
        "get_products", "AccessDeniedException", "no", expected_params={"ServiceCode": ANY, "Filters": ANY}
    )

    with pytest.raises(Refused, match="It takes pricing:GetProducts") as refused:
        live_prices.read(session, "eu-west-1", ["g6.xlarge"])
    assert isinstance(refused.value.__cause__, ClientError)
