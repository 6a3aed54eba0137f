"""
Reads Container Insights with OpenTelemetry metrics, of the CloudWatch Observability add-on. Pure.

They are dcgm-exporter's own, under its names and in its units, with labels by CloudWatch's rules ("PromQL
querying" in its user guide): an attribute of the resource is "@resource.…", one of the data point is bare or
as "@datapoint.…". What the add-on's chart 6.4.0 does (aws-observability/helm-charts, 71a298f):

* The node is k8s.node.name. Hostname is taken away.
* The exporter, 4.6.0-4.8.3, gets neither KUBERNETES_VIRTUAL_GPUS nor hostPID, and no value of the chart sets
  them: one series a GPU, labelled with the last of its pods as the kubelet lists them.
* It is asked for neither Xid errors nor the engine's counter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from slicewise.model.cluster import Series
from slicewise.tuning.usage import dcgm
from slicewise.tuning.usage.readings import Readings

_NODE, _DATAPOINT = "@resource.k8s.node.name", "@datapoint."


def read(
    series: Iterable[Series],
    nodes: Collection[str],
    node_of: Mapping[tuple[str, str], str],
    *,
    with_gone: bool = False,
) -> Readings:
    """The same as dcgm.read, which does it: only the labels differ, and how much is known of the way here."""
    plain = (replace(one, labels=_plain(one.labels)) for one in series)
    return dcgm.read(plain, nodes, node_of, all_are_kept=True, with_gone=with_gone)


def _plain(labels: Mapping[str, str]) -> dict[str, str]:
    own = {label.removeprefix(_DATAPOINT): value for label, value in labels.items() if label != _NODE}
    return own | ({"node": labels[_NODE]} if _NODE in labels else {})
