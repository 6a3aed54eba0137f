"""
The EKS authenticator: kube-apiserver's token webhook, with the checks that AWS makes.

A token is a signed GetCallerIdentity URL (`k8s-aws-v1.` + base64url). AWS asks STS, which
checks the signature; here the session's secret is known, so the signature is computed
again, with the cluster's own name in the signed header. moto's STS checks no signatures
and would accept forged tokens. Rules after aws-iam-authenticator's token verifier.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import logging
import re
import ssl
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.aws.core.account import Account
from sandbox.aws.core.loopback import Handler, Server
from sandbox.aws.eks.state import settled, state_of
from sandbox.cluster import pki

log = logging.getLogger(__name__)

PREFIX = "k8s-aws-v1."
STS_HOST = re.compile(r"sts(\.[a-z0-9-]+)?\.amazonaws\.com")
LIFETIME_SECONDS, CLOCK_SKEW_SECONDS = 900, 300
ADMIN_GROUP_PREFIX = "eks-access-policy:"


class Refused(Exception):
    """The token is not accepted; the text says why, for the sandbox's log only."""


@dataclass(frozen=True)
class SignedUrl:
    """The parts of a token that its signature covers, and the signature."""

    host: str
    query: str
    fields: dict[str, str]
    signature: str

    @property
    def key_id(self) -> str:
        return self.fields["X-Amz-Credential"].split("/")[0]


@dataclass(frozen=True)
class Review:
    """One answer of the webhook. `user` is None where it refused."""

    control_plane: str
    cluster: str | None
    user: dict[str, Any] | None
    reason: str


def parse(token: str, now: datetime) -> SignedUrl:
    """
    Raises:
        Refused: The token is no GetCallerIdentity URL of ours, or too old.
    """
    if not token.startswith(PREFIX):
        raise Refused("not an EKS token")
    text = token.removeprefix(PREFIX)
    try:
        url = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refused("not base64 of a URL") from None
    parts = urlsplit(url)
    fields = {key: values[0] for key, values in parse_qs(parts.query).items()}
    if parts.scheme != "https" or not STS_HOST.fullmatch(parts.netloc) or parts.path != "/":
        raise Refused(f"not a URL of STS: {parts.netloc!r}")
    if (fields.get("Action"), fields.get("Version")) != ("GetCallerIdentity", "2011-06-15"):
        raise Refused("not GetCallerIdentity")
    if "x-k8s-aws-id" not in fields.get("X-Amz-SignedHeaders", "").split(";"):
        raise Refused("the cluster's name is not signed")
    if len(fields.get("X-Amz-Credential", "").split("/")) != 5 or "X-Amz-Signature" not in fields:
        raise Refused("not signed")
    _check_age(fields, now)
    query = "&".join(part for part in parts.query.split("&") if not part.startswith("X-Amz-Signature="))
    return SignedUrl(parts.netloc, query, fields, fields["X-Amz-Signature"])


def _check_age(fields: dict[str, str], now: datetime) -> None:
    try:
        signed_at = datetime.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expires = int(fields["X-Amz-Expires"])
    except (KeyError, ValueError):
        raise Refused("no date of signing") from None
    age = (now - signed_at).total_seconds()
    if not 0 <= expires <= LIFETIME_SECONDS:
        raise Refused(f"X-Amz-Expires {expires} is out of range")
    # Not X-Amz-Expires: the authenticator grants 15 minutes whatever was signed.
    if not -CLOCK_SKEW_SECONDS <= age <= LIFETIME_SECONDS:
        raise Refused(f"signed {age:.0f} s ago")


def signature(url: SignedUrl, credentials: Credentials, cluster: str) -> str:
    """What the signature has to be if the token was made for this cluster."""
    _, _, region, service, _ = url.fields["X-Amz-Credential"].split("/")
    request = AWSRequest(
        "GET", f"https://{url.host}/?{url.query}", headers={"x-k8s-aws-id": cluster, "host": url.host}
    )
    request.context["timestamp"] = url.fields["X-Amz-Date"]
    signer = SigV4QueryAuth(credentials, service, region)
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)


