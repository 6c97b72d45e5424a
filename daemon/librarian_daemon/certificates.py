"""The site's own TLS certificate: made once, self-signed, pinned by the other sites from the roster (ADR 0016)."""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from librarian_protocol.errors import ConfigInvalid

CERTIFICATE = "site.crt"
KEY = "site.crt.key"


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Where certificate and key stand (PEM), and what is announced."""

    path: Path
    key_path: Path
    #: The certificate itself, DER in base64.
    der_base64: str


def load_or_make(directory: Path, hosts: Sequence[str]) -> Certificate:
    """The certificate in ``directory``; made, for these host names and addresses, where there is none.

    Others pin the certificate as it is, so it does not expire in practice and its names are for people. Delete both
    files to have a new one at the next start: it is announced, and peers follow. Idempotent. Blocks.

    Raises:
        ConfigInvalid: what stands there cannot be read, or others may read the key.
    """
    path, key_path = directory / CERTIFICATE, directory / KEY
    if not (path.exists() and key_path.exists()):
        _make(path, key_path, hosts)
    try:
        if key_path.stat().st_mode & 0o077:
            raise ConfigInvalid(f"others may read the TLS key {key_path}", hint=f"chmod 600 {key_path}")
        der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    except (OSError, ValueError) as exc:
        raise ConfigInvalid(
            f"the TLS certificate {path} cannot be read: {exc}", hint="delete it and its key to have a new one"
        ) from exc
    return Certificate(path=path, key_path=key_path, der_base64=base64.b64encode(der).decode())


def _make(path: Path, key_path: Path, hosts: Sequence[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "librarian site")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts if host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(
        key_path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    _write(path, certificate.public_bytes(serialization.Encoding.PEM))


def _write(path: Path, data: bytes) -> None:
    """The whole file or none: the certificate comes last, so a crash between the two makes both anew."""
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.replace(part, path)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
