"""The API schemas of Kubernetes that EKS still offers and that are older than what is built and run here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from sandbox.artifacts import go_modules, go_toolchain, versions
from sandbox.artifacts.go_modules import Pinned
from sandbox.artifacts.kept import kept, key

# By EKS's release calendar on 29 November 2026 (docs/supported_versions.md has its dates), each with the last
# patch that is published as a Go module.
OLDER = {
    "1.32": Pinned("k8s.io/kubernetes", "v1.32.13", "h1:5TGYdZ6YZqdp6h/Rp1vX/4TIoybMPdgv97LCZCtPuNQ="),
    "1.33": Pinned("k8s.io/kubernetes", "v1.33.13", "h1:bmH31xUdSzeA5vk0wZAK9MZp11mdLuzUSeKk0qN3hPQ="),
    "1.34": Pinned("k8s.io/kubernetes", "v1.34.4", "h1:Yy6R4QB8C9kJPp25GFqEvX5XQwY5qzKeqD0Xx6oAcmk="),
}
# What our objects and examples belong to.
GROUPS = (
    *("api__v1", "apis__apps__v1", "apis__batch__v1", "apis__autoscaling__v2", "apis__policy__v1"),
    *("apis__admissionregistration.k8s.io__v1", "apis__rbac.authorization.k8s.io__v1"),
)
RECIPE = 1


def folder(progress: Callable[[str], None] = print) -> Path:
    """
    OpenAPI v3 documents, `1.32/apis__apps__v1.json` and so on; copied into the cache at the first call
    (54 MB of downloads).

    Raises:
        BuildFailed: A module cannot be had, or is not what was pinned.
    """
    wanted = key(str(RECIPE), *GROUPS, *(f"{module} {module.sum}" for module in OLDER.values()))
    return kept(f"api-schemas-{wanted}", lambda work: _copy(work, progress), progress)


def _copy(target: Path, progress: Callable[[str], None]) -> None:
    progress(f"fetching the API schemas of Kubernetes {', '.join(OLDER)}, once")
    go = go_toolchain.install(go_toolchain.choose(versions.chosen().go), progress)
    for minor, module in OLDER.items():
        documents = go_modules.downloaded(go, module) / "api/openapi-spec/v3"
        (target / minor).mkdir()
        for group in GROUPS:
            shutil.copyfile(documents / f"{group}_openapi.json", target / minor / f"{group}.json")
