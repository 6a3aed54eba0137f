"""
Container Insights by OpenTelemetry, from dcgm-exporter's page to what a pod is taken to use.

On the way lie what the add-on's agent does with labels (aws-observability/helm-charts, 71a298f,
_otel-container-insights-config.tpl) and CloudWatch's API, as its user guide describes it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from string import Template

import pytest
from slicewise.gateways.cloudwatch_promql import CloudWatchPromQl
from slicewise.model.cluster import Series
from slicewise.tuning.usage.evidence import Grade
from slicewise.tuning.usage.pool_usage import pool_use, read

from tests.fakes.aws.cloudwatch_promql import CloudWatchApi
from tests.support import builders, functions_aws
from tests.support.builders import NOW
from tests.support.tuning.dcgm_samples import EXPOSITIONS, POOL, STEP, VALUES, contents, pod
from tests.support.tuning.series import in_one_piece

OTEL = "container-insights-otel"
DAYS = timedelta(days=1)
ONE_NAMED, BY_POD = "4.4.2-one-pod-named", "after-4.5.3-virtual-gpus"
TWO = contents(pod("a-0"), pod("b-0"))
_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def sent(page, node="n-1"):
    """The agent's processors: pod and namespace are promoted and stay, Hostname and the bus go."""
    for line in page.splitlines():
        if found := _SAMPLE.fullmatch(line):
            name, labels, value = found[1], dict(_LABEL.findall(found[2])), float(found[3])
            for gone in ("Hostname", "pci_bus_id"):
                labels.pop(gone, None)
            promoted = {"pod": "k8s.pod.name", "namespace": "k8s.namespace.name"}
            labels |= {f"@resource.{promoted[key]}": labels[key] for key in promoted if key in labels}
            labels |= {
                "@resource.k8s.cluster.name": "gpu-1",
                "@resource.k8s.node.name": node,
                "@resource.k8s.node.label.karpenter.sh/nodepool": POOL,
                "@instrumentation.@name": "github.com/NVIDIA/dcgm-exporter",
                "@instrumentation.cloudwatch.solution": "k8s-otel-container-insights",
            }
            yield name, labels, value


def measured(monkeypatch, exposition=ONE_NAMED, *, named=("b-0",), days=2, node="n-1", **values):
    """
    A read of so many days, in which a page came every five minutes.

    Args:
        named: The pods that the exporter names in turn, one a page; "" for none. Or a function of the page.
        values: By the exposition's placeholders; a function gets the number of the page.
    """
    text = Template((EXPOSITIONS / f"{exposition}.prom").read_text())
    with CloudWatchApi() as api:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", api.url)
        for page in range(round(days * 288)):
            at = NOW - days * DAYS + page * STEP / 2 + timedelta(seconds=30)
            now = {name: one(page) if callable(one) else one for name, one in {**VALUES, **values}.items()}
            whose = named(page) if callable(named) else named[page % len(named)]
            for name, labels, value in sent(text.substitute(node=node, **now), node):
                if exposition == ONE_NAMED:
                    labels = as_named(labels, whose)
                api.put(name, labels, [(int(at.timestamp()), value)])
        port = CloudWatchPromQl(functions_aws.session(), "eu-west-1")
        return in_one_piece(port.read("gpu-1", NOW - 7 * DAYS, NOW, STEP))


def as_named(labels, whose):
    of_a_pod = {"pod", "@resource.k8s.pod.name"}
    if whose:
        return labels | dict.fromkeys(of_a_pod & labels.keys(), whose)
    of_a_pod |= {"namespace", "container", "@resource.k8s.namespace.name"}
    return {label: value for label, value in labels.items() if label not in of_a_pod}


def use(series, seen=TWO, source=OTEL):
    return pool_use(read(series, source, seen), source, seen, NOW, POOL)


def codes(found):
    return [problem.code for problem in found.problems]


def of(found, name):
    return next(one for one in found.pods if one.name == f"team/{name}")


def memory_of_two(page):
    """Never the same in two pages, so that no pod's peak is another's."""
    return 8000.0 + 10 * (page % 7)


@pytest.mark.parametrize(
    "named", [pytest.param(("a-0", "b-0"), id="in turn"), pytest.param(("b-0",), id="always the same")]
)
def test_a_gpu_whose_series_names_one_of_its_pods_is_shared_out(monkeypatch, named):
    found = use(measured(monkeypatch, named=named, gpu_memory=memory_of_two))

    assert found.grade is Grade.DEVICE
    assert [one.memory_mib for one in found.pods] == [4030, 4030]
    assert found.device_peaks == {"n-1/0": 8060}
    assert of(found, "a-0").days[-1].mean == pytest.approx(0.3)
    assert codes(found) == ["pods-not-told-apart"]
    assert "names only one" in found.problems[0].message
    assert "`source: prometheus`" in found.problems[0].remedy


