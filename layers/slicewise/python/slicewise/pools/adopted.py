"""
A NodePool that you or a tool made and a policy adopts: what of it stays, what the policy takes over, and what
rules that out. Pure.

Its owner's settings stay (adopted_settings.py). The policy takes over a field only where a person wrote it,
and no budget is ever loosened: budgets of ours are added, and Karpenter applies the strictest.
"""

from __future__ import annotations

from collections.abc import Iterator

from slicewise.kube import quantities
from slicewise.kube.labels import POOL_LABEL
from slicewise.kube.objects import is_ours, name, required_values, spec, status
from slicewise.kube.quantities import NEVER
from slicewise.kube.ref import Object
from slicewise.planning.outcome import Finding
from slicewise.policy.model import LEARNED, Consolidation, Policy, Pool
from slicewise.pools import layout
from slicewise.pools.adopted_settings import is_adopted

_FAMILY = "al2023"


# Taking over


def why_not(node_pool: Object, pool: Pool) -> str | None:
    """What in a live NodePool rules out taking it over without replacing a node; None where nothing."""
    if is_adopted(node_pool):
        return None
    if is_ours(node_pool):
        return "it is one of ours"
    if (count := spec(node_pool).get("replicas")) is not None:
        return f"it is static (spec.replicas is {count}), and Karpenter lets such a one have no limit of GPUs"
    template = spec(node_pool).get("template") or {}
    hashed = (template.get("metadata") or {}).get("labels") or {}
    requirements = (template.get("spec") or {}).get("requirements") or ()
    split = hashed.get(layout.MIG_LABEL) or next(
        iter(required_values(requirements, layout.MIG_LABEL) or ()), None
    )
    if is_split_by_mig(split):
        return f"its GPUs are split by MIG ({layout.MIG_LABEL}={split}), and slices of a GPU are not shared"
    for key, value in labels(pool).items():
        if hashed.get(key, value) != value:
            return f"its template has the label {key}={hashed[key]}, and a change of that replaces its nodes"
        if any(one.get("key") == key for one in requirements) and required_values(requirements, key) != (
            value,
        ):
            return f"it requires another {key} already"
    return None


def is_split_by_mig(config: str | None) -> bool:
    """By a node's label, as MIG manager reads it."""
    return config not in (None, "", "all-disabled")


def why_not_class(node_class: Object) -> str | None:
    """What in its NodeClass rules out adopting a NodePool: only AL2023 is what we configure."""
    found = spec(node_class)
    terms = found.get("amiSelectorTerms") or ()
    aliases = [term["alias"].partition("@")[0] for term in terms if term.get("alias")]
    others = [one for one in (*aliases, found.get("amiFamily") or "") if one and one.lower() != _FAMILY]
    # Of an image that is named by its id the family says how it starts, and AL2023 is none of the others.
    odd = [one for one in others if one != "Custom"]
    return f"its {node_class['kind']} {name(node_class)} builds {odd[0]} nodes, not AL2023" if odd else None


def is_reserved(node_pool: Object, node_class: Object | None = None) -> bool:
    """Whether its machines come out of capacity reservations of EC2."""
    requirements = ((spec(node_pool).get("template") or {}).get("spec") or {}).get("requirements") or ()
    types = required_values(requirements, layout.CAPACITY_TYPE_LABEL) or ()
    return "reserved" in types or bool(
        node_class and spec(node_class).get("capacityReservationSelectorTerms")
    )


def labels(pool: Pool) -> dict[str, str]:
    """What nodes of an adopted NodePool are labelled with before it requires it: whole GPUs, as they are."""
    return {POOL_LABEL: pool.name, layout.CONFIG_LABEL: layout.EXCLUSIVE}


def requirements(node_pool: Object, pool: Pool, key: str = layout.EXCLUSIVE) -> list[Object]:
    """
    Those of the live NodePool, and ours with that key of the device plugin. Requirements are not hashed, so
    its template stays what it is.
    """
    live = ((spec(node_pool).get("template") or {}).get("spec") or {}).get("requirements") or ()
    ours = {**labels(pool), layout.CONFIG_LABEL: key}
    added = [{"key": label, "operator": "In", "values": [value]} for label, value in ours.items()]
    return [*(dict(one) for one in live if one.get("key") not in ours), *added]


def differences(policy: Policy, pool: Pool, node_pool: Object) -> tuple[str, ...]:
    """What the policy will write over in a NodePool that it adopts, field by field, in words."""
    return tuple(_differences(policy.consolidation, pool, node_pool))


def _differences(chosen: Consolidation, pool: Pool, node_pool: Object) -> Iterator[str]:
    disruption = spec(node_pool).get("disruption") or {}
    if pool.max_gpus is not None:
        limit = (spec(node_pool).get("limits") or {}).get(layout.GPU_RESOURCE)
        used = quantities.whole((status(node_pool).get("resources") or {}).get(layout.GPU_RESOURCE))
        if limit is None or quantities.number(limit) != pool.max_gpus:
            runs = f", and {used} run now: none is taken away" if used > pool.max_gpus else ""
            was = "no limit" if limit is None else f"limit {limit}"
            yield f"{was} of {layout.GPU_RESOURCE} becomes {pool.max_gpus} GPUs (maxGpus){runs}"
    for part, field, value in (
        ("consolidationPolicy", "policy", chosen.policy.value),
        ("consolidateAfter", "after", chosen.after),
    ):
        live = disruption.get(part)
        if field in chosen.written and live != value:
            wanted = "what is learned" if value == LEARNED else value
            yield f"{part} {live or '(none)'} becomes {wanted} (consolidation.{field})"
    if "idle_after" in chosen.written and disruption.get("consolidateAfter") != NEVER:
        yield f"while GPUs are idle consolidateAfter is {chosen.idle_after} (consolidation.idleAfter)"
    if chosen.business_hours:
        yield "budgets are added to its own (consolidation.businessHours)"


def adoption_findings(
    policy: Policy, pool: Pool, node_pool: Object, node_class: Object | None = None
) -> tuple[Finding, ...]:
    """What is to be known before it is taken over; none where it is adopted already."""
    if is_adopted(node_pool):
        return ()
    changes = differences(policy, pool, node_pool)
    written = (_changes(pool, node_pool, changes),) if changes else ()
    return (*written, *((_reserved(node_pool),) if is_reserved(node_pool, node_class) else ()))


def _reserved(node_pool: Object) -> Finding:
    return Finding(
        "adopt-reserved",
        f"NodePool {name(node_pool)} uses capacity reservations. It is adopted as it is; but Karpenter "
        "starts a replacement before it takes a node away, so where N falls and pods do not fit, nodes are "
        "replaced only while the reservation has a machine to spare.",
        "Nothing, or keep one machine of the reservation free.",
    )


def _changes(pool: Pool, node_pool: Object, changes: tuple[str, ...]) -> Finding:
    return Finding(
        "adopt-changes",
        f"Taking over NodePool {name(node_pool)} for pool {pool.name} changes what the policy writes: "
        f"{'; '.join(changes)}. All else of it stays as it is.",
        "To keep what it has, remove these fields from the policy. What is overwritten is restored when "
        "the pool leaves the policy.",
    )
