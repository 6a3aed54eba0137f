"""The admission policies: of whom they ask, what they match, and that they follow the table of rights."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from slicewise import rights
from slicewise.kube.kinds import RESOURCES
from slicewise.kube.ref import ref_of
from slicewise.offhours import kinds
from slicewise.onboarding import admission, rbac
from slicewise.planning.actions import Apply, Delete
from slicewise.rights import Identity, Only, Write

from tests.support import builders

NIGHTS = (
    "offHours: {timeZone: UTC, asleep: [Sat-Sun], barePods: delete, volumes: retain, missedRuns: skip, "
    "jobs: suspend}"
)
SPLIT = "{shared: {sharing: time-slicing, gpus: [l4], maxGpus: 16, classes: [1, 2]}}"
EVERYTHING = builders.policy(SPLIT, NIGHTS)
IDENTITIES = (rights.TUNER, rights.SLEEPER)
PAGE = Path(__file__).parents[3] / "docs" / "deploying.md"


def matched(policy):
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    return {
        (group, resource) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"]
    }


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda one: one.name)
def test_whatever_rbac_lets_an_identity_write_is_held_by_its_policy(identity):
    [role] = [
        item
        for item in rbac.objects(EVERYTHING, crds={one.crd for one in identity.writes})
        if (item["kind"], item["metadata"]["name"]) == ("ClusterRole", identity.name)
    ]
    written = {
        (group, resource)
        for rule in role["rules"]
        if set(rule["verbs"]) - {"get", "list"}
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }

    assert (
        written == matched(admission.policy_of(identity)) == {(w.group, w.resource) for w in identity.writes}
    )


def test_another_kind_is_held_as_soon_as_it_may_be_written():
    field = ("spec", "paused")
    more = replace(rights.SLEEPER, writes=(*rights.SLEEPER.writes, Write("a.example", "servers", (field,))))

    before, after = admission.policy_of(rights.SLEEPER), admission.policy_of(more)

    assert matched(after) - matched(before) == {("a.example", "servers")}
    [added] = [one for one in after["spec"]["validations"] if one not in before["spec"]["validations"]]
    assert "a.example/servers" in added["expression"] and "'may': dyn(['paused'])" in added["expression"]
    assert "patch servers: spec.paused" in added["message"]


def test_the_sleeper_may_write_every_switch_of_off_hours():
    plurals = {key: plural for key, (plural, _) in RESOURCES.items()}
    of = {(one.group, one.resource): one.fields for one in rights.SLEEPER.writes}

    for row in kinds.KINDS:
        for switch in row.settings:
            resource = ("*", "*/scale") if switch.scaled else (row.group, plurals[row.group, row.kind])
            assert switch.path in of[resource], (row.kind, switch.field)


def test_only_requests_of_the_group_are_checked_and_users_without_groups_are_no_error():
    for identity in IDENTITIES:
        [condition] = admission.policy_of(identity)["spec"]["matchConditions"]
        assert condition["expression"] == (
            f"has(request.userInfo.groups) && '{identity.group}' in request.userInfo.groups"
        )


def test_there_is_one_of_the_sleeper_only_where_workloads_sleep():
    assert [ref_of(item).name for item in admission.objects(builders.policy())] == ["slicewise-tuner"] * 2
    names = [ref_of(item).name for item in admission.objects(EVERYTHING)]
    assert names == ["slicewise-tuner", "slicewise-sleeper"] * 2


def test_a_policy_comes_before_what_binds_it_and_both_before_the_rights():
    actions = admission.changes(builders.contents(), EVERYTHING)

    assert [action.object["kind"] for action in actions] == [admission.POLICY] * 2 + [admission.BINDING] * 2


def as_found(policy, edit=lambda items: None):
    objects = {ref_of(item): item for item in (dict(one) for one in admission.objects(policy))}
    for ref, item in objects.items():
        objects[ref] = {**item, "spec": dict(item["spec"])}
    edit(objects)
    return builders.contents(objects=objects)


def spec_of(objects, kind, name="slicewise-tuner"):
    return next(item["spec"] for ref, item in objects.items() if (ref.kind, ref.name) == (kind, name))


def test_nothing_is_done_while_they_stand_as_we_wrote_them():
    assert admission.changes(as_found(EVERYTHING), EVERYTHING) == []


NARROWED = {
    "another condition": lambda spec: spec.update(
        matchConditions=[*spec["matchConditions"], {"name": "never", "expression": "false"}]
    ),
    "a selector of namespaces": lambda spec: spec.update(
        matchConstraints={**spec["matchConstraints"], "namespaceSelector": {"matchLabels": {"a": "b"}}}
    ),
    "a rule less": lambda spec: spec.update(
        matchConstraints={
            **spec["matchConstraints"],
            "resourceRules": spec["matchConstraints"]["resourceRules"][1:],
        }
    ),
    "an excluded rule": lambda spec: spec.update(
        matchConstraints={**spec["matchConstraints"], "excludeResourceRules": [{"resources": ["*"]}]}
    ),
    "errors are let through": lambda spec: spec.update(failurePolicy="Ignore"),
}


@pytest.mark.parametrize("edit", NARROWED.values(), ids=NARROWED.keys())
def test_one_that_a_user_narrowed_is_recreated(edit):
    """What they added is theirs, and stays where ours is only applied over it."""
    contents = as_found(EVERYTHING, lambda objects: edit(spec_of(objects, admission.POLICY)))

    gone, made = admission.changes(contents, EVERYTHING)

    assert isinstance(gone, Delete) and isinstance(made, Apply)
    assert gone.ref == ref_of(made.object) == ref_of(admission.policy_of(rights.TUNER))


def test_a_binding_that_only_warns_is_put_right():
    def warn(objects):
        spec_of(objects, admission.BINDING)["validationActions"] = ["Warn"]

    assert [str(action) for action in admission.changes(as_found(EVERYTHING, warn), EVERYTHING)] == [
        "delete ValidatingAdmissionPolicyBinding slicewise-tuner",
        "apply ValidatingAdmissionPolicyBinding slicewise-tuner",
    ]


def test_one_of_another_release_is_applied_over():
    """Deleted, nobody would be held for a moment."""

    def older(objects):
        for ref, item in objects.items():
            metadata = {**item["metadata"], "annotations": {"slicewise.dev/applied": "another"}}
            objects[ref] = {**item, "metadata": metadata}

    actions = admission.changes(as_found(EVERYTHING, older), EVERYTHING)

    assert len(actions) == 4 and all(isinstance(action, Apply) for action in actions)


def test_texts_are_quoted_as_cel_has_them():
    odd = Identity("a", "it's", (Write("", "nodes", (("metadata", "labels", "a'b\\c"),), only=Only.ALL),))

    policy = admission.policy_of(odd)

    assert "'it\\'s' in" in policy["spec"]["matchConditions"][0]["expression"]
    assert "'a\\'b\\\\c'" in policy["spec"]["validations"][0]["expression"]


def test_the_page_says_who_may_write_which_field():
    rows = re.findall(r"^\| (tuner|sleeper) \| (.+?) \| (.*?) \|$", PAGE.read_text(), re.MULTILINE)

    assert rows == [row for identity in IDENTITIES for row in rows_of(identity)]


def rows_of(identity):
    for write in identity.writes:
        which = f"{write.resource} {write.only}".strip()
        fields = ", ".join(f"`{path}`" for path in admission.written(write))
        yield identity.name.removeprefix("slicewise-"), which, "are deleted" if write.deletes else fields
