"""
A small Kubernetes client of the standard library, for the sandbox and its tests.

Objects are plain dicts, as the API server speaks them. Safe to share between
threads: each keeps a connection of its own.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
Object = dict[str, Any]
# How a connection that the server has closed while it was idle shows itself at the next request.
HUNG_UP = (
    http.client.RemoteDisconnected,
    BrokenPipeError,
    ConnectionResetError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
)
# 429 passes: "storage is (re)initializing" right after a CRD has changed. client-go asks ten times, too.
BUSY_TRIES, BUSY_SECONDS = 10, 1.0


class KubeError(Exception):
    """The API server answered with a status of 400 or more."""

    def __init__(self, status: int, message: str, reason: str, method: str, path: str):
        super().__init__(f"{method} {path}: {status} {reason}: {message}")
        self.status = status
        self.message = message
        self.reason = reason


class KubeClient:
    """
    Args:
        url: `https://host:port`.
        ca: PEM of the authority that signed the server's certificate.
        token: Bearer token, or a function that gives the token for each request.
    """

    def __init__(
        self, url: str, ca: bytes, token: str | Callable[[], str] | None, timeout_seconds: float = 30
    ):
        self.url = url
        self._host = urlsplit(url).netloc
        self._tls = ssl.create_default_context(cadata=ca.decode())
        self._token = token
        self._timeout = timeout_seconds
        self._local = threading.local()
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}

    def get(self, path: str) -> Object:
        return self.request("GET", path)

    def find(self, path: str) -> Object | None:
        """The object at `path`, or None where there is none."""
        try:
            return self.get(path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def list(self, path: str, **parameters: str) -> list[Object]:
        """Items of a collection, e.g. `list("/api/v1/pods", labelSelector="app=x")`."""
        return self.get(_with_query(path, parameters))["items"]

    def serves(self, api_version: str, kind: str) -> bool:
        """
        Whether objects of this kind can be written and read.

        An Established CRD does not say so: discovery and storage follow a moment later, each by itself.
        """
        try:
            any_of_it = {"apiVersion": api_version, "kind": kind, "metadata": {}}
            self.list(self.path(any_of_it, collection=True), limit="1")
            return True
        except KubeError as error:
            if error.status in (404, 429, 503):
                return False
            raise

    def create(self, obj: Object) -> Object:
        return self.request("POST", self.path(obj, collection=True), obj)

    def apply(self, obj: Object, field_manager: str = "sandbox", force: bool = True) -> Object:
        """Server-side apply. Errors: 409 when another manager owns a field and `force` is off."""
        query = {"fieldManager": field_manager, "force": str(force).lower()}
        return self.request("PATCH", _with_query(self.path(obj), query), obj, content_type=APPLY_PATCH)

    def replace(self, obj: Object) -> Object:
        """Errors: 409 when the object's `resourceVersion` is no longer the newest."""
        return self.request("PUT", self.path(obj), obj)

    def merge(self, path: str, patch: Object) -> Object:
        return self.request("PATCH", path, patch, content_type=MERGE_PATCH)

    def delete(self, path: str, missing_ok: bool = False) -> None:
        try:
            self.request("DELETE", path, {"propagationPolicy": "Background"})
        except KubeError as error:
            if not (missing_ok and error.status == 404):
                raise

    def watch(self, path: str, resource_version: str = "", timeout_seconds: float = 300, **parameters: str):
        """
        Yield `(type, object)` until the server ends the watch, as it does after
        `timeout_seconds` at the latest; the caller lists and watches again.
        """
        query = {"watch": "1", "timeoutSeconds": str(int(timeout_seconds)), **parameters}
        if resource_version:
            query["resourceVersion"] = resource_version
        connection = http.client.HTTPSConnection(self._host, context=self._tls, timeout=timeout_seconds + 5)
        try:
            connection.request("GET", _with_query(path, query), headers=self._headers(JSON))
            response = connection.getresponse()
            if response.status >= 400:
                raise _error(response.status, response.read(), "WATCH", path)
            while line := response.readline():
                event = json.loads(line)
                yield event["type"], event["object"]
        finally:
            connection.close()

    def path(self, obj: Mapping[str, Any], collection: bool = False) -> str:
        """The path of an object, or of the collection it belongs to; kinds are looked up once."""
        api_version, meta = obj["apiVersion"], obj["metadata"]
        plural, namespaced = self._resource(api_version, obj["kind"])
        path = _group(api_version)
        if namespaced:
            path += f"/namespaces/{meta.get('namespace', 'default')}"
        path += f"/{plural}"
        return path if collection else f"{path}/{meta['name']}"

    def request(self, method: str, path: str, body: object | None = None, content_type: str = JSON) -> Object:
        data = None if body is None else json.dumps(body).encode()
        status, content = self._send(method, path, data, content_type)
        for _ in range(BUSY_TRIES):
            if status != 429:
                break
            time.sleep(BUSY_SECONDS)
            status, content = self._send(method, path, data, content_type)
        if status >= 400:
            raise _error(status, content, method, path)
        return json.loads(content)

    def healthy(self, path: str = "/readyz") -> bool:
        try:
            return self._send("GET", path, None, JSON)[0] == 200
        except OSError:
            return False

    def _send(self, method: str, path: str, data: bytes | None, content_type: str) -> tuple[int, bytes]:
        fresh = not hasattr(self._local, "connection")
        if fresh:
            self._local.connection = http.client.HTTPSConnection(
                self._host, context=self._tls, timeout=self._timeout
            )
        connection = self._local.connection
        try:
            connection.request(method, path, body=data, headers=self._headers(content_type))
            response = connection.getresponse()
            return response.status, response.read()
        except HUNG_UP:
            # The server has closed an idle connection before it read anything: say it again, once.
            self._drop()
            if fresh:
                raise
            return self._send(method, path, data, content_type)
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"{method} {path}: {error!r}") from error

    def _drop(self) -> None:
        self._local.connection.close()
        del self._local.connection

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": JSON, "Content-Type": content_type}
        token = self._token() if callable(self._token) else self._token
        return headers if token is None else {**headers, "Authorization": f"Bearer {token}"}

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._resources:
            for found in self.get(_group(api_version))["resources"]:
                if "/" not in found["name"]:  # a subresource
                    self._resources[api_version, found["kind"]] = (found["name"], found["namespaced"])
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise KubeError(404, f"no kind {kind} in {api_version}", "NotFound", "GET", api_version) from None


def condition(obj: Mapping[str, Any], kind: str) -> str | None:
    """The status of a condition: "True", "False", "Unknown", or None where it is not set."""
    conditions = obj.get("status", {}).get("conditions") or []  # a new CRD says null
    return next((c["status"] for c in conditions if c["type"] == kind), None)


def _group(api_version: str) -> str:
    return f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"


def _with_query(path: str, parameters: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(parameters)}" if parameters else path


def _error(status: int, content: bytes, method: str, path: str) -> KubeError:
    try:
        answer = json.loads(content)
        return KubeError(status, answer.get("message", ""), answer.get("reason", ""), method, path)
    except (ValueError, AttributeError):
        return KubeError(status, content.decode(errors="replace")[:300], "", method, path)
