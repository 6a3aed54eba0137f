"""
A change of N from its first write to its last, and what strikes it on the way.

Karpenter, scheduler and device plugin are stand-ins that do what the real ones were seen to do (the sandbox's
tests run the same on those); the changes, their writes and their guards are the product's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from slicewise import layout
from slicewise.errors import Conflict
from slicewise.model import Ref
from slicewise.slicing.rollout import Advance, RolloutSettings

from tests import builders
from tests.fakes.calls import Calls, Killed
from tests.fakes.clock import Clock
from tests.fakes.karpenter import FakeKarpenter
from tests.fakes.kubernetes import KARPENTER_CRDS, FakeApiServer, FakeKubernetes
from tests.retuning import Retuning

POOL = Ref("karpenter.sh/v1", "NodePool", "slicewise-shared-l4")
OVERLAYS = [Ref("karpenter.sh/v1alpha1", "NodeOverlay", f"{POOL.name}-{count}") for count in (1, 4, 8)]
SETTINGS = RolloutSettings(canary=timedelta(minutes=2))
POLICY = builders.policy()
MPS = builders.policy("{shared: {sharing: mps, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: 16}}")


@dataclass
class World:
    """A cluster at N = `n` with nodes that hold so many pods each, and a tuner in front of it."""

    n: int
    pods: Sequence[int]
    policy: object = POLICY
    gpus: int = 1
    broken: Sequence[str] = ()
    clock: Clock = field(default_factory=Clock)
    calls: Calls = field(default_factory=Calls)
    happens: dict[int, Callable[[World], object]] = field(default_factory=dict)

    def __post_init__(self):
        self.server = FakeApiServer(self.clock)
        self.server.add_crds(*KARPENTER_CRDS)
        self.karpenter = FakeKarpenter(self.server, self.policy, self.clock, gpus=self.gpus)
        self.karpenter.install(self.n)
        self.nodes = [self.karpenter.add_node(pods) for pods in self.pods]
        kubernetes = FakeKubernetes(self.server, self.calls)
        self.tuner = Retuning(kubernetes, self.policy, self.clock, SETTINGS)

    def change(self, target: int, passes: int = 120) -> Advance | None:
        """Until the change is over, through however many killed passes; the last thing that was said."""
        last = None
        for number in range(passes):
            if number in self.happens:
                self.happens[number](self)
            try:
                if self.tuner.state().rollout is None:
                    if last and last.finished:
                        return last
                    if self.tuner.state().n != target:
                        last = self.tuner.begin(target)
                        if not last.actions:
                            return last
                    else:
                        return last
                else:
                    last = self.tuner.step(self.broken) or last
            except Killed:
                self.calls.revive()
            self.let_pass(last.wait if last else timedelta(seconds=1))
        raise AssertionError(f"no end: {self.tuner.said}")

    def let_pass(self, time: timedelta | None) -> None:
        for _ in range(max(1, int((time or timedelta(0)).total_seconds()))):
            self.clock.pass_by(timedelta(seconds=1))
            self.karpenter.tick()

    def stands(self) -> dict[str, object]:
        """All that says N."""
        pool = self.server.objects[POOL]
        nodes = [item for ref, item in self.server.objects.items() if ref.kind in ("Node", "NodeClaim")]
        return {
            "keys": layout.config_keys_of(pool),
            "limit": pool["spec"]["limits"]["nvidia.com/gpu"],
            "after": pool["spec"]["disruption"]["consolidateAfter"],
            "rollout": pool["metadata"]["annotations"].get(layout.ROLLOUT_ANNOTATION),
            "overlays": [self.server.objects[ref]["spec"]["capacity"]["nvidia.com/gpu"] for ref in OVERLAYS],
            "labels": {item["metadata"]["labels"][layout.CONFIG_LABEL] for item in nodes},
            "cordoned": [item["metadata"]["name"] for item in nodes if item["spec"].get("unschedulable")],
        }

    def annotation(self, name: str) -> dict:
        return json.loads(self.server.objects[POOL]["metadata"]["annotations"][name])

    def hold_forever(self) -> World:
        """The pool never consolidates: what moves then is moved by the change."""
        self.server.objects[POOL]["spec"]["disruption"]["consolidateAfter"] = "Never"
        return self

    def label(self, node: str, key: str) -> None:
        ref = Ref("v1", "Node", node)
        self.server.patch(
            ref,
            [{"op": "replace", "path": "/metadata/labels/nvidia.com~1device-plugin.config", "value": key}],
        )

    def edit(self, ref: Ref, path: str, value: object) -> None:
        self.server.patch(ref, [{"op": "add", "path": path, "value": value}])


def at(n: int, key: str, after: str = "10m") -> dict[str, object]:
    return {
        "keys": (key,),
        "limit": str(16 * n),
        "after": after,
        "rollout": None,
        "overlays": [str(n), str(4 * n), str(8 * n)],
        "labels": {key},
        "cordoned": [],
    }


# Growing


def test_growing_replaces_no_node_and_moves_no_pod():
    world = World(4, [4, 4, 4, 4, 4, 3])

    last = world.change(8)

    assert last.finished and last.says == "N is 8"
    assert world.stands() == at(8, "ts-8")
    assert (world.karpenter.ever_drifted, world.karpenter.replaced) == (set(), [])
    assert world.annotation(layout.TUNING_ANNOTATION)["changed_at"]


def test_nodes_that_the_new_n_makes_superfluous_go_only_after_the_change():
    world = World(4, [4, 4, 4, 4])
    moved_before_the_end = []
    release = world.tuner._act

    def act(found):
        if found.finished:
            moved_before_the_end.append(list(world.karpenter.moved))
        return release(found)

    world.tuner._act = act
    world.change(8)
    world.let_pass(timedelta(seconds=10))

    assert moved_before_the_end == [[]]
    assert len(world.karpenter.consolidated) == 2


def test_a_change_is_told_as_it_goes():
    world = World(4, [4, 4])

    world.change(8)

    assert world.tuner.said == [
        "N becomes 8 instead of 4: the rule says so",
        "node node-001 is the canary",
        "node node-001 tries N = 8 for 2 more minutes",
        "nodes may have ts-4 or ts-8",
        "1 of 2 nodes are relabelled",
        "2 of 2 nodes are relabelled",
        "Karpenter counts 8 slices a GPU",
        "the NodePool's limit follows",
        "Karpenter is given time to see what was written",
        "new nodes are born with ts-8: every NodeClaim carries it",
        "every node is over; a last look follows",
        "N is 8",
    ]


def test_the_canary_is_the_node_with_the_most_pods():
    world = World(4, [1, 4, 2])

    world.change(8, passes=200)

    assert f"node {world.nodes[1]} is the canary" in world.tuner.said


def test_a_tenth_of_the_nodes_reload_at_a_time():
    world = World(4, [2] * 20).hold_forever()
    most = 0

    def watch(item):
        nonlocal most
        if item["kind"] == "Node":
            state = world.karpenter
            reloading = [
                n
                for n in state._of("Node")
                if n["metadata"]["labels"][layout.CONFIG_LABEL] == "ts-8"
                and state._slices(n["metadata"]["name"]) == 4
            ]
            most = max(most, len(reloading))

    world.server.on_change.append(watch)
    world.change(8)

    assert most == 2


def test_an_empty_pool_needs_no_canary():
    world = World(4, [])

    world.change(8)

    assert world.stands() == at(8, "ts-8") | {"labels": set()}
    assert not any("canary" in said for said in world.tuner.said)


def test_nodes_born_in_the_middle_are_caught():
    world = World(4, [4, 4, 4]).hold_forever()
    world.happens = {number: lambda w: w.karpenter.add_node(2) for number in (4, 6, 8, 10, 12)}

    world.change(8)

    assert world.stands() == at(8, "ts-8", after="Never")
    assert world.karpenter.ever_drifted == set()
    assert world.karpenter.moved == []


def test_a_node_born_of_the_nodepool_before_it_was_narrowed_is_taken_along():
    """Karpenter had read the NodePool a moment before: the NodeClaim comes a moment after."""
    world = World(4, [4, 4]).hold_forever()
    done = []

    def late(item):
        if item["kind"] == "NodePool" and layout.config_keys_of(item) == ("ts-8",) and not done:
            done.append(world.karpenter._launch(POOL.name, "ts-4"))

    world.server.on_change.append(late)
    world.karpenter.stuck |= {f"node-{n:03}" for n in range(99)}  # Karpenter takes 10 s to act on drift

    world.change(8)

    assert done and world.stands() == at(8, "ts-8", after="Never")
    assert world.karpenter.replaced == []


def test_a_node_claim_whose_node_has_not_come_is_waited_for():
    world = halfway(World(4, [4]).hold_forever())
    name = world.karpenter._launch(POOL.name, "ts-4")
    node = world.server.objects[Ref("v1", "Node", name)]
    world.server.delete(Ref("v1", "Node", name))
    world.happens = {12: lambda w: w.server.create(node)}

    world.change(8)

    assert "1 of 1 nodes are relabelled; 1 more are about to come or go" in world.tuner.said
    assert world.stands() == at(8, "ts-8", after="Never")
    assert (world.tuner.conflicts, world.karpenter.ever_drifted) == ([], set())


def test_a_node_born_between_look_and_narrowing_is_a_conflict_and_taken_along():
    world = World(4, [4]).hold_forever()
    listed = world.tuner.kubernetes.list

    def list_(api_version, kind, **narrowed):
        if (
            "karpenter.sh/nodepool" in narrowed.get("labels", "")
            and len(world.karpenter._of("NodeClaim")) == 1
        ):
            world.karpenter.add_node(1, "ts-4")
        return listed(api_version, kind, **narrowed)

    world.tuner.kubernetes.list = list_
    world.change(8)

    assert world.tuner.conflicts == ["NodeClaim node-006 of slicewise-shared-l4 does not carry ts-8 yet"]
    assert world.stands() == at(8, "ts-8", after="Never")
    assert (world.karpenter.ever_drifted, len(world.karpenter._of("Node"))) == (set(), 2)


def test_a_node_that_is_not_ready_holds_the_change_up_and_is_told():
    world = World(4, [4, 4])
    ref = Ref("v1", "Node", world.nodes[1])
    world.karpenter._follow = lambda node, at_once=False: None
    world.server.set_status(ref, {"allocatable": {"nvidia.com/gpu": "0"}})
    world.tuner.begin(8)
    for _ in range(10):
        world.karpenter._follow = type(world.karpenter)._follow.__get__(world.karpenter)
        world.karpenter._followed[world.nodes[1]] = ("ts-4", world.clock.now + timedelta(days=1))
        found = world.tuner.step()
        world.let_pass(timedelta(minutes=1))

    assert not found.finished
    assert any(
        f"Node {world.nodes[1]} is not ready and offers 0 of 4 slices" in f for f in world.tuner.findings
    )


# Shrinking


def test_shrinking_kills_no_pod_where_they_fit_and_replaces_the_others():
    world = World(8, [8, 3, 2])

    last = world.change(4)

    assert last.finished
    assert world.stands() == at(4, "ts-4")
    assert world.karpenter.broken_promises == []
    assert world.karpenter.replaced == [world.nodes[0]]
    assert len(world.karpenter.moved) == 8


def test_shrinking_where_all_fit_moves_nobody():
    world = World(8, [4, 3, 0]).hold_forever()

    world.change(4)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert (world.karpenter.moved, world.karpenter.ever_drifted) == ([], set())


def test_a_pod_that_comes_before_the_cordon_saves_its_node_from_shrinking():
    world = World(8, [4]).hold_forever()

    def bind(item):
        if item["kind"] == "Node" and item["spec"].get("unschedulable") and not world.karpenter.moved:
            world.server.on_change.clear()
            world.karpenter.add_pod(world.nodes[0])

    world.server.on_change.append(bind)
    world.change(4)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.broken_promises == []
    assert world.karpenter.replaced == [world.nodes[0]]


def test_a_pod_that_comes_between_look_and_write_is_a_conflict():
    world = World(8, [4]).hold_forever()
    kubernetes, done = world.tuner.kubernetes, []
    write = kubernetes.patch

    def patch(ref, operations):
        if ref.kind == "Node" and any(o.get("value") == "ts-4" for o in operations):
            done.append("relabelled")
        return write(ref, operations)

    kubernetes.patch = patch
    world.tuner.begin(4)
    for _ in range(40):
        state = world.tuner.state()
        if state.nodes and state.nodes[0].cordoned_by_us and not done:
            world.let_pass(SETTINGS.settle)
            looked = world.tuner.state()
            from slicewise.slicing.rollout import advance

            step = advance(looked, (), (), SETTINGS, world.clock())
            if any("label Node" in str(action) for action in step.actions):
                world.karpenter.add_pod(world.nodes[0])
                world.tuner._act(step)
                break
        world.tuner.step()
        world.let_pass(timedelta(seconds=2))

    assert done == []
    assert world.tuner.conflicts == [f"5 slices of node {world.nodes[0]} are in use by now, more than 4"]


def test_on_several_gpus_all_pods_must_fit_on_one():
    world = World(8, [4, 5], gpus=4).hold_forever()

    world.change(4)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.replaced == [world.nodes[1]]


def test_what_forbids_a_roll_is_told_with_since_when():
    world = World(8, [8, 2])
    world.karpenter.stuck.add(world.nodes[0])
    pods = world.karpenter._pods_on(world.nodes[0])
    world.edit(Ref("v1", "Pod", pods[0]["metadata"]["name"], "default"), "/metadata/annotations",
               {"karpenter.sh/do-not-disrupt": "true"})  # fmt: skip
    world.server.create(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "all", "namespace": "default"},
            "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "demo"}}},
            "status": {"disruptionsAllowed": 0},
        }
    )
    with pytest.raises(AssertionError, match="no end"):
        world.change(4, passes=40)

    (told,) = [f for f in world.tuner.findings if "due for replacement since" in f]
    assert f"pod default/{pods[0]['metadata']['name']} says karpenter.sh/do-not-disrupt" in told
    assert "PodDisruptionBudget default/all allows none of 8 pods to go" in told

    world.karpenter.stuck.clear()
    world.change(4)
    assert world.stands() == at(4, "ts-4")


# One slice a GPU


def test_one_becomes_two_with_the_pods_that_run():
    world = World(1, [1, 1]).hold_forever()

    world.change(2)

    assert world.stands() == at(2, "ts-2", after="Never")
    assert (world.karpenter.moved, world.karpenter.ever_drifted) == ([], set())


def test_two_becomes_one_in_place_only_where_nothing_runs():
    world = World(2, [0, 1]).hold_forever()

    world.change(1)

    assert world.stands() == at(1, "exclusive", after="Never")
    assert world.karpenter.replaced == [world.nodes[1]]
    assert world.karpenter.broken_promises == []


# A canary that fails


def test_a_broken_promise_takes_the_pool_back_and_the_n_is_remembered():
    world = World(4, [4, 2]).hold_forever()

    def xid(w):
        w.broken = ["Xid 31 on node-001"]

    world.happens = {5: xid}
    last = world.change(8)

    assert last.finished and last.failed == "Xid 31 on node-001"
    assert last.says == "N is 4 again: Xid 31 on node-001"
    assert world.stands() == at(4, "ts-4", after="Never")
    assert list(world.annotation(layout.TUNING_ANNOTATION)["failed"]) == ["8"]
    assert (world.karpenter.moved, world.karpenter.ever_drifted) == ([], set())


def test_a_canary_that_filled_up_is_replaced_on_the_way_back():
    world = World(4, [4, 4]).hold_forever()

    def fill(w):
        for _ in range(3):
            w.karpenter.add_pod(w.nodes[0])
        w.broken = ["a pod ran out of memory"]

    world.happens = {6: fill}
    world.change(8)

    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.replaced == [world.nodes[0]]
    assert world.karpenter.broken_promises == []


def test_a_plugin_that_does_not_follow_takes_the_pool_back():
    world = World(4, [4, 4]).hold_forever()
    world.karpenter.plugin = timedelta(hours=1)
    world.happens = {90: lambda w: setattr(w.karpenter, "plugin", timedelta(seconds=4))}

    last = world.change(8, passes=400)

    assert last.failed == f"node {world.nodes[0]} offers 4 of 8 slices 5 minutes after it was relabelled"
    assert world.stands() == at(4, "ts-4", after="Never")
    assert world.karpenter.moved == []


@pytest.mark.parametrize("strikes_at", range(4, 26, 3))
def test_a_promise_broken_at_any_time_of_growing_takes_the_pool_back(strikes_at):
    world = World(4, [4, 4, 3]).hold_forever()
    world.happens = {strikes_at: lambda w: setattr(w, "broken", ["a pod ran out of memory"])}

    last = world.change(8)

    if last.failed:
        assert world.stands() == at(4, "ts-4", after="Never")
        assert world.karpenter.broken_promises == []


# MPS


def test_under_mps_nodes_are_replaced():
    world = World(4, [4, 4], MPS)

    world.change(8)

    assert world.stands() == at(8, "mps-8")
    assert world.karpenter.replaced[:2] == world.nodes
    assert not any("label" in done for done in world.tuner.done)


def test_under_mps_fewer_slices_come_the_same_way():
    world = World(8, [5], MPS).hold_forever()

    world.change(4)

    assert world.stands() == at(4, "mps-4", after="Never")
    assert world.karpenter.replaced == world.nodes


# Stopped after every call


def stories() -> dict[str, Callable[[], tuple[World, int, dict[str, object]]]]:
    def told(n, pods, target, key, policy=POLICY, broken_at=None):
        def make():
            world = World(n, pods, policy).hold_forever()
            if broken_at:
                world.happens = {broken_at: lambda w: setattr(w, "broken", ["Xid 31"])}
            return world, target, at(n if broken_at else target, key, after="Never")

        return make

    return {
        "grow": told(4, [4, 3], 8, "ts-8"),
        "shrink": told(8, [8, 3], 4, "ts-4"),
        "revert": told(4, [4, 3], 8, "ts-4", broken_at=9),
        "one to two": told(1, [1], 2, "ts-2"),
        "two to one": told(2, [0, 1], 1, "exclusive"),
        "mps": told(4, [4], 8, "mps-8", MPS),
    }


@pytest.mark.parametrize("story", stories())
def test_stopped_after_any_write_the_next_pass_ends_the_same(story):
    """A pass that ends at a read has done what one has done that ended at the write before."""
    world, target, wanted = stories()[story]()
    world.change(target)
    assert world.stands() == wanted
    writes = [number for number, call in enumerate(world.calls.made) if "patch" in call]

    for number in writes:
        world, target, wanted = stories()[story]()
        world.calls.kill_after = number

        world.change(target, passes=200)

        assert world.stands() == wanted, number
        assert world.karpenter.broken_promises == []
        if story in ("grow", "one to two"):
            assert world.karpenter.ever_drifted == set()


@pytest.mark.parametrize("story", stories())
def test_an_answer_that_is_lost_after_any_write_ends_the_same(story):
    world, target, _ = stories()[story]()
    world.change(target)
    writes = [number for number, call in enumerate(world.calls.made) if "patch" in call]

    for number in writes:
        world, target, wanted = stories()[story]()
        world.calls.lose_answer[number] = Conflict("it took too long")

        world.change(target, passes=200)

        assert world.stands() == wanted, number


# A person in the middle


def halfway(world: World, target: int = 8) -> World:
    """The canary is over, the requirement wide."""
    world.tuner.begin(target)
    for _ in range(60):
        if len(world.tuner.state().keys) == 2:
            return world
        world.tuner.step()
        world.let_pass(timedelta(seconds=10))
    raise AssertionError(world.tuner.said)


def test_a_persons_edit_of_what_a_write_rests_on_is_a_conflict():
    world = halfway(World(4, [4, 4]).hold_forever())
    looked = world.tuner.state()
    world.edit(POOL, "/metadata/annotations/slicewise.dev~1rollout", "{}")

    from slicewise.slicing import steps

    action = steps.require(looked, ("ts-8",), "a stale plan")
    world.tuner._act(Advance((action,), "", None))

    assert len(world.tuner.conflicts) == 1
    assert set(world.tuner.state().keys) == {"ts-4", "ts-8"}


EDITS = {
    "requirement": lambda w: w.edit(
        POOL, "/spec/template/spec/requirements",
        [{"key": layout.CONFIG_LABEL, "operator": "In", "values": ["ts-6"]}],
    ),
    "overlay": lambda w: w.edit(OVERLAYS[0], "/spec/capacity/nvidia.com~1gpu", "6"),
    "limit": lambda w: w.edit(POOL, "/spec/limits/nvidia.com~1gpu", "20"),
    "node": lambda w: w.label(w.nodes[1], "ts-6"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_a_persons_edit_in_the_middle_is_told_and_taken_along(edit):
    world = halfway(World(4, [4, 4, 4]).hold_forever())
    world.karpenter.stuck |= set(world.nodes)  # Karpenter looks at drift every 10 s, a pass sooner

    EDITS[edit](world)
    world.change(8)

    assert any("somebody wrote it while N is being changed" in told for told in world.tuner.findings)
    assert world.stands() == at(8, "ts-8", after="Never")
    assert world.karpenter.replaced == []


def test_consolidation_that_a_person_sets_meanwhile_is_theirs_in_the_end():
    world = halfway(World(4, [4, 4]))

    world.edit(POOL, "/spec/disruption/consolidateAfter", "1h")
    world.change(8)

    assert world.stands()["after"] == "1h"
    assert any(
        "onsolidateAfter of NodePool slicewise-shared-l4 is 1h" in told for told in world.tuner.findings
    )


@pytest.mark.parametrize("target", [8, 4])
def test_a_pool_whose_annotation_was_removed_halfway_ends_at_one_n(target):
    world = halfway(World(12 - target, [4, 4]), target)
    del world.server.objects[POOL]["metadata"]["annotations"][layout.ROLLOUT_ANNOTATION]

    for _ in range(60):
        if world.tuner.step() is None:
            break
        world.let_pass(timedelta(seconds=10))

    # Growing, Karpenter still counted with the old N; shrinking, with the new one.
    assert world.stands()["keys"] == (("ts-4",))
    assert world.stands()["labels"] == {"ts-4"}


def test_a_garbled_annotation_counts_as_absent_and_is_told():
    world = World(4, [4])
    world.edit(POOL, "/metadata/annotations/slicewise.dev~1rollout", "from 4 to 8")
    world.edit(POOL, "/metadata/annotations/slicewise.dev~1tuning", '{"changed_at": "yesterday"}')

    state = world.tuner.state()

    assert state.rollout is None and state.n == 4
    assert [finding.code for finding in state.findings] == ["annotation-unreadable"] * 2


# What does not begin


def refused(world: World, target: int = 8) -> str:
    found = world.tuner.begin(target)
    assert not found.actions
    return found.findings[0].says


def test_nothing_begins_where_karpenter_does_not_follow():
    world = World(4, [4])
    world.server.objects[OVERLAYS[0]]["status"] = {}

    assert refused(world) == "NodeOverlay slicewise-shared-l4-1 is not ready, so Karpenter would not follow."


def test_nothing_begins_while_nodes_are_being_replaced():
    world = World(4, [4])
    claim = Ref("karpenter.sh/v1", "NodeClaim", world.nodes[0])
    world.server.set_status(
        claim, {"nodeName": world.nodes[0], "conditions": [{"type": "Drifted", "status": "True"}]}
    )

    assert refused(world) == f"NodeClaim {world.nodes[0]} is being replaced for another reason."


def test_nothing_begins_where_n_is_there_already():
    assert refused(World(4, []), 4) == "N of NodePool slicewise-shared-l4 is 4 already."
