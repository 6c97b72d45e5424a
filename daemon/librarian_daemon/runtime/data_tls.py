"""TLS on the data address: whether, with which certificate, and how it is announced (ADR 0016)."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.runtime.certificates import Certificate
from librarian_protocol.errors import ConfigInvalid
from librarian_protocol.host_port import parse
from librarian_protocol.loopback import is_loopback

#: In an offer's params: the certificate there is an authority's, not the one that the site announces.
AUTHORITY = "authority"


class DataTls(msgspec.Struct, frozen=True, kw_only=True):
    """How the data address is served."""

    #: None: plain HTTP.
    context: ssl.SSLContext | None
    #: Whether others pin the site's own certificate; otherwise an authority signed another one.
    pinned: bool

    def url(self, address: str) -> str:
        """The address as it is announced."""
        return address if self.context is None else f"https://{address}"


def data_tls(settings: SiteSettings, certificate: Certificate, address: str) -> DataTls:
    """TLS as the settings ask for it; ``address`` is the ``HOST:PORT`` that others dial.

    Raises:
        ConfigInvalid: certificate or key cannot be read, or do not belong together.
    """
    host, _ = parse(address)
    if settings.data.tls == "off" or (settings.data.tls == "auto" and is_loopback(host)):
        return DataTls(context=None, pinned=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.tls.cert_file:
        path, key_path = Path(settings.tls.cert_file), Path(settings.tls.key_file)
    else:
        path, key_path = certificate.path, certificate.key_path
    try:
        context.load_cert_chain(path, key_path)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigInvalid(f"the TLS certificate {path} with key {key_path} cannot be used: {exc}") from exc
    return DataTls(context=context, pinned=not settings.tls.cert_file)
