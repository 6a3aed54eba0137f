"""When an annotation of ours says that something was done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from slicewise.kube.objects import moment
from slicewise.kube.ref import Object


def marked_at(item: Object | None, annotation: str) -> datetime | None:
    """When an annotation of ours says that we relabelled or cordoned; None where it says nothing readable."""
    text: Any = ((item or {}).get("metadata", {}).get("annotations") or {}).get(annotation)
    try:
        at = moment(text)
    except ValueError:
        return None
    return at if at and at.tzinfo else None
