"""Which workload is moved next, by which write, and when nobody is."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from slicewise.kube.labels import CLASS_LABEL, MOVED_ANNOTATION, POOL_LABEL
from slicewise.kube.ref import Ref
from slicewise.planning.actions import Notify, SetClass
from slicewise.pools import layout
from slicewise.tuning.classes.annotation import read_mark
from slicewise.tuning.classes.decision import ClassDecision, Recommendation, in_order
from slicewise.tuning.classes.migration import LOOK_AGAIN, moves

from tests.support.builders import NOW

GPU = {"key": "nvidia.com/gpu", "operator": "Exists"}
ANY = {"key": CLASS_LABEL, "operator": "Exists"}
MOVED = MOVED_ANNOTATION


def ours(size):
    return {"key": CLASS_LABEL, "operator": "Equal", "value": str(size), "effect": "NoSchedule"}


def workload(
    name="llm", size=None, *, kind="Deployment", tolerations=(GPU,), mark=None, holders=(), ready=2, **more
):
    """One of two pods that opted in; `holders` are (manager, operation, field of the pod spec)."""
    selector = {POOL_LABEL: "shared"} | ({CLASS_LABEL: str(size)} if size else {})
    fields = [
        {"manager": m, "operation": o, "fieldsV1": {"f:spec": {"f:template": {"f:spec": {f"f:{field}": {}}}}}}
        for m, o, field in holders
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "ml",
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "generation": 3,
            "labels": {CLASS_LABEL: "auto"},
            "annotations": {MOVED: json.dumps(mark)} if mark else {},
            "managedFields": fields,
            **more.pop("metadata", {}),
        },
        "spec": {
            "replicas": 2,
            "template": {"spec": {"nodeSelector": selector, "tolerations": list(tolerations)}},
            **more,
        },
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": ready},
    }


def marked(name, *moved, **more):
    """Moved to class 2 at these times."""
    mark = {"class": 2, "moved": list(moved), "toleration": True}
    return workload(name, 2, tolerations=[GPU, ours(2)], mark=mark, **more)


def belongs(*pairs):
    """Workloads by name, with the class that they have and the one that they belong in."""
    found = [
        Recommendation(Ref("apps/v1", "Deployment", name, "ml"), 2, before, after, "it fits")
        for name, before, after in pairs
    ]
    return ClassDecision("shared", (1, 2, 3), NOW, 0.8, (), in_order(found))


def moved(*items, to=2, frozen="", a_day=15, split=True):
    pairs = [(i["metadata"]["name"], layout.class_of(i["spec"]["template"]["spec"]) or 1, to) for i in items]
    return moves(belongs(*pairs), "gpu-1", items, a_day, frozen, NOW, split=split)


def written(found):
    """nodeSelector's class, tolerations and mark of the one write."""
    (write,) = [action for action in found.actions if isinstance(action, SetClass)]
    pod_spec = write.object["spec"]["template"]["spec"]
    mark = json.loads(write.object["metadata"]["annotations"][MOVED])
    return pod_spec["nodeSelector"].get(CLASS_LABEL), pod_spec.get("tolerations"), mark


def ago(**span):
    return (NOW - timedelta(**span)).isoformat()


def codes(found):
    return [finding.code for finding in found.findings]


# The write


def test_a_move_writes_selector_and_toleration_as_a_whole_and_only_over_what_was_seen():
    found = moved(workload())
    write = found.actions[0]

    assert write.object == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "llm",
            "namespace": "ml",
            "uid": "uid-llm",
            "resourceVersion": "7",
            "annotations": {MOVED: '{"class":2,"moved":["2026-11-24T12:00:00Z"],"toleration":true}'},
        },
        "spec": {
            "template": {
                "spec": {
                    "nodeSelector": {"slicewise.dev/pool": "shared", "slicewise.dev/class": "2"},
                    "tolerations": [GPU, ours(2)],
                }
            }
        },
    }
    assert (str(write), write.why) == ("move Deployment ml/llm from class 1 to class 2", "it fits")


HELD = (("slicewise", "Apply", "nodeSelector"), ("slicewise", "Apply", "tolerations"))
IN_CLASS_2 = workload(
    size=2,
    tolerations=[GPU, ours(2)],
    mark={"class": 2, "moved": [], "toleration": True},
    holders=HELD,
)


