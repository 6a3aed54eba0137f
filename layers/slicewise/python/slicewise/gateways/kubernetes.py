"""
The Kubernetes API of one cluster over plain HTTPS and JSON.

Why not a client library: importing the official one's typed API costs 650 ms of every cold start and
100 MB of the layer; we make seven kinds of request.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import urllib3

from slicewise.errors import Conflict, Refused, Unauthorized, Unavailable
from slicewise.kube import kinds, pages
from slicewise.kube.objects import MANAGER
from slicewise.kube.pages import PAGE, Expired
from slicewise.kube.ref import Object, Ref, ref_of
from slicewise.model.cluster import EksCluster

# Requests that wait for no other: an API server spends most of a write on waiting for etcd's disk, which
# takes several at once. A client to AWS keeps 10 connections.
MOST_AT_ONCE = 8
_TIMEOUT = urllib3.Timeout(connect=5, read=30)
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

# Few objects, which people edit: the writer is named.
_TOLD_WITH_WRITERS = frozenset({"NodePool", "NodeOverlay"})


class KubernetesApi:
    """
    Implements ports.Kubernetes.

    Args:
        endpoint: Such as "https://….eks.amazonaws.com".
        ca_data: Base64 of the PEM that signs the endpoint's certificate.
        token: Called before every request, so that a token's 15 minutes never end within a reconcile.
    """

    def __init__(self, endpoint: str, ca_data: str, token: Callable[[], str]):
        self._endpoint, self._token = endpoint.rstrip("/"), token
        tls = ssl.create_default_context(cadata=base64.b64decode(ca_data).decode())
        self._http = urllib3.PoolManager(ssl_context=tls, retries=False, maxsize=MOST_AT_ONCE)
        self._served: dict[str, Mapping[str, str]] = {}

    @classmethod
    def of(cls, cluster: EksCluster, token: Callable[[], str]) -> KubernetesApi:
        if not cluster.endpoint or not cluster.ca_data:
            raise Unavailable(f"cluster {cluster.name} ({cluster.status}) has no endpoint yet")
        return cls(cluster.endpoint, cluster.ca_data, token)

    def version(self) -> str:
        version: str = self._request("GET", "/version")["gitVersion"]
        return version

    def get(self, ref: Ref) -> Object | None:
        found = self._request("GET", self._path_of(ref))
        return _as_listed(found, ref.api_version, ref.kind) if found else None

    def list(
        self,
        api_version: str,
        kind: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        only: Callable[[Object], bool] | None = None,
        trim: Callable[[Object], Object] | None = None,
        managed_fields: bool = False,
    ) -> tuple[Object, ...]:
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        return self._pages(
            api_version, kind, namespace, selectors, only=only, trim=trim, managed_fields=managed_fields
        )

    def may_do_everything(self) -> bool:
        everything = {"verb": "*", "group": "*", "resource": "*"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": everything},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._request("POST", path, review, {"Content-Type": "application/json"})
        return bool(answer and answer["status"]["allowed"])

    def crds(self) -> frozenset[str]:
        found = self._pages(
            "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", {}, accept=_METADATA_ONLY
        )
        return frozenset(item["metadata"]["name"] for item in found)

    def apply(self, item: Object) -> None:
        ref = ref_of(item)
        query = urlencode({"fieldManager": MANAGER, "force": "true"})
        # JSON is YAML, so the apply-patch content type takes it as it is.
        headers = {"Content-Type": "application/apply-patch+yaml"}
        if self._request("PATCH", f"{self._path_of(ref)}?{query}", item, headers) is None:
            raise Conflict(f"{ref} cannot be applied yet: its kind or namespace is not served; plan again")

    def patch(self, ref: Ref, operations: Sequence[Mapping[str, Any]], subresource: str = "") -> None:
        path = f"{self._path_of(ref)}/{subresource}" if subresource else self._path_of(ref)
        query = urlencode({"fieldManager": MANAGER})
        headers = {"Content-Type": "application/json-patch+json"}
        if self._request("PATCH", f"{path}?{query}", operations, headers, tests=True) is None:
            raise Conflict(f"{ref} does not exist any more; plan again")

    def serves(self, api_version: str, kind: str) -> bool:
        return kind in self._resources(api_version).values()

    def preferred_version(self, group: str, kind: str) -> str | None:
        found = self._request("GET", f"/apis/{quote(group)}") or {"versions": ()}
        versions = [one["version"] for one in found["versions"]]
        return next((one for one in versions if self.serves(f"{group}/{one}", kind)), None)

    def has_scale(self, api_version: str, kind: str) -> bool:
        resources = self._resources(api_version)
        return f"{self._plural(api_version, kind)}/scale" in resources

    def replicas(self, ref: Ref) -> Object | None:
        path = self._scale_path(ref)
        found = self._request("GET", path) if path else None
        if not found:
            return None
        # A count of 0 is left out of the answer.
        found["spec"] = {"replicas": 0, **(found.get("spec") or {})}
        return _as_listed(found, ref.api_version, ref.kind)

    def scale(self, ref: Ref, seen: int, replicas: int) -> None:
        path = self._scale_path(ref)
        query = urlencode({"fieldManager": MANAGER})
        operations = (
            {"op": "test", "path": "/spec/replicas", "value": seen or None},
            {"op": "add", "path": "/spec/replicas", "value": replicas},
        )
        headers = {"Content-Type": "application/json-patch+json"}
        if not path or self._request("PATCH", f"{path}?{query}", operations, headers, tests=True) is None:
            raise Conflict(f"{ref} does not exist any more, or cannot be scaled; plan again")

    def delete(self, ref: Ref) -> None:
        self._request("DELETE", self._path_of(ref))

    def _path_of(self, ref: Ref) -> str:
        return f"{self._path(ref.api_version, ref.kind, ref.namespace)}/{quote(ref.name)}"

    def _path(self, api_version: str, kind: str, namespace: str) -> str:
        """Of a kind that only a policy names, the plural is found out; of one that is not served, guessed."""
        known = kinds.RESOURCES.get((api_version.rpartition("/")[0], kind))
        if known is None and kind.endswith("NodeClass"):
            # Of another provider: their plural always ends so.
            known = (f"{kind.lower()}es", False)
        plural, namespaced = known or (self._plural(api_version, kind) or f"{kind.lower()}s", True)
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        where = f"/namespaces/{quote(namespace)}" if namespaced and namespace else ""
        return f"{root}{where}/{plural}"

    def _scale_path(self, ref: Ref) -> str | None:
        """Of kinds that are asked for by no other way, the plural is found out: they are users' own."""
        plural = self._plural(ref.api_version, ref.kind)
        root = "apis" if "/" in ref.api_version else "api"
        where = f"/{root}/{ref.api_version}/namespaces/{quote(ref.namespace)}"
        return f"{where}/{plural}/{quote(ref.name)}/scale" if plural else None

    def _plural(self, api_version: str, kind: str) -> str | None:
        known = kinds.RESOURCES.get((api_version.rpartition("/")[0], kind))
        if known:
            return known[0]
        resources = self._resources(api_version)
        return next((name for name, of in resources.items() if of == kind and "/" not in name), None)

    def _resources(self, api_version: str) -> Mapping[str, str]:
        """
        Plural or "plural/subresource" to kind, of all that is served; any authenticated identity may ask.
        """
        if api_version not in self._served:
            root = "apis" if "/" in api_version else "api"
            found = self._request("GET", f"/{root}/{api_version}") or {"resources": ()}
            self._served[api_version] = {item["name"]: item["kind"] for item in found["resources"]}
        return self._served[api_version]

    def _pages(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        selectors: Mapping[str, str],
        accept: str = "application/json",
        only: Callable[[Object], bool] | None = None,
        trim: Callable[[Object], Object] | None = None,
        managed_fields: bool = False,
    ) -> tuple[Object, ...]:
        path = self._path(api_version, kind, namespace)
        query = {"limit": PAGE} | {key: value for key, value in selectors.items() if value}

        def fetch(token: str) -> str | None:
            asked = urlencode(query | ({"continue": token} if token else {}))
            data = self._answer("GET", f"{path}?{asked}", headers={"Accept": accept})
            return None if data is None else data.decode()

        def keep(item: dict[str, Any]) -> Object | None:
            listed = _as_listed(item, api_version, kind, managed_fields)
            if only is not None and not only(listed):
                return None
            return trim(listed) if trim else listed

        return pages.read(fetch, keep)

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        tests: bool = False,
    ) -> Any:
        """
        The answer's JSON; None for 404. Everything else that is not 2xx is one of our errors.

        `tests`: the body is a JSON Patch, whose tests may fail.
        """
        data = self._answer(method, path, body, headers, tests=tests)
        return None if data is None else json.loads(data)

    def _answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        tests: bool = False,
    ) -> bytes | None:
        what = f"{method} {path.partition('?')[0]} of {self._endpoint}"
        try:
            answer = self._http.request(
                method,
                self._endpoint + path,
                body=None if body is None else json.dumps(body).encode(),
                headers={
                    "Authorization": f"Bearer {self._token()}",
                    "Accept": "application/json",
                    "Accept-Encoding": "gzip",
                    "User-Agent": "slicewise",
                    **(headers or {}),
                },
                timeout=_TIMEOUT,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"{what}: endpoint out of reach ({type(error).__name__})") from error
        if answer.status == 404:
            return None
        if answer.status >= 300:
            answered = _json(answer.data)
            kind = Conflict if tests and _test_failed(answer.status, answered) else _error_of(answer.status)
            raise kind(f"{what}: {answer.status} {_message(answered)}")
        return answer.data


def _test_failed(status: int, answered: Mapping[str, Any]) -> bool:
    """A JSON Patch that is invalid has the same status; its causes are named."""
    return status == 422 and not (answered.get("details") or {}).get("causes")


def _error_of(status: int) -> type[Unauthorized | Refused | Conflict | Unavailable]:
    if status == 401:
        return Unauthorized
    if status == 409:
        return Conflict
    if status == 410:
        return Expired
    return Unavailable if status in (408, 429) or status >= 500 else Refused


def _json(data: bytes) -> Mapping[str, Any]:
    try:
        answered = json.loads(data)
    except ValueError:
        return {}
    return answered if isinstance(answered, dict) else {}


def _message(answered: Mapping[str, Any]) -> str:
    return str(answered.get("message", ""))[:500]


def _as_listed(item: dict[str, Any], api_version: str, kind: str, managed_fields: bool = False) -> Object:
    """Items of a list carry no kind; managedFields are half of an object's bytes, and few are read."""
    if not managed_fields and kind not in _TOLD_WITH_WRITERS:
        item["metadata"].pop("managedFields", None)
    item["apiVersion"], item["kind"] = api_version, kind
    return item
