"""
Taking over a NodePool that you or a tool made, and giving it back as it was. Pure.

Karpenter replaces a node whose NodeClaim lacks what its NodePool requires. So each Node and NodeClaim is
labelled first, with what its device plugin does already (whole GPUs), and only then that is required. N is
chosen afterwards, as for every other NodePool.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from slicewise.kube import quantities
from slicewise.kube.json_patch import Operation, label_path, remove, set_value
from slicewise.kube.labels import (
    ASLEEP,
    CHANGED_ANNOTATION,
    ORIGINAL_ANNOTATION,
    POOL_LABEL,
    ROLLOUT_ANNOTATION,
    SHARING_LABEL,
    STARTUP_ANNOTATION,
    TUNING_ANNOTATION,
)
from slicewise.kube.objects import (
    MANAGED_BY,
    MANAGER,
    annotations_of,
    being_deleted,
    is_ours,
    labels,
    name,
    spec,
    status,
)
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.planning.actions import Action, ClaimsCarry, Patch
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Policy, Pool
from slicewise.pools import adopted as adopted_pools
from slicewise.pools import adopted_settings, layout, observed
from slicewise.tuning import contested_requirement
from slicewise.tuning.rollout.context import SOON, RolloutSettings
from slicewise.tuning.state.annotations import CHANGED_PATH, marked_at
from slicewise.tuning.state.pool_plan import PoolPlan
from slicewise.tuning.state.pool_state import stamp

_REQUIREMENTS = ("spec", "template", "spec", "requirements")
_OURS = (MANAGED_BY, POOL_LABEL, SHARING_LABEL)
_REMEMBERED = (
    ORIGINAL_ANNOTATION,
    TUNING_ANNOTATION,
    CHANGED_ANNOTATION,
    STARTUP_ANNOTATION,
)


def adopted(
    contents: ClusterContents, policy: Policy, decided: Collection[str], now: datetime
) -> tuple[PoolPlan, ...]:
    """
    One for each NodePool that is being adopted, or has new NodeClaims of the time before. Without actions and
    `requeue_after`, a person must do something.

    Args:
        decided: NodePools of which another plan keeps the detail.
    """
    there = {name(item): item for item in contents.node_pools}
    adopting = [(pool, there[pool.adopt]) for pool in policy.pools if pool.adopt and pool.adopt in there]
    found = (_plan(contents, policy, pool, node_pool, now) for pool, node_pool in adopting)
    return tuple(replace(one, detail={}) if one.name in decided else one for one in found if one)


def _next(
    node_pool: Object,
    message: str,
    actions: Iterable[Action] = (),
    findings: tuple[Finding, ...] = (),
    requeue_after: timedelta | None = None,
) -> PoolPlan:
    detail = {"node_pool": name(node_pool), "n": 1, "reason": message}
    return PoolPlan(
        name(node_pool), f"{name(node_pool)}: {message}", detail, tuple(actions), findings, requeue_after
    )


def _plan(
    contents: ClusterContents, policy: Policy, pool: Pool, node_pool: Object, now: datetime
) -> PoolPlan | None:
    ours = is_ours(node_pool)
    if being_deleted(node_pool) or ASLEEP in annotations_of(node_pool):
        return None
    if ours:
        return _since_adopted(contents, pool, node_pool, now) if _is_of(node_pool, pool.name) else None
    if why := _why_not(contents, pool, node_pool):
        return _not_adopted(node_pool, why)
    findings = adopted_pools.adoption_findings(policy, pool, node_pool)
    claims = _claims(contents, node_pool)
    # A node that has come since is one of whole GPUs.
    labelling = _labelling(contents, pool, node_pool, claims, layout.EXCLUSIVE, findings, now)
    if labelling := labelling or _settling(node_pool, claims, findings, now):
        return labelling
    message = "it is taken over at one pod a GPU"
    return _next(node_pool, message, (_take(node_pool, pool),), findings, SOON)


def _not_adopted(node_pool: Object, why: str) -> PoolPlan:
    finding = Finding(
        "not-adopted",
        f"NodePool {name(node_pool)} is not taken over: {why}.",
        "Change that, or remove `adopt` from the policy; until then nothing of it is touched.",
    )
    return _next(node_pool, f"not taken over: {why}", findings=(finding,))


def _since_adopted(
    contents: ClusterContents, pool: Pool, node_pool: Object, now: datetime
) -> PoolPlan | None:
    claims = _claims(contents, node_pool)
    if not contested_requirement.is_taken_away(node_pool):
        return _labelling(contents, pool, node_pool, claims, layout.EXCLUSIVE, (), now)
    n = observed.n_of_nodes(claims, contents.node_overlays, pool, name(node_pool)) or 1
    key, findings = layout.config_key(pool.sharing, n), (contested_requirement.finding(node_pool, n),)
    # Where its NodePool does not say so, a node that has come since is as the others.
    labelling = _labelling(contents, pool, node_pool, claims, key, findings, now)
    if labelling := labelling or _settling(node_pool, claims, findings, now):
        return labelling
    again = contested_requirement.put_back(node_pool, pool, key, now)
    message = f"its requirement was taken away{', and is put back' if again else ''}"
    return _next(node_pool, message, (again,) if again else (), findings, SOON if again else None)


def _claims(contents: ClusterContents, node_pool: Object) -> list[Object]:
    return [claim for claim in contents.node_claims if _of(claim, node_pool) and not being_deleted(claim)]


def _labelling(
    contents: ClusterContents,
    pool: Pool,
    node_pool: Object,
    claims: Sequence[Object],
    initial_key: str,
    findings: tuple[Finding, ...],
    now: datetime,
) -> PoolPlan | None:
    """A tenth of the nodes at a time, as long as some lack our labels."""
    bare = [claim for claim in claims if _lacks(claim, pool)]
    if not bare:
        return None
    batch_size = max(1, int(len(claims) * RolloutSettings.batch_share))
    nodes = {name(node): node for node in contents.nodes}
    actions = (
        action for claim in bare[:batch_size] for action in _label(claim, nodes, pool, initial_key, now)
    )
    message = f"{len(claims) - len(bare)} of {len(claims)} nodes are labelled with what they do already"
    return _next(node_pool, message, actions, findings, SOON)


def _settling(
    node_pool: Object, claims: Iterable[Object], findings: tuple[Finding, ...], now: datetime
) -> PoolPlan | None:
    marks = [at for claim in claims if (at := marked_at(claim, CHANGED_ANNOTATION))]
    left = RolloutSettings.settle - (now - max(marks)) if marks else timedelta(0)
    if left <= timedelta(0):
        return None
    return _next(node_pool, "Karpenter is given time to see the labels", (), findings, left)


def _why_not(contents: ClusterContents, pool: Pool, node_pool: Object) -> str | None:
    if why := adopted_pools.why_not(node_pool, pool):
        return why
    (gpu,) = pool.models()
    key = adopted_pools.labels(pool)[layout.CONFIG_LABEL]
    for item in (*contents.node_claims, *contents.nodes):
        if not _of(item, node_pool):
            continue
        # Karpenter labels a NodeClaim once it has chosen a machine, and its Node from the beginning.
        model = labels(item).get(layout.GPU_NAME_LABEL, "" if item["kind"] == "Node" else gpu.karpenter_name)
        if model != gpu.karpenter_name:
            return f"{ref_of(item)} has {model or 'no'} GPUs, and the pool is for {gpu.name}"
        if adopted_pools.is_split_by_mig(labels(item).get(layout.MIG_LABEL)):
            return f"the GPUs of {ref_of(item)} are split by MIG"
        if labels(item).get(layout.CONFIG_LABEL, key) != key:
            return f"{ref_of(item)} is labelled {layout.CONFIG_LABEL}={labels(item)[layout.CONFIG_LABEL]}"
        if why := _shares(item):
            return why
    return None


def _shares(node: Object) -> str:
    """Its device plugin's default may share GPUs: to label it with whole ones would take slices from pods."""
    gpus, offered = labels(node).get(layout.GPU_COUNT_LABEL, ""), status(node).get("allocatable") or {}
    slices = quantities.whole(offered.get(layout.GPU_RESOURCE))
    if node["kind"] != "Node" or not gpus.isdecimal() or slices <= int(gpus):
        return ""
    plural = "s" if gpus != "1" else ""
    return (
        f"{ref_of(node)} offers {slices} slices of {gpus} GPU{plural}: its device plugin shares them already"
    )


