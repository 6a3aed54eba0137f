"""
What an API server refuses of an object's metadata and size, whatever its kind.

Sources: apimachinery's validation (labels, annotations, names), the API server's limit of a request's body,
and the validation of ConfigMaps; the contract holds them against a real one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from slicewise.errors import Refused
from slicewise.kube.ref import Object, ref_of

ANNOTATIONS = 256 * 1024
BODY = 3 * 1024 * 1024
CONFIG_MAP = 1024 * 1024
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(_SUBDOMAIN)
_KEY = re.compile(rf"({_SUBDOMAIN}/)?{_PART}")
_VALUE = re.compile(rf"({_PART})?")


def check(item: Object) -> None:
    """
    Raises:
        Refused: No API server would keep it.
    """
    if found := next(_problems(item), None):
        raise Refused(f"422: {ref_of(item)} is invalid: {found}")


def check_metadata(metadata: Any) -> None:
    if found := next(_of_metadata(metadata), None):
        raise Refused(f"422: {metadata.get('name')} is invalid: {found}")


def check_selector_value(value: str) -> None:
    if not _VALUE.fullmatch(value):
        raise Refused(f"400: unable to parse the selector: {value[:80]!r} is no label's value")


def _problems(item: Object) -> Iterator[str]:
    ref = ref_of(item)
    named_freely = ref.api_version.startswith("rbac.")  # their names may be "system:node"
    if len(ref.name) > 253 or not (named_freely or _NAME.fullmatch(ref.name)):
        yield f"metadata.name: {ref.name[:80]!r}"
    yield from _of_metadata(item["metadata"])
    if ref.kind == "ConfigMap" and _size(item.get("data")) > CONFIG_MAP:
        yield f"data: at most {CONFIG_MAP} bytes"
    # A letter has four bytes at most: what is far from too large need not be counted.
    if len(repr(item)) * 4 > BODY and _size(item) > BODY:
        yield f"the request is larger than {BODY} bytes"


def _of_metadata(metadata: Any) -> Iterator[str]:
    annotations = metadata.get("annotations") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS:
        yield f"metadata.annotations: at most {ANNOTATIONS} bytes together"
    labels = metadata.get("labels") or {}
    for key in (*annotations, *labels):
        if not _KEY.fullmatch(key):
            yield f"metadata: {key[:80]!r} is no key of labels or annotations"
    for value in labels.values():
        if not _VALUE.fullmatch(value):
            yield f"metadata.labels: {value[:80]!r} is no label's value"


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())
