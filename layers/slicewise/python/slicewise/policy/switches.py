"""
Kinds that nights know only because a policy names them: the field that puts an object to sleep. Pure.

A switch is a word about one field of one kind, and must never become a right to write anything else: the kind
is no part of Kubernetes or of what we install, the field is one of `spec` that makes no pod template, or one
annotation, and its schema takes what is written (`wrong_in`). What sleeps by a switch is marked on NodePools
as well, so that it is woken, and the right to wake it stays, where the policy has dropped it by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slicewise.kube import kinds
from slicewise.kube.ref import Object
from slicewise.policy import fields
from slicewise.policy.bounds import Bounds

Path = tuple[str, ...]
Value = bool | int | str
FIELDS = ("group", "kind", "path", "asleep")
MOST = 8
# Kinds of operators that we name ourselves: nights know them (offhours/kinds.py), or do not decide about
# them.
KNOWN = frozenset(kind for kind in kinds.RESOURCES if "." in kind[0])

_GROUP = re.compile(r"(?=.{3,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_OF_SPEC = re.compile(rf"spec(\.{_FIELD.pattern}){{1,6}}")
_OF_ANNOTATION = re.compile(
    r"metadata\.annotations\[((?:[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)\]"
)
_ANNOTATIONS: Path = ("metadata", "annotations")
_TEXT = re.compile(r"[ -~]{1,63}")
_MOST_OF_A_NUMBER = 1_000
_NUMBERS = Bounds(0, _MOST_OF_A_NUMBER, "replicas and the like")
# Kubernetes' own, those of the cluster's machines and GPUs, and ours.
_NOT_OF_WORKLOADS = re.compile(
    r"(.+\.)?(k8s\.io|kubernetes\.io|k8s\.aws|amazonaws\.com|slicewise\.dev)|karpenter\.[a-z.]+|nvidia\.com"
)
_OF_OTHERS = re.compile(r"(.+\.)?(k8s\.io|kubernetes\.io|slicewise\.dev)/.*")
_GROUPS = "write an API group with a dot, such as inference.example.com"
_KINDS = "write a kind as its definition does, such as ModelServer"
_PATHS = "write a field of spec, such as spec.suspend, or metadata.annotations[example.com/stopped]"
_NO_ANNOTATION = "annotations of Kubernetes and of Slicewise are no switches: name one of the operator's"
_TEXTS = 'write a text of 1 to 63 letters, in quotes, such as "true": annotations are texts'
_VALUES = f"write true, false, a whole number from 0 to {_MOST_OF_A_NUMBER:,}, or a text of 1 to 63 letters"
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_MATURITY = {None: 2, "beta": 1, "alpha": 0}


@dataclass(frozen=True)
class Switch:
    """
    Attributes:
        path: Of the field: ("spec", …), or ("metadata", "annotations", key).
        asleep: What is written there for the night.
    """

    group: str = fields.declare(
        fields.Text(_GROUP, _GROUPS, "an API group"), "The API group of an operator's own kind."
    )
    kind: str = fields.declare(fields.Text(_KIND, _KINDS, "a kind"), "The kind, as its definition has it.")
    path: Path = fields.declare(
        fields.Text(
            re.compile(f"{_OF_SPEC.pattern}|{_OF_ANNOTATION.pattern}"), _PATHS, "the path of a field"
        ),
        "The field that puts an object to sleep: of spec, or one annotation.",
    )
    asleep: Value = fields.declare(
        fields.AnyValue(_NUMBERS, _TEXT, _VALUES), "What is written there for the night."
    )

    @property
    def is_annotation(self) -> bool:
        return self.path[:2] == _ANNOTATIONS

    def __str__(self) -> str:
        return f"{self.kind} ({self.group})"


# What a policy, or a mark of ours, says


def of(item: Mapping[str, Any]) -> Switch:
    """`item` has no `problems`."""
    return Switch(item["group"], item["kind"], _path(item["path"]), item["asleep"])


def problems(item: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which field of a switch is wrong, and what to write instead."""
    group, kind, path, asleep = (item.get(field) for field in FIELDS)
    if not isinstance(group, str) or not _GROUP.fullmatch(group):
        yield "group", _GROUPS
    elif _NOT_OF_WORKLOADS.fullmatch(group):
        yield "group", "only kinds that an operator of yours brings have a switch here, none of this group"
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        yield "kind", _KINDS
    elif isinstance(group, str) and (group, kind) in KNOWN:
        yield "kind", "remove it: this kind sleeps by a switch that is known (docs/off-hours.md)"
    way = _path(path)
    if problem := _path_problem(way):
        yield "path", problem
    if problem := _value_problem(asleep, way[:2] == _ANNOTATIONS):
        yield "asleep", problem


def _path(text: Any) -> Path:
    """Empty where it has no form that we know."""
    if not isinstance(text, str):
        return ()
    if found := _OF_ANNOTATION.fullmatch(text):
        return (*_ANNOTATIONS, found[1])
    return tuple(text.split(".")) if _OF_SPEC.fullmatch(text) else ()


