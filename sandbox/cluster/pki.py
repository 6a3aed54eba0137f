"""Keys and certificates of one control plane: made at each start, good for a week."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=7)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
# The name of the API server's certificate towards aggregated ones.
FRONT_PROXY = "front-proxy-client"


@dataclass(frozen=True)
class Pki:
    """
    Paths of PEM files. One serving certificate does for every server on 127.0.0.1, and for such a server's
    clients where both show theirs.

    Attributes:
        front_proxy_ca, front_proxy_certificate, front_proxy_key: What an aggregated API server knows the API
            server by, whose word it takes for who asks. An authority of its own: nothing else that `ca` has
            signed may speak for others.
    """

    ca: Path
    serving_certificate: Path
    serving_key: Path
    service_account_key: Path
    front_proxy_ca: Path
    front_proxy_certificate: Path
    front_proxy_key: Path


def create(folder: Path) -> Pki:
    folder.mkdir(parents=True, exist_ok=True)
    authority = _Authority.create("slicewise-sandbox")
    proxies = _Authority.create("slicewise-sandbox-front-proxy")
    serving_key, proxy_key = _key(), _key()
    hosts = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    )
    serving = authority.issue("127.0.0.1", serving_key, ExtendedKeyUsageOID.SERVER_AUTH, CLIENT, names=hosts)
    proxy = proxies.issue(FRONT_PROXY, proxy_key, CLIENT)
    # RSA: EKS signs service account tokens with RS256.
    account_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Pki(
        ca=_write(folder / "ca.crt", _certificate_pem(authority.certificate)),
        serving_certificate=_write(folder / "serving.crt", _certificate_pem(serving)),
        serving_key=_write(folder / "serving.key", _pem(serving_key)),
        service_account_key=_write(folder / "service-account.key", _pem(account_key)),
        front_proxy_ca=_write(folder / "front-proxy-ca.crt", _certificate_pem(proxies.certificate)),
        front_proxy_certificate=_write(folder / "front-proxy.crt", _certificate_pem(proxy)),
        front_proxy_key=_write(folder / "front-proxy.key", _pem(proxy_key)),
    )


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str) -> _Authority:
        key, subject = _key(), _name(name)
        certificate = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(key_cert_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    def issue(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        *usages: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None = None,
    ) -> x509.Certificate:
        """A certificate of `key`; a server's needs the `names` that clients reach it by."""
        builder = (
            _builder(_name(name), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            # Python 3.13 verifies strictly: without this identifier it refuses the certificate.
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path
