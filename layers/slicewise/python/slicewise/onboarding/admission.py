"""
The admission policies that limit tuner and sleeper to the fields that they are there for.

RBAC says which kinds an identity may patch, not which fields: with `patch` on Deployments alone, the tuner's
role could run any image under any service account. So a ValidatingAdmissionPolicy (v1 since Kubernetes 1.30;
we refuse clusters older than 1.31) compares what is there with what would be: all but the fields of rights.py
must be equal.

It says what may differ, not what must not, and goes over maps, not over a schema: to such a policy an object
is what the API server sends as JSON. So a field that a later Kubernetes brings is compared as well, and what
we may not write stays so without a change here.

No other identity is concerned. A policy is asked only about requests of its own group, and `has` keeps that
question from failing for users without groups; only beyond it does an error refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from slicewise import rights
from slicewise.kube.labels import APPLIED, CLASS_LABEL
from slicewise.kube.objects import annotations_of, first_difference, stamped
from slicewise.kube.ref import Object, ref_of
from slicewise.model.cluster import ClusterContents
from slicewise.onboarding.observation import live
from slicewise.planning.actions import Action, Apply, Delete
from slicewise.policy.model import Policy
from slicewise.pools import layout
from slicewise.rights import Entries, Identity, Only, Path, Write

GROUP = "admissionregistration.k8s.io"
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
PLURALS = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")

# Of the API server's own, and different after every write.
_KEPT_BY_THE_SERVER: tuple[Path, ...] = (
    ("metadata", "managedFields"),
    ("metadata", "generation"),
    ("metadata", "resourceVersion"),
)
_ASKED_FOR = (
    "request.resource.group + '/' + request.resource.resource"
    " + (request.?subResource.orValue('') == '' ? '' : '/' + request.subResource)"
)
# Of these CEL takes none as a field's name.
_CEL_WORDS = frozenset(
    (
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in"),
        *("let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while"),
    )
)
_ONLY_THESE_DIFFER = (
    "{pairs}.all(pair,\n"
    "  pair.now.all(key, key in pair.may || (key in pair.was && pair.now[key] == pair.was[key]))\n"
    "  && pair.was.all(key, key in pair.may || key in pair.now))"
)


def objects(policy: Policy, own: Iterable[Write] = ()) -> tuple[Object, ...]:
    """
    They do not depend on the policy beyond who exists, and its own switches: which of these rights is
    granted, RBAC says.

    Policies first, then what binds them.

    Args:
        own: By switches of the policy's own (own_kinds.py).
    """
    identities = (rights.TUNER, *((rights.sleeper(own),) if policy.off_hours else ()))
    return (*map(policy_of, identities), *map(binding_of, identities))


def changes(contents: ClusterContents, policy: Policy, own: Iterable[Write] = ()) -> list[Action]:
    """What puts them right; to be done before the rights that they narrow are granted."""
    actions: list[Action] = []
    for item in objects(policy, own):
        found = live(contents, ref_of(item))
        path = difference(found, item) if found else None
        if found and path and annotations_of(found).get(APPLIED) == annotations_of(item)[APPLIED]:
            # What another writer added is theirs, and would stay when ours is applied over it.
            actions.append(Delete(ref_of(item), f"another writer edited its {path}"))
        if found is None or path:
            why = f"its {path} is not what we want" if path else "it limits us to the fields that we write"
            actions.append(Apply(item, why))
    return actions


def policy_of(identity: Identity) -> Object:
    """
    Every default is written out, so that an edit that narrows one is noticed.
    """
    return stamped(
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": POLICY,
            "metadata": {"name": identity.name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConditions": [
                    {
                        "name": "it-is-us",
                        "expression": "has(request.userInfo.groups) && "
                        f"{_text(identity.group)} in request.userInfo.groups",
                    }
                ],
                "matchConstraints": {
                    "matchPolicy": "Equivalent",
                    "namespaceSelector": {},
                    "objectSelector": {},
                    "resourceRules": [_matched(writes[0]) for writes in _by_resource(identity)],
                },
                "variables": [{"name": "asked", "expression": _ASKED_FOR}],
                "validations": [_validation(identity, writes) for writes in _by_resource(identity)],
            },
        }
    )


def binding_of(identity: Identity) -> Object:
    return stamped(
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": BINDING,
            "metadata": {"name": identity.name},
            "spec": {"policyName": identity.name, "validationActions": ["Deny"]},
        }
    )


def difference(live: Object, wanted: Object) -> str | None:
    """
    Path of the first field that differs; None where none does.

    As first_difference, and "spec" where something that narrows it was added, such as a selector of
    namespaces.
    """
    if path := first_difference(live, wanted):
        return path
    return None if _without_empty(live.get("spec")) == _without_empty(wanted["spec"]) else "spec"


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        pruned = {key: _without_empty(one) for key, one in value.items()}
        return {key: one for key, one in pruned.items() if one not in ({}, [], None)}
    return [_without_empty(one) for one in value] if isinstance(value, list | tuple) else value


def _matched(write: Write) -> dict[str, Any]:
    """
    All operations: what is not allowed of one of these kinds is refused, no matter what RBAC grants later.
    """
    return {
        "apiGroups": [write.group],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": [write.resource],
        "scope": "*",
    }


def _by_resource(identity: Identity) -> list[list[Write]]:
    found: dict[tuple[str, str], list[Write]] = {}
    for write in identity.writes:
        found.setdefault((write.group, write.resource), []).append(write)
    return list(found.values())


def _validation(identity: Identity, writes: Sequence[Write]) -> dict[str, Any]:
    """Of one resource: what one of the rights to it allows as a whole."""
    allowed = " || ".join(f"({_allowed(write)})" for write in writes)
    rights_there = ", or ".join(map(described, writes))
    return {
        "expression": f"!({_is_asked(writes[0])}) || {allowed}",
        "message": f"{identity.name} may {rights_there}; all else must stay unchanged. "
        "Where a webhook edits every object that is written, its edit counts as ours.",
        "reason": "Forbidden",
    }


def described(write: Write) -> str:
    """For people: "patch cronjobs: spec.suspend"."""
    which = f" {write.only}" if write.only else ""
    fields = ", ".join(written(write))
    return f"{write.verb} {write.resource}{which}" + (f": {fields}" if fields else "")


def written(write: Write) -> Iterator[str]:
    """
    The fields, as people write them: spec.limits, metadata.labels[slicewise.dev/pool]; of a list, the keys of
    its entries.
    """
    paths = [*write.fields, *((*one.path, key) for one in write.entries for key in one.keys)]
    for parent, group in groupby(paths, key=lambda path: path[:-1]):
        keys = [path[-1] for path in group]
        of_people = parent in (("metadata", "labels"), ("metadata", "annotations"))
        if named := [key for key in keys if of_people or "/" in key]:
            yield f"{'.'.join(parent)}[{', '.join(named)}]"
        yield from (".".join((*parent, key)) for key in keys if key not in named)


def _is_asked(write: Write) -> str:
    if write.resource.startswith("*/"):
        return f"variables.asked.endsWith({_text(write.resource[1:])})"
    return f"variables.asked == {_text(f'{write.group}/{write.resource}')}"


def _allowed(write: Write) -> str:
    """CEL that is true where the request does no more than `write` says."""
    if write.deletes:
        return " && ".join(("request.operation == 'DELETE'", *_about(write.only)))
    return " &&\n".join(
        (
            "request.operation == 'UPDATE'",
            *_about(write.only),
            _only_differ((*write.fields, *(entries.path for entries in write.entries))),
            *map(_others_stay, write.entries),
        )
    )


def _about(only: Only) -> Iterator[str]:
    """Of the object as it is now: what we would write of it cannot let us."""
    if only is Only.OPTED_IN:
        label = f"dyn(oldObject).metadata.?labels[?{_text(CLASS_LABEL)}]"
        yield f"{label}.orValue('') == {_text(layout.AUTO)}"
    if only is Only.BARE:
        owners = "dyn(oldObject).metadata.?ownerReferences.orValue([])"
        yield f"!{owners}.exists(owner, owner.?controller.orValue(false))"


def _only_differ(fields: Iterable[Path]) -> str:
    """Each map on the way to a field, as it is now and as it was, with the keys that may differ in it."""
    may: dict[Path, dict[str, None]] = {}
    for path in (*_KEPT_BY_THE_SERVER, *fields):
        for depth, key in enumerate(path):
            may.setdefault(path[:depth], {})[key] = None
    pairs = ",\n".join(
        f"  {{'now': {_map('object', path)}, 'was': {_map('oldObject', path)}, 'may': dyn({_texts(keys)})}}"
        for path, keys in may.items()
    )
    return _ONLY_THESE_DIFFER.format(pairs=f"[\n{pairs}\n]")


def _others_stay(entries: Entries) -> str:
    now, was = (_others(of, entries) for of in ("object", "oldObject"))
    return f"{now}\n  == {was}"


def _others(of: str, entries: Entries) -> str:
    keyed = f"entry.?key.orValue('') in {_texts(entries.keys)}"
    return f"{_found(of, entries.path)}.orValue([]).filter(entry, !({keyed}))"


def _map(of: str, path: Path) -> str:
    if not path:
        return f"dyn({of})"
    found = f"{_found(of, path)}.orValue({{}})"
    # After an index CEL takes it for a map, and would compare its type with that of the other values.
    return f"dyn({found})" if not _CEL_WORDS.isdisjoint(path) else found


def _found(of: str, path: Path) -> str:
    return f"dyn({of})" + "".join(f"[?{_text(key)}]" if key in _CEL_WORDS else f".?{key}" for key in path)


def _texts(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _text(value: str) -> str:
    """In CEL's quotes, which escape as JSON's do."""
    return "'" + json.dumps(value)[1:-1].replace("'", "\\'") + "'"
