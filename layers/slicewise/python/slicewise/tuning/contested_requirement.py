"""
A tool that takes our requirement out of an adopted NodePool again, such as one that keeps it as its
repository says. Pure.

Where no requirement says N, it is what the nodes have: overlays and limit stay, nodes that come are labelled
so, and the requirement is put back once a day, until the tool is set to leave it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from slicewise.kube.json_patch import annotation_path, set_value
from slicewise.kube.labels import ORIGINAL_ANNOTATION, POOL_LABEL, ROLLOUT_ANNOTATION
from slicewise.kube.objects import MANAGER, annotations_of, name, required_values, spec, written_by
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.actions import ClaimsCarry, Patch
from slicewise.planning.outcome import Finding
from slicewise.policy.model import Pool
from slicewise.pools import adopted, adopted_settings, layout
from slicewise.tuning.state.pool_state import stamp, stamped_at

_REQUIREMENTS = ("spec", "template", "spec", "requirements")
# Each time NodeClaims carry it already, so that none drifts; the tool undoes it within minutes.
_TRIED_AGAIN = timedelta(days=1)
_PUT_BACK_AT = "put_back_at"


def is_taken_away(node_pool: Object) -> bool:
    """While N changes, that is the change's matter."""
    requirements = ((spec(node_pool).get("template") or {}).get("spec") or {}).get("requirements") or ()
    lacks = any(required_values(requirements, key) is None for key in (POOL_LABEL, layout.CONFIG_LABEL))
    return lacks and ROLLOUT_ANNOTATION not in annotations_of(node_pool)


def finding(node_pool: Object, n: int) -> Finding:
    writers = (writer for writer in written_by(node_pool, _REQUIREMENTS) if writer != MANAGER)
    by = " and ".join(writers) or "an unknown writer"
    return Finding(
        "requirement-taken-away",
        f"{by} removed the requirement {layout.CONFIG_LABEL} from NodePool {name(node_pool)}, by which nodes "
        f"start with their slices. N stays {n}, as its nodes have it; new nodes are labelled once they "
        "are there.",
        "Have it leave spec.template.spec.requirements, spec.limits and spec.disruption of this NodePool "
        "unchanged (Argo CD: ignoreDifferences, with RespectIgnoreDifferences=true). It is put back once "
        "a day.",
    )


def put_back(node_pool: Object, pool: Pool, key: str, now: datetime) -> Patch | None:
    """
    The requirement once more, with what its NodeClaims carry; None where the last time is not a day ago.
    """
    kept = adopted_settings.saved(node_pool)
    last = stamped_at(kept.get(_PUT_BACK_AT))
    if last and timedelta(0) <= now - last < _TRIED_AGAIN:
        return None
    again = adopted_settings.dumped({**kept, _PUT_BACK_AT: stamp(now)})
    operations = (
        *set_value(node_pool, annotation_path(ORIGINAL_ANNOTATION), again),
        *set_value(node_pool, _REQUIREMENTS, adopted.requirements(node_pool, pool, key)),
    )
    why = "every NodeClaim of it has these labels, and new nodes must start with them"
    return Patch(
        ref_of(node_pool),
        operations,
        f"require the labels of pool {pool.name} of NodePool {name(node_pool)} again",
        why,
        ClaimsCarry(name(node_pool), key),
    )
