"""Reading and comparing Kubernetes objects as the API server sends them. Pure: JSON values in, values out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slicewise.kube import quantities
from slicewise.kube.labels import APPLIED
from slicewise.kube.ref import Object

MANAGED_BY = "app.kubernetes.io/managed-by"
# The value of MANAGED_BY on what is ours, and the field manager of all that we write.
MANAGER = "slicewise"

# A field selector: pods that still have, or want, what they request.
UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"

# Fields whose values are quantities, or tables of them: they may come back in another spelling.
_QUANTITY_FIELDS = frozenset({"limits", "requests", "capacity", "allocatable"})
_SCALARS = (str, int, float, type(None))


def name(item: Object) -> str:
    found: str = item["metadata"]["name"]
    return found


def labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def annotations_of(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("annotations") or {}


def spec(item: Object) -> Mapping[str, Any]:
    return item.get("spec") or {}


def status(item: Object) -> Mapping[str, Any]:
    return item.get("status") or {}


def moment(stamp: str | None) -> datetime | None:
    """A time as Kubernetes writes it, such as "2026-11-25T12:00:00Z"; ValueError where it is none."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")) if stamp else None


def created_at(item: Object) -> datetime | None:
    """Aware UTC; None for an object that was never stored."""
    return moment(item["metadata"].get("creationTimestamp"))


def last_seen(event: Object) -> datetime | None:
    """When an Event last happened, whichever of its two APIs it was written through."""
    of_series = (event.get("series") or {}).get("lastObservedTime")
    return moment(event.get("lastTimestamp") or of_series or event.get("eventTime")) or created_at(event)


def controller_of(item: Object) -> Mapping[str, Any] | None:
    """The owner reference of what makes an object and keeps it as it is."""
    owners = item["metadata"].get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller")), None)


def being_deleted(item: Object) -> bool:
    return bool(item["metadata"].get("deletionTimestamp"))


def condition(item: Object, kind: str) -> Mapping[str, Any] | None:
    conditions: Sequence[Mapping[str, Any]] = status(item).get("conditions") or ()
    return next((found for found in conditions if found.get("type") == kind), None)


def is_true(item: Object, kind: str) -> bool:
    """
    Whether a condition is True for the object as it is now.

    A condition about an older generation is no answer; one that says no generation is taken as it is.
    """
    found = condition(item, kind)
    if found is None or found.get("status") != "True":
        return False
    generation = item["metadata"].get("generation")
    observed = found.get("observedGeneration", generation)
    return bool(observed == generation)


def since(found: Mapping[str, Any]) -> datetime | None:
    """When a condition last changed."""
    return moment(found.get("lastTransitionTime"))


def required_values(requirements: Iterable[Mapping[str, Any]], key: str) -> tuple[str, ...] | None:
    """The values that an `In` requirement allows for a key; None where no `In` names it."""
    for requirement in requirements or ():
        if requirement.get("key") == key and requirement.get("operator") == "In":
            return tuple(requirement.get("values") or ())
    return None


def written_by(item: Object, path: Sequence[str]) -> tuple[str, ...]:
    """Field managers that wrote the field at `path`, by name; empty where the object does not say."""
    return _managers(item, path, ("Apply", "Update"))


def applied_by(item: Object, path: Sequence[str]) -> tuple[str, ...]:
    """Of those, the ones that used server-side apply: such writers come again, and own what they apply."""
    return _managers(item, path, ("Apply",))


def _managers(item: Object, path: Sequence[str], operations: Sequence[str]) -> tuple[str, ...]:
    found = set()
    for entry in item["metadata"].get("managedFields") or ():
        fields: Any = entry.get("fieldsV1")
        for key in path:
            fields = fields.get(f"f:{key}") if isinstance(fields, Mapping) else None
        if fields is not None and entry.get("operation", "Update") in operations:
            found.add(entry.get("manager", ""))
    return tuple(sorted(found))


