"""What a look leaves out of the objects that it lists is never read, whatever a pass comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from slicewise.tuning.observed_fields import of_a_claim, of_a_node, of_a_pod
from slicewise.tuning.plan import plan
from slicewise.tuning.state.observation import Observed

from tests.fakes.kube.kubernetes import FakeKubernetes
from tests.support.builders import NOW
from tests.support.tuning.rollout_world import World
from tests.unit.tuning.test_cost_of_a_plan import world

Object = dict[str, Any]
IMAGE = "registry.example/server@sha256:1"
ENDED = {
    "exitCode": 1,
    "reason": "Error",
    "message": "out of luck",
    "containerID": "containerd://1",
    "startedAt": NOW.isoformat(),
    "finishedAt": NOW.isoformat(),
}
# What real ones have beside what tests give theirs.
MORE: Mapping[str, Object] = {
    "Pod": {
        "metadata": {
            "uid": "u",
            "resourceVersion": "7",
            "generateName": "a-",
            "annotations": {"example.com/token": "t", "karpenter.sh/do-not-disrupt": "false"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "a-7d9",
                    "controller": True,
                    "uid": "u",
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {"volumes": [{"name": "v"}], "serviceAccountName": "default", "priority": 0},
        "status": {
            "hostIP": "10.0.0.1",
            "qosClass": "Burstable",
            "conditions": [
                {"type": kind, "status": "True", "message": "m", "lastTransitionTime": NOW.isoformat()}
                for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
            "containerStatuses": [
                {
                    "name": "m",
                    "image": IMAGE,
                    "imageID": IMAGE,
                    "ready": True,
                    "restartCount": 2,
                    "state": {"running": {"startedAt": NOW.isoformat()}},
                    "lastState": {"terminated": ENDED},
                }
            ],
        },
    },
    "Node": {
        "status": {
            "images": [{"names": [IMAGE], "sizeBytes": 1}],
            "nodeInfo": {"kubeletVersion": "v1.35.4"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "volumesInUse": ["kubernetes.io/csi/ebs"],
        }
    },
    "NodeClaim": {
        "spec": {
            "expireAfter": "720h",
            "requirements": [
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g6.xlarge"] * 60}
            ],
        },
        "status": {"conditions": [{"type": "Launched", "status": "True", "reason": "r", "message": "m"}]},
    },
}


class Read(AssertionError):
    """Somebody reads what a look leaves out."""


class Unread:
    def _read(self, *_: object) -> Any:
        raise Read

    __eq__ = __hash__ = __bool__ = __iter__ = __len__ = __getitem__ = __contains__ = __str__ = _read

    def __getattr__(self, name: str) -> Any:
        raise Read


def richer(item: Any, more: Any) -> Any:
    """Both together; what `item` says itself stays."""
    if isinstance(item, dict) and isinstance(more, dict):
        return {
            **more,
            **{key: richer(value, more[key]) if key in more else value for key, value in item.items()},
        }
    if isinstance(item, list) and isinstance(more, list):
        return [*item, *more]
    return item


def guarded(item: Any, kept: Any) -> Any:
    """As `kept`, but where that has nothing stands what nobody may look at."""
    if isinstance(item, dict):
        return {key: guarded(value, kept[key]) if key in kept else Unread() for key, value in item.items()}
    if isinstance(item, list) and len(item) == len(kept):
        return [guarded(one, same) for one, same in zip(item, kept, strict=True)]
    return kept


TRIMS: Mapping[str, Callable[[Object], Object]] = {
    "Pod": of_a_pod,
    "Node": of_a_node,
    "NodeClaim": of_a_claim,
}


def as_looked_at(item: Object, kind: str) -> Object:
    full = richer(item, MORE[kind])
    return guarded(full, TRIMS[kind](full))


def looked_at(found: Observed, change: Callable[[Object, str], Object]) -> Observed:
    contents = found.contents
    return replace(
        found,
        contents=replace(
            contents,
            pods=tuple(change(item, "Pod") for item in contents.pods),
            nodes=tuple(change(item, "Node") for item in contents.nodes),
            node_claims=tuple(change(item, "NodeClaim") for item in contents.node_claims),
        ),
    )


@pytest.mark.parametrize("state", ["standing", "starting", "never initialised", "drifted"])
def test_a_plan_reads_nothing_that_is_left_out(state):
    found = world(3, state)
    whole = looked_at(found, lambda item, kind: richer(item, MORE[kind]))

    assert plan(looked_at(found, as_looked_at), NOW) == plan(whole, NOW)


@pytest.mark.parametrize("target", [8, 2], ids=["grows", "shrinks"])
def test_a_change_of_n_reads_nothing_that_is_left_out(monkeypatch, target):
    plain = World(4, pods=(2, 1, 0))
    plain.change(target)
    real = FakeKubernetes.list

    def listed(self, api_version, kind, *, trim=None, **options):
        if trim is None or kind not in MORE:
            return real(self, api_version, kind, trim=trim, **options)
        return tuple(as_looked_at(item, kind) for item in real(self, api_version, kind, **options))

    monkeypatch.setattr(FakeKubernetes, "list", listed)
    looking = World(4, pods=(2, 1, 0))
    looking.change(target)

    assert looking.tuner.said == plain.tuner.said
    assert looking.stands() == plain.stands()


@pytest.mark.parametrize("kind", [*TRIMS])
def test_most_of_an_object_is_left_out(kind):
    full = richer({"metadata": {"name": "a"}, "spec": {}, "status": {}}, MORE[kind])
    if kind == "Pod":
        full["spec"]["containers"] = [{"name": "m", "image": IMAGE, "env": [{"name": "T", "value": "t"}]}]

    kept = str(TRIMS[kind](full))

    assert not [word for word in (IMAGE, "example.com/token", "g6.xlarge", "'message'") if word in kept]
