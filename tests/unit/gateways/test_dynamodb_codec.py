"""Our few kinds of DynamoDB's values, held to boto3's way of spelling them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as some
from slicewise.gateways.dynamodb_codec import item_of, values_of
from slicewise.planning.outcome import Stage

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers(-(10**20), 10**20) | some.text() | some.sampled_from(Stage),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)


@given(some.dictionaries(some.text(), VALUES, max_size=5))
def test_values_are_spelt_and_read_as_boto3_does(values):
    spelt = item_of(values)

    assert spelt == {name: TypeSerializer().serialize(value) for name, value in values.items()}
    assert values_of(spelt) == values
    assert values_of(spelt) == {name: TypeDeserializer().deserialize(value) for name, value in spelt.items()}


def test_a_set_of_texts_is_one():
    spelt = item_of({"waiting": {"tuning", "onboarding"}})

    assert spelt == {"waiting": {"SS": ["onboarding", "tuning"]}}
    assert values_of(spelt) == {"waiting": TypeDeserializer().deserialize(spelt["waiting"])}


def test_a_sequence_comes_back_as_a_list():
    assert values_of(item_of({"changed": ("a", "b")})) == {"changed": ["a", "b"]}


def test_a_number_that_a_replica_adds_stops_nothing():
    assert values_of({"aws:rep:updatetime": {"N": "1493940263.5"}}) == {"aws:rep:updatetime": 1493940263.5}


@pytest.mark.parametrize("value", [0.5, Decimal("0.5"), object()])
def test_a_kind_that_items_do_not_hold_is_named(value):
    with pytest.raises(TypeError, match=f"items have no {type(value).__name__}"):
        item_of({"name": value})


@pytest.mark.parametrize("value", [b"x", {1, 2}, {b"x"}, {"a": b"x"}, [{1}]], ids=str)
def test_kinds_that_only_another_owner_writes_are_read_as_boto3_does(value):
    spelt = {"names": TypeSerializer().serialize(value)}

    assert values_of(spelt) == {"names": value}