def test_pods_that_take_turns_on_the_label_are_so_too_where_the_gpu_was_idle_at_times(monkeypatch):
    """A GPU without pods has a series of its own."""

    def named(page):
        return "" if page % 288 < 100 else ("a-0", "b-0")[page % 2]

    found = use(measured(monkeypatch, named=named, gpu_memory=memory_of_two))

    assert found.grade is Grade.DEVICE
    assert [one.memory_mib for one in found.pods] == [4030, 4030]


def test_a_pod_alone_on_its_gpu_is_measured_by_it(monkeypatch):
    found = use(measured(monkeypatch), contents(pod("b-0")))

    assert found.grade is Grade.POD
    assert found.pods[0].memory_mib == 8400
    assert found.pods[0].days[-1].mean == pytest.approx(0.6)
    assert not found.problems


def test_a_pod_that_follows_another_on_the_gpu_is_measured_by_it(monkeypatch):
    """Both are named in the step in which one follows the other, and their memory is no sum."""
    last = contents(pod("b-0", age=1.5 * DAYS - timedelta(minutes=5)))
    series = measured(monkeypatch, named=lambda page: "a-0" if page < 145 else "b-0", gpu_memory=20_000.0)

    found = use(series, last)

    assert found.grade is Grade.POD
    assert found.pods[0].memory_mib == 20_000
    assert found.device_peaks == {"n-1/0": 20_000}
    assert not found.problems


def test_values_by_pod_beside_the_gpus_own_are_taken_as_they_are(monkeypatch):
    """As the exporter has them with KUBERNETES_VIRTUAL_GPUS and hostPID, which the add-on sets not yet."""
    found = use(measured(monkeypatch, BY_POD))

    assert found.grade is Grade.POD
    assert (of(found, "a-0").memory_mib, of(found, "b-0").memory_mib) == (2000, 6000)
    assert found.device_peaks == {"n-1/0": 8400}
    assert not found.problems


def test_values_that_differ_by_pod_are_believed_of_a_prometheus_whose_scrape_drops_the_gpus_own(monkeypatch):
    """Nothing drops series on the way to CloudWatch, so the same ones mean something else there."""
    by_pod = [one for one in measured(monkeypatch, BY_POD) if "pod" in one.labels]
    as_scraped = [
        replace(one, labels={**one.labels, "node": one.labels["@resource.k8s.node.name"]}) for one in by_pod
    ]

    assert use(as_scraped, source="prometheus").grade is Grade.POD
    assert use(by_pod).grade is Grade.DEVICE


def test_attributes_of_a_point_may_come_with_their_prefix(monkeypatch):
    series = measured(monkeypatch, BY_POD)
    spelt_out = [
        replace(
            one,
            labels={
                (key if key[0] == "@" else f"@datapoint.{key}"): text for key, text in one.labels.items()
            },
        )
        for one in series
    ]

    assert use(spelt_out) == use(series)


def test_gpus_of_one_node_are_distinguished(monkeypatch):
    node = builders.node(name="n-1", gpus=2, age=9 * DAYS)
    series = measured(monkeypatch)
    second = [replace(one, labels={**one.labels, "gpu": "1", "UUID": "GPU-9"}) for one in series]

    assert use([*series, *second], contents(pod("b-0"), nodes=[node])).device_peaks == {
        "n-1/0": 8400,
        "n-1/1": 8400,
    }


def test_a_series_without_its_node_is_that_of_its_pod(monkeypatch):
    series = [
        Series(one.name, {k: v for k, v in one.labels.items() if k[0] != "@"}, one.times, one.values)
        for one in measured(monkeypatch)
    ]

    assert use(series, contents(pod("b-0"))).device_peaks == {"n-1/0": 8400}


def test_nothing_measured_is_reported_with_what_the_add_on_must_be_set_to():
    found = use(())

    assert codes(found) == ["no-gpu-metrics"]
    assert "otelContainerInsights.enabled: true" in found.problems[0].remedy


def test_what_the_source_leaves_out_is_reported(monkeypatch):
    series = [replace(one, incomplete="result truncated") for one in measured(monkeypatch)]

    assert codes(use(series, contents(pod("b-0")))) == ["metrics-incomplete"]