@pytest.mark.parametrize(
    "item, to, selected, tolerations",
    [
        pytest.param(workload(), 3, "3", [GPU, ours(3)], id="first move"),
        pytest.param(
            IN_CLASS_2,
            3,
            "3",
            [GPU, ours(3)],
            id="from one to another",
        ),
        pytest.param(
            IN_CLASS_2,
            1,
            None,
            [GPU],
            id="home",
        ),
        pytest.param(workload(tolerations=[GPU, ANY], size=1), 2, "2", None, id="a person tolerates all"),
        pytest.param(
            workload(tolerations=[GPU, ANY], size=2, mark={"class": 2, "moved": []}, holders=HELD[:1]),
            1,
            "1",
            None,
            id="home, where all is tolerated",
        ),
        pytest.param(workload(tolerations=[{"operator": "Exists"}], size=1), 2, "2", None, id="all taints"),
        pytest.param(
            workload(size=2, tolerations=[GPU, ours(2)]),
            3,
            "3",
            [GPU, ours(2), ours(3)],
            id="set by hand before",
        ),
    ],
)
def test_what_people_tolerate_is_kept_and_what_we_added_goes_with_the_class(item, to, selected, tolerations):
    found = written(moved(item, to=to))

    assert found[:2] == (selected, tolerations)
    assert found[2]["class"] == to
    assert found[2].get("toleration", False) == (ours(to) in (tolerations or []))


# Which, and how many


def test_each_move_is_reported_after_it_is_made_and_only_then():
    write, notice = moved(workload()).actions

    assert isinstance(notice, Notify) and isinstance(write, SetClass)
    assert write.part == notice.part != "", "a write that conflicts reports nothing"
    assert notice.subject == "Slicewise moves Deployment ml/llm of gpu-1 to class 2"
    assert "Its 2 pods are replaced by a rolling update: it fits." in notice.text
    assert "It is the 1st of at most 15 moves a day." in notice.text


def test_a_move_is_reported_as_long_as_it_can_be_seen_under_one_key():
    made = moved(workload(), to=2).actions[-1]
    after = marked("llm", NOW.isoformat())

    found = moves(belongs(("llm", 2, 2)), "gpu-1", [after], 15, "", NOW + timedelta(hours=1))

    assert found.actions == ()
    assert [(one.key, one.subject) for one in found.notices] == [(made.key, made.subject)]


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(marked("a", ago(hours=25)), id="a day ago"),
        pytest.param(workload(size=2, mark={"class": 1, "moved": [ago(hours=1)], "left": True}), id="undone"),
        pytest.param(marked("a", (NOW + timedelta(hours=1)).isoformat()), id="a clock that is wrong"),
        pytest.param(workload(size=2), id="never moved"),
    ],
)
def test_what_was_not_moved_lately_is_not_reported(item):
    assert moves(belongs(), "gpu-1", [item], 15, "", NOW).notices == ()


def test_one_after_another_the_most_urgent_first():
    items = [workload("a"), workload("b"), workload("full", 3, tolerations=[GPU, ours(3)])]
    decision = belongs(("a", 1, 2), ("b", 1, 3), ("full", 3, 1))

    found = moves(decision, "gpu-1", items, 15, "", NOW)

    assert str(found.actions[0]) == "move Deployment ml/full from class 3 to class 1"
    assert len(found.actions) == 2 and found.requeue_after == LOOK_AGAIN


def test_nobody_is_moved_while_pods_of_the_one_before_are_not_ready():
    before = marked("before", ago(minutes=3), ready=1)

    found = moved(workload(), before)

    assert found.actions == () and found.requeue_after == LOOK_AGAIN and codes(found) == []
    assert found.notes[Ref("apps/v1", "Deployment", "llm", "ml")].startswith(
        "it is moved, but not now: the pods of"
    )


def test_one_that_never_becomes_ready_is_reported_and_checked_by_the_sweep_alone():
    stuck = marked("stuck", ago(minutes=31), ready=0)

    found = moved(workload(), stuck)

    assert (found.actions, found.requeue_after, codes(found)) == ((), None, ["class-move-stuck"])


def test_a_rollout_of_the_next_day_is_not_ours():
    long_ago = marked("old", ago(hours=25), ready=0)

    assert moved(workload(), long_ago).actions


