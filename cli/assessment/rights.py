"""The rights that an assessment needs in a cluster, as a ClusterRole. It writes nothing. Pure."""

from __future__ import annotations

import json

from slicewise.kube import kinds

NAME = "slicewise-assess"
# Each with the one verb: `list`.
_RULES = (("", "nodes"), ("", "pods"), ("karpenter.sh", "nodepools"))


def cluster_role() -> dict[str, object]:
    return {
        "apiVersion": kinds.CLUSTER_ROLE.api_version,
        "kind": kinds.CLUSTER_ROLE.kind,
        "metadata": {"name": NAME},
        "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": ["list"]} for group, resource in _RULES
        ],
    }


def text() -> str:
    """To be piped into kubectl apply; JSON is YAML."""
    return json.dumps(cluster_role(), indent=2)
