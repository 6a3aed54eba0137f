"""Container Insights with OpenTelemetry metrics, read through CloudWatch's Prometheus-compatible API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from botocore.session import Session

from slicewise.errors import Refused
from slicewise.gateways.botocore_clients import client
from slicewise.gateways.prometheus import PrometheusMetrics
from slicewise.gateways.prometheus_answers import WholeAnswer

# What a step's point is, by name: a peak of memory is not averaged.
_WANTED = {"DCGM_FI_DEV_FB_USED": "max_over_time", "DCGM_FI_DEV_GPU_UTIL": "avg_over_time"}
# A series has up to 150 labels, those of its node and of its pod among them. These show whose it is.
_KEPT = ('"@resource.k8s.node.name"', "UUID", "gpu", "GPU_I_ID", "modelName", "namespace", "pod")
# Of an answer; of more it has some, and a warning.
MOST_SERIES = 500
_HEX = "0123456789abcdef"
# Digits of a part: 4,096 parts, so that 10,000 GPUs leave each a few.
_DEEPEST = 3
_REMEDY = (
    "Where CloudWatch has no PromQL in this Region (docs/metrics.md), write `source: container-insights` or "
    "`prometheus` in the policy; the tuner's role needs cloudwatch:GetMetricData and cloudwatch:ListMetrics"
)


class CloudWatchPromQl(PrometheusMetrics):
    """
    Implements ports.Metrics with POST https://monitoring.<Region>.amazonaws.com/api/v1/query_range, whose
    requests are signed for the service `monitoring`.

    An answer has 500 series at most. One that is full is asked for again in parts, by the GPUs' UUIDs, which
    are random numbers. Limits and codes: CloudWatch's user guide, "PromQL limits and restrictions".
    """

    _signed_for = "monitoring"
    # 429: the account runs 30 queries already. 422: it asked 300 times in a second, or a query was cut off
    # after 20 seconds, or had too much to scan.
    _busy = frozenset({422, 429})

    def __init__(self, session: Session, region: str):
        super().__init__(client("cloudwatch", session, region).meta.endpoint_url, session)
        self._names = tuple(_WANTED)
        self._region = region

    def _answers(
        self, name: str, cluster: str, window: Mapping[str, int], digits: str = ""
    ) -> Iterator[WholeAnswer]:
        """Whole ones, as far as they can be asked for in parts; `digits` begin the UUIDs of this part."""
        of_part = f',UUID=~"GPU-{digits}.*"' if digits else ""
        answer = self._whole({"query": _query(name, cluster, window["step"], of_part), **window})
        if not _is_cut(answer) or len(digits) == _DEEPEST:
            yield _checked(answer)
            return
        for digit in _HEX:
            yield from self._answers(name, cluster, window, digits + digit)
        if not digits:
            others = f',UUID!~"GPU-[{_HEX}].*"'
            yield _checked(self._whole({"query": _query(name, cluster, window["step"], others), **window}))

    def _whole(self, form: Mapping[str, Any]) -> WholeAnswer:
        try:
            return WholeAnswer.of(self._post(form))
        except Refused as error:
            raise Refused(f"{error}. {_REMEDY}") from error


def _query(name: str, cluster: str, seconds: int, of_part: str) -> str:
    series = f'{name}{{"@resource.k8s.cluster.name"="{cluster}"{of_part}}}'
    return f"max by ({','.join(_KEPT)}) ({_WANTED[name]}({series}[{seconds}s]))"


def _is_cut(answer: WholeAnswer) -> bool:
    return any("truncated" in warning for warning in answer.warnings) or len(answer.series) >= MOST_SERIES


def _checked(answer: WholeAnswer) -> WholeAnswer:
    """A full answer is reported to the caller, also where CloudWatch does not warn."""
    if _is_cut(answer) and not answer.warnings:
        return replace(answer, warnings=[f"an answer had {MOST_SERIES} series, and there may be more"])
    return answer
