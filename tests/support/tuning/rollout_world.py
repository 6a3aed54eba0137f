"""
A cluster on fakes whose N is changed from the first write to the last, and what a test has happen on the way.

Karpenter, scheduler and device plugin are stand-ins that do what the real ones were seen to do (the sandbox's
tests run the same on those); the changes, their writes and their guards are the product's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from slicewise import rights
from slicewise.kube.labels import ROLLOUT_ANNOTATION
from slicewise.kube.ref import Ref
from slicewise.pools import layout, observed
from slicewise.tuning.rollout.stages import Advance, RolloutSettings

from tests.fakes.calls import Calls, Killed
from tests.fakes.clock import Clock
from tests.fakes.kube.karpenter import FakeKarpenter
from tests.fakes.kube.kubernetes import KARPENTER_CRDS, FakeApiServer, FakeKubernetes
from tests.support import builders
from tests.support.tuning.rollout_runs import Retuning

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
        kubernetes = FakeKubernetes.held(self.server, self.calls, rights.TUNER)
        self.tuner = Retuning(kubernetes, self.policy, self.clock, SETTINGS)

    def change(self, target: int, reconciles: int = 120) -> Advance | None:
        """Until the change is over, through however many killed passes; the last thing that was said."""
        last = None
        for number in range(reconciles):
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
            self.let_pass(last.requeue_after if last else timedelta(seconds=1))
        raise AssertionError(f"no end: {self.tuner.said}")

    def let_pass(self, time: timedelta | None) -> None:
        """Of long times only their last minute is watched."""
        seconds, quick = int((time or timedelta(0)).total_seconds()), 60
        self.clock.pass_by(timedelta(seconds=max(0, seconds - quick)))
        self.karpenter.work_for(max(1, min(seconds, quick)))

    def stands(self) -> dict[str, object]:
        """All that says N."""
        pool = self.server.objects[POOL]
        nodes = [item for ref, item in self.server.objects.items() if ref.kind in ("Node", "NodeClaim")]
        return {
            "keys": observed.config_keys_of(pool),
            "limit": pool["spec"]["limits"]["nvidia.com/gpu"],
            "after": pool["spec"]["disruption"]["consolidateAfter"],
            "rollout": pool["metadata"]["annotations"].get(ROLLOUT_ANNOTATION),
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


def halfway(world: World, target: int = 8) -> World:
    """The canary is over, the requirement wide."""
    world.tuner.begin(target)
    for _ in range(60):
        if len(world.tuner.state().keys) == 2:
            return world
        world.tuner.step()
        world.let_pass(timedelta(seconds=10))
    raise AssertionError(world.tuner.said)
