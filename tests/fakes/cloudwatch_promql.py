"""
CloudWatch's Prometheus-compatible API, as far as Slicewise asks it.

By its user guide ("PromQL querying", "PromQL limits and restrictions", "QueryMetrics"): labels of a resource
begin with "@resource.", an answer holds 500 series and a warning where there are more, a request spans seven
days with the range that it looks back over, and its signature is for the service `monitoring`. Every query
that is not ours is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.aws.loopback import Handler, Server

MOST_SERIES = 500
WEEK_SECONDS = 7 * 86_400
TRUNCATED = "result truncated to the maximum of 500 series; refine the query or use the limit parameter"
_QUERY = re.compile(
    r"max by \((?P<by>[^()]+)\) "
    r"\((?P<over>\w+)\((?P<name>\w+)\{(?P<matchers>[^{}]*)\}\[(?P<seconds>\d+)s\]\)\)"
)
_MATCHER = re.compile(r'"?([@\w.]+)"?(=~|!~|=)"([^"]*)"(?:,|$)')
_OVER: dict[str, Callable[[list[float]], float]] = {
    "avg_over_time": lambda values: sum(values) / len(values),
    "max_over_time": max,
}


class CloudWatchApi:
    """
    Attributes:
        signed_by: Whose signature requests must have; None takes any.
        failing: What is answered instead, if anything: a status and a body.
        queries: Every one that came.
        most: Series an answer holds.
        warns: Whether an answer that lacks some says so.
    """

    def __init__(self) -> None:
        self._series: dict[frozenset[tuple[str, str]], list[tuple[int, float]]] = {}
        self.signed_by: Credentials | None = None
        self.failing: tuple[int, bytes] | None = None
        self.queries: list[str] = []
        self.most = MOST_SERIES
        self.warns = True
        self._server = Server(type("Api", (_Api,), {"api": self}))
        self.url = f"http://127.0.0.1:{self._server.port}"

    def put(self, name: str, labels: Mapping[str, str], points: Iterable[tuple[int, float]]) -> None:
        self._series.setdefault(frozenset({**labels, "__name__": name}.items()), []).extend(points)

    def range(self, query: str, start: int, end: int, step: int) -> tuple[list[dict[str, Any]], list[str]]:
        """
        Raises:
            ValueError: what CloudWatch answers with 400, or is not played.
            OverflowError: with 422.
        """
        self.queries.append(query)
        asked = _QUERY.fullmatch(query)
        if not asked or asked["over"] not in _OVER or _MATCHER.sub("", asked["matchers"]):
            raise ValueError(f"not played: {query!r}")
        window = int(asked["seconds"])
        if window != step:
            raise ValueError("not played: ranges that overlap")
        if end - start + window > WEEK_SECONDS:
            raise OverflowError("the range of a request is 7 days at most")
        by = [label.strip('"') for label in asked["by"].split(",")]
        matchers = [("__name__", "=", asked["name"]), *_MATCHER.findall(asked["matchers"])]
        groups: dict[frozenset[tuple[str, str]], dict[int, float]] = {}
        for key, points in self._series.items():
            labels = dict(key)
            if not all(_matches(labels.get(label, ""), how, value) for label, how, value in matchers):
                continue
            group = groups.setdefault(frozenset((name, labels[name]) for name in by if name in labels), {})
            steps: dict[int, list[float]] = {}
            for when, value in points:
                # The first step at or after it: ranges that meet hold each sample once.
                steps.setdefault(start + -((start - when) // step) * step, []).append(value)
            for at, values in steps.items():
                if start <= at <= end:
                    group[at] = max(group.get(at, float("-inf")), _OVER[asked["over"]](values))
        found = [
            {"metric": dict(key), "values": [[at, repr(value)] for at, value in sorted(group.items())]}
            for key, group in groups.items()
            if group
        ]
        warned = [TRUNCATED] if self.warns and len(found) > self.most else []
        return found[: self.most], warned

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> CloudWatchApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Api(Handler):
    api: CloudWatchApi

    def do_POST(self) -> None:
        body = self.body()
        if self.api.signed_by and not self._is_signed(body, self.api.signed_by):
            self._answer(403, {"message": "Credential should be scoped to correct service: 'monitoring'"})
            return
        if self.api.failing:
            self.reply(*self.api.failing)
            return
        if self.path != "/api/v1/query_range":
            self._answer(404, {"message": "not found"})
            return
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        try:
            window = (int(form[name]) for name in ("start", "end", "step"))
            found, warned = self.api.range(form["query"], *window)
        except OverflowError as error:
            self._answer(422, {"status": "error", "errorType": "execution", "error": str(error)})
            return
        except (KeyError, ValueError) as error:
            self._answer(400, {"status": "error", "errorType": "bad_data", "error": str(error)})
            return
        answer: dict[str, Any] = {"status": "success", "data": {"resultType": "matrix", "result": found}}
        self._answer(200, answer | ({"warnings": warned} if warned else {}))

    def _is_signed(self, body: bytes, credentials: Credentials) -> bool:
        """Signs the request again, with the same time and headers, and compares."""
        given = self.headers.get("Authorization", "")
        scope = re.search(
            r"Credential=\S+?/\d{8}/([\w-]+)/monitoring/aws4_request, SignedHeaders=([\w;-]+)", given
        )
        if not scope:
            return False
        headers = {name: self.headers[name] for name in scope[2].split(";") if name in self.headers}
        request = AWSRequest("POST", f"http://{self.headers['Host']}{self.path}", headers, body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = SigV4Auth(credentials, "monitoring", scope[1])
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return given.endswith(f"Signature={signer.signature(text, request)}")

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        self.reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _matches(value: str, how: str, wanted: str) -> bool:
    if how == "=":
        return value == wanted
    return (re.fullmatch(wanted, value) is not None) is (how == "=~")
