"""
A Prometheus in memory, for unit tests: it keeps what it is given and answers what Slicewise asks of it.

It is held to a real one by tests/contract/test_prometheus.py: the window (t − range, t] of a range selector,
staleness markers, NaN, regular expressions that match an absent label, and 11,000 points a series at most.
Beyond that it demands signatures, as Amazon Managed Prometheus does, which nobody can run, and warns if told
to. Not played, and refused: every other query.
"""

from __future__ import annotations

import bisect
import json
import math
import re
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.aws.loopback import Handler, Server
from sandbox.remote_write import STALE, Samples

MAX_POINTS_A_SERIES = 11_000
_WITHOUT = re.compile(r"max without \((?P<labels>[\w,]+)\) \((?P<query>.*)\)")
_QUERY = re.compile(r"(?P<function>\w+)\((?P<name>\w+)\{(?P<matchers>[^{}]*)\}\[(?P<seconds>\d+)s\]\)")
_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
_STALE = struct.pack("<d", STALE)


def _peak(values: Iterable[float]) -> float:
    """Not a number only where none is one."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {
    "avg_over_time": lambda values: sum(values) / len(values),
    "max_over_time": _peak,
    "last_over_time": lambda values: values[-1],
}

Labels = frozenset[tuple[str, str]]


class BadQuery(Exception):
    """What Prometheus answers with 400, and what is not played."""


class Refused(Exception):
    """What Prometheus does not take."""


class Prometheus:
    """
    Attributes:
        url: Of the API.
        warnings: Sent with every answer, as a store does that could not reach all of its data.
        signed_by: Credentials with which requests must be signed, as Amazon Managed Prometheus demands;
            None takes any request.
        queries: Every query that was answered.
    """

    def __init__(self) -> None:
        self._series: dict[Labels, tuple[list[float], list[float]]] = {}
        self._lock = threading.Lock()
        self.warnings: list[str] = []
        self.signed_by: Credentials | None = None
        self.queries: list[str] = []
        self._server = Server(type("Api", (_Api,), {"prometheus": self}))
        self.url = f"http://127.0.0.1:{self._server.port}"

    def put(self, name: str, labels: Mapping[str, str], points: Iterable[tuple[float, float]]) -> None:
        """
        Raises:
            Refused: A time has another value already.
        """
        with self._lock:
            key = frozenset({**labels, "__name__": name}.items())
            times, values = self._series.setdefault(key, ([], []))
            for at, value in points:
                where = bisect.bisect_left(times, at)
                if math.isnan(value) and struct.pack("<d", value) == _STALE:
                    continue  # a range selector passes over markers
                if where == len(times) or times[where] != at:
                    times.insert(where, at)
                    values.insert(where, value)
                elif values[where] != value:
                    raise Refused(f"duplicate sample for timestamp {at}")

    def write(self, series: Iterable[Samples]) -> None:
        for one in series:
            self.put(one.name, one.labels, one.points)

    def range(self, query: str, start: int, end: int, step: int) -> list[dict[str, Any]]:
        """
        Raises:
            BadQuery: the query is not one of ours, or asks for too many points.
        """
        if outer := _WITHOUT.fullmatch(query):
            inner = self.range(outer["query"], start, end, step)
            return _highest(inner, set(outer["labels"].split(",")))
        asked = _QUERY.fullmatch(query)
        if not asked or asked["function"] not in _FUNCTIONS:
            raise BadQuery(f"the sandbox does not play {query!r}")
        if (end - start) // step > MAX_POINTS_A_SERIES:
            raise BadQuery("exceeded maximum resolution of 11,000 points per timeseries.")
        matchers = [("__name__", "=", asked["name"]), *_MATCHER.findall(asked["matchers"])]
        function, window = _FUNCTIONS[asked["function"]], int(asked["seconds"])
        self.queries.append(query)
        results = []
        with self._lock:
            for key, (times, values) in self._series.items():
                labels = dict(key)
                if all(_matches(labels.get(label, ""), how, value) for label, how, value in matchers):
                    points = [
                        [at, _text(function(values[low:high]))]
                        for at in range(start, end + 1, step)
                        if (low := bisect.bisect_right(times, at - window))
                        < (high := bisect.bisect_right(times, at))
                    ]
                    if points:
                        del labels["__name__"]
                        results.append({"metric": labels, "values": points})
        return results

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> Prometheus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Api(Handler):
    prometheus: Prometheus

    def do_POST(self) -> None:
        body = self.body()
        if self.prometheus.signed_by and not self._is_signed(body, self.prometheus.signed_by):
            self._answer(403, {"message": "The request signature we calculated does not match"})
            return
        if not self.path.endswith("/api/v1/query_range"):
            self._answer(404, {"status": "error", "error": "not found"})
            return
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        try:
            found = self.prometheus.range(
                form["query"], int(form["start"]), int(form["end"]), int(form["step"])
            )
        except (BadQuery, KeyError, ValueError) as error:
            self._answer(400, {"status": "error", "errorType": "bad_data", "error": str(error)})
            return
        answer = {"status": "success", "data": {"resultType": "matrix", "result": found}}
        self._answer(
            200, answer | ({"warnings": self.prometheus.warnings} if self.prometheus.warnings else {})
        )

    def _is_signed(self, body: bytes, credentials: Credentials) -> bool:
        """Signs the request again, with the same time and headers, and compares."""
        given = self.headers.get("Authorization", "")
        scope = re.search(r"Credential=\S+?/\d{8}/([\w-]+)/aps/aws4_request, SignedHeaders=([\w;-]+)", given)
        if not scope:
            return False
        headers = {name: self.headers[name] for name in scope[2].split(";") if name in self.headers}
        request = AWSRequest("POST", f"http://{self.headers['Host']}{self.path}", headers, body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = SigV4Auth(credentials, "aps", scope[1])
        canonical = signer.canonical_request(request)
        signature = signer.signature(signer.string_to_sign(request, canonical), request)
        return given.endswith(f"Signature={signature}")

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        self.reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _highest(results: list[dict[str, Any]], without: set[str]) -> list[dict[str, Any]]:
    """max without (…) (…)"""
    groups: dict[Labels, dict[int, list[float]]] = {}
    for found in results:
        key = frozenset((name, value) for name, value in found["metric"].items() if name not in without)
        group = groups.setdefault(key, {})
        for at, text in found["values"]:
            group.setdefault(at, []).append(float(text))
    return [
        {"metric": dict(key), "values": [[at, _text(_peak(values))] for at, values in sorted(group.items())]}
        for key, group in groups.items()
    ]


def _matches(value: str, how: str, wanted: str) -> bool:
    return value == wanted if how == "=" else re.fullmatch(wanted, value) is not None


def _text(value: float) -> str:
    return "NaN" if math.isnan(value) else repr(value)
