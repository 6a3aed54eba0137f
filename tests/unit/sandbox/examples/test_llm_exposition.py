"""Prometheus' text format, read back by its grammar: vLLM's pages and the others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sandbox.examples.llm import exposition
from sandbox.examples.llm.fleet import Gateway, Server
from sandbox.examples.llm.gpu_time import Cost, Request

NAME, LABEL = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\n"])*"'
SAMPLE = re.compile(rf"({NAME})\{{({LABEL}(?:,{LABEL})*)\}} (\S+)")
PARTS = {"histogram": ("_bucket", "_sum", "_count")}


@dataclass
class Family:
    kind: str
    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list)


def parsed(page: str) -> dict[str, Family]:
    """As a scraper reads it: each sample below the type of its family."""
    assert page.endswith("\n")
    found: dict[str, Family] = {}
    lines = page.splitlines()
    while lines:
        words = lines.pop(0).split(" ", 3)
        assert words[:2] == ["#", "HELP"] and words[2] not in found and words[3]
        _, says, name, kind = lines.pop(0).split(" ")
        assert (says, name) == ("TYPE", words[2])
        family = found[name] = Family(kind)
        while lines and not lines[0].startswith("#"):
            sample = SAMPLE.fullmatch(lines.pop(0))
            assert sample
            assert sample[1] in [name + part for part in PARTS.get(kind, ("",))]
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample[2]))
            family.samples.append((sample[1], labels, float(sample[3])))
    return found


def a_server() -> Server:
    server = Server("n-1", in_flight=3)
    for seconds in (0.25, 0.4, 9.0):
        server.whole_request.observe(seconds)
        server.first_token.observe(seconds / 10)
    return server


def test_a_server_has_vllms_names_types_and_labels():
    found = parsed(exposition.server_page(a_server()))

    assert {name: family.kind for name, family in found.items()} == {
        "vllm:num_requests_running": "gauge",
        "vllm:num_requests_waiting": "gauge",
        "vllm:time_to_first_token_seconds": "histogram",
        "vllm:e2e_request_latency_seconds": "histogram",
    }
    for family in found.values():
        assert all({"model_name", "engine"} <= labels.keys() for _, labels, _ in family.samples)
    assert [value for _, _, value in found["vllm:num_requests_running"].samples] == [3.0]


def test_a_histogram_has_vllms_buckets_its_sum_and_its_count():
    samples = parsed(exposition.server_page(a_server()))["vllm:e2e_request_latency_seconds"].samples
    buckets = {labels["le"]: value for name, labels, value in samples if name.endswith("_bucket")}

    assert [*buckets][:4] == ["0.3", "0.5", "0.8", "1.0"] and [*buckets][-2:] == ["7680.0", "+Inf"]
    assert (buckets["0.3"], buckets["0.5"], buckets["5.0"], buckets["10.0"], buckets["+Inf"]) == (
        1,
        2,
        2,
        3,
        3,
    )
    assert [value for name, _, value in samples if not name.endswith("_bucket")] == [9.65, 3.0]


def test_a_gateway_has_what_waits_and_what_it_refused_by_service():
    chat, plain = Gateway(Cost((1.0,)), 6, 8), Gateway(Cost((1.0,)), 6, 8)
    chat.waiting += [Request(0.0, chat.cost), Request(0.0, chat.cost)]
    plain.refused = 5

    found = parsed(exposition.gateway_page({"chat": chat, "plain": plain}))

    pending, refused = found["gateway_requests_pending"], found["gateway_requests_refused_total"]
    assert (pending.kind, refused.kind) == ("gauge", "counter")
    assert [(labels["service"], value) for _, labels, value in pending.samples] == [("chat", 2), ("plain", 0)]
    assert [(labels["service"], value) for _, labels, value in refused.samples] == [("chat", 0), ("plain", 5)]


def test_n_is_reported_as_kube_state_metrics_reports_the_annotation():
    found = parsed(exposition.annotations_page({("llm", "chat"): "3"}))["kube_deployment_annotations"]

    labels = {"namespace": "llm", "deployment": "chat", "annotation_slicewise_dev_slices_per_gpu": "3"}
    assert found.samples == [("kube_deployment_annotations", labels, 1.0)]
    assert not parsed(exposition.annotations_page({}))["kube_deployment_annotations"].samples


def test_a_label_with_quotes_is_read_as_it_was():
    page = exposition.annotations_page({("llm", 'a"b\\c\nd'): "1"})

    [(_, labels, _)] = parsed(page)["kube_deployment_annotations"].samples
    assert labels["deployment"] == r"a\"b\\c\nd"
