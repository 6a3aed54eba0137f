"""A pool that is split has a NodePool for each class, whose N never changes and which only its pods enter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicewise.kube.labels import CLASS_LABEL
from slicewise.kube.objects import labels, name, required_values
from slicewise.pools import layout

from tests.support import builders

SPLIT = "{shared: {sharing: time-slicing, gpus: [l4, a10g], maxGpus: 16, classes: [1, 2, 3]}}"


def node_pools(pools=SPLIT):
    policy = builders.policy(pools)
    made = [layout.node_pool(policy, part, gpu, part.start) for part in policy.parts for gpu in part.models()]
    return {name(item): item for item in made}


def template(node_pool):
    return node_pool["spec"]["template"]


def tolerated(pod_spec, taint):
    return any(
        one["key"] == taint["key"] and one.get("value", taint["value"]) == taint["value"]
        for one in pod_spec["tolerations"]
    )


def enters(pod_spec, node_pool):
    """Whether the stock scheduler lets a pod onto a node of the NodePool."""
    carried = template(node_pool)["metadata"]["labels"]
    return carried.items() >= pod_spec["nodeSelector"].items() and all(
        tolerated(pod_spec, taint) for taint in template(node_pool)["spec"]["taints"]
    )


def asking(size=None):
    selected = {} if size is None else {"slicewise.dev/class": str(size)}
    own = [{"key": "slicewise.dev/class", "value": str(size)}] if size else []
    return {
        "nodeSelector": {"slicewise.dev/pool": "shared", **selected},
        "tolerations": [{"key": "nvidia.com/gpu"}, *own],
    }


def test_there_is_a_nodepool_for_each_class_and_model():
    assert list(node_pools()) == [f"slicewise-shared-{gpu}-{n}" for n in (1, 2, 3) for gpu in ("l4", "a10g")]


@pytest.mark.parametrize("size, key", [(1, "exclusive"), (2, "ts-2"), (3, "ts-3")])
def test_a_class_says_its_n_in_requirement_limits_labels_and_overlays(size, key):
    policy = builders.policy(SPLIT)
    part = next(part for part in policy.parts if part.size == size)
    node_pool = node_pools()[f"slicewise-shared-l4-{size}"]
    overlays = layout.overlays(part, part.models()[0], part.start, layout.overlay_weights(policy))

    requirements = template(node_pool)["spec"]["requirements"]
    assert required_values(requirements, layout.CONFIG_LABEL) == (key,)
    assert node_pool["spec"]["limits"] == {"nvidia.com/gpu": str(16 * size)}
    assert template(node_pool)["metadata"]["labels"][CLASS_LABEL] == str(size)
    assert {labels(item)[CLASS_LABEL] for item in (node_pool, *overlays)} == {str(size)}
    assert [o["spec"]["capacity"] for o in overlays] == [{"nvidia.com/gpu": str(size * c)} for c in (1, 4, 8)]
    assert [name(o) for o in overlays] == [f"slicewise-shared-l4-{size}-{c}" for c in (1, 4, 8)]


def test_a_pod_without_a_class_enters_only_where_it_has_a_gpu_to_itself():
    assert {name for name, pool in node_pools().items() if enters(asking(), pool)} == {
        "slicewise-shared-l4-1",
        "slicewise-shared-a10g-1",
    }


@given(
    st.lists(st.integers(2, 16), min_size=1, max_size=5, unique=True),
    st.one_of(st.none(), st.integers(1, 16)),
)
def test_no_nodepool_lets_a_pod_in_that_needs_more_than_it_gives(sizes, size):
    """A pod of class n needs 1/n of a GPU; one without a class, all of it."""
    split = f"{{shared: {{sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: {[1, *sizes]}}}}}"

    for node_pool in node_pools(split).values():
        if enters(asking(size), node_pool):
            (key,) = required_values(template(node_pool)["spec"]["requirements"], layout.CONFIG_LABEL)
            assert layout.slices_of_key(key) == (size or 1)


def test_the_longest_name_of_a_class_is_a_valid_label_value():
    pools = node_pools(
        f"{{{'p' * 30}: {{sharing: mps, gpus: [rtx-pro-server-6000], maxGpus: 1, classes: [1, 16]}}}}"
    )

    assert max(map(len, pools)) == 63


def test_weights_of_all_classes_are_distinguished():
    weights = layout.overlay_weights(builders.policy(SPLIT))

    assert len(set(weights.values())) == len(weights) == 2 * 3 * 3


@pytest.mark.parametrize(
    "node_pool, marks, superseded",
    [
        pytest.param("slicewise-shared-l4", {}, True, id="of the time before the split"),
        pytest.param("slicewise-shared-l4-4", {CLASS_LABEL: "4"}, True, id="a class that has gone"),
        pytest.param("slicewise-shared-l4-2", {CLASS_LABEL: "2"}, False, id="a class that is wanted"),
        pytest.param("slicewise-other-l4", {}, False, id="of another pool"),
        pytest.param("slicewise-shared-t4-2", {CLASS_LABEL: "2"}, False, id="of another model"),
    ],
)
def test_what_a_pool_had_before_it_was_split_otherwise_is_known(node_pool, marks, superseded):
    assert layout.is_superseded(node_pool, marks, builders.policy(SPLIT)) is superseded


def test_a_pool_that_is_no_longer_split_supersedes_its_classes():
    policy = builders.policy()

    assert layout.is_superseded("slicewise-shared-l4-2", {CLASS_LABEL: "2"}, policy)
    assert not layout.is_superseded("slicewise-shared-l4", {}, policy)


@pytest.mark.parametrize(
    "selector, sizes",
    [
        ({"slicewise.dev/pool": "shared"}, {1}),
        ({"slicewise.dev/pool": "shared", "slicewise.dev/class": "2"}, {2}),
        ({"slicewise.dev/pool": "shared", "slicewise.dev/class": "small"}, {1}),
        ({"slicewise.dev/pool": "other", "slicewise.dev/class": "2"}, set()),
        ({}, set()),
    ],
)
def test_a_pod_is_meant_for_the_class_that_it_selects_or_else_for_the_first(selector, sizes):
    parts = builders.policy(SPLIT).parts

    assert {part.size for part in parts if layout.selects({"nodeSelector": selector}, part)} == sizes