def asked(pod: Object, resource: str) -> int:
    """How much of an extended resource a pod has, or waits for: containers together, or one initial one."""
    side_by_side, alone = 0, 0
    for container in spec(pod).get("containers") or ():
        side_by_side += _asked(container, resource)
    for container in spec(pod).get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            side_by_side += _asked(container, resource)
        else:
            alone = max(alone, _asked(container, resource))
    return max(side_by_side, alone)


def _asked(container: Mapping[str, Any], resource: str) -> int:
    """Requests of extended resources equal their limits, and a pod may name only the limit."""
    amounts = container.get("resources") or {}
    return max(quantities.whole((amounts.get(part) or {}).get(resource)) for part in ("requests", "limits"))


def is_ours(item: Object) -> bool:
    return labels(item).get(MANAGED_BY) == MANAGER


def stamped(item: Object, shape: Object | None = None) -> Object:
    """
    The object as we apply it: with our label, and an annotation with the hash of what we applied.

    With `shape`, the hash is of that instead: the object without what may change on the live one.

    The annotation makes a *removed* field visible: an object that still carries it has everything we want
    now, but its hash is of what we wanted then.
    """
    ours = _labelled(item)
    stamp = applied_hash(_labelled(shape or item))
    metadata = {**ours["metadata"], "annotations": {**annotations_of(ours), APPLIED: stamp}}
    return {**ours, "metadata": metadata}


def _labelled(item: Object) -> Object:
    metadata = {**item["metadata"], "labels": {**labels(item), MANAGED_BY: MANAGER}}
    return {**item, "metadata": metadata}


def applied_hash(item: Object) -> str:
    """12 hex digits over an object, its own stamp left out."""
    metadata = dict(item["metadata"])
    metadata["annotations"] = {k: v for k, v in annotations_of(item).items() if k != APPLIED}
    text = json.dumps({**item, "metadata": metadata}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def first_difference(live: Any, wanted: Any) -> str | None:
    """
    Path of the first wanted field that the live object lacks or has otherwise, such as "spec.limits"; None
    where all do. A list is one field. Metadata comes last: there our stamp always differs as well.
    """
    if not isinstance(wanted, Mapping) or not isinstance(live, Mapping):
        return None if holds(live, wanted) else ""
    for key, value in sorted(wanted.items(), key=lambda item: item[0] == "metadata"):
        if not holds({key: live.get(key)}, {key: value}):
            below = first_difference(live.get(key), value) if key not in _QUANTITY_FIELDS else ""
            return f"{key}.{below}" if below else str(key)
    return None


def holds(live: Any, wanted: Any) -> bool:
    """
    Whether the live object has every wanted field with the same value.

    Fields that are only live (defaults, status, what others own) do not matter. Quantities are compared as
    numbers. Lists are compared as sent: as long, in the same order, each element holding its own.
    """
    return _holds(live, wanted, False)


def _holds(live: Any, wanted: Any, quantity: bool) -> bool:
    # Nearly all that is compared; asking first whether it is a Mapping takes longer than comparing it.
    if isinstance(wanted, _SCALARS):
        return quantities.same(live, wanted) if quantity else live == wanted
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return not wanted and live is None  # an empty table may come back as nothing
        return all(
            _holds(live.get(key), value, quantity or key in _QUANTITY_FIELDS) for key, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        if not isinstance(live, list | tuple):
            return not wanted and live is None
        return len(live) == len(wanted) and all(
            _holds(one, other, quantity) for one, other in zip(live, wanted, strict=True)
        )
    return quantities.same(live, wanted) if quantity else live == wanted


def asked_by(pod_spec: Mapping[str, Any]) -> dict[str, Any]:
    """What `containers` and `initContainers` request, and nothing else of them."""
    return {
        part: [
            {key: one[key] for key in ("name", "resources", "restartPolicy") if key in one}
            for one in pod_spec[part]
        ]
        for part in ("containers", "initContainers")
        if part in pod_spec
    }