def _of(item: Object, node_pool: Object) -> bool:
    return labels(item).get(layout.NODE_POOL_LABEL) == name(node_pool)


def _lacks(claim: Object, pool: Pool) -> bool:
    return any(labels(claim).get(key) != value for key, value in _wanted(claim, pool).items())


def _wanted(item: Object, pool: Pool, initial_key: str = layout.EXCLUSIVE) -> dict[str, str]:
    """Where it has a key, that is N's matter."""
    key = labels(item).get(layout.CONFIG_LABEL, initial_key)
    return {**adopted_pools.labels(pool), layout.CONFIG_LABEL: key}


def _label(
    claim: Object, nodes: dict[str, Object], pool: Pool, initial_key: str, now: datetime
) -> Iterable[Patch]:
    node = nodes.get(status(claim).get("nodeName", ""))
    for item in (node, claim):
        if item is None:
            continue
        operations = [*set_value(item, CHANGED_PATH, stamp(now))]
        for key, value in _wanted(item, pool, initial_key).items():
            operations += set_value(item, label_path(key), value)
        why = "what its NodePool will require must be on it first, or Karpenter replaces it"
        yield Patch(ref_of(item), tuple(operations), f"label {ref_of(item)} as one of pool {pool.name}", why)


def _take(node_pool: Object, pool: Pool) -> Patch:
    (gpu,) = pool.models()
    original: dict[str, Any] = {
        "limits": spec(node_pool).get("limits"),
        "disruption": spec(node_pool).get("disruption"),
        "requirements": _added(node_pool, pool),
        "taken": {},
    }
    own = {MANAGED_BY: MANAGER, POOL_LABEL: pool.name, SHARING_LABEL: pool.sharing.value}
    text = adopted_settings.dumped(original)
    limits = {**(spec(node_pool).get("limits") or {}), **layout.limits(pool, gpu, 1)}
    operations = (
        *set_value(node_pool, ("metadata", "labels"), {**labels(node_pool), **own}),
        *set_value(
            node_pool,
            ("metadata", "annotations"),
            {**annotations_of(node_pool), ORIGINAL_ANNOTATION: text},
        ),
        *set_value(node_pool, _REQUIREMENTS, adopted_pools.requirements(node_pool, pool)),
        *(set_value(node_pool, ("spec", "limits"), limits) if limits else ()),
    )
    return Patch(
        ref_of(node_pool),
        operations,
        f"take over NodePool {name(node_pool)}",
        f"pool {pool.name} adopts it, and every NodeClaim of it has the labels that it requires from now on",
        ClaimsCarry(name(node_pool), adopted_pools.labels(pool)[layout.CONFIG_LABEL]),
    )


