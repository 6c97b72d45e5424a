"""This site's TLS certificate: self-signed, pinned by the others (docs/adr/0016), or given by the operator.

The certificate is announced in the site's journal, and in invitations. So nobody needs an authority, and a name in DNS
proves nothing: clients trust exactly this certificate for this site.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from librarian_daemon.fs import private_file
from librarian_protocol.errors import ConfigInvalid
from librarian_protocol.host_port import WILDCARDS

#: The whole range of RFC 5280: the roster says how long it is valid, not a clock (I13).
_NOT_BEFORE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)
_ALWAYS = ("localhost", "127.0.0.1", "::1")


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Certificate and key as files, and the certificate as it is announced."""

    path: Path
    key_path: Path
    #: DER in base64.
    announced: str


def load_or_make(directory: Path, site: str, hosts: Sequence[str]) -> Certificate:
    """``tls.crt`` and ``tls.key`` in the directory, made at first use, and again if they lack one of the hosts.

    ``hosts`` are the names and addresses by which others reach this site. Idempotent.

    Raises:
        ConfigInvalid: the files cannot be read or written.
    """
    path, key_path = directory / "tls.crt", directory / "tls.key"
    wanted = sorted({*hosts, *_ALWAYS} - {"", *WILDCARDS})
    try:
        if path.exists() and key_path.exists():
            found = x509.load_pem_x509_certificate(path.read_bytes())
            if set(wanted) <= _hosts_of(found):
                return _described(found, path, key_path)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        made, key = _make(site, wanted)
        private_file.write(key_path, key)
        private_file.write(path, made.public_bytes(serialization.Encoding.PEM))
        return _described(made, path, key_path)
    except (OSError, ValueError) as exc:
        raise ConfigInvalid(
            f"the certificate {path} cannot be used: {exc}", hint="remove tls.crt and tls.key: new ones are made"
        ) from exc


def pem_of(announced: str) -> str:
    """An announced certificate as PEM.

    Raises:
        ConfigInvalid: it is none.
    """
    try:
        found = x509.load_der_x509_certificate(base64.b64decode(announced, validate=True))
    except ValueError as exc:
        raise ConfigInvalid(f"an announced certificate is not valid: {exc}") from exc
    return found.public_bytes(serialization.Encoding.PEM).decode()


def _described(found: x509.Certificate, path: Path, key_path: Path) -> Certificate:
    der = found.public_bytes(serialization.Encoding.DER)
    return Certificate(path=path, key_path=key_path, announced=base64.b64encode(der).decode())


def _hosts_of(found: x509.Certificate) -> set[str]:
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}


def _make(site: str, hosts: Sequence[str]) -> tuple[x509.Certificate, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, site)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made, pem


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
