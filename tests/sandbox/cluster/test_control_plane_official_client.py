"""The project's own clients are small; Kubernetes' official one must see the same cluster."""

from __future__ import annotations

import pytest
from kubernetes import client, config, dynamic

from sandbox.cluster import samples
from sandbox.cluster.control_plane import ControlPlane

pytestmark = pytest.mark.sandbox


def test_the_official_client_reads_by_our_kubeconfig_what_our_client_wrote(control_plane: ControlPlane):
    pool = samples.node_pool("official", key="ts-4")
    control_plane.kube.apply(pool)
    try:
        api = dynamic.DynamicClient(config.new_client_from_config(str(control_plane.kubeconfig)))
        pools = api.resources.get(api_version="karpenter.sh/v1", kind="NodePool")
        found = pools.get(name="official").to_dict()
        assert found["spec"]["template"]["spec"]["taints"] == pool["spec"]["template"]["spec"]["taints"]
        with pytest.raises(client.ApiException) as refused:
            pools.create({**pool, "metadata": {"name": "Not A Name"}})
        assert refused.value.status == 422
    finally:
        control_plane.kube.delete("/apis/karpenter.sh/v1/nodepools/official")
