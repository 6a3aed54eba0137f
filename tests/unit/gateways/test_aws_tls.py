"""Clients read the authorities' certificates once, and trust nobody else's."""

from __future__ import annotations

import ssl

import pytest
from slicewise.errors import Unavailable
from slicewise.gateways import botocore_clients
from slicewise.gateways.sns import SnsNotices
from slicewise.gateways.ssm import SsmPolicies

from sandbox.aws.core.loopback import Handler, Server
from sandbox.cluster import pki


class Ssm(Handler):
    """Closes each connection, so that each call needs another one."""

    def do_POST(self) -> None:
        self.body()
        self.close_connection = True
        self.reply(200, b'{"Parameter":{"Value":"a text"}}', {"Connection": "close"})


@pytest.fixture
def server(tmp_path, monkeypatch):
    made = pki.create(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.serving_certificate, made.serving_key)
    server = Server(Ssm, tls)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{server.port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    yield made
    server.close()


@pytest.fixture
def loaded(monkeypatch) -> list[str]:
    """Files of authorities that were read, each time."""
    files, real = [], ssl.SSLContext.load_verify_locations

    def load(self, *args):
        files.append(args[0])
        return real(self, *args)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    return files


def test_each_file_of_authorities_is_read_once_for_all_clients(server, loaded, monkeypatch):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(server.ca))
    session = botocore_clients.session()
    for region in ("eu-west-1", "us-east-1"):  # each has a client of its own
        policies = SsmPolicies("/slicewise/", session, region)
        assert [policies.text("gpu"), policies.text("gpu")] == ["a text", "a text"]

    assert loaded == [str(server.ca)]


def test_an_authority_that_is_not_ours_is_not_trusted(server, monkeypatch):
    monkeypatch.setattr(
        botocore_clients,
        "_CONFIG",
        botocore_clients._CONFIG.merge(botocore_clients.Config(retries={"max_attempts": 0})),
    )
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    session = botocore_clients.session()

    for _ in range(2):
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            SsmPolicies("/slicewise/", session, "eu-west-1").text("gpu")
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        SnsNotices("arn:aws:sns:eu-west-1:1:x", session, "eu-west-1").publish("a", "b")
