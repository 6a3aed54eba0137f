"""What each answer of an API server means to a pass; a small HTTP server answers as a test says."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3
from slicewise.errors import Conflict, Refused, Unauthorized, Unavailable
from slicewise.gateways import kubernetes
from slicewise.gateways.kubernetes import KubernetesApi
from slicewise.kube.pages import Expired
from slicewise.kube.ref import Ref

from sandbox.cluster import pki

NOTES = Ref("v1", "ConfigMap", "notes", "default")


class Server(ThreadingHTTPServer):
    """`answers` maps "METHOD path" to (status, body); `asked` keeps what was requested, with headers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked = {}, []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, body = self.server.answers.get(
            f"{self.command} {self.path}", self.server.answers.get("*", (404, {}))
        )
        packed = gzip.compress(json.dumps(body).encode())
        self.send_response(status)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)

    do_PATCH = do_DELETE = do_POST = do_GET

    def log_message(self, *args): ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture(scope="module")
def ca(tmp_path_factory) -> str:
    return base64.b64encode(pki.create(tmp_path_factory.mktemp("pki")).ca.read_bytes()).decode()


@pytest.fixture
def api(server, ca) -> KubernetesApi:
    return KubernetesApi(f"http://127.0.0.1:{server.server_port}", ca, lambda: "a-token")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Unauthorized),
        (403, Refused),
        (400, Refused),
        (422, Refused),
        (409, Conflict),
        (408, Unavailable),
        (410, Expired),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
    ],
)
def test_an_answer_is_judged_by_its_status(api, server, status, error):
    server.answers["*"] = (status, {"message": "says why"})

    with pytest.raises(error, match="says why") as raised:
        api.get(NOTES)
    assert type(raised.value) is error


def test_an_endpoint_out_of_reach_is_unavailable_and_named(ca):
    nobody = KubernetesApi("http://127.0.0.1:9", ca, lambda: "a-token")

    with pytest.raises(Unavailable, match="endpoint out of reach"):
        nobody.version()


def test_an_answer_that_does_not_come_is_unavailable(api, server, monkeypatch):
    monkeypatch.setattr(kubernetes, "_TIMEOUT", urllib3.Timeout(connect=1, read=0.05))
    monkeypatch.setattr(Handler, "do_GET", lambda self: threading.Event().wait(0.5))

    with pytest.raises(Unavailable):
        api.version()


def test_a_server_whose_certificate_another_authority_signed_is_not_talked_to(tmp_path, ca):
    import ssl

    other = pki.create(tmp_path)
    with Server() as running:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(other.serving_certificate, other.serving_key)
        running.socket = tls.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        stranger = KubernetesApi(f"https://127.0.0.1:{running.server_port}", ca, lambda: "a-token")

        with pytest.raises(Unavailable):
            stranger.version()
        running.shutdown()
        assert running.asked == []


def test_a_long_list_is_read_page_by_page(api, server):
    page = "/api/v1/namespaces/default/configmaps?limit=500&labelSelector=team"
    server.answers[f"GET {page}"] = (200, {"metadata": {"continue": "more"}, "items": [named("a")]})
    server.answers[f"GET {page}&continue=more"] = (200, {"metadata": {}, "items": [named("b")]})

    found = api.list("v1", "ConfigMap", namespace="default", labels="team")

    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert {item["kind"] for item in found} == {"ConfigMap"}


def test_what_is_not_wanted_of_a_list_is_not_kept(api, server):
    page = "/api/v1/namespaces/default/configmaps?limit=500"
    server.answers[f"GET {page}"] = (200, {"metadata": {}, "items": [named("a"), named("b")]})

    found = api.list(
        "v1", "ConfigMap", namespace="default", only=lambda item: item["metadata"]["name"] == "b"
    )

    assert [item["metadata"]["name"] for item in found] == ["b"]


def test_of_each_object_only_what_is_asked_for_is_kept(api, server):
    server.answers["*"] = (200, {"metadata": {}, "items": [named("a"), named("b")]})

    found = api.list("v1", "Pod", trim=lambda item: {"name": item["metadata"]["name"], "kind": item["kind"]})

    assert found == ({"name": "a", "kind": "Pod"}, {"name": "b", "kind": "Pod"})


@pytest.mark.parametrize(("kind", "reported"), [("NodePool", True), ("NodeClaim", False)])
def test_who_wrote_is_known_of_the_few_objects_that_people_edit(api, server, kind, reported):
    server.answers["*"] = (200, {"metadata": {}, "items": [named("a")]})

    (found,) = api.list("karpenter.sh/v1", kind)

    assert ("managedFields" in found["metadata"]) == reported


def test_definitions_are_listed_without_their_schemas(api, server):
    server.answers["*"] = (200, {"metadata": {}, "items": [named("nodepools.karpenter.sh")]})

    assert api.crds() == {"nodepools.karpenter.sh"}
    [(_, _, headers, _)] = server.asked
    assert "as=PartialObjectMetadataList" in headers["Accept"]


def test_applying_is_a_server_side_apply_under_our_name(api, server):
    server.answers["*"] = (200, {})
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "notes", "namespace": "default"}}

    api.apply(item)

    [(method, path, headers, body)] = server.asked
    assert (method, path) == (
        "PATCH",
        "/api/v1/namespaces/default/configmaps/notes?fieldManager=slicewise&force=true",
    )
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert headers["Authorization"] == "Bearer a-token"
    assert json.loads(body) == item


def test_a_node_class_of_another_provider_is_asked_for_by_its_plural(api, server):
    assert api.get(Ref("karpenter.example/v1", "FooNodeClass", "default")) is None
    assert server.asked[0][1] == "/apis/karpenter.example/v1/foonodeclasses/default"


def test_no_message_reports_the_token(api, server):
    server.answers["*"] = (403, {"message": "no"})

    with pytest.raises(Refused) as refused:
        api.get(NOTES)
    assert "a-token" not in str(refused.value)


def named(name: str):
    return {"metadata": {"name": name, "managedFields": [{"manager": "x"}]}}
