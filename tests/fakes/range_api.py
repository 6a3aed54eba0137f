"""
What the Prometheus in memory and CloudWatch's API have in common: one path, a query with a range, signatures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.aws.core.loopback import Handler, Server

# As Prometheus names it in a matrix: labels, and points as a second and a number in text.
Found = dict[str, Any]


class RangeApi:
    """
    Attributes:
        service: What requests are signed for.
        prefixed: Whether its path may begin with that of a workspace.
        url: Of the API.
        signed_by: Whose signature requests must have; None takes any.
        failing: What is answered instead, if anything: a status and a body.
        unsigned: What is said to who has no such signature.
        queries: Every one that was answered.
    """

    service, prefixed = "", True
    unsigned = "The request signature we calculated does not match"

    def __init__(self) -> None:
        self.signed_by: Credentials | None = None
        self.failing: tuple[int, bytes] | None = None
        self.queries: list[str] = []
        self._server = Server(type("Api", (_Api,), {"api": self}))
        self.url = f"http://127.0.0.1:{self._server.port}"

    def answer(self, query: str, start: int, end: int, step: int) -> tuple[list[Found], list[str]]:
        """
        What was found, and warnings.

        Raises:
            ValueError: what is answered with 400, or is not played.
            OverflowError: with 422.
        """
        raise NotImplementedError

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Api(Handler):
    api: RangeApi

    def do_POST(self) -> None:
        body = self.body()
        if self.api.signed_by and not self._is_signed(body, self.api.signed_by):
            self._answer(403, {"message": self.api.unsigned})
            return
        if self.api.failing:
            self.reply(*self.api.failing)
            return
        workspace = self.path.removesuffix("/api/v1/query_range")
        if workspace == self.path or (workspace and not self.api.prefixed):
            self._answer(404, {"status": "error", "error": "not found"})
            return
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        try:
            start, end, step = (int(form[name]) for name in ("start", "end", "step"))
            found, warnings = self.api.answer(form["query"], start, end, step)
        except OverflowError as error:
            self._answer(422, {"status": "error", "errorType": "execution", "error": str(error)})
            return
        except (KeyError, ValueError) as error:
            self._answer(400, {"status": "error", "errorType": "bad_data", "error": str(error)})
            return
        answer: Found = {"status": "success", "data": {"resultType": "matrix", "result": found}}
        self._answer(200, answer | ({"warnings": warnings} if warnings else {}))

    def _is_signed(self, body: bytes, credentials: Credentials) -> bool:
        """Signs the request again, with the same time and headers, and compares."""
        given, service = self.headers.get("Authorization", ""), self.api.service
        scope = re.search(
            rf"Credential=\S+?/\d{{8}}/([\w-]+)/{service}/aws4_request, SignedHeaders=([\w;-]+)", given
        )
        if not scope:
            return False
        headers = {name: self.headers[name] for name in scope[2].split(";") if name in self.headers}
        request = AWSRequest("POST", f"http://{self.headers['Host']}{self.path}", headers, body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = SigV4Auth(credentials, service, scope[1])
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return given.endswith(f"Signature={signer.signature(text, request)}")

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        self.reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def matches(value: str, how: str, wanted: str) -> bool:
    """One matcher of a selector; `value` is "" where the label is absent."""
    if how == "=":
        return value == wanted
    return (re.fullmatch(wanted, value) is not None) is (how == "=~")
