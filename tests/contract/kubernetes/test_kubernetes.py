"""The fake API server and the gateway on a real one, held to the same behaviour."""

from __future__ import annotations

import pytest
from slicewise.errors import Conflict, Refused, Unauthorized
from slicewise.gateways import kubernetes
from slicewise.kube import pages as list_pages
from slicewise.kube.objects import applied_by, written_by
from slicewise.kube.pages import continue_token
from slicewise.kube.ref import Ref

from tests.contract.kubernetes.kubernetes_sides import NAMESPACE, Real
from tests.fakes.kube.kubernetes import KARPENTER_CRDS

NOTES = Ref("v1", "ConfigMap", "notes", NAMESPACE)


def config_map(name: str = "notes", labels: dict[str, str] | None = None, **data: str):
    metadata = {"name": name, "namespace": NAMESPACE, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def overlay(name: str, capacity: str):
    return {
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {"name": name},
        "spec": {
            "requirements": [{"key": "karpenter.sh/nodepool", "operator": "In", "values": ["nobody"]}],
            "capacity": {"nvidia.com/gpu": capacity},
            "weight": 7,
        },
    }


def version_of(far_side, ref=NOTES):
    return far_side.port.get(ref)["metadata"]["resourceVersion"]


def test_the_version_is_reported_as_kubernetes_reports_it(far_side):
    assert far_side.port.version().startswith("v1.")


def test_what_is_absent_is_none(far_side):
    assert far_side.port.get(NOTES) is None
    assert far_side.port.get(Ref("v1", "ConfigMap", "x", "no-such-namespace")) is None


def test_a_kind_that_is_not_served_has_no_objects(far_side):
    assert far_side.port.get(Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")) is None
    assert far_side.port.list("nvidia.com/v1", "ClusterPolicy") == ()
    far_side.port.delete(Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy"))


def test_an_applied_object_is_there_with_its_kind(far_side):
    far_side.port.apply(config_map(a="1"))

    found = far_side.port.get(NOTES)
    assert (found["apiVersion"], found["kind"], found["data"]) == ("v1", "ConfigMap", {"a": "1"})
    assert "managedFields" not in found["metadata"]


def test_applying_the_same_again_changes_nothing(far_side):
    far_side.port.apply(config_map(a="1"))
    before = version_of(far_side)

    far_side.port.apply(config_map(a="1"))

    assert version_of(far_side) == before


def test_what_we_no_longer_apply_goes_and_what_others_wrote_stays(far_side):
    far_side.port.apply(config_map(a="1", b="2"))
    far_side.by_another_writer(config_map(theirs="3"))

    far_side.port.apply(config_map(a="1"))

    assert far_side.port.get(NOTES)["data"] == {"a": "1", "theirs": "3"}


def test_our_word_counts_where_others_wrote_the_same_field(far_side):
    far_side.by_another_writer(config_map(a="theirs"))

    far_side.port.apply(config_map(a="ours"))

    assert far_side.port.get(NOTES)["data"] == {"a": "ours"}


def test_only_a_changed_spec_makes_a_new_generation(far_side):
    ref = Ref("karpenter.sh/v1alpha1", "NodeOverlay", "generation")
    far_side.port.apply(overlay("generation", "4"))
    first = far_side.port.get(ref)["metadata"]["generation"]

    labelled = overlay("generation", "4")
    labelled["metadata"]["labels"] = {"a": "b"}
    far_side.port.apply(labelled)
    assert far_side.port.get(ref)["metadata"]["generation"] == first

    far_side.port.apply(overlay("generation", "8"))
    assert far_side.port.get(ref)["metadata"]["generation"] == first + 1


def test_an_object_before_its_kind_or_namespace_is_a_conflict(far_side):
    policy = {"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "metadata": {"name": "cluster-policy"}}
    homeless = config_map()
    homeless["metadata"]["namespace"] = "no-such-namespace"

    for item in (policy, homeless):
        with pytest.raises(Conflict):
            far_side.port.apply(item)


DATA_A = "/data/a"


def test_a_patch_changes_what_it_names_and_nothing_else(far_side):
    far_side.port.apply(config_map(a="1", b="2"))

    far_side.port.patch(
        NOTES,
        (
            {"op": "test", "path": DATA_A, "value": "1"},
            {"op": "replace", "path": DATA_A, "value": "9"},
            {"op": "remove", "path": "/data/b"},
            {"op": "test", "path": "/data/c", "value": None},
            {"op": "add", "path": "/data/c", "value": "3"},
            {"op": "test", "path": "/metadata/labels", "value": None},
            {"op": "add", "path": "/metadata/labels", "value": {"x.example/y": "1"}},
        ),
    )
    far_side.port.patch(NOTES, ({"op": "test", "path": "/metadata/labels/x.example~1y", "value": "1"},))

    found = far_side.port.get(NOTES)
    assert found["data"] == {"a": "9", "c": "3"}
    assert found["metadata"]["labels"] == {"x.example/y": "1"}


@pytest.mark.parametrize(
    "test",
    [
        pytest.param({"path": DATA_A, "value": "2"}, id="another value"),
        pytest.param({"path": DATA_A, "value": None}, id="is there"),
        pytest.param({"path": "/data/z", "value": "1"}, id="is not there"),
        pytest.param({"path": "/metadata/annotations/a", "value": "1"}, id="no such place"),
    ],
)
def test_a_patch_over_a_stale_read_is_a_conflict_and_has_no_effect(far_side, test):
    far_side.port.apply(config_map(a="1"))

    with pytest.raises(Conflict):
        far_side.port.patch(NOTES, ({"op": "replace", "path": DATA_A, "value": "9"}, {"op": "test", **test}))

    assert far_side.port.get(NOTES)["data"] == {"a": "1"}


@pytest.mark.sandbox
def test_a_patch_that_is_invalid_is_refused(request):
    far_side = Real(request.getfixturevalue("plane"))
    far_side.port.apply(config_map(a="1"))

    with pytest.raises(Refused):
        far_side.port.patch(
            NOTES, ({"op": "add", "path": "/metadata/labels", "value": {"a": "not a label!"}},)
        )


def test_a_patch_that_does_not_look_at_what_others_changed_goes_through(far_side):
    far_side.port.apply(config_map(a="1"))
    far_side.by_another_writer(config_map(theirs="3"))

    far_side.port.patch(
        NOTES,
        ({"op": "test", "path": DATA_A, "value": "1"}, {"op": "replace", "path": DATA_A, "value": "9"}),
    )

    assert far_side.port.get(NOTES)["data"] == {"a": "9", "theirs": "3"}


def test_a_patch_of_what_is_deleted_is_a_conflict(far_side):
    with pytest.raises(Conflict):
        far_side.port.patch(NOTES, ({"op": "test", "path": DATA_A, "value": "1"},))


def test_a_field_that_we_patched_is_ours_to_apply_again(far_side):
    far_side.port.apply(config_map(a="1"))
    far_side.port.patch(NOTES, ({"op": "replace", "path": DATA_A, "value": "9"},))

    far_side.port.apply(config_map(a="1"))

    assert far_side.port.get(NOTES)["data"] == {"a": "1"}


def deployment(**pod_spec):
    labels, container = {"app": "sleepy"}, {"name": "main", "image": "example.com/none:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sleepy", "namespace": NAMESPACE},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod_spec}},
        },
    }


