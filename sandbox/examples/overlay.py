"""An example's own objects with what is another on this machine: a kustomize overlay of its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Change:
    """
    Of one object of an example, a field that has another value here.

    Attributes:
        kind, name: Of the object, as its file has them.
        field: Which there is already, such as "spec.triggers.0.metadata.query".
        reason: As a person reads it; the value is printed before it.
    """

    kind: str
    name: str
    field: str
    value: Any
    reason: str

    @property
    def operation(self) -> dict[str, Any]:
        """Of a JSON patch; one that names no field that is there is refused by kustomize."""
        return {"op": "replace", "path": "/" + self.field.replace(".", "/"), "value": self.value}

    def __str__(self) -> str:
        value = " ".join(str(self.value).split())
        return f"here, {self.kind} {self.name} has {self.field}: {value} ({self.reason})"


def write(base: Path, changes: Sequence[Change], folder: Path) -> Path:
    """
    The new folder, to be applied in place of `base`.

    Args:
        base: The example's, with its kustomization.
    """
    folder.mkdir(parents=True)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        # kustomize takes no absolute path.
        "resources": [os.path.relpath(base.resolve(), folder.resolve())],
        "patches": [
            {
                "target": {"kind": change.kind, "name": change.name},
                "patch": json.dumps([change.operation]),
            }
            for change in changes
        ],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization, indent=1))  # JSON is YAML
    return folder
