"""
What the owner of an adopted NodePool had, and what the policy wrote over it: saved in the annotation
`slicewise.dev/original` on the NodePool, so that it can be restored field by field. Pure.

* `limits`, `disruption`: as they were on the day of the take-over;
* `requirements`: keys that it did not require before;
* `taken`: fields of spec.disruption that we wrote since, with our values; of `budgets` those that we added.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from slicewise.errors import UNREADABLE
from slicewise.kube import quantities
from slicewise.kube.json_patch import Operation, annotation_path, set_value
from slicewise.kube.labels import ORIGINAL_ANNOTATION
from slicewise.kube.objects import MANAGER, annotations_of, spec, written_by
from slicewise.kube.quantities import NEVER
from slicewise.kube.ref import Object
from slicewise.policy.model import Pool
from slicewise.pools import layout

# What Karpenter does where a NodePool has no budgets (NodePool CRD v1, spec.disruption.budgets).
_DEFAULT_BUDGETS = ({"nodes": "10%"},)
_FIELDS = ("consolidationPolicy", "consolidateAfter")


def is_adopted(node_pool: Object) -> bool:
    return ORIGINAL_ANNOTATION in annotations_of(node_pool)


def original(node_pool: Object) -> dict[str, Any]:
    """Of the annotation what can be read; the rest counts as absent, and is left unchanged."""
    found = saved(node_pool)
    return {part: value for part, value in found.items() if part in _PARTS and _PARTS[part](value)}


def unreadable(node_pool: Object) -> tuple[str, ...]:
    """Parts of the original that cannot be known."""
    found = original(node_pool)
    return tuple(part for part in ("limits", "disruption", "requirements") if part not in found)


def dumped(found: Mapping[str, Any]) -> str:
    return json.dumps(dict(found), sort_keys=True, separators=(",", ":"))


def saved(node_pool: Object) -> dict[str, Any]:
    """All of the annotation, also what this release does not know."""
    try:
        found = json.loads(annotations_of(node_pool)[ORIGINAL_ANNOTATION])
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def _is_disruption(value: Any) -> bool:
    """As a NodePool has it, or as it lacked it: the API server would refuse anything else."""
    if value is None:
        return True
    return isinstance(value, dict) and all(
        _FITS.get(field, lambda _: True)(one) for field, one in value.items()
    )


def _is_after(value: Any) -> bool:
    return isinstance(value, str) and (value == NEVER or quantities.is_duration(value))


def _are_budgets(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


_FITS: dict[str, Callable[[Any], bool]] = {
    "consolidateAfter": _is_after,
    "consolidationPolicy": lambda value: isinstance(value, str),
    "budgets": _are_budgets,
}


def _is_limits(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(quantities.is_one, value.values())))


def _is_keys(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(key, str) for key in value)


def _is_taken(value: Any) -> bool:
    return value is not None and _is_disruption(value)


_PARTS: dict[str, Callable[[Any], bool]] = {
    "limits": _is_limits,
    "disruption": _is_disruption,
    "requirements": _is_keys,
    "taken": _is_taken,
}


def as_limited(pool: Pool, node_pool: Object) -> Pool:
    """With the GPUs that its owner lets run where the policy names none; None where no limit says so."""
    if pool.max_gpus is not None:
        return pool
    limit = (original(node_pool).get("limits") or {}).get(layout.GPU_RESOURCE)
    return pool if limit is None else replace(pool, max_gpus=quantities.whole(limit))


def original_limits(node_pool: Object, n: int) -> dict[str, Any] | None:
    """As its owner had the GPUs, in slices at N = `n`, since Karpenter counts these; None for no limits."""
    found = original(node_pool)
    live = dict(spec(node_pool).get("limits") or {})
    if "limits" not in found:
        return live or None
    before = (found["limits"] or {}).get(layout.GPU_RESOURCE)
    live.pop(layout.GPU_RESOURCE, None)
    if before is not None:
        live[layout.GPU_RESOURCE] = before if n == 1 else str(quantities.whole(before) * n)
    return live or None


# Its consolidation


def disruption(
    node_pool: Object, wanted: Mapping[str, str], added: Sequence[Object]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    What spec.disruption of an adopted NodePool shall be, and `taken` of its original with it.

    Args:
        wanted: What the policy writes of consolidationPolicy and consolidateAfter, by these names.
        added: Budgets of ours, beside its owner's.
    """
    live = dict(spec(node_pool).get("disruption") or {})
    found = original(node_pool)
    before, taken = found.get("disruption") or {}, found.get("taken")
    result: dict[str, Any] = dict(live)
    now: dict[str, Any] = {}
    for field in _FIELDS:
        if field in wanted:
            result[field] = now[field] = wanted[field]
        elif _is_still_ours(node_pool, field, live, taken):
            _put_back(result, field, before)
    theirs = _their_budgets(node_pool, live, found)
    if added:
        now["budgets"] = [*([] if theirs else _DEFAULT_BUDGETS), *(dict(one) for one in added)]
        result["budgets"] = [*theirs, *now["budgets"]]
    elif theirs:
        result["budgets"] = theirs
    else:
        _put_back(result, "budgets", before)
    return result, now


