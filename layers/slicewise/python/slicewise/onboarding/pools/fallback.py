"""NodePools of fallback models, as onboarding makes and leaves them; off-hours open and close them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from slicewise.kube import json_patch
from slicewise.kube.labels import FALLBACK_LABEL, OPENED
from slicewise.kube.objects import annotations_of, labels, spec
from slicewise.kube.ref import Object, ref_of
from slicewise.planning.actions import Action, Patch
from slicewise.pools import layout


def opened_as(found: Object | None, wanted: Object) -> Object:
    """Without the limit of no nodes while off-hours have taken it away: closing it is their work."""
    if found is None or OPENED not in annotations_of(found):
        return wanted
    limits = {key: value for key, value in wanted["spec"]["limits"].items() if key not in layout.NO_NODES}
    return {**wanted, "spec": {**wanted["spec"], "limits": limits}}


def no_more(found: Object | None, wanted: Object) -> Iterator[Action]:
    """
    What to do first where the policy now names the model in `gpus`.

    Off-hours may have been the last to write the limit of no nodes: then it would stay, though what
    onboarding applies no longer has it.
    """
    if found is None or FALLBACK_LABEL not in labels(found) or FALLBACK_LABEL in labels(wanted):
        return
    if (spec(found).get("limits") or {}).get("nodes") == layout.NO_NODES["nodes"]:
        limit = json_patch.remove(found, ("spec", "limits", "nodes"))
        yield Patch(
            ref_of(found), limit, f"let {ref_of(found)} have nodes", "the policy names its model in gpus"
        )
