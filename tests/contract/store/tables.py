"""The state table as it is deployed, in memory and in DynamoDB: both stores of one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicewise.gateways import sleep_store
from slicewise.gateways import state_store as dynamodb
from slicewise.gateways.cost_store import CostTable
from slicewise.gateways.sleep_store import SleepTable
from slicewise.gateways.state_store import StateTable
from slicewise.gateways.usage_store import UsageTable
from slicewise.ports import CostStore, SleepStore, Store, UsageStore

from tests.fakes.aws.cost_store import FakeCostStore
from tests.fakes.aws.sleep_store import FakeSleepStore
from tests.fakes.aws.store import FakeStore
from tests.fakes.aws.usage_store import FakeUsageStore
from tests.fakes.calls import Calls

NAME = "slicewise-state"
INDEXES = {dynamodb.INDEX: ("capability", "pk"), sleep_store.INDEX: ("watch", "due")}


@dataclass(frozen=True)
class Table:
    store: Store
    sleep: SleepStore
    usage: UsageStore
    costs: CostStore


def in_memory() -> Table:
    sleep, usage = FakeSleepStore(Calls()), FakeUsageStore(Calls())
    return Table(FakeStore(Calls(), sleep, usage), sleep, usage, FakeCostStore(Calls()))


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
    stores = (kind(NAME, session, region) for kind in (StateTable, SleepTable, UsageTable, CostTable))
    return Table(*stores)
