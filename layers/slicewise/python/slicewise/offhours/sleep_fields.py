"""
Which field of an object is changed to put it to sleep, and how it is read and written. Pure.

    what has a `scale` subresource   its replicas, to 0, through it; a HorizontalPodAutoscaler does nothing
                                     while its target has 0, and goes on afterwards, but for:
    HorizontalPodAutoscaler with minReplicas 0
                                     scales nothing up: Kubernetes 1.37 lets it bring back what is at 0
    StatefulSet with whenScaled: Delete
                                     Retain first, where the policy says so; else it is left unchanged
    KEDA ScaledObject                its own annotation: 0 replicas, no matter what the triggers say. KEDA
                                     scales the target then; we do not, so that the field is not contested.
                                     At waking the count that it had, and once the target has it, nothing
    KEDA ScaledJob, CronJob          no new Jobs; those that run finish
    KubeRay RayCluster               suspended: its operator ends head and workers. Never a worker group of it
                                     (with that the operator stops reconciling the whole cluster). At waking
                                     false, and once the operator has applied it, the original
    Kueue ClusterQueue that serves our pools alone
                                     held: it admits nothing, and what runs goes on
    Kueue Workload that waits for our pools
                                     not active, so that it is not admitted; never one that runs, which would
                                     be ended
    Kubeflow Notebook                its own annotation: its controller scales the StatefulSet, which it owns
    KServe InferenceService          its own annotation: KServe deletes its Deployments, and makes them again
    Job, JobSet, TrainJob, RayJob, Kubeflow's training jobs
                                     run to their end, or are suspended where the policy says so
    Kueue Workload of a job that is to be suspended
                                     not active: Kueue ends the job, and starts it again once it is active
    NodePool                         no new node, and empty ones are removed at once; nothing is moved
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicewise import rights
from slicewise.kube import json_patch
from slicewise.kube.objects import MANAGER, written_by
from slicewise.kube.ref import Object, ref_of
from slicewise.model.sleep_snapshot import Snapshot
from slicewise.offhours import originals
from slicewise.planning.actions import Action, Patch, Scale
from slicewise.pools import layout


@dataclass(frozen=True)
class Setting:
    """
    Attributes:
        path: Where the field is in the object.
        asleep: What we write.
        absent: What a field that is not there means to its controller.
        scaled: Written through the `scale` subresource.
        by_value: Who wrote it does not matter: no person writes just this.
        resumes: Where nothing was there, the count of what it rules is written before it is removed.
        awake: What is written, where nothing was there, before it is removed; None for nothing.
        controller: Who has to follow what is written; for people.
        ends_pods: Asleep, the object has no pods: those that are there after their grace period outlive it.
        while_absent: We write ours only while nothing is there.
        derived: A controller makes the object for another: that it is deleted is no news.
    """

    path: tuple[str, ...]
    asleep: Any
    absent: Any = None
    scaled: bool = False
    by_value: bool = False
    resumes: bool = False
    awake: Any = None
    controller: str = ""
    ends_pods: bool = False
    while_absent: tuple[str, ...] = ()
    derived: bool = False

    @property
    def field(self) -> str:
        return ".".join(self.path)

    def value(self, item: Object) -> Any:
        found: Any = item
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return self.absent if found is None else found

    def is_asleep(self, item: Object) -> bool:
        return bool(self.value(item) == self.asleep)

    def resumed_at(self, snapshot: Snapshot) -> Any:
        """What is written at waking before the original is; None where that is written at once."""
        return snapshot.resume_at or (self.awake if snapshot.original is None else None)

    def made_for(self, item: Object) -> int:
        """How many maps on the way to the field are not there, and are made when it is written."""
        return len(self.path) - 1 - min(json_patch.depth(item, self.path), len(self.path) - 1)

    def write(
        self, item: Object, value: Any, why: str, note: Snapshot | None = None, made: int = 0
    ) -> Action:
        """
        Takes effect only where the object still says what it says now.

        Args:
            note: What is written down on the object in the same patch, where that is one; None takes away
                what was.
            made: As of Snapshot; for what is removed.
        """
        ref, seen = ref_of(item), self.value(item)
        if self.scaled:
            return Scale(ref, seen, value, why)
        operations = (
            json_patch.remove(item, self._removed(item, made))
            if value == self.absent and value is None
            else json_patch.set_value(item, self.path, value)
        )
        written = json_patch.after(item, operations)
        noted = originals.noting(written, note) if note else originals.removing(written, self.field)
        guard = self._still_absent(item) if value == self.asleep else ()
        return Patch(ref, (*guard, *operations, *noted), f"set {self.field} of {ref} to {_short(value)}", why)

    def _removed(self, item: Object, made: int) -> tuple[str, ...]:
        """The field, with the maps that were made for it and now have nothing else."""
        path = self.path
        while made > 0 and json_patch.is_alone(item, path):
            path, made = path[:-1], made - 1
        return path

    def _still_absent(self, item: Object) -> tuple[json_patch.Operation, ...]:
        return json_patch.expect(item, self.while_absent) if self.while_absent else ()

    def unnote(self, item: Object, why: str) -> tuple[Action, ...]:
        """Takes away what was written down on the object, and leaves the field; nothing where nothing was."""
        operations = () if self.scaled else originals.removing(item, self.field)
        message = f"take what {self.field} was from {ref_of(item)}"
        return (Patch(ref_of(item), operations, message, why),) if operations else ()

    def managers(self, item: Object) -> frozenset[str]:
        """
        Who wrote what is in the field, as managedFields show; empty where they do not.

        A write that changes a field takes it from all others; who later applies the same value shares it.
        Replicas that the `scale` subresource set to 0 have no writer: a Scale leaves its 0 out.
        """
        return frozenset() if self.by_value else frozenset(written_by(item, self.path))

    def written_by_us(self, item: Object) -> bool:
        """Whether a value that equals ours is ours. Where no writer is recorded, it is."""
        return self.managers(item) <= {MANAGER}


class Held(Setting):
    """
    An autoscaler's behavior, of which only `scaleUp` is ours: a manifest that is applied again at night
    writes `scaleDown` alone, and the hold must still be found and undone.
    """

    def value(self, item: Object) -> Any:
        found = super().value(item)
        held = isinstance(found, Mapping) and found.get("scaleUp") == self.asleep["scaleUp"]
        return self.asleep if held else found

    def write(
        self, item: Object, value: Any, why: str, note: Snapshot | None = None, made: int = 0
    ) -> Action:
        found = super().value(item) or {}
        if value != self.asleep and found.get("scaleDown") not in (None, self.asleep["scaleDown"]):
            own = {"scaleUp": value["scaleUp"]} if value and "scaleUp" in value else {}
            value = {key: one for key, one in found.items() if key != "scaleUp"} | own
        return super().write(item, value, why, note, made)


def _short(value: Any) -> str:
    return "what it was" if isinstance(value, Mapping) else repr(value)


REPLICAS = Setting(rights.REPLICAS, 0, absent=1, scaled=True, ends_pods=True)
# Written before the replicas and restored after them: with Delete, a StatefulSet loses its data at 0.
RETAIN = Setting(rights.RETENTION, "Retain", absent="Retain")
SUSPEND = Setting(rights.SUSPEND, True, absent=False)
# The same field where it ends what runs, and where the API server writes no default: KubeRay 1.5 leaves a
# suspended cluster as it is until the field is there and false.
SUSPENDED_PODS = Setting(rights.SUSPEND, True, awake=False, controller="KubeRay's operator", ends_pods=True)
# Without it KEDA starts at its minimum, and not at all where its user has paused it as well.
PAUSED_REPLICAS = Setting(rights.PAUSED_REPLICAS, "0", resumes=True, controller="KEDA", ends_pods=True)
PAUSED = Setting(rights.PAUSED, "true")
# That it is there is all that matters to the notebook controller; the value says who did it.
STOPPED = Setting(rights.STOPPED, "slicewise-off-hours", ends_pods=True)
KSERVE_STOP = Setting(rights.KSERVE_STOP, "true", ends_pods=True)
# Every default is written out, so that the API server adds nothing and the value can be compared.
NO_SCALE_UP = Held(
    rights.BEHAVIOR,
    {
        "scaleUp": {
            "selectPolicy": "Disabled",
            "stabilizationWindowSeconds": 0,
            "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ],
        },
        "scaleDown": {
            "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
        },
    },
    by_value=True,
)
# What runs goes on; the API server writes the default of both, so that neither can be absent.
# Where the policy suspends jobs: their controllers end the pods, and make them again once it is not there.
SUSPENDED_JOB = Setting(rights.SUSPEND, True, ends_pods=True)
SUSPENDED_RUN = Setting(rights.RUN_SUSPEND, True, ends_pods=True)
HELD = Setting(rights.STOP_POLICY, "Hold", absent="None")
# Of one that was admitted Kueue ends the pods.
NOT_ACTIVE = Setting(rights.ACTIVE, False, absent=True, while_absent=("status", "admission"), derived=True)
# Of one that runs, which Kueue is to end.
DEACTIVATED = Setting(rights.ACTIVE, False, absent=True, derived=True, ends_pods=True, controller="Kueue")
# Beside the limit of slices, which grows and shrinks with N while this one stays.
NO_NODES = Setting(rights.LIMIT_OF_NODES, layout.NO_NODES["nodes"])
# A fallback model's NodePool, which has that limit at all other times (wake/gpu_fallback.py).
OPENED = Setting(rights.LIMIT_OF_NODES, None)
ONLY_EMPTY_NODES_GO = Setting(
    rights.DISRUPTION,
    {
        "consolidationPolicy": "WhenEmpty",
        "consolidateAfter": "0s",
        "budgets": [
            {"nodes": "100%", "reasons": ["Empty"]},
            {"nodes": "0", "reasons": ["Underutilized", "Drifted"]},
        ],
    },
    by_value=True,
)


def opens(snapshot: Snapshot) -> bool:
    """Whether it is of a NodePool that was opened, not put to sleep. A damaged one says nothing."""
    return snapshot.field == OPENED.field and snapshot.ours is None and snapshot.intact
