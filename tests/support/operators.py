"""A cluster on fakes in which somebody runs a GPU Operator, by helm or by a tool that keeps it as it is."""

from __future__ import annotations

from dataclasses import replace

from slicewise.kube.ref import Ref
from slicewise.model.cluster import Release
from slicewise.pools import layout

from tests.fakes.account import POLICY, Account
from tests.fakes.aws.refusals import as_kept
from tests.fakes.kube.helm import DEFAULTS, rendered

PLACE = ("gpus", "nvidia")
ADOPTS = POLICY + "gpuOperator: {adopt: true}\nmetrics: {source: none}\n"
TEAM = {
    "driver": {"enabled": True, "version": "570.124.06"},
    "daemonsets": {
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]
    },
    "devicePlugin": {"config": {"name": "team-slicing", "default": "any"}},
    "mig": {"strategy": "single"},
}
KEYS = {"any": "version: v1\n# 8\n", "few": "version: v1\n# 2\n"}
THEIRS = Ref("v1", "ConfigMap", "team-slicing", PLACE[1])
OURS = layout.CONFIG_MAP._replace(namespace=PLACE[1])
CLUSTER_POLICY = Ref("nvidia.com/v1", "ClusterPolicy", "cluster-policy")


def occupied(policy: str = ADOPTS, marks=None, by_helm: bool = True) -> Account:
    """
    A cluster with a release of a team's.

    Args:
        marks: Labels and annotations on each of its objects.
        by_helm: Whether helm keeps a record of it.
    """
    account = Account(policy)
    account.create_cluster()
    server = account.servers["gpu-1"]
    server.add_crds("clusterpolicies.nvidia.com")
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PLACE[1]}})
    server.create(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": THEIRS.name, "namespace": THEIRS.namespace},
            "data": KEYS,
        }
    )
    install(account, TEAM, marks, by_helm)
    return account


def install(account: Account, values, marks=None, by_helm: bool = True) -> None:
    """As somebody's helm does it: these values and no others."""
    server, kept = account.servers["gpu-1"], account.releases["gpu-1"].revisions.setdefault(PLACE, [])
    for item in as_kept(rendered("gpu-operator", *PLACE, "v26.7.0", values)):
        for key, more in (marks or {}).items():
            item["metadata"][key] = item["metadata"].get(key, {}) | more
        if not by_helm:
            del item["metadata"]["annotations"]["meta.helm.sh/release-name"]
            del item["metadata"]["annotations"]["meta.helm.sh/release-namespace"]
        server.create(item)
    if by_helm:
        kept[:] = [replace(one, status="superseded") for one in kept]
        number = kept[-1].revision + 1 if kept else 1
        defaults = DEFAULTS["gpu-operator"]
        kept.append(Release(*PLACE, number, "deployed", "gpu-operator", "v26.7.0", values, defaults=defaults))
