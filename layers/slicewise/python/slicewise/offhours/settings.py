"""
Which field of an object is changed to put it to sleep, and how it is read and written. Pure.

    what has a `scale` subresource   its replicas, to 0, through it; a HorizontalPodAutoscaler does nothing
                                     while its target has 0, and goes on by itself afterwards
    StatefulSet with whenScaled: Delete
                                     Retain first, where the policy says so; else it is left
    KEDA ScaledObject                its own annotation: 0 replicas, whatever the triggers say. KEDA scales
                                     the target then; we do not, so that nobody fights. At waking the count
                                     that it had, and once the target follows, nothing
    KEDA ScaledJob, CronJob          no new Jobs; those that run finish
    NodePool                         no new node, and empty ones go at once; nothing is moved
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicewise import json_patch, layout, rights
from slicewise.actions import Action, Patch, Scale
from slicewise.model import Object, Ref, ref_of
from slicewise.objects import written_by
from slicewise.offhours import originals
from slicewise.snapshots import Snapshot

FIELD_MANAGER = "slicewise"


@dataclass(frozen=True)
class Setting:
    """
    Attributes:
        path: Where the field stands in the object.
        asleep: What we write.
        absent: What a field that is not there means to its controller.
        scaled: Written through the `scale` subresource.
        by_value: Who wrote it does not matter: no person writes just this.
        resumes: Where nothing stood there, the count of what it rules is written before it is removed.
    """

    path: tuple[str, ...]
    asleep: Any
    absent: Any = None
    scaled: bool = False
    by_value: bool = False
    resumes: bool = False

    @property
    def field(self) -> str:
        return ".".join(self.path)

    def value(self, item: Object) -> Any:
        found: Any = item
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return self.absent if found is None else found

    def write(self, item: Object, value: Any, why: str, note: Snapshot | None = None) -> Action:
        """
        Takes effect only where the object still says what it says now.

        Args:
            note: What is written down on the object in the same patch, where that is one; None takes away
                what was.
        """
        ref, seen = ref_of(item), self.value(item)
        if self.scaled:
            return Scale(ref, seen, value, why)
        operations = (
            json_patch.remove(item, self.path)
            if value == self.absent and value is None
            else json_patch.set_value(item, self.path, value)
        )
        written = json_patch.after(item, operations)
        noted = originals.noting(written, note) if note else originals.removing(written, self.field)
        return Patch(ref, (*operations, *noted), f"set {self.field} of {ref} to {_short(value)}", why)

    def unnote(self, item: Object, why: str) -> tuple[Action, ...]:
        """Takes away what was written down on the object, and leaves the field; nothing where nothing was."""
        operations = () if self.scaled else originals.removing(item, self.field)
        says = f"take what {self.field} was from {ref_of(item)}"
        return (Patch(ref_of(item), operations, says, why),) if operations else ()

    def managers(self, item: Object) -> frozenset[str]:
        """
        Who wrote what stands in the field, as managedFields tell; empty where they do not.

        A write that changes a field takes it from all others; who later applies the same value shares it.
        Replicas that the `scale` subresource set to 0 have no writer: a Scale leaves its 0 out.
        """
        return frozenset() if self.by_value else frozenset(written_by(item, self.path))

    def written_by_us(self, item: Object) -> bool:
        """Whether a value that equals ours is ours. Where nobody tells, it is."""
        return self.managers(item) <= {FIELD_MANAGER}


def _short(value: Any) -> str:
    return "what it was" if isinstance(value, Mapping) else repr(value)


REPLICAS = Setting(rights.REPLICAS, 0, absent=1, scaled=True)
# Written before the replicas and given back after them: with Delete, a StatefulSet loses its data at 0.
RETAIN = Setting(rights.RETENTION, "Retain", absent="Retain")
SUSPEND = Setting(rights.SUSPEND, True, absent=False)
# Without it KEDA starts at its minimum, and not at all where its user has paused it as well.
PAUSED_REPLICAS = Setting(rights.PAUSED_REPLICAS, "0", resumes=True)
PAUSED = Setting(rights.PAUSED, "true")
# Beside the limit of slices, which grows and shrinks with N while this one stands.
NO_NODES = Setting(rights.LIMIT_OF_NODES, layout.NO_NODES["nodes"])
# A fallback model's NodePool, which has that limit at all other times (fallback.py).
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

_OF_KIND = {
    ("apps", "StatefulSet"): (RETAIN, REPLICAS),
    ("batch", "CronJob"): (SUSPEND,),
    ("keda.sh", "ScaledObject"): (PAUSED_REPLICAS,),
    ("keda.sh", "ScaledJob"): (PAUSED,),
    ("karpenter.sh", "NodePool"): (NO_NODES, ONLY_EMPTY_NODES_GO),
}


def opens(kept: Snapshot) -> bool:
    """Whether it is of a NodePool that was opened, not put to sleep. A damaged one says nothing."""
    return kept.field == OPENED.field and kept.ours is None and kept.intact


def settings_of(api_version: str, kind: str) -> tuple[Setting, ...]:
    """All that is not known otherwise is scaled."""
    return _OF_KIND.get((api_version.rpartition("/")[0], kind), (REPLICAS,))


def noted_fields(ref: Ref) -> frozenset[str]:
    """What is written down on such an object itself: nothing that goes through `scale`, which is replicas."""
    found = settings_of(ref.api_version, ref.kind)
    return frozenset(setting.field for setting in found if not setting.scaled)


def setting_of(kept: Snapshot) -> Setting | None:
    """None for a field that only another release puts to sleep."""
    found = settings_of(kept.ref.api_version, kept.ref.kind)
    return next((setting for setting in found if setting.field == kept.field), None)
