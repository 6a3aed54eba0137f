"""Label and field selectors, as far as the product sends them."""

from __future__ import annotations

from typing import Any

from slicewise.errors import Refused
from slicewise.kube.ref import Object

from tests.fakes.kube.object_limits import check_selector_value

# What an API server can select by, beside metadata.name and metadata.namespace; it refuses all others.
_FIELDS = {
    "Event": ("involvedObject.", "reason", "reportingComponent", "source", "type"),
    "Job": ("status.successful",),
    "Namespace": ("status.phase",),
    "Node": ("spec.unschedulable",),
    "Pod": (
        *("spec.hostNetwork", "spec.nodeName", "spec.restartPolicy", "spec.schedulerName"),
        *("spec.serviceAccountName", "status.nominatedNodeName", "status.phase", "status.podIP"),
    ),
    "ReplicaSet": ("status.replicas",),
    "Secret": ("type",),
}


def selected(labels: Object, selector: str) -> bool:
    """Equality, existence and `in (…)`: what our own requests use."""
    wanted = selector
    while wanted:
        key, operator, rest = _head(wanted)
        values, wanted = rest
        for value in values:
            check_selector_value(value)
        if key not in labels or (operator and labels[key] not in values):
            return False
    return True


def _head(selector: str) -> tuple[str, str, tuple[tuple[str, ...], str]]:
    if " in (" in selector.split(",")[0]:
        key, _, rest = selector.partition(" in (")
        values, _, rest = rest.partition(")")
        return key, "in", (tuple(value.strip() for value in values.split(",")), rest.lstrip(","))
    term, _, rest = selector.partition(",")
    key, operator, value = term.partition("=")
    return key, operator, ((value,), rest)


def check_fields(kind: str, selector: str) -> None:
    """
    Raises:
        Refused: The API server cannot select this kind by such a field.
    """
    for term in filter(None, selector.split(",")):
        path = term.partition("=")[0].removesuffix("!")
        known = "metadata.name", "metadata.namespace", *_FIELDS.get(kind, ())
        if not any(path == one or (one.endswith(".") and path.startswith(one)) for one in known):
            raise Refused(f"400: field label not supported: {path}")


def has_fields(item: Object, selector: str) -> bool:
    """`path!=value` and `path=value`, as in spec.nodeName=a,status.phase!=Failed."""
    for term in filter(None, selector.split(",")):
        path, _, value = term.partition("=")
        found: Any = item
        for part in path.removesuffix("!").split("."):
            found = (found or {}).get(part)
        if (found == value) == path.endswith("!"):
            return False
    return True
