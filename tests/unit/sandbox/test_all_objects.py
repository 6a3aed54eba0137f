"""Two looks at all objects of a cluster are told apart by what differs, where."""

from __future__ import annotations

from sandbox.cluster import all_objects

GPU = "nodepools//gpu"


def test_the_same_differs_in_nothing():
    assert all_objects.differences({GPU: {"spec": {"a": [1]}}}, {GPU: {"spec": {"a": [1]}}}) == {}


def test_what_came_and_what_went_is_named():
    assert all_objects.differences({"nodes//a": {}}, {"nodes//b": {}}) == {
        "nodes//a": ["went"],
        "nodes//b": ["came"],
    }


def test_each_value_that_became_another_is_reported_with_its_path():
    before = {GPU: {"labels": {}, "spec": {"limits": {"cpu": "1"}, "weight": 1}}}
    now = {GPU: {"labels": {"mine": "yes"}, "spec": {"limits": {"cpu": "2"}, "weight": 1}}}

    assert all_objects.differences(before, now) == {
        GPU: [".labels.mine: None became 'yes'", ".spec.limits.cpu: '1' became '2'"]
    }