def added_budgets(node_pool: Object) -> list[Object]:
    """Those that we added to its owner's."""
    return list((original(node_pool).get("taken") or {}).get("budgets") or ())


def with_budgets(node_pool: Object, added: Sequence[Object]) -> tuple[list[Object], tuple[Operation, ...]]:
    """Its owner's budgets with these of ours, and the write that keeps account of them."""
    taken = original(node_pool).get("taken") or {}
    result, now = disruption(node_pool, {}, added)
    return result["budgets"], account(node_pool, {**taken, "budgets": now["budgets"]})


def _their_budgets(
    node_pool: Object, live: Mapping[str, Any], found: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The owner's, with what they changed since."""
    taken = found.get("taken")
    if taken is None and _is_still_ours(node_pool, "budgets", live, taken):
        return list((found.get("disruption") or {}).get("budgets") or ())
    # As many as we added, from the end, where we put them: the owner may have another of the same meaning.
    ours, theirs = list(map(_meaning, (taken or {}).get("budgets", ()))), []
    for budget in reversed(live.get("budgets") or ()):
        if _meaning(budget) in ours:
            ours.remove(_meaning(budget))
        else:
            theirs.append(budget)
    return theirs[::-1]


def _is_still_ours(node_pool: Object, field: str, live: Mapping[str, Any], taken: Any) -> bool:
    """
    Whether it is as we wrote it over its owner's. An earlier release wrote all of it and recorded nothing of
    that: there the field's only writer decides.
    """
    if taken is None:
        return written_by(node_pool, ("spec", "disruption", field)) == (MANAGER,)
    return field in taken and _same(live.get(field), taken[field])


def _same(one: Any, other: Any) -> bool:
    """60m and 1h0m0s are one span."""
    if one == other or NEVER in (one, other):
        return bool(one == other)
    try:
        return quantities.duration(str(one)) == quantities.duration(str(other))
    except ValueError:
        return False


def _put_back(result: dict[str, Any], field: str, before: Mapping[str, Any]) -> None:
    if before.get(field) is None:
        result.pop(field, None)
    else:
        result[field] = before[field]


def _meaning(budget: Mapping[str, Any]) -> tuple[Any, ...]:
    reasons = tuple(sorted(budget.get("reasons") or ()))
    return budget.get("nodes"), reasons, budget.get("schedule"), budget.get("duration")


def account(node_pool: Object, taken: Mapping[str, Any]) -> tuple[Operation, ...]:
    """The write that keeps `taken` with the rest of the original; none where it says so already."""
    found = saved(node_pool)
    if found.get("taken") == taken:
        return ()
    path = annotation_path(ORIGINAL_ANNOTATION)
    return set_value(node_pool, path, dumped({**found, "taken": dict(taken)}))
