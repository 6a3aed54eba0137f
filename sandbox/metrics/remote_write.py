"""
Prometheus' remote write, version 1.0: how series get into a Prometheus with times of the past.

https://prometheus.io/docs/specs/prw/remote_write_spec: protobuf in snappy's block format. The message is four
short ones, declared here: so nothing is generated from Prometheus' files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
# What a scrape writes for a series that its target no longer has: a NaN with bits of its own, which no query
# shows (model/value/value.go, StaleNaN).
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
# Samples in a request, and as many again at most: a receiver takes 32 MiB decoded, and one has 22 bytes.
BATCH = 100_000

_Field = descriptor_pb2.FieldDescriptorProto
_MESSAGES: Mapping[str, Iterable[tuple[str, int, int | str]]] = {
    "Label": (("name", 1, _Field.TYPE_STRING), ("value", 2, _Field.TYPE_STRING)),
    "Sample": (("value", 1, _Field.TYPE_DOUBLE), ("timestamp", 2, _Field.TYPE_INT64)),
    "TimeSeries": (("labels", 1, "Label"), ("samples", 2, "Sample")),
    "WriteRequest": (("timeseries", 1, "TimeSeries"),),
}


@dataclass(frozen=True)
class Samples:
    """
    A series and some of its samples.

    Attributes:
        name: Of the metric.
        points: Second of the epoch (fractions count) and value; any order.
    """

    name: str
    labels: Mapping[str, str]
    points: Iterable[tuple[float, float]]


def bodies(series: Iterable[Samples]) -> Iterator[bytes]:
    """Request bodies that hold all of them, to be sent with `HEADERS`."""
    request, held = _write_request()(), 0
    for one in series:
        points = iter(sorted(one.points))
        while batch := list(islice(points, BATCH)):
            _add(request, one, batch)
            held += len(batch)
            if held >= BATCH:
                yield _body(request)
                request, held = _write_request()(), 0
    if held:
        yield _body(request)


def _add(request: Any, one: Samples, points: Iterable[tuple[float, float]]) -> None:
    series = request.timeseries.add()
    for label, value in sorted({**one.labels, "__name__": one.name}.items()):
        series.labels.add(name=label, value=value)
    for at, value in points:
        series.samples.add(value=value, timestamp=round(at * 1000))


def _body(request: Any) -> bytes:
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


@cache
def _write_request() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            if isinstance(kind, str):
                how = {"type": _Field.TYPE_MESSAGE, "type_name": f".prometheus.{kind}"}
                message.field.add(name=field, number=number, label=_Field.LABEL_REPEATED, **how)
            else:
                message.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL, type=kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))
