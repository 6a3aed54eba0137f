"""What an API server refuses, whoever asks and with whatever right: in memory and for real."""

from __future__ import annotations

import pytest
from slicewise.errors import Conflict, Refused
from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import UNFINISHED, applied_by
from slicewise.kube.ref import Ref
from slicewise.onboarding import rbac
from slicewise.pools import layout

from tests.contract.kubernetes.kubernetes_sides import MEMBERS, NAMESPACE
from tests.support import builders

NOTES = Ref("v1", "ConfigMap", "notes", NAMESPACE)
KIB = 1024


def notes(name="notes", labels=None, annotations=None, **data):
    marks = {"labels": labels or {}, "annotations": annotations or {}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE, **marks},
        "data": data,
    }


LONGEST_KEY = "a." * 126 + "a/" + "k" * 63
A_63 = "v" * 63


@pytest.mark.parametrize(
    ("fits", "is_too_much"),
    [
        pytest.param(
            notes(annotations={"a.example/b": "é" * (128 * KIB - 6) + "x"}),
            notes(annotations={"a.example/b": "é" * (128 * KIB - 5)}),
            id="annotations of 256 KiB, names included",
        ),
        pytest.param(
            notes(annotations={f"a{n}": "x" * (64 * KIB - 2) for n in range(4)}),
            notes(annotations={f"a{n}": "x" * (64 * KIB - 1) for n in range(4)}),
            id="annotations together",
        ),
        pytest.param(notes(labels={"a": A_63}), notes(labels={"a": A_63 + "v"}), id="a label's value"),
        pytest.param(notes(labels={"a": ""}), notes(labels={"a": "of two words"}), id="letters of a label"),
        pytest.param(notes(labels={"a": "A_b.c-D"}), notes(labels={"a": "-b"}), id="how a label begins"),
        pytest.param(notes(labels={LONGEST_KEY: "x"}), notes(labels={LONGEST_KEY + "k": "x"}), id="a key"),
        pytest.param(notes(labels={"a.b/c": "x"}), notes(labels={"A/c": "x"}), id="a key's prefix"),
        pytest.param(notes("n" * 253), notes("n" * 254), id="a name"),
        pytest.param(notes("a.b-c"), notes("Notes"), id="letters of a name"),
        pytest.param(notes(a="x" * (1000 * KIB)), notes(a="x" * (1025 * KIB)), id="a ConfigMap of a MiB"),
        pytest.param(notes(), notes(a="x" * (3100 * KIB)), id="a request of 3 MiB"),
    ],
)
def test_an_object_is_as_large_and_named_as_kubernetes_has_them(far_side, fits, is_too_much):
    far_side.port.apply(fits)

    with pytest.raises(Refused):
        far_side.port.apply(is_too_much)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("/metadata/annotations", {"a": "x" * 256 * KIB}, id="annotations"),
        pytest.param("/metadata/labels", {"a": "x" * 64}, id="a label"),
    ],
)
def test_a_patch_makes_no_object_that_could_not_be_applied(far_side, path, value):
    far_side.port.apply({**notes(a="1"), "metadata": {"name": "notes", "namespace": NAMESPACE}})

    with pytest.raises(Refused):
        far_side.port.patch(NOTES, ({"op": "add", "path": path, "value": value},))

    assert not far_side.port.get(NOTES)["metadata"].get(path.rpartition("/")[2])


# Each selector that passes send.
@pytest.mark.parametrize(
    ("kind", "fields", "labels"),
    [
        ("Pod", UNFINISHED, ""),
        ("Pod", f"spec.nodeName=ip-10-0-0-1.ec2.internal,{UNFINISHED}", ""),
        ("Pod", "status.phase!=Succeeded", ""),
        ("Event", "involvedObject.kind=NodeClaim,reason=InsufficientCapacityError", ""),
        ("Node", "", POOL_LABEL),
        ("Node", "", f"{layout.NODE_POOL_LABEL}={A_63}"),
        ("Secret", "", "owner=helm,name=gpu-operator"),
    ],
)
def test_what_passes_select_by_can_be_selected_by(far_side, kind, fields, labels):
    namespace = "default" if kind == "Event" else ""

    assert isinstance(
        far_side.port.list("v1", kind, fields=fields, labels=labels, namespace=namespace), tuple
    )


@pytest.mark.parametrize(
    ("kind", "fields", "labels"),
    [
        pytest.param("ConfigMap", "data.a=1", "", id="a field of no index"),
        pytest.param("Pod", "spec.priority=1", "", id="a field of a pod that has none"),
        pytest.param("Node", "", f"{layout.NODE_POOL_LABEL}={A_63}v", id="a NodePool's name of 64 letters"),
        pytest.param("Node", "", f"{layout.NODE_POOL_LABEL}=a b", id="a name that is no label's value"),
    ],
)
def test_what_cannot_be_selected_by_is_refused(far_side, kind, fields, labels):
    by_a_user = notes(labels={layout.NODE_POOL_LABEL: "x"})
    far_side.port.apply(by_a_user)
    if kind == "Node":
        kind = "ConfigMap"  # of which there is one: the fake reads selectors object by object

    with pytest.raises(Refused):
        far_side.port.list("v1", kind, fields=fields, labels=labels)


def overlay():
    requirement = {"key": layout.NODE_POOL_LABEL, "operator": "In", "values": ["nobody"]}
    return {
        "apiVersion": "karpenter.sh/v1alpha1",
        "kind": "NodeOverlay",
        "metadata": {"name": "refusals"},
        "spec": {"requirements": [requirement], "capacity": {"nvidia.com/gpu": "4"}, "weight": 7},
    }