SLEEPY = Ref("apps/v1", "Deployment", "sleepy", NAMESPACE)


def chosen(live, **pod_spec):
    """Two fields of a template, over what was seen."""
    seen = {key: live["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
    plain = {key: live[key] for key in ("apiVersion", "kind")}
    return {**plain, "metadata": seen, "spec": {"template": {"spec": pod_spec}}}


def choose(far_side, **pod_spec):
    """The real controllers write its status meanwhile: then it is read again, as a pass does."""
    for _ in range(20):
        try:
            return far_side.port.apply(chosen(far_side.port.get(SLEEPY), **pod_spec))
        except Conflict:
            continue
    raise AssertionError("it never stands still")


def test_what_names_the_version_that_was_seen_is_applied_over_no_other(far_side):
    far_side.by_another_writer(deployment(nodeSelector={"a": "1"}))
    seen = far_side.port.get(SLEEPY)
    far_side.by_another_writer(deployment(nodeSelector={"a": "2"}))

    with pytest.raises(Conflict):
        far_side.port.apply(chosen(seen, nodeSelector={"a": "3"}))

    assert far_side.port.get(SLEEPY)["spec"]["template"]["spec"]["nodeSelector"] == {"a": "2"}


def test_what_is_deleted_is_not_recreated_by_who_names_it(far_side):
    far_side.by_another_writer(deployment())
    seen = far_side.port.get(SLEEPY)
    far_side.port.delete(SLEEPY)

    with pytest.raises(Conflict):
        far_side.port.apply(chosen(seen, nodeSelector={"a": "3"}))

    assert far_side.port.get(SLEEPY) is None


def test_selector_and_tolerations_have_one_writer_as_a_whole_who_is_reported_with_how(far_side):
    gpu, own = {"key": "gpu", "operator": "Exists"}, {"key": "own", "operator": "Exists"}
    far_side.by_another_writer(deployment(nodeSelector={"a": "1"}, tolerations=[gpu]))

    choose(far_side, nodeSelector={"b": "2"}, tolerations=[own])

    (live,) = far_side.port.list("apps/v1", "Deployment", namespace=NAMESPACE, managed_fields=True)
    pod_spec, path = live["spec"]["template"]["spec"], ("spec", "template", "spec", "nodeSelector")
    assert (pod_spec["nodeSelector"], pod_spec["tolerations"]) == ({"b": "2"}, [own])
    assert written_by(live, path) == applied_by(live, path) == ("slicewise",)
    assert "slicewise" not in written_by(live, ("spec", "replicas"))


def test_a_field_that_another_took_from_us_stays_when_we_leave_it_out(far_side):
    gpu, own = {"key": "gpu", "operator": "Exists"}, {"key": "own", "operator": "Exists"}
    far_side.by_another_writer(deployment(nodeSelector={"a": "1"}))
    choose(far_side, nodeSelector={"b": "2"}, tolerations=[own])
    far_side.by_another_writer(deployment(nodeSelector={"a": "1"}, tolerations=[gpu]))

    choose(far_side, nodeSelector={"b": "2"})

    pod_spec = far_side.port.get(SLEEPY)["spec"]["template"]["spec"]
    assert (pod_spec["nodeSelector"], pod_spec["tolerations"]) == ({"b": "2"}, [gpu])


def test_lists_are_narrowed_by_fields(far_side):
    far_side.port.apply(config_map("a"))
    far_side.port.apply(config_map("b"))

    def names(fields):
        found = far_side.port.list("v1", "ConfigMap", namespace=NAMESPACE, fields=fields)
        return {item["metadata"]["name"] for item in found} - {"kube-root-ca.crt"}

    assert names("metadata.name=a") == {"a"}
    assert names("metadata.name!=a") == {"b"}


def test_deleting_twice_is_fine(far_side):
    far_side.port.apply(config_map())

    far_side.port.delete(NOTES)
    far_side.port.delete(NOTES)

    assert far_side.port.get(NOTES) is None


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ("", ["a", "b", "c"]),
        ("team", ["a", "b"]),
        ("team=ml", ["a"]),
        ("team in (ml,web)", ["a", "b"]),
        ("team,tier=gold", ["b"]),
        ("team=nobody", []),
    ],
)
def test_lists_are_narrowed_by_labels(far_side, labels, names):
    far_side.port.apply(config_map("a", {"team": "ml"}))
    far_side.port.apply(config_map("b", {"team": "web", "tier": "gold"}))
    far_side.port.apply(config_map("c"))

    found = far_side.port.list("v1", "ConfigMap", namespace=NAMESPACE, labels=labels)

    assert (
        sorted(i["metadata"]["name"] for i in found if i["metadata"]["name"] != "kube-root-ca.crt") == names
    )
    assert {(item["apiVersion"], item["kind"]) for item in found} <= {("v1", "ConfigMap")}


