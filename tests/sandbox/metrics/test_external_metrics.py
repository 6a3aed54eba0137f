"""
examples/llm-queue without KEDA: hpa.yaml on a real autoscaler, which reads on a real Prometheus the query of
prometheus-adapter.yaml. Prometheus Adapter is stood in for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import yaml

from sandbox.cluster.client import KubeClient, condition
from sandbox.cluster.control_plane import ControlPlane
from sandbox.controllers import samples
from sandbox.metrics import external_metrics
from sandbox.metrics.prometheus import Prometheus
from tests.support.waiting import eventually

pytestmark = pytest.mark.sandbox

FOLDER = Path(__file__).parents[3] / "examples/llm-queue"
HPA = yaml.safe_load((FOLDER / "hpa.yaml").read_text())
[RULE] = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["external"]
METRIC = f"{external_metrics.API}/namespaces/default/llm_load"
REGISTRATION = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    config = {"rule_files": [str(FOLDER / "prometheus-rules.yaml")], "global": {"evaluation_interval": "1s"}}
    with Prometheus.start(tmp_path / "prometheus", config) as server:
        yield server


def serve(prometheus: Prometheus, requests: float, n: int) -> None:
    """For a minute already."""
    of_pod = {"namespace": "default", "pod": "chat-1-a"}
    now = time.time()
    prometheus.put(
        "vllm:num_requests_running", of_pod, [(now - past, requests) for past in range(90, -60, -5)]
    )
    labels = {"namespace": "default", "deployment": "chat", "annotation_slicewise_dev_slices_per_gpu": str(n)}
    prometheus.put("kube_deployment_annotations", labels, [(now, 1.0)])


def test_the_autoscaler_multiplies_the_load_by_n(
    kube: KubeClient, control_plane: ControlPlane, prometheus: Prometheus
):
    serve(prometheus, requests=6.0, n=4)
    deployment = kube.create(samples.deployment("chat", 1))
    hpa = {**HPA, "metadata": {"name": "chat", "namespace": "default"}}
    queries = {RULE["name"]["as"]: RULE["metricsQuery"]}
    with external_metrics.serve(control_plane, prometheus, queries):
        kube.create(hpa)

        eventually(
            lambda: kube.get(kube.path(deployment))["spec"]["replicas"] == 3, lambda: kube.get(kube.path(hpa))
        )
        assert condition(kube.get(kube.path(hpa)), "ScalingActive") == "True"
        assert kube.get(METRIC)["items"][0]["value"] == "24000m"

        for item in (hpa, deployment):
            kube.delete(kube.path(item))

    assert kube.find(REGISTRATION) is None


def test_the_stand_in_answers_the_api_server_alone(
    kube: KubeClient, control_plane: ControlPlane, prometheus: Prometheus
):
    pki = control_plane.pki
    files = {"cert_file": str(pki.front_proxy_certificate), "key_file": str(pki.front_proxy_key)}
    as_api_server = urllib3.PoolManager(ca_certs=str(pki.ca), retries=False, **files)
    as_anyone = urllib3.PoolManager(ca_certs=str(pki.ca), retries=False)
    with external_metrics.serve(control_plane, prometheus, {"one": "vector(1)"}):
        port = kube.get(REGISTRATION)["spec"]["service"]["port"]
        url = f"https://127.0.0.1:{port}{external_metrics.API}/namespaces/default/one"

        assert as_api_server.request("GET", url).json()["items"][0]["value"] == "1000m"
        with pytest.raises(urllib3.exceptions.HTTPError):
            as_anyone.request("GET", url)
