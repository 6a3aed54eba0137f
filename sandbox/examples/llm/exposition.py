"""
Prometheus' text format, version 0.0.4: what vLLM, a gateway and kube-state-metrics say of themselves.

https://prometheus.io/docs/instrumenting/exposition_formats. vLLM's names, types and labels are those of its
engine V1 (vllm/v1/metrics/loggers.py of 0.11.0); of its metrics there are those that
docs/scaling_by_queue.md names, without the KV cache, which is not modelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from slicewise.kube.labels import SLICES_ANNOTATION

from sandbox.examples.llm.fleet import Gateway, Histogram, Server

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
# Of a metric with one name: the end of the sample's name, its labels and its value.
Sample = tuple[str, Mapping[str, str], float]


def server_page(server: Server) -> str:
    """Of one replica: its target's labels say which."""
    labels = {"model_name": MODEL, "engine": "0"}
    return "".join(
        (
            _family(
                "vllm:num_requests_running",
                "gauge",
                "Requests that the server works on.",
                [("", labels, float(server.in_flight))],
            ),
            _family(
                "vllm:num_requests_waiting",
                "gauge",
                "Requests that wait for the server.",
                [("", labels, 0.0)],
            ),
            _family(
                "vllm:time_to_first_token_seconds",
                "histogram",
                "Time to the first token in seconds.",
                _histogram(labels, server.first_token),
            ),
            _family(
                "vllm:e2e_request_latency_seconds",
                "histogram",
                "Time of a whole request in seconds.",
                _histogram(labels, server.whole_request),
            ),
        )
    )


def gateway_page(gateways: Mapping[str, Gateway]) -> str:
    """Of all gateways, by the service that each stands before."""
    pending = [("", {"service": service}, float(len(one.waiting))) for service, one in gateways.items()]
    refused = [("", {"service": service}, float(one.refused)) for service, one in gateways.items()]
    return _family(
        "gateway_requests_pending", "gauge", "Requests that wait for a server.", pending
    ) + _family("gateway_requests_refused_total", "counter", "Requests that found no room to wait.", refused)


def annotations_page(published: Mapping[tuple[str, str], str]) -> str:
    """
    As kube-state-metrics has the annotation of Deployments, where it may show that one.

    Args:
        published: Its value by namespace and name; those that have none are left out.
    """
    label = "annotation_" + SLICES_ANNOTATION.translate(str.maketrans("./-", "___"))
    return _family(
        "kube_deployment_annotations",
        "gauge",
        "Annotations of Deployments as labels.",
        [
            ("", {"namespace": namespace, "deployment": name, label: n}, 1.0)
            for (namespace, name), n in published.items()
        ],
    )


def _family(name: str, kind: str, about: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{end}{_labels(labels)} {value!r}" for end, labels, value in samples]
    return "\n".join(lines) + "\n"


def _histogram(labels: Mapping[str, str], histogram: Histogram) -> Iterator[Sample]:
    for bound, count in zip(histogram.buckets, histogram.counts, strict=True):
        yield "_bucket", {**labels, "le": repr(float(bound))}, float(count)
    yield "_bucket", {**labels, "le": "+Inf"}, float(histogram.count)
    yield "_sum", labels, histogram.sum
    yield "_count", labels, float(histogram.count)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
