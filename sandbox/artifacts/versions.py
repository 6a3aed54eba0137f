"""
Which versions the sandbox runs: the newest pair of Kubernetes and Karpenter that we build, or the oldest.

`SLICEWISE_VERSIONS` (newest or oldest) says which, and is read here alone. The versions themselves stand in
the pair's own module file, which the build reads too, so that nobody can say another one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sandbox.artifacts.go_modules import Pinned

MODULE = Path(__file__).parents[1] / "go"
SWITCH = "SLICEWISE_VERSIONS"
AWS_PROVIDER = "github.com/aws/karpenter-provider-aws"


class UnknownVersions(Exception):
    """Neither "newest" nor "oldest" was asked for."""


@dataclass(frozen=True)
class Versions:
    """
    Attributes:
        name: "newest" or "oldest".
        modules: The pair's go.mod; the checksums lie beside it, in a file that ends in `.sum`.
        tags: Build tags: what differs between the pairs in our own Go.
        kubernetes, karpenter, kwok, etcd: Such as "1.37.2".
        go: The least Go that builds the pair, such as (1, 26, 9).
        aws_provider: Karpenter's AWS provider, of the version that `karpenter` says. Only its charts and CRDs
            are used: as a requirement of our module it would move the versions of others.
    """

    name: str
    modules: Path
    tags: tuple[str, ...]
    kubernetes: str
    karpenter: str
    kwok: str
    etcd: str
    go: tuple[int, ...]
    aws_provider: Pinned

    @property
    def minor(self) -> str:
        """As EKS names it: "1.37"."""
        return ".".join(self.kubernetes.split(".")[:2])

    @property
    def sums(self) -> Path:
        return self.modules.with_suffix(".sum")


def chosen() -> Versions:
    """
    What `SLICEWISE_VERSIONS` says, else the newest.

    Raises:
        UnknownVersions: It says something else.
    """
    return named(os.environ.get(SWITCH) or "newest")


def named(name: str) -> Versions:
    """
    "newest" or "oldest".

    Raises:
        UnknownVersions: Neither of them.
    """
    if name not in PAIRS:
        raise UnknownVersions(f"no versions {name!r}: set {SWITCH} to {' or '.join(PAIRS)}")
    return PAIRS[name]


def read(name: str, modules: Path, tags: tuple[str, ...], aws_provider_sum: str) -> Versions:
    """What a module file says."""
    text = modules.read_text()
    found = dict(re.findall(r"^\t(\S+) v(\S+)", text, re.MULTILINE))
    go = re.search(r"^go (\S+)$", text, re.MULTILINE)
    assert go, f"{modules} says no version of Go"
    return Versions(
        name,
        modules,
        tags,
        kubernetes=found["k8s.io/kubernetes"],
        karpenter=found["sigs.k8s.io/karpenter"],
        kwok=found["sigs.k8s.io/kwok"],
        etcd=found["go.etcd.io/etcd/server/v3"],
        go=tuple(int(part) for part in go[1].split(".")),
        aws_provider=Pinned(AWS_PROVIDER, f"v{found['sigs.k8s.io/karpenter']}", aws_provider_sum),
    )


PAIRS = {
    "newest": read("newest", MODULE / "go.mod", (), "h1:3qnrxRxKHPg9Hd71D7xH4xKxPfmcrB30EFBrMz74mOs="),
    "oldest": read(
        "oldest", MODULE / "oldest.mod", ("oldest",), "h1:WGtIQTQcxpElYMdWfWuPwaF2+9muR+hYhPZsTtoY8Gs="
    ),
}
