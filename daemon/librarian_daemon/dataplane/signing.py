"""Signs this site's data requests."""

from __future__ import annotations

from librarian_adapters.contract import Signer
from librarian_daemon.ports.time import Clock
from librarian_protocol import requests
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.requests import Request


def signer(site: SiteName, key: SiteKey, clock: Clock) -> Signer:
    """Signs data requests as this site."""

    def sign(
        *,
        source: SiteName,
        method: str,
        target: str,
        range: str,  # noqa: A002 - the contract's word: the header's name
        body: bytes,
    ) -> dict[str, str]:
        request = Request(
            source=source,
            destination=site,
            method=method,
            target=target,
            range=range,
            body=body,
            expires=clock.unix_s() + requests.LIFETIME_S,
        )
        return requests.sign(request, key)

    return sign
