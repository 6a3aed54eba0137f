"""Where marks of ours are on what tuning changes, and when one says that something was done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from slicewise.kube.json_patch import annotation_path, label_path
from slicewise.kube.labels import (
    CHANGED_ANNOTATION,
    CORDONED_ANNOTATION,
    GIVEN_UP_ANNOTATION,
    ROLLOUT_ANNOTATION,
    TUNING_ANNOTATION,
    WAITED_ANNOTATION,
)
from slicewise.kube.objects import moment
from slicewise.kube.ref import Object
from slicewise.pools import layout

# On a NodePool's own metadata.
ROLLOUT_PATH = annotation_path(ROLLOUT_ANNOTATION)
TUNING_PATH = annotation_path(TUNING_ANNOTATION)
# On Nodes, NodeClaims and NodeOverlays.
CONFIG_PATH = label_path(layout.CONFIG_LABEL)
CHANGED_PATH = annotation_path(CHANGED_ANNOTATION)
CORDONED_PATH = annotation_path(CORDONED_ANNOTATION)
GIVEN_UP_PATH = annotation_path(GIVEN_UP_ANNOTATION)
WAITED_PATH = annotation_path(WAITED_ANNOTATION)


def marked_at(item: Object | None, annotation: str) -> datetime | None:
    """When an annotation of ours says that we relabelled or cordoned; None where it says nothing readable."""
    text: Any = ((item or {}).get("metadata", {}).get("annotations") or {}).get(annotation)
    try:
        at = moment(text)
    except ValueError:
        return None
    return at if at and at.tzinfo else None
