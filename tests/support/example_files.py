"""What `kubectl apply -k` applies of each example, read without kubectl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sandbox.libyaml import LOADER

ROOT = Path(__file__).parents[2]
# Of each example, and of what one offers in place of its own files, which runs under the same policy.
EXAMPLES = sorted(file.parent for file in (ROOT / "examples").glob("*/kustomization.yaml"))
FOLDERS = [*EXAMPLES, ROOT / "examples/llm-queue/nim"]
Object = dict[str, Any]


def objects(folder: Path) -> list[Object]:
    """With the namespace of the kustomization; what it generates is left out."""
    kustomization = yaml.load((folder / "kustomization.yaml").read_text(), LOADER)
    namespace = {"namespace": kustomization["namespace"]}
    return [
        {**item, "metadata": {**namespace, **item["metadata"]}}
        for name in kustomization.get("resources", ())
        for item in yaml.load_all((folder / name).read_text(), LOADER)
    ]


def policy_text(folder: Path) -> str:
    """Of the example that the folder is, or is of."""
    [own, *_] = [file for file in (folder / "policy.yaml", folder.parent / "policy.yaml") if file.exists()]
    return own.read_text()


def is_of_kubernetes(item: Object) -> bool:
    """Whether the kind is Kubernetes' own, and not one of another project's CustomResourceDefinition."""
    group = item["apiVersion"].rpartition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and not group.endswith(".x-k8s.io"))


def pod_specs(item: Any) -> list[Object]:
    """Every pod spec in it, wherever its kind has it: what has containers."""
    if isinstance(item, list):
        return [spec for part in item for spec in pod_specs(part)]
    if not isinstance(item, dict):
        return []
    own = [item] if isinstance(item.get("containers"), list) else []
    return own + [spec for part in item.values() for spec in pod_specs(part)]