def _added(node_pool: Object, pool: Pool) -> list[str]:
    """Keys that it did not require before."""
    live = ((spec(node_pool).get("template") or {}).get("spec") or {}).get("requirements") or ()
    before = {one.get("key") for one in live}
    return [key for key in adopted_pools.labels(pool) if key not in before]


# Restoring


def restored(contents: ClusterContents, policy: Policy | None) -> tuple[PoolPlan, ...]:
    """
    One for each adopted NodePool that the policy no longer asks for, once no rollout is in progress.

    One that another pool adopts now is restored before it is adopted again: its nodes have other labels then.
    """
    adopters = {pool.adopt: pool.name for pool in policy.pools} if policy else {}
    left = (
        node_pool
        for node_pool in contents.node_pools
        if ORIGINAL_ANNOTATION in annotations_of(node_pool)
        and not _is_of(node_pool, adopters.get(name(node_pool), ""))
        # Who sleeps has other settings until it wakes, as the sleeper remembers them.
        and not annotations_of(node_pool).keys() & {ROLLOUT_ANNOTATION, ASLEEP}
    )
    return tuple(_restored(contents, node_pool) for node_pool in left)


def _restored(contents: ClusterContents, node_pool: Object) -> PoolPlan:
    n = _n_of(contents, node_pool)
    findings = [_still_shared(node_pool, n)] if n > 1 else []
    findings += _unreadable(node_pool)
    return PoolPlan(name(node_pool), actions=(_give_back(node_pool, n),), findings=tuple(findings))


