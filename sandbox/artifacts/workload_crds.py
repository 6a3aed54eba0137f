"""The definitions of what users run beside Kubernetes' own kinds, each out of its project's Go module."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.artifacts import go_modules, go_toolchain, versions
from sandbox.artifacts.go_modules import Pinned
from sandbox.artifacts.kept import kept, key


@dataclass(frozen=True)
class Source:
    """
    Attributes:
        prefix: Of the copies' names.
        module: The project's.
        files: Which of its files; a glob.
    """

    prefix: str
    module: Pinned
    files: str


SOURCES = (
    Source(
        "keda-",
        Pinned("github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="),
        "config/crd/bases/keda.sh_scaled*.yaml",
    ),
    Source(
        "argo-",
        Pinned(
            "github.com/argoproj/argo-rollouts",
            "v1.10.2",
            "h1:sEPWsY+HUvnXj3Vh0ejb+GDTceQ/palqhFo2FVQJMk0=",
        ),
        "manifests/crds/rollout-crd.yaml",
    ),
    Source(
        "",
        Pinned("sigs.k8s.io/lws", "v0.8.0", "h1:DdhJ8QabwTfWgbgaHH2gdf8twliioHaoSfmDXRYEVU0="),
        "config/crd/bases/*.yaml",
    ),
    Source(
        "",
        Pinned("sigs.k8s.io/jobset", "v0.10.1", "h1:u8QKifNsrWVrlRFe6w2ofYTqFT9ma2DRHxfeB2m9xyU="),
        "config/components/crd/bases/*.yaml",
    ),
    Source(
        "ray-",
        Pinned(
            "github.com/ray-project/kuberay/ray-operator",
            "v1.5.0",
            "h1:KCjCQ7PSsvs9Ke+90CZbbs498nuaIJ/JkXk4vd54EVg=",
        ),
        "config/crd/bases/*.yaml",
    ),
    Source(
        "kueue-",
        Pinned("sigs.k8s.io/kueue", "v0.17.0", "h1:7hzb38M4eKGzYW+CFv2s1L+swzzacUCHOCXxZmAV90I="),
        "config/components/crd/bases/*.yaml",
    ),
    Source(
        "kserve-",
        Pinned("github.com/kserve/kserve", "v0.16.0", "h1:kDkcAU5VMiZf4zhdDXH+UdAIgzXhs10GMv0d9r4qvTs="),
        # Without schemas, of which the API server makes a megabyte.
        "config/crd/minimal/serving.kserve.io_inferenceservices.yaml",
    ),
    Source(
        "trainer-",
        Pinned("github.com/kubeflow/trainer/v2", "v2.1.0", "h1:jRABD9ZYToamNH2atHze3L/VC/v6KCAqUEqsOQOjVTg="),
        "manifests/base/crds/trainer.kubeflow.org_*.yaml",
    ),
    Source(
        "training-",
        Pinned(
            "github.com/kubeflow/training-operator",
            "v1.9.3",
            "h1:aaSHqskOtCY8Dn8sVd+l9p5XAczW6O0nYMPjVLAw/lc=",
        ),
        "manifests/base/crds/kubeflow.org_pytorchjobs.yaml",
    ),
    Source(
        "slurm-",
        Pinned(
            "github.com/SlinkyProject/slurm-operator",
            "v1.0.0",
            "h1:W7qe+E4Z2ABBKzrSxScijOBwIRYVxMxWrypxlneoWAk=",
        ),
        "config/crd/bases/slinky.slurm.net_nodesets.yaml",
    ),
)
# Raise it when `_copy` names or chooses the files in another way.
RECIPE = 1


def folder(progress: Callable[[str], None] = print) -> Path:
    """
    Where they lie, one a file: `keda-scaledobjects-v2.21.0.yaml`; copied into the cache at the first call
    (20 MB of downloads).

    Raises:
        BuildFailed: A module cannot be had, or is not what was pinned.
    """
    wanted = key(str(RECIPE), *(f"{s.prefix} {s.module} {s.module.sum} {s.files}" for s in SOURCES))
    return kept(f"workload-crds-{wanted}", lambda work: _copy(work, progress), progress)


def _copy(target: Path, progress: Callable[[str], None]) -> None:
    progress(
        "fetching the definitions of KEDA, Argo Rollouts, LeaderWorkerSet, JobSet, KubeRay, Kueue, KServe, "
        "Kubeflow Trainer and Slurm, once"
    )
    go = go_toolchain.install(go_toolchain.choose(versions.chosen().go), progress)
    for source in SOURCES:
        for found in sorted(go_modules.downloaded(go, source.module).glob(source.files)):
            name = f"{source.prefix}{_plural(found)}-{source.module.version}.yaml"
            shutil.copyfile(found, target / name)


def _plural(crd: Path) -> str:
    """Files are named in a way of their own in each project; definitions are not."""
    found = re.search(r"^  name: (\w+)\.", crd.read_text(), re.MULTILINE)
    assert found, f"{crd} is no CustomResourceDefinition"
    return found[1]
