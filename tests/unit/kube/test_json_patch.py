"""Patches say what they saw, so that they hold only while it is so."""

import pytest
from slicewise.kube.json_patch import after, annotation_path, expect, label_path, pointer, remove, set_value

from tests.fakes.kube.kubernetes import patched

LIVE = {"metadata": {"labels": {"a.b/c": "1"}}, "spec": {"limits": {"gpu": "4"}, "list": [1, 2]}}


def ops(*reported):
    return tuple(
        {"op": op, "path": path} | ({} if op == "remove" else {"value": value[0]})
        for op, path, *value in reported
    )


@pytest.mark.parametrize(
    "path, value, wanted",
    [
        pytest.param(
            ("metadata", "labels", "a.b/c"), "2",
            ops(("test", "/metadata/labels/a.b~1c", "1"), ("replace", "/metadata/labels/a.b~1c", "2")),
            id="another value",
        ),
        pytest.param(("metadata", "labels", "a.b/c"), "1", (), id="the same value"),
        pytest.param(
            ("spec", "new~"), True,
            ops(("test", "/spec/new~0", None), ("add", "/spec/new~0", True)),
            id="absent",
        ),
        pytest.param(
            ("metadata", "annotations", "x"), "y",
            ops(("test", "/metadata/annotations", None), ("add", "/metadata/annotations", {"x": "y"})),
            id="absent with its parent",
        ),
        pytest.param(
            ("spec", "list"), [3],
            ops(("test", "/spec/list", [1, 2]), ("replace", "/spec/list", [3])),
            id="list",
        ),
    ],
)  # fmt: skip
def test_a_value_is_set_over_what_was_seen(path, value, wanted):
    found = set_value(LIVE, path, value)

    assert found == wanted
    left = patched(LIVE, found)
    for key in path:
        left = left[key]
    assert left == value


def test_what_is_there_is_removed_over_what_was_seen():
    found = remove(LIVE, ("spec", "limits"))

    assert found == ops(("test", "/spec/limits", {"gpu": "4"}), ("remove", "/spec/limits"))
    assert "limits" not in patched(LIVE, found)["spec"]
    assert remove(LIVE, ("spec", "nothing")) == ()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "labels", "a.b/c"), "2"),
        (("metadata", "annotations", "x/~y"), "z"),
        (("spec", "new"), None),
        (("spec", "limits"), {}),
    ],
)
def test_what_a_patch_leaves_is_what_an_api_server_makes_of_it(path, value):
    operations = (*set_value(LIVE, path, value), *remove(LIVE, ("spec", "list")))

    assert after(LIVE, operations) == patched(LIVE, operations)
    assert LIVE["spec"]["list"] == [1, 2], "what was read stays as it was"


def test_presence_and_absence_can_be_expected():
    assert expect(LIVE, ("spec", "limits", "gpu")) == ops(("test", "/spec/limits/gpu", "4"))
    assert expect(LIVE, ("spec", "limits", "cpu")) == ops(("test", "/spec/limits/cpu", None))
    assert expect(LIVE, ("metadata", "annotations", "x")) == ops(("test", "/metadata/annotations", None))


def test_labels_and_annotations_stand_in_the_metadata():
    assert pointer(annotation_path("slicewise.dev/rollout")) == "/metadata/annotations/slicewise.dev~1rollout"
    assert pointer(label_path("slicewise.dev/pool")) == "/metadata/labels/slicewise.dev~1pool"
