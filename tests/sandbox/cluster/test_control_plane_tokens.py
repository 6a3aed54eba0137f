"""The API server asks our webhook about foreign tokens, and writes down who asked for what."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sandbox.cluster import audit, free_ports, pki
from sandbox.cluster.client import KubeClient, KubeError
from sandbox.cluster.control_plane import ControlPlane
from sandbox.cluster.eks_defaults import ADMIN_POLICY_GROUP

pytestmark = pytest.mark.sandbox
ROLE = "arn:aws:sts::111122223333:assumed-role/tuner/session"


class Webhook:
    """Answers TokenReviews from `users`, {token: groups}; starts when told to."""

    def __init__(self, folder: Path):
        self.users: dict[str, list[str]] = {}
        self.files = pki.create(folder)
        self.port = free_ports.reserve()
        self.url = f"https://127.0.0.1:{self.port}/"
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(webhook.answer(review)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.files.serving_certificate, self.files.serving_key)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, review: dict) -> dict:
        groups = self.users.get(review["spec"]["token"])
        status: dict = {"authenticated": groups is not None}
        if groups is not None:
            status["user"] = {"username": ROLE, "groups": groups}
        return {"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status}

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    made = Webhook(tmp_path_factory.mktemp("webhook"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def plane(webhook: Webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    started = ControlPlane.start(
        tmp_path_factory.mktemp("with-webhook"),
        karpenter=False,
        token_webhook_url=webhook.url,
        webhook_ca=webhook.files.ca,
    )
    with started as plane:
        webhook.start()  # later than the API server, which does not mind
        yield plane


@pytest.fixture
def client(webhook: Webhook, plane: ControlPlane) -> KubeClient:
    webhook.users = {"role-token": ["slicewise:tuner"]}
    return KubeClient(plane.url, plane.ca_pem, "role-token")


def status_of(client: KubeClient, path: str = "/api/v1/nodes") -> int:
    try:
        client.get(path)
        return 200
    except KubeError as error:
        return error.status


def test_a_token_that_the_webhook_knows_is_a_user_without_rights(client: KubeClient):
    assert status_of(client) == 403


def test_the_group_of_the_admin_policy_may_do_everything(webhook: Webhook, client: KubeClient):
    webhook.users["role-token"] = [ADMIN_POLICY_GROUP]

    assert status_of(client) == 200
    assert status_of(client, "/api/v1/namespaces/kube-system/secrets") == 200


def test_a_withdrawn_right_is_gone_at_the_next_request(webhook: Webhook, client: KubeClient):
    webhook.users["role-token"] = [ADMIN_POLICY_GROUP]
    assert status_of(client) == 200

    webhook.users.clear()

    assert status_of(client) == 401


def test_every_request_is_in_the_audit_log_when_it_is_answered(
    plane: ControlPlane, webhook: Webhook, client: KubeClient
):
    before = len(list(audit.requests(plane.audit_log, user_contains=ROLE)))
    status_of(client, "/api/v1/namespaces/default/pods/absent/log")
    webhook.users["role-token"] = [ADMIN_POLICY_GROUP]
    status_of(client, "/apis/apps/v1/namespaces/default/deployments?limit=5")
    status_of(client, "/version")

    logged = list(audit.requests(plane.audit_log, user_contains=ROLE))[before:]

    seen = [(r.verb, r.api_group, r.resource, r.subresource, r.namespace, r.name, r.code) for r in logged]
    assert seen[:2] == [
        ("get", "", "pods", "log", "default", "absent", 403),
        ("list", "apps", "deployments", "", "default", "", 200),
    ]
    assert (logged[2].path, logged[2].code) == ("/version", 200)
    assert ADMIN_POLICY_GROUP in logged[1].groups


def test_a_watch_is_logged_when_it_begins(plane: ControlPlane, webhook: Webhook, client: KubeClient):
    webhook.users["role-token"] = [ADMIN_POLICY_GROUP]
    watch = client.watch("/api/v1/namespaces")
    next(watch)

    logged = [r for r in audit.requests(plane.audit_log, user_contains=ROLE) if r.verb == "watch"]

    assert [(r.resource, r.code) for r in logged] == [("namespaces", 200)]
    watch.close()


def test_requests_of_nobody_are_logged_too(plane: ControlPlane):
    stranger = KubeClient(plane.url, plane.ca_pem, "guess")
    assert status_of(stranger, "/api/v1/configmaps") == 401

    last = [r for r in audit.requests(plane.audit_log) if r.resource == "configmaps"][-1]
    assert (last.user, last.code) == ("", 401)
