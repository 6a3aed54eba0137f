"""The state table as it is deployed, in memory and in DynamoDB: both stores of one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicewise.gateways import dynamodb, sleep_table
from slicewise.gateways.dynamodb import StateTable
from slicewise.gateways.sleep_table import SleepTable
from slicewise.gateways.usage_table import UsageTable
from slicewise.ports import SleepStore, Store, UsageStore

from tests.fakes.calls import Calls
from tests.fakes.sleep_store import FakeSleepStore
from tests.fakes.store import FakeStore
from tests.fakes.usage_store import FakeUsageStore

NAME = "slicewise-state"
INDEXES = {dynamodb.INDEX: ("capability", "pk"), sleep_table.INDEX: ("watch", "due")}


@dataclass(frozen=True)
class Table:
    store: Store
    sleep: SleepStore
    usage: UsageStore


def in_memory() -> Table:
    sleep, usage = FakeSleepStore(Calls()), FakeUsageStore(Calls())
    return Table(FakeStore(Calls(), sleep, usage), sleep, usage)


def create(dynamodb: Any) -> None:
    """As the deployment makes it; a test of the template compares the indexes."""
    dynamodb.create_table(
        TableName=NAME,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"}
            for name in ("pk", "sk", *sorted({name for keys in INDEXES.values() for name in keys} - {"pk"}))
        ],
        KeySchema=_keys("pk", "sk"),
        GlobalSecondaryIndexes=[
            {"IndexName": index, "KeySchema": _keys(*keys), "Projection": {"ProjectionType": "ALL"}}
            for index, keys in INDEXES.items()
        ],
    )


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def in_dynamodb(session: Any, admin: Any) -> Table:
    create(admin.client("dynamodb"))
    region = "eu-west-1"
    stores = (kind(NAME, session, region) for kind in (StateTable, SleepTable, UsageTable))
    return Table(*stores)
