"""
What the admission policies that stand in a cluster refuse of a write.

It reads from them whom they are about, and by our table what they allow: their CEL only a real API server
runs. The contract holds both sides to the same answers (tests/contract/kubernetes/test_admission.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from slicewise import rights
from slicewise.errors import Refused
from slicewise.kube.objects import controller_of, labels
from slicewise.kube.ref import Object
from slicewise.onboarding import admission
from slicewise.rights import Only, Path, Write

from tests.fakes.kube.json_values import copied
from tests.fakes.kube.objects_by_kind import ObjectsByKind

_BY_NAME = {one.name: one for one in (rights.TUNER, rights.SLEEPER)}
_GROUP = re.compile(r"'([^']+)' in request\.userInfo\.groups")
_MAY_PATCH = re.compile(r" may patch [^:; ]+: (.+?); all else")
_FIELDS = re.compile(r"metadata\.annotations\[([^\]]+)\]|([\w.]+)")
_OF_THE_SERVER: tuple[Path, ...] = tuple(
    ("metadata", key) for key in ("managedFields", "generation", "resourceVersion")
)


def check(
    objects: ObjectsByKind,
    groups: Collection[str],
    operation: str,
    group: str,
    resource: str,
    before: Object | None,
    after: Object | None,
) -> None:
    """
    Args:
        operation: "CREATE", "UPDATE" or "DELETE".
        resource: In plural, with its subresource.
        before, after: The object as it stands, and as it would; None where there is none.

    Raises:
        Refused: A policy is about this group and resource, and does not allow it.
    """
    for identity in _bound(objects, groups):
        about = [write for write in identity.writes if _is_about(write, group, resource)]
        for named in {(write.group, write.resource) for write in about}:
            of_one = [write for write in about if (write.group, write.resource) == named]
            if not any(_allows(write, operation, before, after) for write in of_one):
                may = ", or ".join(map(admission.described, of_one))
                raise Refused(f"403: policy {identity.name} denied request: may {may}")


def _bound(objects: ObjectsByKind, groups: Collection[str]) -> Iterator[rights.Identity]:
    for ref in objects.refs(admission.BINDING):
        binding = objects[ref]
        if "Deny" not in binding["spec"]["validationActions"]:
            continue
        policy = objects.get(ref._replace(kind=admission.POLICY, name=binding["spec"]["policyName"]))
        conditions = policy["spec"]["matchConditions"] if policy else ()
        asked = {name for one in conditions for name in _GROUP.findall(one["expression"])}
        if policy and asked & set(groups):
            known = _BY_NAME[policy["metadata"]["name"]]
            yield replace(known, writes=(*known.writes, *_own_writes(policy, known)))


def _own_writes(policy: Object, known: rights.Identity) -> Iterator[Write]:
    """Of a policy's own switches, which no table has: what the refusals of each say may be written."""
    table, spec = {(one.group, one.resource) for one in known.writes}, policy["spec"]
    for rule, validation in zip(spec["matchConstraints"]["resourceRules"], spec["validations"], strict=True):
        [group], [resource] = rule["apiGroups"], rule["resources"]
        if (group, resource) not in table:
            yield Write(group, resource, tuple(_fields(validation["message"])))


def _fields(message: str) -> Iterator[Path]:
    fields = _MAY_PATCH.search(message)
    for keys, field in _FIELDS.findall(fields[1]) if fields else ():
        if field:
            yield tuple(field.split("."))
        else:
            yield from (("metadata", "annotations", key) for key in keys.split(", "))


def _is_about(write: Write, group: str, resource: str) -> bool:
    if write.resource.startswith("*/"):
        return resource.endswith(write.resource[1:])
    return (write.group, write.resource) == (group, resource)


def _allows(write: Write, operation: str, before: Object | None, after: Object | None) -> bool:
    if before is None or operation != ("DELETE" if write.deletes else "UPDATE"):
        return False
    if write.only is Only.OPTED_IN and labels(before).get("slicewise.dev/class") != "auto":
        return False
    if write.only is Only.BARE and controller_of(before):
        return False
    return write.deletes or _what_stays(before, write) == _what_stays(after, write)


def _what_stays(item: Object | None, write: Write) -> Any:
    rest = copied(item)
    for path in (*_OF_THE_SERVER, *write.fields):
        _take_out(rest, path)
    for entries in write.entries:
        *way, last = entries.path
        parent = rest
        for key in way:
            parent = parent.get(key) or {}
        others = [one for one in parent.get(last) or () if one.get("key") not in entries.keys]
        if others:
            parent[last] = others
        else:
            _take_out(rest, entries.path)
    return rest


def _take_out(item: Any, path: Path) -> None:
    """And each map on the way that is empty then, or was: none is as good as an empty one there."""
    key, *rest = path
    if not isinstance(item, dict) or key not in item:
        return
    if rest:
        _take_out(item[key], tuple(rest))
    if not rest or item[key] in ({}, None):
        del item[key]