def test_who_wrote_an_overlay_is_reported_without_asking(far_side):
    far_side.port.apply(overlay())

    [listed] = far_side.port.list("karpenter.sh/v1alpha1", "NodeOverlay")
    got = far_side.port.get(Ref("karpenter.sh/v1alpha1", "NodeOverlay", "refusals"))
    for found in (listed, got):
        assert applied_by(found, ("spec", "weight")) == ("slicewise",)


@pytest.mark.parametrize("managed_fields", [False, True])
def test_what_a_reader_wants_and_keeps_is_asked_of_objects_as_they_are_told(far_side, managed_fields):
    far_side.port.apply(notes("a", labels={"x": "1"}))
    far_side.port.apply(notes("b", labels={"x": "1"}))
    seen = []

    def only(item):
        seen.append(item)
        return item["metadata"]["name"] == "a"

    def trim(item):
        return {"kind": item["kind"], "told": "managedFields" in item["metadata"]}

    found = far_side.port.list(
        *("v1", "ConfigMap"), labels="x", only=only, trim=trim, managed_fields=managed_fields
    )

    assert found == ({"kind": "ConfigMap", "told": managed_fields},)
    assert {item["apiVersion"] for item in seen} == {"v1"} and len(seen) == 2


def test_what_is_reported_is_the_readers_own(far_side):
    far_side.port.apply(notes("a", a="1"))
    far_side.port.get(NOTES._replace(name="a"))["data"]["a"] = "2"

    assert far_side.port.get(NOTES._replace(name="a"))["data"] == {"a": "1"}


# What the roles that onboarding makes let a member do, call by call.

ON_A_POOL = ({"op": "test", "path": "/metadata/annotations/a", "value": None},)
NIGHTS = 'offHours: {timeZone: UTC, asleep: ["Mon-Fri 20:00-07:00"], barePods: delete}'
POLICY = builders.policy(builders.DEFAULT_POOLS, NIGHTS)
POOL = Ref("karpenter.sh/v1", "NodePool", sorted(layout.node_pool_names(POLICY))[0])
DEPLOYMENT = Ref("apps/v1", "Deployment", "missing", NAMESPACE)
CALLS = {
    "list NodePools": lambda port: port.list("karpenter.sh/v1", "NodePool"),
    "list CronJobs": lambda port: port.list("batch/v1", "CronJob"),
    "list all ConfigMaps": lambda port: port.list("v1", "ConfigMap"),
    "list all Secrets": lambda port: port.list("v1", "Secret"),
    "list our Secrets": lambda port: port.list("v1", "Secret", namespace=layout.OPERATOR_NAMESPACE),
    "list definitions": lambda port: port.crds(),
    "list events": lambda port: port.list("v1", "Event", namespace="default"),
    "get our ConfigMap": lambda port: port.get(layout.CONFIG_MAP),
    "get another ConfigMap": lambda port: port.get(layout.CONFIG_MAP._replace(name="another")),
    "get a role": lambda port: port.get(Ref("rbac.authorization.k8s.io/v1", "ClusterRole", rbac.TUNER)),
    "get a Deployment": lambda port: port.get(DEPLOYMENT),
    "patch our NodePool": lambda port: port.patch(POOL, ON_A_POOL),
    "patch another NodePool": lambda port: port.patch(POOL._replace(name="another"), ON_A_POOL),
    "patch a Node": lambda port: port.patch(Ref("v1", "Node", "missing"), ON_A_POOL),
    "patch a Deployment": lambda port: port.patch(DEPLOYMENT, ON_A_POOL),
    "scale a Deployment": lambda port: port.scale(DEPLOYMENT, 1, 0),
    "read a scale": lambda port: port.replicas(DEPLOYMENT),
    "delete a Pod": lambda port: port.delete(Ref("v1", "Pod", "missing", NAMESPACE)),
    "delete our NodePool": lambda port: port.delete(POOL),
    "apply an overlay": lambda port: port.apply(overlay()),
    "ask what is served": lambda port: port.has_scale("apps/v1", "Deployment"),
    "ask for the version": lambda port: port.version(),
}
EVERYBODY = {"ask what is served", "ask for the version"}
MAY = {
    rbac.INSTALLER: {
        *("list NodePools", "list our Secrets", "list definitions", "get our ConfigMap", "get a role"),
    },
    rbac.TUNER: {
        *("list NodePools", "list CronJobs", "get our ConfigMap", "patch our NodePool", "patch a Node"),
    },
    rbac.SLEEPER: {
        *("list NodePools", "list CronJobs", "patch our NodePool"),
        *("scale a Deployment", "read a scale", "delete a Pod"),
    },
    "nobody": set(),
}


@pytest.mark.parametrize("role", MAY)
def test_a_member_may_do_what_its_roles_say_and_nothing_else(far_side, role):
    far_side.by_another_writer(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": layout.OPERATOR_NAMESPACE}}
    )
    for item in bound_to_members(role):
        far_side.by_another_writer(item)
    try:
        port = far_side.as_member()
        assert {name for name, call in CALLS.items() if is_allowed(port, call)} == MAY[role] | EVERYBODY
    finally:
        for item in bound_to_members(role):
            far_side.port.delete(Ref(item["apiVersion"], item["kind"], *named(item)))


def bound_to_members(role):
    """Onboarding's own, with the members of a group that both sides know in place of EKS's."""
    for item in rbac.objects(POLICY):
        if item["metadata"]["name"] == role:
            bound = [{**one, "name": MEMBERS} for one in item.get("subjects", ())]
            yield {**item, **({"subjects": bound} if bound else {})}


def named(item):
    return item["metadata"]["name"], item["metadata"].get("namespace", "")


def is_allowed(port, call):
    try:
        call(port)
    except Refused:
        return False
    except Conflict:  # it may, and nothing is there
        return True
    return True
