"""The definitions of what users scale beside Kubernetes' own: KEDA, Argo Rollouts and LeaderWorkerSet."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.kube import KubeClient
from tests.waiting import eventually

FOLDER = Path(__file__).parents[2] / "shared" / "charts" / "crds"
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def serve(kube: KubeClient, files: str = "*.yaml") -> None:
    """Have an API server serve them; those that it serves already are left."""
    if not FOLDER.is_dir():
        pytest.skip(
            "the definitions of KEDA, Argo Rollouts and LeaderWorkerSet are not in ../shared/charts/crds"
        )
    for crd in _definitions(files):
        if kube.find(f"{_CRD}/{crd['metadata']['name']}") is None:
            kube.create(crd)
    for crd in _definitions(files):
        spec = crd["spec"]
        version = next(version["name"] for version in spec["versions"] if version["served"])
        served = f"{spec['group']}/{version}", spec["names"]["kind"]
        eventually(lambda served=served: kube.serves(*served), f"{served} is not served")


@cache
def _definitions(files: str) -> tuple[dict[str, Any], ...]:
    # Two megabytes: half a minute without libyaml.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = (yaml.load_all(path.read_text(), loader) for path in sorted(FOLDER.glob(files)))
    return tuple(crd for documents in found for crd in documents if crd)
