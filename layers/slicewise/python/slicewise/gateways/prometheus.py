"""DCGM's series, read from a Prometheus-compatible API: a plain one, or Amazon Managed Prometheus."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from botocore.session import Session

from slicewise.errors import Refused, Unavailable
from slicewise.gateways.prometheus_answers import Answer, WholeAnswer
from slicewise.hardware.gpus import DECODERS, ENCODERS
from slicewise.model.cluster import Series, only_the_last
from slicewise.model.spans import DAY, HOUR

# What a step's point is, by name. The last Xid, for a change of it is news; a peak of memory is not averaged.
_WANTED = {
    "DCGM_FI_DEV_FB_USED": "max_over_time",
    "DCGM_FI_DEV_GPU_UTIL": "avg_over_time",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": "avg_over_time",
    "DCGM_FI_DEV_XID_ERRORS": "last_over_time",
}
# What GPUs' encoders and decoders do, by kind; read only of clusters whose policy shares a GPU that has them.
_VIDEO = {ENCODERS: "DCGM_FI_DEV_ENC_UTIL", DECODERS: "DCGM_FI_DEV_DEC_UTIL"}
# Of these the exporter repeats the GPU's value for each of its pods, of the others it may distinguish pods.
_OF_A_GPU = frozenset({"DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_XID_ERRORS"})
# Labels that distinguish nodes, GPUs and pods; a series has as many others again.
_GPU_LABELS = (
    *("Hostname", "hostname", "node", "nodename", "kubernetes_node", "k8s_node_name", "instance"),
    *("gpu", "device", "UUID", "GPU_I_ID", "modelName"),
)
_POD_LABELS = (
    *("pod", "namespace", "pod_name", "pod_namespace"),
    *("exported_pod", "exported_namespace"),
)
# How people name the cluster in a Prometheus of several; series without any of them are this cluster's.
_CLUSTER_LABELS = ("cluster", "cluster_name", "k8s_cluster_name", "eks_cluster")
# A range query of more steps is refused (web/api/v1 of Prometheus: "exceeded maximum resolution").
MAX_STEPS = 11_000
# Those of a reconcile, by the time that it takes to go through them: a minute in a function of 512 MB.
MAX_POINTS = 1_500_000
# Of one answer, which is not kept in memory: only so that one without an end ends.
MAX_BYTES = 512 * 1024 * 1024
_CHUNK = 128 * 1024
_TIMEOUT = urllib3.Timeout(connect=5, read=60)


class PrometheusMetrics:
    """
    Implements ports.Metrics with POST …/api/v1/query_range.

    Args:
        endpoint: Such as "http://prometheus.example.com:9090", or a workspace of Amazon Managed Prometheus,
            "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-…" or a VPC endpoint of it, whose
            requests are signed with the session's credentials (aps:QueryMetrics).
        video: What is read as well, of hardware.gpus.VIDEO_KINDS.
    """

    _signed_for = "aps"
    # Answers that come and go, beside those of a server at fault.
    _busy = frozenset({429})

    def __init__(self, endpoint: str, session: Session, video: Iterable[str] = ()):
        self._names = (*_WANTED, *(_VIDEO[kind] for kind in video))
        self._url = endpoint.partition("/api/v1")[0].rstrip("/") + "/api/v1/query_range"
        self._session = session
        self._region = _region_of(urlsplit(endpoint).hostname or "")
        self._http = urllib3.PoolManager(retries=False)

    def read(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> Iterator[Series]:
        """The newest hour first, which shows for how many more there is room; two hours are read at once."""
        middle, count = start if end - start <= 2 * HOUR else end - HOUR, 0
        for series in self._all(cluster, middle, end, step):
            count += bool(series.times)
            yield series
        if middle == start:
            return
        begin, why = _affordable(start, middle, step, count)
        if begin < middle:
            yield from self._all(cluster, begin, middle, step)
        if why:
            yield Series("", {}, (), (), why)

    def _all(self, cluster: str, start: datetime, end: datetime, step: timedelta) -> Iterator[Series]:
        for first, last in _pieces(start, end, step):
            for name in self._names:
                yield from self._range(name, cluster, first, last, step)

    def _range(
        self, name: str, cluster: str, start: datetime, end: datetime, step: timedelta
    ) -> Iterator[Series]:
        seconds = int(step.total_seconds())
        # A point covers the step before it: the first ends one step after `start`.
        first = (int(start.timestamp()) // seconds + 1) * seconds
        last = int(end.timestamp()) // seconds * seconds
        if last < first:
            return
        for answer in self._answers(name, cluster, {"start": first, "end": last, "step": seconds}):
            ends: tuple[int, ...] = ()
            for found in answer:
                if not found["values"]:
                    continue
                at, texts = zip(*found["values"], strict=True)
                if at != ends:  # most series of an answer have the same times
                    # A point at t covers what is before it; ours have the time at which that begins.
                    ends, times = at, tuple(int(end) - seconds for end in at)
                labels = {label: value for label, value in found["metric"].items() if label != "__name__"}
                yield Series(name, labels, times, tuple(map(float, texts)))
            if answer.warnings:
                yield Series(name, {}, (), (), "; ".join(answer.warnings))

    def _answers(self, name: str, cluster: str, window: Mapping[str, int]) -> Iterator[Answer | WholeAnswer]:
        yield self._post({"query": _query(name, cluster, window["step"]), **window})

    def _post(self, form: Mapping[str, Any]) -> Answer:
        """
        Its series raise as this does, since they are still to come when it returns.

        Raises:
            Unavailable, Refused.
        """
        body = urlencode(form)
        what = f"{form['query']} of {self._url}"
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "gzip"}
        try:
            answer = self._http.request(
                "POST",
                self._url,
                body=body,
                headers=self._signed(body, headers),
                timeout=_TIMEOUT,
                preload_content=False,
            )
            if answer.status != 200:
                message = f"{what}: {answer.status} {answer.read(decode_content=True)[:300]!r}"
                is_busy = answer.status in self._busy or answer.status >= 500
                raise Unavailable(message) if is_busy else Refused(message)
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"{what}: out of reach ({type(error).__name__})") from error
        return _Arriving(answer, what)

    def _signed(self, body: str, headers: dict[str, str]) -> dict[str, str]:
        if self._region is None:
            return headers
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        credentials = self._session.get_credentials()
        if credentials is None:
            raise Refused(f"no credentials to sign a request to {self._url} with")
        request = AWSRequest("POST", self._url, headers, body.encode())
        SigV4Auth(credentials.get_frozen_credentials(), self._signed_for, self._region).add_auth(request)
        return dict(request.headers.items())


# "aps-workspaces.<region>.amazonaws.com" and its like; a VPC endpoint's name comes before that:
# "vpce-0abc-1def.aps-workspaces.<region>.vpce.amazonaws.com".
_AMP = re.compile(r"(vpce-[a-z0-9-]+\.)?aps-workspaces(-fips)?\.(?P<region>[a-z0-9-]+)\..+")


def _region_of(host: str) -> str | None:
    """Of a workspace of Amazon Managed Prometheus; None for any other host, which gets no signature."""
    found = _AMP.fullmatch(host)
    return found["region"] if found else None


def _affordable(start: datetime, end: datetime, step: timedelta, series: int) -> tuple[datetime, str]:
    """
    From when on there is room for so many series, in whole days where that is one or more, and why not all.
    An hour always: else reconciles an hour apart would leave a gap between them for ever.
    """
    room = max(HOUR, MAX_POINTS // max(1, series) * step)
    if end - start <= room:
        return start, ""
    unit = DAY if room >= DAY else HOUR
    span = (room + HOUR) // unit * unit
    return min(end, end + HOUR - span), only_the_last(span, series)


def _query(name: str, cluster: str, seconds: int) -> str:
    ours = ",".join(f'{label}=~"|{cluster}"' for label in _CLUSTER_LABELS)
    if name in _VIDEO.values():
        # Most GPUs encode nothing. Of those it is enough that they were measured: how many, by model.
        each = f"max by ({','.join(_GPU_LABELS)}) (avg_over_time({name}{{{ours}}}[{seconds}s]))"
        return f"{each} > 0 or count by (modelName) ({each})"
    kept = _GPU_LABELS if name in _OF_A_GPU else (*_GPU_LABELS, *_POD_LABELS)
    return f"max by ({','.join(kept)}) ({_WANTED[name]}({name}{{{ours}}}[{seconds}s]))"


def _pieces(start: datetime, end: datetime, step: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """The window, in parts of which a query may ask for every step. A week of ten minutes is one."""
    while end - start > MAX_STEPS * step:
        yield start, start + MAX_STEPS * step
        start += MAX_STEPS * step
    yield start, end


class _Arriving(Answer):
    """One that is still on its way; its failures are raised as the gateway's own."""

    def __init__(self, answer: Any, what: str):
        self._answer, self._what, self._head = answer, what, ""
        super().__init__(self._chunks())

    def __iter__(self) -> Iterator[Any]:
        try:
            for found in super().__iter__():
                found["metric"], found["values"]
                yield found
            self._answer.drain_conn()
            self._answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"{self._what}: out of reach ({type(error).__name__})") from error
        except (ValueError, LookupError, TypeError) as error:
            head = self._head.encode()
            raise Refused(f"{self._what}: not an answer of Prometheus' API: {head!r}") from error
        finally:
            self._answer.close()

    def _chunks(self) -> Iterable[str]:
        decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
        for data in self._answer.stream(_CHUNK, decode_content=True):
            read += len(data)
            if read > MAX_BYTES:
                raise Refused(f"{self._what}: more than {MAX_BYTES >> 20} MiB; keep fewer series a GPU")
            text = decoder.decode(data)
            self._head = self._head or text[:300]
            yield text
        yield decoder.decode(b"", final=True)