def test_a_list_without_a_namespace_is_of_all(far_side):
    far_side.port.apply(config_map())

    assert any(item["metadata"]["namespace"] == NAMESPACE for item in far_side.port.list("v1", "ConfigMap"))


def test_a_list_of_many_pages_is_whole_and_in_order(far_side, monkeypatch):
    monkeypatch.setattr(kubernetes, "PAGE", 2)
    for letter in "abcde":
        far_side.port.apply(config_map(letter, {"team": "ml"}))
        far_side.port.apply(overlay(letter, "4"))

    notes = far_side.port.list("v1", "ConfigMap", namespace=NAMESPACE, labels="team=ml")
    overlays = far_side.port.list("karpenter.sh/v1alpha1", "NodeOverlay")

    for found in (notes, overlays):
        assert [item["metadata"]["name"] for item in found] == [*"abcde"]


@pytest.mark.sandbox
@pytest.mark.parametrize("kind", ["ConfigMap", "NodeOverlay"], ids=["built in", "custom"])
def test_an_api_server_reports_where_a_list_goes_on_before_or_after_its_items(request, monkeypatch, kind):
    """It could stop to, and lists would only be read more slowly."""
    far_side = Real(request.getfixturevalue("plane"))
    make = {"ConfigMap": lambda name: config_map(name), "NodeOverlay": lambda name: overlay(name, "4")}[kind]
    for letter in "abc":
        far_side.port.apply(make(letter))
    pages = []
    monkeypatch.setattr(kubernetes, "PAGE", 2)
    monkeypatch.setattr(list_pages, "continue_token", lambda page: pages.append(continue_token(page)) or "")

    found = far_side.port.list(make("a")["apiVersion"], kind)

    assert len(found) >= 3
    assert all(pages[:-1]) and pages[-1] == ""


def test_all_definitions_are_known_by_name(far_side):
    assert set(KARPENTER_CRDS) - {"ec2nodeclasses.karpenter.k8s.aws"} <= far_side.port.crds()


def test_who_is_not_known_is_unauthorized(far_side):
    with pytest.raises(Unauthorized):
        far_side.as_nobody().crds()


def test_who_is_known_and_not_allowed_is_refused(far_side):
    stranger = far_side.as_stranger()
    for call in (stranger.crds, lambda: stranger.get(NOTES), lambda: stranger.apply(config_map())):
        with pytest.raises(Refused) as refused:
            call()
        assert not isinstance(refused.value, Unauthorized)


def test_whether_admin_is_in_effect_can_be_asked(far_side):
    assert far_side.as_admin().may_do_everything()
    assert not far_side.as_stranger().may_do_everything()
