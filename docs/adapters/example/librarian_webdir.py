"""An adapter that pulls from a plain web server (nginx, Apache, `python -m http.server`) that serves a store."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from urllib.parse import quote

import aiohttp
import msgspec
import yarl

from librarian_adapters.contract import (
    Batch,
    Capabilities,
    Context,
    Failed,
    Item,
    Landed,
    Outcome,
    Progress,
    Staging,
)
from librarian_adapters.http.address import guarded
from librarian_adapters.local import components
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    ConfigInvalid,
    SizeMismatch,
    SourceInvalid,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    StoreError,
    TransferError,
)

URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?\Z")
CHUNK_BYTES = 1 << 20


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[adapters.settings.webdir]``."""

    #: What this site offers: the URL of each store's directory, by the store's label.
    serve: dict[str, str] = {}
    timeout_s: float = 60.0


def factory(context: Context) -> Webdir:
    """What the entry point names. Opens no connection yet."""
    try:
        settings = msgspec.convert(dict(context.settings), Settings)
    except msgspec.ValidationError as exc:
        raise ConfigInvalid(f"adapters.settings.webdir: {exc}") from exc
    for label, url in settings.serve.items():
        if label not in context.labels.values() or URL.match(url) is None:
            raise ConfigInvalid(f"adapters.settings.webdir.serve: {label} = {url!r} is not a store and its URL")
    return Webdir(settings, context.labels, loopback=context.loopback_peers)


class Webdir:
    """One request after another; a file that was begun is gone on with by a Range request."""

    name = "webdir"
    version = 1
    capabilities = Capabilities(
        max_files=1000, max_bytes=1 << 40, resumable=True, verifies_inline=False, dial=Dial.DESTINATION
    )

    def __init__(self, settings: Settings, labels: Mapping[str, str], *, loopback: bool) -> None:
        self._loopback = loopback
        self._settings = settings
        self._labels = labels

    def offer(self) -> AdapterOffer | None:
        """What other sites are told. They are told ids of stores, never paths."""
        stores = {id_: self._settings.serve[one] for id_, one in self._labels.items() if one in self._settings.serve}
        if not stores:
            return None
        return AdapterOffer(name=self.name, version=1, address="", dial=Dial.DESTINATION, params={"stores": stores})

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        """One outcome for each item; what concerns all of them is raised."""
        base = batch.offer.params.get("stores", {}).get(batch.store)
        if not isinstance(base, str) or URL.match(base) is None:  # it comes from another site: believe nothing
            raise SourceInvalid(f"site {batch.source} offers no usable URL for store {batch.store}")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=self._settings.timeout_s)
        connector = guarded(loopback=self._loopback)  # no URL of another site leads to this machine's own services
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
            for item in batch.items:
                try:
                    await self._bring(session, base, item, staging, progress)
                except (TransferError, StoreError) as exc:
                    yield Failed(item, exc)
                    if isinstance(exc, SourceUnreachable):
                        raise  # the others would fail alike
                else:
                    yield Landed(item)  # the daemon reads the bytes back and compares

    async def _bring(
        self, session: aiohttp.ClientSession, base: str, item: Item, staging: Staging, progress: Progress
    ) -> None:
        url = f"{base.rstrip('/')}/{'/'.join(quote(part, safe='') for part in components(item))}"
        sink = await staging.create(item, resume=item.exact)
        if sink.offset > item.size_bytes:
            await sink.close()
            sink = await staging.create(item)
        try:
            if item.exact and sink.offset == item.size_bytes > 0:
                return  # all of it is there
            headers = {"Range": f"bytes={sink.offset}-"} if sink.offset else {}
            headers["Accept-Encoding"] = "identity"
            async with session.get(yarl.URL(url, encoded=True), headers=headers, allow_redirects=False) as reply:
                if reply.status in {404, 410}:
                    raise SourceMissing(f"{item.part} of {item.name!a}: the server says {reply.status}")
                if reply.status in {401, 403}:
                    raise SourceRefused(f"{item.part} of {item.name!a}: the server says {reply.status}")
                if reply.status != (206 if sink.offset else 200):
                    raise SourceInvalid(f"{item.part} of {item.name!a}: the server says {reply.status}")
                left = item.size_bytes - sink.offset
                async for chunk in reply.content.iter_chunked(CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise SizeMismatch(f"{item.part} of {item.name!a}: more bytes come than were announced")
                    await sink.write(chunk)
                    progress.moved(item, len(chunk))
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise SourceUnreachable(f"{item.part} of {item.name!a}: {type(exc).__name__}: {exc}") from exc
        finally:
            await sink.close()

    async def abandon(self, ticket: bytes) -> None:
        """Nothing goes on elsewhere."""

    async def close(self) -> None:
        """Nothing is kept open."""
