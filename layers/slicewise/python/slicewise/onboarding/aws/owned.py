"""What we make in AWS for one cluster: how it is named, and by which mark it is ours. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

from slicewise.kube.labels import CLUSTER_TAG

# As Karpenter's policy reads it, and as EKS Pod Identity names it on its sessions.
CLUSTER_NAME_TAG = "eks-cluster-name"

# Of a role's name (IAM quotas), and of a rule's (EventBridge API reference, PutRule).
_MOST_LETTERS, _DIGEST = 64, 8


class Tagged(Protocol):
    @property
    def tags(self) -> Mapping[str, str]: ...


def name_for(prefix: str, cluster: str) -> str:
    """AWS takes 64 letters, and a cluster's name has up to 100: a long one is cut, and a digest added."""
    whole = prefix + cluster
    if len(whole) <= _MOST_LETTERS:
        return whole
    digest = hashlib.sha256(cluster.encode()).hexdigest()[:_DIGEST]
    return f"{whole[: _MOST_LETTERS - _DIGEST - 1]}-{digest}"


def is_of(cluster_arn: str, thing: Tagged | None) -> bool:
    return thing is not None and thing.tags.get(CLUSTER_TAG) == cluster_arn