class Authenticator:
    """
    Attributes:
        reviews: The latest answers, oldest first, for tests and curious people.
    """

    def __init__(self, account: Account, folder: Path):
        self.reviews: deque[Review] = deque(maxlen=1000)
        self._account = account
        keys = pki.create(folder)
        self.ca_pem = keys.ca.read_text()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(keys.serving_certificate, keys.serving_key)
        self._server = Server(_handler(self), tls)

    def url(self, control_plane: str) -> str:
        return f"https://127.0.0.1:{self._server.port}/token-review/{control_plane}"

    def stop(self) -> None:
        self._server.close()

    def review(self, token: str, control_plane: str) -> dict[str, Any]:
        """The status of a TokenReview."""
        cluster = None
        try:
            url = parse(token, datetime.now(UTC))
            session = self._session(url)
            cluster = self._signed_for(url, session, control_plane)
            user = self._user(session, cluster)
            self._account.witness(session.role_arn.split("/")[-1])
        except Refused as refusal:
            self.reviews.append(Review(control_plane, cluster, None, str(refusal)))
            return {"authenticated": False, "error": str(refusal)}
        self.reviews.append(Review(control_plane, cluster, user, "accepted"))
        return {"authenticated": True, "user": user}

    def _session(self, url: SignedUrl) -> Any:
        from moto.sts.models import sts_backends

        sessions = sts_backends[self._account.account]["aws"].assumed_roles
        session = next((one for one in sessions if one.access_key_id == url.key_id), None)
        if session is None or url.fields.get("X-Amz-Security-Token") != session.session_token:
            raise Refused("unknown credentials")
        if session.expiration.replace(tzinfo=UTC) < datetime.now(UTC):
            raise Refused("the role's session has expired")
        return session

    def _signed_for(self, url: SignedUrl, session: Any, control_plane: str) -> str:
        """Which of the control plane's clusters the token was made for."""
        credentials = Credentials(session.access_key_id, session.secret_access_key, session.session_token)
        for cluster in self._account.clusters_of(control_plane):
            if hmac.compare_digest(signature(url, credentials, cluster), url.signature):
                return cluster
        raise Refused("the signature does not match: forged, or for another cluster")

    def _user(self, session: Any, cluster_name: str) -> dict[str, Any]:
        from moto.eks.models import eks_backends

        cluster = eks_backends[self._account.account][self._account.region].clusters.get(cluster_name)
        if cluster is None:
            raise Refused(f"there is no cluster {cluster_name}")
        state, arn = state_of(settled(cluster)), session.role_arn
        if state.access["authenticationMode"] == "CONFIG_MAP" or arn not in state.entries:
            raise Refused(f"{arn} has no access entry on {cluster_name}")
        entry, policies = state.entries[arn]["entry"], state.entries[arn]["policies"]
        # On EKS a policy is an authorizer of its own; here it is a group, which the sandbox binds.
        # Policies scoped to namespaces would need a binding each and give no rights here.
        groups = [
            ADMIN_GROUP_PREFIX + policy.split("/")[-1]
            for policy, association in policies.items()
            if association["accessScope"]["type"] == "cluster"
        ]
        role, account = arn.split("/")[-1], self._account.account
        return {
            "username": _username(entry["username"], session.session_name),
            "uid": f"aws-iam-authenticator:{account}:{role}",
            "groups": [*entry["kubernetesGroups"], *groups],
            "extra": {
                "arn": [session.arn],
                "canonicalArn": [arn],
                "sessionName": [session.session_name],
                "accessKeyId": [session.access_key_id],
            },
        }


def _username(template: str, session_name: str) -> str:
    # SessionName replaces characters that Kubernetes does not like, SessionNameRaw keeps them.
    plain = re.sub(r"[^\w-]", "-", session_name)
    return template.replace("{{SessionNameRaw}}", session_name).replace("{{SessionName}}", plain)


def _handler(authenticator: Authenticator) -> type[Handler]:
    class WebhookHandler(Handler):
        def do_POST(self) -> None:
            body = json.loads(self.body())
            control_plane = urlsplit(self.path).path.rstrip("/").split("/")[-1]  # apiserver adds ?timeout=
            try:
                status = authenticator.review(body["spec"].get("token", ""), control_plane)
            except Exception as error:  # a fault of ours must not look like an outage of the webhook
                log.exception("token review failed")
                status = {"authenticated": False, "error": f"{type(error).__name__}: {error}"}
            version = body.get("apiVersion", "authentication.k8s.io/v1")
            answer = {"apiVersion": version, "kind": "TokenReview", "status": status}
            self.reply(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    return WebhookHandler
