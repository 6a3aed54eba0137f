"""The state table as it is deployed, in memory and in DynamoDB: both stores of one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicewise.gateways.dynamodb import INDEX, StateTable
from slicewise.gateways.sleep_table import SleepTable
from slicewise.ports import SleepStore, Store

from tests.fakes.calls import Calls
from tests.fakes.sleep_store import FakeSleepStore
from tests.fakes.store import FakeStore

NAME = "slicewise-state"


@dataclass(frozen=True)
class Table:
    store: Store
    sleep: SleepStore


def in_memory() -> Table:
    sleep = FakeSleepStore(Calls())
    return Table(FakeStore(Calls(), sleep), sleep)


def in_dynamodb(session: Any, admin: Any) -> Table:
    keys, index = [("pk", "HASH"), ("sk", "RANGE")], [("capability", "HASH"), ("pk", "RANGE")]
    admin.client("dynamodb").create_table(
        TableName=NAME,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "capability")
        ],
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        GlobalSecondaryIndexes=[
            {
                "IndexName": INDEX,
                "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in index],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    region = "eu-west-1"
    return Table(StateTable(NAME, session, region), SleepTable(NAME, session, region))
