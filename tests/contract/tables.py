"""The state table as it is deployed, in memory and in DynamoDB: both stores of one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicewise.gateways import dynamodb, sleep_table
from slicewise.gateways.dynamodb import StateTable
from slicewise.gateways.sleep_table import SleepTable
from slicewise.ports import SleepStore, Store

from tests.fakes.calls import Calls
from tests.fakes.sleep_store import FakeSleepStore
from tests.fakes.store import FakeStore

NAME = "slicewise-state"
INDEXES = {dynamodb.INDEX: ("capability", "pk"), sleep_table.INDEX: ("watch", "due")}


@dataclass(frozen=True)
class Table:
    store: Store
    sleep: SleepStore


def in_memory() -> Table:
    sleep = FakeSleepStore(Calls())
    return Table(FakeStore(Calls(), sleep), sleep)


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
    return Table(StateTable(NAME, session, region), SleepTable(NAME, session, region))
