"""The switches of a policy's own: a word about one field, and never a right to write anything else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from slicewise.errors import InvalidPolicy
from slicewise.offhours.kinds import KINDS
from slicewise.policy import switches
from slicewise.policy.switches import Switch, definition, wrong_in

from sandbox.controllers.stand_ins import predictors
from tests.support import builders

GOOD = {"group": "ml.example.com", "kind": "Predictor", "path": "spec.suspend", "asleep": True}
SUSPENDS = Switch("ml.example.com", "Predictor", ("spec", "suspend"), True)


def policy_with(*items):
    nights = {"timeZone": "UTC", "asleep": ["Sat-Sun"], "kinds": list(items)}
    return builders.policy(builders.DEFAULT_POOLS, f"offHours: {json.dumps(nights)}")


@pytest.mark.parametrize(
    ("written", "path", "asleep"),
    [
        ("spec.suspend", ("spec", "suspend"), True),
        ("spec.server.replicas", ("spec", "server", "replicas"), 0),
        ("spec.state", ("spec", "state"), "Stopped"),
        (
            "metadata.annotations[example.com/stop.it]",
            ("metadata", "annotations", "example.com/stop.it"),
            "true",
        ),
        ("metadata.annotations[stopped]", ("metadata", "annotations", "stopped"), "x"),
    ],
)
def test_a_field_of_spec_or_an_annotation_is_a_switch(written, path, asleep):
    [found] = policy_with(GOOD | {"path": written, "asleep": asleep}).off_hours.kinds

    assert found == Switch("ml.example.com", "Predictor", path, asleep)
    assert switches.written(path) == written
    assert switches.read(switches.dumped([found])) == (found,)


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("group", "", "an API group with a dot"),
        ("group", "apps", "an API group with a dot"),
        ("group", 3, "an API group with a dot"),
        ("group", ["ml.example.com"], "an API group with a dot"),
        *(
            ("group", group, "none of this group")
            for group in (
                "rbac.authorization.k8s.io",
                "apiextensions.k8s.io",
                "networking.k8s.io",
                "karpenter.sh",
                "karpenter.k8s.aws",
                "eks.amazonaws.com",
                "nvidia.com",
            )
        ),
        ("kind", "predictor", "as its definition does"),
        ("kind", None, "as its definition does"),
        *(
            ("path", path, "write a field of spec")
            for path in (
                *("spec", "suspend", "spec.", "spec..a", "spec.a.b.c.d.e.f.g", "status.phase", "spec.a[0]"),
                *(
                    "metadata.labels[a]",
                    "metadata.finalizers",
                    "metadata.annotations",
                    "spec.a-b",
                    None,
                    ["a"],
                ),
                *("metadata.annotations[a b]", "metadata.annotations[a/b/c]", "metadata.name", "spec.a\nb"),
            )
        ),
        *(
            ("path", path, "what pods are made of")
            for path in ("spec.template.spec", "spec.podTemplate.replicas", "spec.server.template")
        ),
        *(
            ("path", f"metadata.annotations[{key}]", "no switches")
            for key in ("slicewise.dev/asleep-was", "kubectl.kubernetes.io/restartedAt", "a.k8s.io/x")
        ),
        *(
            ("asleep", value, "write true, false")
            for value in (None, 1.5, -1, 1_001, "", "x" * 64, [], "a\nb")
        ),
    ],
)
def test_what_would_be_more_than_a_switch_is_refused_where_it_stands(field, value, remedy):
    item = GOOD | {"asleep": "x"} | {field: value}
    with pytest.raises(InvalidPolicy) as refused:
        policy_with(item)

    [problem] = refused.value.problems
    assert problem.path == f"offHours.kinds[0].{field}" and remedy in problem.remedy
    assert switches.read(json.dumps([item])) == (), "nor does a mark make it one"


def test_an_annotation_is_a_text():
    with pytest.raises(InvalidPolicy) as refused:
        policy_with(GOOD | {"path": "metadata.annotations[a/b]"})

    [problem] = refused.value.problems
    assert problem.path == "offHours.kinds[0].asleep" and 'in quotes, such as "true"' in problem.remedy


def test_a_kind_that_has_a_row_has_no_second_switch():
    assert {(row.group, row.kind) for row in KINDS if "." in row.group} <= switches.KNOWN

    with pytest.raises(InvalidPolicy, match="sleeps by a switch that is known"):
        policy_with(GOOD | {"group": "ray.io", "kind": "RayCluster"})


@pytest.mark.parametrize(
    ("items", "path", "remedy"),
    [
        ([GOOD, GOOD | {"path": "spec.x"}], "offHours.kinds[1].kind", "has a switch above"),
        ([GOOD | {"version": "v1"}], "offHours.kinds[0].version", "there is no such field"),
        (["Predictor"], "offHours.kinds[0]", "not a table"),
        ([], "offHours.kinds", "write a list"),
        ([GOOD | {"kind": f"A{n}"} for n in range(9)], "offHours.kinds", "at most 8"),
    ],
    ids=["twice", "unknown field", "no table", "empty", "too many"],
)
def test_the_list_is_checked_as_a_whole(items, path, remedy):
    with pytest.raises(InvalidPolicy) as refused:
        policy_with(*items)

    [problem] = refused.value.problems
    assert problem.path == path and remedy in problem.remedy


@pytest.mark.parametrize("text", ["", "{", "3", "{}", "[3]", "[[]]", "null", '[{"group": "a"}]'])
def test_a_mark_that_a_user_edited_names_no_switch(text):
    assert switches.read(text) == ()


# Against the definition that a cluster has


def checked(crd, *asked):
    return [wrong_in(one, definition(crd, asked)) for one in asked]


@pytest.mark.parametrize(
    ("path", "asleep", "message"),
    [
        (("spec", "suspend"), True, ""),
        (("spec", "count"), 0, ""),
        (("spec", "server", "state"), "Stopped", ""),
        (("metadata", "annotations", "any/thing"), "x", ""),
        (("spec", "open", "whatever"), 3, ""),
        (("spec", "each", "gpu"), 0, ""),
        (("spec", "either"), "0", ""),
        (("spec", "suspended"), True, "has no field spec.suspended"),
        (("spec", "suspend", "deep"), True, "has no field spec.suspend.deep"),
        (("spec", "suspend"), "true", 'spec.suspend is of type boolean, which "true" is not'),
        (("spec", "server"), "off", 'spec.server is of type object, which "off" is not'),
        (("spec", "count"), True, "spec.count is of type integer, which true is not"),
        (("spec", "count"), 11, "spec.count takes no 11: 0 to 10 alone"),
        (("spec", "server", "state"), "Off", 'takes "Running", "Stopped" alone, not "Off"'),
        (("spec", "either"), True, "is a number or a text"),
    ],
)
def test_a_switch_is_held_against_the_schema_of_its_kind(path, asleep, message):
    crd = predictors()
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    fields["count"]["maximum"] = 10
    fields |= {
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "each": {"type": "object", "additionalProperties": {"type": "integer"}},
        "either": {"x-kubernetes-int-or-string": True},
    }

    [found] = checked(crd, replace(SUSPENDS, path=path, asleep=asleep))

    assert message in found if message else found == ""


def test_a_kind_must_be_there_served_and_in_namespaces():
    assert "no definition" in wrong_in(SUSPENDS, None)
    assert "no version of it is served" in checked(predictors(served=False), SUSPENDS)[0]
    assert "in no namespace" in checked(predictors(scope="Cluster"), SUSPENDS)[0]


def test_the_version_that_kubernetes_prefers_is_the_one_that_counts():
    in_order = ["v2", "v1", "v10beta3", "v1beta2", "v1beta1", "v3alpha1", "newest"]
    assert sorted(set(in_order), key=switches.priority) == in_order

    crd = predictors("v1alpha1", "v1")
    _, newer = crd["spec"]["versions"]
    newer["schema"] = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}
    assert checked(crd, SUSPENDS) == ["its version v1 has no field spec.suspend"]
    newer["served"] = False
    assert checked(crd, SUSPENDS) == [""]
