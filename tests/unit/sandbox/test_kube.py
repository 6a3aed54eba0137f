"""The small client survives what servers do to idle connections, and tells errors apart."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sandbox.cluster import client as kube
from sandbox.cluster import pki
from sandbox.cluster.client import KubeClient, KubeError, condition


class Server(BaseHTTPRequestHandler):
    """Answers what the path says, and hangs up after each answer without a word."""

    protocol_version = "HTTP/1.1"
    connections = 0
    busy = 0

    def setup(self) -> None:
        super().setup()
        Server.connections += 1

    def do_GET(self) -> None:
        status = int(self.path.rpartition("/")[2])
        if Server.busy:
            Server.busy, status = Server.busy - 1, 429
        body = json.dumps({"message": "as asked", "reason": "Asked", "items": []}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def client(tmp_path: Path) -> Iterator[KubeClient]:
    files = pki.create(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.serving_certificate, files.serving_key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield KubeClient(f"https://127.0.0.1:{server.server_port}", files.ca.read_bytes(), "token")
    server.shutdown()
    server.server_close()


def test_a_server_that_is_busy_is_asked_again_and_not_for_ever(client: KubeClient, monkeypatch):
    monkeypatch.setattr(kube, "BUSY_SECONDS", 0)
    monkeypatch.setattr(Server, "busy", 3)
    assert client.list("/answer/200") == []

    with pytest.raises(KubeError, match="429"):
        client.get("/answer/429")


def test_a_connection_that_was_closed_while_idle_is_opened_again(client: KubeClient):
    before = Server.connections

    for _ in range(3):
        assert client.list("/answer/200") == []

    assert Server.connections == before + 3


@pytest.mark.parametrize("raised", [ssl.SSLEOFError, BrokenPipeError, ConnectionResetError])
def test_a_stale_connection_is_noticed_however_it_shows(client: KubeClient, raised: type[Exception]):
    class Stale:
        def request(self, *args: object, **options: object) -> None:
            raise raised()

        def close(self) -> None: ...

    client.get("/answer/200")
    client._local.connection = Stale()

    assert client.list("/answer/200") == []


def test_a_server_that_is_not_there_is_not_asked_for_ever(client: KubeClient, tmp_path: Path):
    gone = KubeClient("https://127.0.0.1:1", pki.create(tmp_path / "other").ca.read_bytes(), None)

    with pytest.raises(OSError):
        gone.get("/answer/200")
    assert not gone.healthy()


def test_an_error_carries_status_and_reason(client: KubeClient):
    with pytest.raises(KubeError, match="GET /answer/409: 409 Asked: as asked") as error:
        client.get("/answer/409")

    assert error.value.status == 409


def test_only_a_404_is_nothing_found(client: KubeClient):
    assert client.find("/answer/404") is None
    with pytest.raises(KubeError):
        client.find("/answer/403")


@pytest.mark.parametrize("status", [{}, {"conditions": None}, {"conditions": []}])
def test_a_condition_that_is_not_set_is_none(status: dict):
    assert condition({"status": status}, "Ready") is None