def _n_of(contents: ClusterContents, node_pool: Object) -> int:
    keys = observed.config_keys_of(node_pool)
    if keys:
        return layout.slices_of_key(keys[0]) or 1
    of = (labels(claim) for claim in contents.node_claims if _of(claim, node_pool))
    found = [n for one in of if (n := layout.slices_of_key(one.get(layout.CONFIG_LABEL, "")))]
    return max(found, default=1)


def _is_of(node_pool: Object, pool_name: str) -> bool:
    return labels(node_pool).get(POOL_LABEL) == pool_name


def _give_back(node_pool: Object, n: int) -> Patch:
    """At N > 1 what makes its new nodes start with N stays: Karpenter would replace those that have it."""
    operations: list[Operation] = [
        *_put_back(node_pool, "disruption", _disruption_before(node_pool)),
        *_put_back(node_pool, "limits", adopted_settings.original_limits(node_pool, n)),
        *set_value(node_pool, ("metadata", "labels"), _without(labels(node_pool), _OURS)),
        *set_value(node_pool, ("metadata", "annotations"), _without(annotations_of(node_pool), _REMEMBERED)),
    ]
    if n == 1:
        operations += set_value(node_pool, _REQUIREMENTS, without_added(node_pool))
    why = "no policy has it any more: its limits and consolidation are what they were"
    message = f"give NodePool {name(node_pool)} back"
    return Patch(ref_of(node_pool), tuple(operations), message, why, part=name(node_pool))


def without_added(node_pool: Object) -> list[Object]:
    """What it requires, less what it did not before it was taken over."""
    added = adopted_settings.original(node_pool).get("requirements") or ()
    live = ((spec(node_pool).get("template") or {}).get("spec") or {}).get("requirements") or ()
    return [one for one in live if one.get("key") not in added]


def _unreadable(node_pool: Object) -> Iterable[Finding]:
    if lost := adopted_settings.unreadable(node_pool):
        yield Finding(
            "original-unreadable",
            f"NodePool {name(node_pool)} is restored, but of {', '.join(lost)} it cannot be read what it "
            "was: that stays unchanged.",
            f"Check its {', '.join(lost)}, and set by hand what you want.",
        )


def _put_back(live: Object, part: str, value: Any) -> tuple[Operation, ...]:
    """None is for what it lacked."""
    path = ("spec", part)
    return remove(live, path) if value is None else set_value(live, path, value)


def _disruption_before(node_pool: Object) -> Any:
    """Its owner's, with what they changed since we took it over."""
    original = adopted_settings.original(node_pool)
    if "disruption" not in original:
        return spec(node_pool).get("disruption")
    # An earlier release wrote over all of it.
    if "taken" not in original:
        return original["disruption"]
    return adopted_settings.disruption(node_pool, {}, ())[0] or None


def _without(table: Any, keys: Collection[str]) -> dict[str, str]:
    return {key: value for key, value in table.items() if key not in keys}


def _still_shared(node_pool: Object, n: int) -> Finding:
    return Finding(
        "given-back-shared",
        f"NodePool {name(node_pool)} is restored with {n} pods a GPU: its nodes, its requirement and its "
        "NodeOverlays go on saying so.",
        f"For whole GPUs again, have it require {layout.CONFIG_LABEL} In [{layout.EXCLUSIVE}] and its "
        "NodeOverlays say one slice a GPU: Karpenter then replaces its nodes under its budgets.",
    )
