"""What we write into spec.disruption, on the real Karpenter: accepted, kept as it is, and obeyed."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from slicewise.gateways.kubernetes import KubernetesApi
from slicewise.model.cluster import ClusterContents
from slicewise.pools import layout
from slicewise.tuning.consolidation import plan as consolidation
from slicewise.tuning.state.pool_state import pool_states

from sandbox.cluster import samples
from sandbox.cluster.control_plane import ControlPlane
from sandbox.gpus.gpu_nodes import GpuNodes
from tests.sandbox.system_fixtures import NODES, PODS, asking_pods, eventually
from tests.support import builders

pytestmark = pytest.mark.sandbox

KWOK = "nodeClass: {group: karpenter.kwok.sh, kind: KWOKNodeClass, name: default, create: false}"
POOLS = (
    "{hours: {sharing: time-slicing, gpus: [l4], replicas: {start: 4, max: 8}, maxGpus: 16, gpuCounts: [1]}}"
)
NAME = "slicewise-hours-l4"
DELETED_LAST = "controller.kubernetes.io/pod-deletion-cost"
WEEK = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def policy(text: str):
    return builders.policy(POOLS, KWOK, f"consolidation: {text}")


@pytest.fixture
def api(control_plane: ControlPlane) -> Iterator[KubernetesApi]:
    """With the pool's NodePool and overlays in the cluster, and GPUs on its nodes."""
    kube, plain = control_plane.kube, policy("{after: 5s}")
    pool = plain.pools[0]
    kube.apply(samples.node_class())
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gpu-operator"}})
    kube.apply(layout.config_map({}))
    for overlay in layout.overlays(pool, pool.models()[0], 4, layout.overlay_weights(plain)):
        kube.apply(overlay)
    kube.apply(layout.node_pool(plain, pool, pool.models()[0], 4))
    ca = base64.b64encode(control_plane.ca_pem).decode()
    with GpuNodes(kube, delay_seconds=0.2, requires_cluster_policy=False):
        yield KubernetesApi(control_plane.url, ca, lambda: control_plane.admin_token)
        kube.delete("/apis/apps/v1/namespaces/default/deployments/hours", missing_ok=True)
        kube.delete(f"/apis/karpenter.sh/v1/nodepools/{NAME}")
    kube.delete(f"/apis/karpenter.sh/v1alpha1/nodeoverlays/{NAME}-1")
    kube.delete("/api/v1/namespaces/gpu-operator/configmaps/slicewise-device-plugin")


def have(api: KubernetesApi, text: str, now: datetime) -> int:
    """Bring the live NodePool to a policy, as a tune pass does; how many writes that took."""
    chosen = policy(text)
    contents = ClusterContents("", node_pools=api.list("karpenter.sh/v1", "NodePool"))
    (state,) = pool_states(contents, chosen)
    found = consolidation.wanted(chosen, state, (), False, now)
    actions = consolidation.actions(state, found, now)
    for action in actions:
        api.patch(action.ref, action.operations)
    return len(actions)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Auckland"])
@pytest.mark.parametrize("day", ["2026-03-26", "2026-10-01", "2026-10-22", "2026-12-01"])
def test_budgets_are_accepted_and_a_second_reconcile_changes_nothing(
    api: KubernetesApi, zone: str, day: str
) -> None:
    now = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    hours = '["Mon-Fri 08:00-18:00", "Sat 22:30-06:15", "Sun"]'
    text = f'{{policy: Balanced, businessHours: {{timeZone: {zone}, hours: {hours}, nodes: "5%"}}}}'

    assert have(api, text, now) == 1
    time.sleep(0.5)  # Karpenter has written its own part by then
    assert have(api, text, now) == 0


def whole_day(now: datetime, days: int) -> str:
    """Business hours: a whole day somewhere on Earth where it is not the day that it is in UTC."""
    zone = "Pacific/Kiritimati" if now.hour >= 10 else "Pacific/Honolulu"
    local = now.astimezone(ZoneInfo(zone))
    assert local.weekday() != now.weekday()
    day = WEEK[(local.weekday() + days) % 7]
    return f"{{after: 5s, businessHours: {{timeZone: {zone}, hours: [{day}]}}}}"


def test_within_business_hours_karpenter_moves_no_pod_and_lets_empty_nodes_go(
    api: KubernetesApi, control_plane: ControlPlane
) -> None:
    kube, now = control_plane.kube, datetime.now(UTC)
    if (now + timedelta(minutes=6)).astimezone(UTC).date() != now.date() or now.hour == 9:
        pytest.skip("the day ends within this test, here or in the zone that it uses")

    def nodes() -> set[str]:
        found = kube.list(NODES, labelSelector=f"karpenter.sh/nodepool={NAME}")
        return {node["metadata"]["name"] for node in found}

    def holding() -> set[str]:
        pods = kube.list(PODS, labelSelector="app=hours")
        return {p["spec"].get("nodeName", "") for p in pods if p["status"].get("phase") == "Running"}

    def scale(replicas: int) -> None:
        kube.apply(asking_pods("hours", replicas, "hours"))
        eventually(lambda: len(kube.list(PODS, labelSelector="app=hours")) == replicas, "pods come or go")

    have(api, whole_day(now, 0), now)
    scale(5)
    eventually(lambda: len(holding()) == 2 == len(nodes()), lambda: f"{nodes()} hold {holding()}")

    stay = {
        pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in kube.list(PODS, labelSelector="app=hours")
    }
    for pod in stay.values():
        kube.merge(f"{PODS}/{pod}", {"metadata": {"annotations": {DELETED_LAST: "1"}}})
    scale(2)  # one a node
    both = nodes()
    assert len(holding()) == 2
    assert stays(lambda: nodes() == both, seconds=45), "a node with a pod went within business hours"

    have(api, whole_day(now, 3), now)
    eventually(lambda: len(nodes()) == 1, "nothing was consolidated outside business hours")

    have(api, whole_day(now, 0), now)
    scale(0)
    eventually(lambda: not nodes(), "an empty node stayed within business hours")


def stays(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not true():
            return False
        time.sleep(0.5)
    return True
