"""The definitions of what users scale beside Kubernetes' own: KEDA, Argo Rollouts and LeaderWorkerSet."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from sandbox.artifacts import workload_crds
from sandbox.cluster.client import KubeClient
from sandbox.libyaml import LOADER
from tests.support.waiting import eventually

# What off-hours scales. More lie beside them ("kueue-*", "ray-*", "jobsets-*"), and each costs a second.
SCALED = ("keda-*", "argo-rollouts-*", "leaderworkersets-*")
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def serve(kube: KubeClient, *files: str) -> None:
    """Have an API server serve those of `files` (globs), else of SCALED; what it serves already is left."""
    crds = definitions(*(files or SCALED))
    for crd in crds:
        if kube.find(f"{_CRD}/{crd['metadata']['name']}") is None:
            kube.create(crd)
    for crd in crds:
        spec = crd["spec"]
        version = next(version["name"] for version in spec["versions"] if version["served"])
        served = f"{spec['group']}/{version}", spec["names"]["kind"]
        eventually(lambda served=served: kube.serves(*served), f"{served} is not served")


@cache
def definitions(*files: str) -> tuple[dict[str, Any], ...]:
    """Those in `files` (globs), to be read alone."""
    folder = workload_crds.folder()
    paths = [path for glob in files for path in sorted(folder.glob(glob))]
    assert paths, f"no definitions are named {files}"
    return tuple(crd for path in paths for crd in yaml.load_all(path.read_text(), LOADER) if crd)