@pytest.mark.parametrize("a_day, moves_on", [(0, False), (2, False), (3, True)])
def test_so_many_a_day_and_no_more(a_day, moves_on):
    """Two were moved within a day, one of them twice in two days."""
    once, twice = marked("a", ago(hours=30), ago(hours=23)), marked("b", ago(hours=1))

    found = moved(workload(), once, twice, a_day=a_day)

    assert bool(found.actions) == moves_on
    if moves_on:
        assert "the 3rd of at most 3" in found.actions[-1].text


def test_frozen_means_that_nobody_is_moved_and_says_why():
    found = moved(workload(), frozen="it is asleep")

    assert found.actions == () and found.requeue_after is None
    assert list(found.notes.values()) == ["it is moved, but not now: it is asleep"]


@pytest.mark.parametrize(
    "item, why",
    [
        (
            workload(metadata={"ownerReferences": [{"kind": "Service", "name": "kn", "controller": True}]}),
            "it is made by Service kn",
        ),
        (workload(paused=True), "paused"),
        (workload(kind="StatefulSet", updateStrategy={"type": "OnDelete"}), "by hand"),
        (workload(replicas=0), "no pods"),
        (workload(metadata={"deletionTimestamp": ago(minutes=1)}), "no pods"),
        (workload(template={"spec": {"affinity": {}}}), "nodeSelector"),
        (workload(ready=1), "under way"),
        (workload(metadata={"generation": 4}), "under way"),
        (workload(holders=[("argocd", "Apply", "nodeSelector")]), "argocd applies these fields"),
        (workload(mark={"class": "x"}), "removed its class"),
    ],
    ids=["an operator's", "paused", "on delete", "asleep", "going", "affinity", "rolling", "not seen yet",
         "applied by another", "an odd mark"],
)  # fmt: skip
def test_who_cannot_be_moved_is_reported_why(item, why):
    ref = Ref("apps/v1", item["kind"], "llm", "ml")
    decision = ClassDecision("shared", (1, 2), NOW, 0.8, (), (Recommendation(ref, 2, 1, 2, "it fits"),))

    found = moves(decision, "gpu-1", [item], 15, "", NOW)

    assert found.actions == () and why in found.notes[ref]


@pytest.mark.parametrize("manager", ["kubectl-client-side-apply", "helm", "kubectl-edit"])
def test_who_wrote_the_fields_once_is_no_obstacle(manager):
    item = workload(holders=[(manager, "Update", "nodeSelector"), (manager, "Update", "tolerations")])

    assert moved(item).actions


# Somebody else's will


def test_a_class_that_a_user_took_away_is_left_to_them_and_reported_with_who():
    mark = {"class": 2, "moved": [ago(hours=2)], "toleration": True}
    fields = ("nodeSelector", "tolerations")
    item = workload(mark=mark, holders=[("argocd", "Update", field) for field in fields])

    found = moved(item)

    assert (found.actions, codes(found)) == ((), ["class-reverted"])
    assert "argocd wrote over the class" in found.findings[0].message


def test_a_selector_without_its_toleration_is_taken_away_as_well_once():
    """kubectl apply puts its own tolerations back and merges the selector: no pod could start anywhere."""
    item = workload(size=2, mark={"class": 2, "moved": [ago(hours=2)], "toleration": True},
                    holders=[HELD[0], ("kubectl-client-side-apply", "Update", "tolerations")])  # fmt: skip

    found = moved(item, to=2)
    selected, tolerations, mark = written(found)

    assert (selected, tolerations, mark["class"], mark["left"]) == (None, None, 1, True)
    assert "kubectl-client-side-apply took the toleration away" in found.actions[0].why
    after = workload(mark=mark)
    assert (moved(after).actions, codes(moved(after))) == ((), ["class-reverted"])


def test_who_tolerates_every_class_and_selects_none_is_warned():
    assert codes(moved(workload(tolerations=[GPU, ANY]))) == ["class-unpinned"]


@pytest.mark.parametrize("size", [1, 2])
def test_where_the_pool_is_no_longer_split_nobody_selects_a_class(size):
    item = workload(size=size, tolerations=[GPU, ANY])

    found = moved(item, to=1, split=False)

    assert written(found)[:2] == (None, None)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"moved": ["yesterday"]}', '{"moved": ["2026-11-24T12:00:00"]}']
)
def test_a_mark_that_nobody_can_read_means_hands_off(text):
    item = workload()
    item["metadata"]["annotations"][MOVED] = text

    assert read_mark(item).is_excluded == bool(text)
