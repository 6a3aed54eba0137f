import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.kube import objects

LIMITED = {"metadata": {"name": "a"}, "spec": {"limits": {"nvidia.com/gpu": "3000"}, "weight": 1}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_everything_holds_itself(value):
    assert objects.holds(value, value)


def test_fields_of_others_do_not_matter():
    live = copy.deepcopy(LIMITED) | {"status": {"nodes": 4}}
    live["spec"]["disruption"] = {"budgets": [{"nodes": "10%"}]}

    assert objects.holds(live, LIMITED)


def test_quantities_are_compared_as_numbers():
    assert objects.holds(
        {"spec": {"limits": {"nvidia.com/gpu": "3k"}, "weight": 1}, "metadata": {"name": "a"}}, LIMITED
    )


def test_text_that_looks_like_a_quantity_is_still_text():
    assert not objects.holds({"values": ["1000m"]}, {"values": ["1"]})


@pytest.mark.parametrize(
    "live, wanted",
    [
        pytest.param({"a": 1}, {"a": 2}, id="another value"),
        pytest.param({}, {"a": 1}, id="a missing field"),
        pytest.param({"a": "x"}, {"a": {"b": 1}}, id="another type"),
        pytest.param({"a": [1, 2]}, {"a": [2, 1]}, id="another order"),
        pytest.param({"a": [1, 2]}, {"a": [1]}, id="a longer list"),
        pytest.param({"a": [{"k": 1}]}, {"a": [{"k": 2}]}, id="another element"),
    ],
)
def test_what_differs_does_not_hold(live, wanted):
    assert not objects.holds(live, wanted)


def test_defaults_inside_list_elements_do_not_matter():
    assert objects.holds({"a": [{"k": 1, "operator": "Equal"}]}, {"a": [{"k": 1}]})


def test_an_empty_table_may_come_back_as_nothing():
    assert objects.holds({}, {"spec": {}, "list": []})


def test_a_field_that_we_no_longer_want_shows_in_the_stamp():
    before = objects.stamped({"metadata": {"name": "a"}, "spec": {"one": 1, "two": 2}})
    after = objects.stamped({"metadata": {"name": "a"}, "spec": {"one": 1}})

    assert not objects.holds(before, after)


def test_a_stamp_is_of_the_object_alone():
    once = objects.stamped({"metadata": {"name": "a", "annotations": {"mine": "kept"}}})

    assert objects.stamped(once) == once
    assert objects.annotations_of(once)["mine"] == "kept"
    assert objects.is_ours(once)


@pytest.mark.parametrize(
    "generation, condition, true",
    [
        pytest.param(2, {"status": "True", "observedGeneration": 2}, True, id="of this generation"),
        pytest.param(2, {"status": "True", "observedGeneration": 1}, False, id="of an older one"),
        pytest.param(2, {"status": "False", "observedGeneration": 2}, False, id="false"),
        pytest.param(2, {"status": "Unknown", "observedGeneration": 2}, False, id="unknown"),
        pytest.param(2, {"status": "True"}, True, id="says no generation"),
        pytest.param(2, None, False, id="no condition"),
    ],
)
def test_a_condition_counts_only_for_the_object_as_it_is(generation, condition, true):
    conditions = [{"type": "Ready", **condition}] if condition else []
    item = {"metadata": {"name": "a", "generation": generation}, "status": {"conditions": conditions}}

    assert objects.is_true(item, "Ready") is true


@pytest.mark.parametrize(
    "pod, count",
    [
        ({"containers": [{"resources": {"limits": {"gpu": "1"}}}]}, 1),
        ({"containers": [{"resources": {"limits": {"gpu": "1"}, "requests": {"gpu": "1"}}}, {}]}, 1),
        ({"containers": [{"resources": {"limits": {"gpu": "1"}}}] * 3}, 3),
        ({"containers": [{}], "initContainers": [{"resources": {"limits": {"gpu": "2"}}}]}, 2),
        (
            {
                "containers": [{"resources": {"limits": {"gpu": "1"}}}],
                "initContainers": [{"restartPolicy": "Always", "resources": {"limits": {"gpu": "1"}}}],
            },
            2,
        ),
        ({"containers": [{"resources": {"limits": {"cpu": "1"}}}]}, 0),
    ],
    ids=["limit", "request equals limit", "side by side", "initial", "sidecar", "none"],
)
def test_a_pod_holds_what_its_containers_ask_for(pod, count):
    assert objects.asked({"metadata": {}, "spec": pod}, "gpu") == count


def test_who_wrote_a_field_is_known_by_its_path():
    capacity = {"f:spec": {"f:capacity": {"f:nvidia.com/gpu": {}}}}
    item = {
        "metadata": {
            "managedFields": [
                {"manager": "kubectl-edit", "fieldsV1": capacity},
                {"manager": "karpenter", "fieldsV1": {"f:status": {}}},
                {"manager": "odd"},
            ]
        }
    }

    assert objects.written_by(item, ("spec", "capacity", "nvidia.com/gpu")) == ("kubectl-edit",)
    assert objects.written_by(item, ("spec", "limits")) == ()
    assert objects.written_by({"metadata": {}}, ("spec",)) == ()
