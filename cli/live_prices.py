"""
Today's prices on demand, asked of AWS's Price List (`pricing:GetProducts`): Linux, shared tenancy.

Spot prices move by the hour and no list has contracts: those are given by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from slicewise.errors import Refused, Unavailable

# The service answers in few Regions; each has the prices of all.
_ENDPOINT = "us-east-1"
_ONE_OF_ITS_KIND = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}


def read(session: Any, region: str, instance_types: Iterable[str]) -> dict[str, float]:
    """
    Dollars an hour by instance type; one that has no such price in that Region is left out.

    Args:
        session: Of botocore.

    Raises:
        Refused, Unavailable: The list cannot be read; the message says why.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    client = session.create_client("pricing", region_name=_ENDPOINT)
    found = {}
    try:
        for one in sorted(set(instance_types)):
            if (usd := _of_a_type(client, region, one)) is not None:
                found[one] = usd
    except ClientError as error:
        raise Refused(f"AWS's Price List cannot be read: {error} It takes pricing:GetProducts") from error
    except BotoCoreError as error:
        raise Unavailable(f"AWS's Price List cannot be read: {error}") from error
    return found


def _of_a_type(client: Any, region: str, instance_type: str) -> float | None:
    wanted = {"instanceType": instance_type, "regionCode": region, **_ONE_OF_ITS_KIND}
    answer = client.get_products(
        ServiceCode="AmazonEC2",
        Filters=[{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()],
    )
    prices = [usd for text in answer.get("PriceList") or () if (usd := usd_of(json.loads(text))) is not None]
    return min(prices, default=None)


def usd_of(product: Mapping[str, Any]) -> float | None:
    """The hour on demand of one product of the list; None where it has none, or is free."""
    terms = (product.get("terms") or {}).get("OnDemand") or {}
    amounts = [
        float(dimension["pricePerUnit"]["USD"])
        for term in terms.values()
        for dimension in term["priceDimensions"].values()
        if dimension.get("unit") == "Hrs" and "USD" in dimension["pricePerUnit"]
    ]
    return next((usd for usd in amounts if usd > 0), None)