def _path_problem(path: Path) -> str:
    if not path:
        return _PATHS
    if path[:2] == _ANNOTATIONS:
        return _NO_ANNOTATION if _OF_OTHERS.fullmatch(path[2]) else ""
    if any("template" in key.lower() for key in path):
        return "what pods are made of is no switch: name the field by which the operator stops its object"
    return ""


def _value_problem(value: Any, of_annotation: bool) -> str:
    is_text = isinstance(value, str) and bool(_TEXT.fullmatch(value))
    if of_annotation:
        return "" if is_text else _TEXTS
    is_number = isinstance(value, int) and 0 <= value <= _MOST_OF_A_NUMBER
    return "" if is_text or is_number else _VALUES


def written(path: Path) -> str:
    """As people write it."""
    return f"metadata.annotations[{path[2]}]" if path[:2] == _ANNOTATIONS else ".".join(path)


def dumped(switches: Iterable[Switch]) -> str:
    """For the mark on NodePools; the same text for the same switches."""
    items = [
        {"group": one.group, "kind": one.kind, "path": written(one.path), "asleep": one.asleep}
        for one in switches
    ]
    texts = sorted({json.dumps(item, sort_keys=True, separators=(",", ":")) for item in items})
    return f"[{','.join(texts)}]"


def read(text: str | None) -> tuple[Switch, ...]:
    """Of such a mark; what is not of our shape, or may be no switch, is left out."""
    try:
        items = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return ()
    items = items if isinstance(items, list) else ()
    return tuple(of(item) for item in items[: 2 * MOST] if isinstance(item, dict) and not any(problems(item)))


# What a cluster has


def definition(crd: Object, switches: Iterable[Switch]) -> Object:
    """Of a CustomResourceDefinition, what is checked of it; its schema may have a megabyte."""
    spec = crd["spec"]
    names = {key: spec["names"][key] for key in ("kind", "plural")}
    paths = [one.path for one in switches if is_of(crd, one)]
    versions = [_checked(version, paths) for version in spec.get("versions") or ()]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": crd["metadata"]["name"]},
        "spec": {"group": spec["group"], "names": names, "scope": spec.get("scope"), "versions": versions},
    }


def is_of(crd: Object, switch: Switch) -> bool:
    spec = crd.get("spec") or {}
    return (spec.get("group"), (spec.get("names") or {}).get("kind")) == (switch.group, switch.kind)


def _checked(version: Object, paths: Iterable[Path]) -> Object:
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    types = {written(path): _type_at(schema, path) for path in paths}
    return {"name": version.get("name"), "served": version.get("served"), "types": types}


# Of a schema, what decides whether a value may be there.
_OF_A_TYPE = ("type", "enum", "minimum", "maximum", "x-kubernetes-int-or-string")


def _type_at(schema: Object, path: Path) -> Object | None:
    """None where nothing may be at the path; empty where the schema takes anything there."""
    if path[:2] == _ANNOTATIONS:
        return {"type": "string"}
    for key in path:
        if key in (schema.get("properties") or {}):
            schema = schema["properties"][key]
        elif isinstance(of_all := schema.get("additionalProperties"), Mapping):
            schema = of_all
        else:
            return {} if schema.get("x-kubernetes-preserve-unknown-fields") else None
    return {key: schema[key] for key in _OF_A_TYPE if key in schema}


def wrong_in(switch: Switch, crd: Object | None) -> str:
    """
    Why a switch cannot work in a cluster, in words; empty where it can.

    Args:
        crd: Its `definition`; None where the cluster has none.
    """
    if crd is None:
        return "the cluster has no definition of this kind"
    if crd["spec"]["scope"] != "Namespaced":
        return "its objects are in no namespace: no pod is below one"
    served = [version for version in crd["spec"]["versions"] if version["served"]]
    if not served:
        return "no version of it is served"
    version = min(served, key=lambda one: priority(one["name"]))
    found = version["types"].get(written(switch.path))
    if found is None:
        return f"its version {version['name']} has no field {written(switch.path)}"
    return _mismatch(switch, found)


def priority(version: str) -> tuple[Any, ...]:
    """Sorts versions as Kubernetes prefers them: v2, v1, v1beta2, v1alpha1, others by name."""
    found = _VERSION.fullmatch(version)
    if not found:
        return 1, version
    return 0, -_MATURITY[found[2]], -int(found[1]), -int(found[3] or 0), version


def _mismatch(switch: Switch, schema: Object) -> str:
    value, where = switch.asleep, written(switch.path)
    if schema.get("x-kubernetes-int-or-string"):
        return "" if not isinstance(value, bool) else f"{where} is a number or a text, not true or false"
    kinds = {bool: ("boolean",), int: ("integer", "number"), str: ("string",)}[type(value)]
    if schema.get("type", kinds[0]) not in kinds:
        return f"{where} is of type {schema['type']}, which {json.dumps(value)} is not"
    if schema.get("enum") and value not in schema["enum"]:
        return f"{where} takes {', '.join(map(json.dumps, schema['enum']))} alone, not {json.dumps(value)}"
    least, most = schema.get("minimum", value), schema.get("maximum", value)
    if isinstance(value, int) and not least <= value <= most:
        return f"{where} takes no {value}: {least} to {most} alone"
    return ""
