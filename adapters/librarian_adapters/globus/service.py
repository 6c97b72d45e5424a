"""The Globus service, as far as transfers need it: globus-sdk's blocking calls in threads, its errors in our words.

Tokens are kept in one file of mode 0600. What the service says of itself is passed on as it says it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import globus_sdk
from globus_sdk.scopes import GCSCollectionScopes, Scope, TransferScopes
from globus_sdk.transport import RetryConfig

from librarian_adapters.globus.settings import GlobusSettings
from librarian_adapters.threads import in_thread
from librarian_protocol.errors import (
    AdapterCredentials,
    SourceInvalid,
    SourceRefused,
    SourceUnreachable,
    TransferError,
)

T = TypeVar("T")
TOKENS = "tokens.json"
LOGIN = "lbctl adapter login globus"


def scope(settings: GlobusSettings) -> str:
    """What to ask consent for: transfers, and the data of mapped collections."""
    wanted: Scope = TransferScopes.all
    for collection in settings.data_access:
        wanted = wanted.with_dependency(GCSCollectionScopes(collection).data_access.with_optional(True))
    return str(wanted)


def read_tokens(state: str) -> dict[str, Any]:
    """What was kept; empty where nothing is, or it cannot be understood."""
    try:
        found: object = json.loads(Path(state, TOKENS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(found) if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def write_tokens(state: str, tokens: dict[str, Any]) -> None:
    """Keep tokens for nobody else to read; replaced whole."""
    os.makedirs(state, mode=0o700, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=TOKENS, dir=state)  # of mode 0600; two threads may refresh at once
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(tokens, file)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, os.path.join(state, TOKENS))


def kept(response: Any) -> dict[str, Any]:
    """The part of an answer with tokens that is kept."""
    found: dict[str, Any] = response.by_resource_server["transfer.api.globus.org"]
    return {key: found.get(key) for key in ("access_token", "refresh_token", "expires_at_seconds")}


class GlobusService:
    """Submitting, looking at and cancelling tasks. Every method raises :class:`TransferError` only."""

    def __init__(self, settings: GlobusSettings, state: str) -> None:
        self._settings = settings
        self._state = state
        self._made: globus_sdk.TransferClient | None = None

    def _client(self) -> globus_sdk.TransferClient:
        if self._made is None:
            # Our own loop tries again, and says why meanwhile.
            self._made = globus_sdk.TransferClient(
                authorizer=self._authorizer(), retry_config=RetryConfig(max_retries=0), app_name="Librarian"
            )
        return self._made

    def _authorizer(self) -> globus_sdk.ClientCredentialsAuthorizer | globus_sdk.RefreshTokenAuthorizer:
        tokens = read_tokens(self._state)
        access, expires = tokens.get("access_token"), tokens.get("expires_at_seconds")
        quick = RetryConfig(max_retries=0)

        def keep(response: Any) -> None:
            write_tokens(self._state, {**tokens, **{key: token for key, token in kept(response).items() if token}})

        if self._settings.client_secret_file:
            try:
                secret = Path(self._settings.client_secret_file).read_text(encoding="utf-8").strip()
            except OSError as exc:
                raise AdapterCredentials(
                    f"client_secret_file {self._settings.client_secret_file} cannot be read: {exc.strerror}",
                    hint="put the secret of the application there",
                ) from exc
            return globus_sdk.ClientCredentialsAuthorizer(
                globus_sdk.ConfidentialAppAuthClient(self._settings.client_id, secret, retry_config=quick),
                scope(self._settings),
                access_token=access,
                expires_at=expires,
                on_refresh=keep,
            )
        if not tokens.get("refresh_token"):
            raise AdapterCredentials("nobody has logged in to Globus for this site", hint=LOGIN)
        return globus_sdk.RefreshTokenAuthorizer(
            tokens["refresh_token"],
            globus_sdk.NativeAppAuthClient(self._settings.client_id, retry_config=quick),
            access_token=access,
            expires_at=expires,
            on_refresh=keep,
        )

    async def _call(self, work: Callable[[globus_sdk.TransferClient], T]) -> T:
        def blocking() -> T:
            try:
                return work(self._client())
            except globus_sdk.GlobusError as exc:
                if isinstance(exc, globus_sdk.AuthAPIError):
                    self._made = None  # after a new login the next call succeeds
                raise explained(exc) from exc

        return await in_thread(blocking)

    async def submission_id(self) -> str:
        """A new one: what is submitted under it twice is one task."""
        return str(await self._call(lambda client: client.get_submission_id()["value"]))

    async def submit(self, document: globus_sdk.TransferData) -> str:
        """The task's id; the same for the same submission id."""
        return str(await self._call(lambda client: client.submit_transfer(document)["task_id"]))

    async def task(self, task_id: str) -> dict[str, Any]:
        """How it is."""
        return await self._call(lambda client: dict(client.get_task(task_id).data))  # pyright: ignore[reportArgumentType]

    async def skipped(self, task_id: str) -> list[dict[str, Any]]:
        """Files that it left out, with the reasons."""
        return await self._call(lambda client: _all(client.paginated.task_skipped_errors(task_id).items()))

    async def events(self, task_id: str) -> list[dict[str, Any]]:
        """Its newest errors."""
        return await self._call(lambda client: _all(client.task_event_list(task_id, limit=10, query_params=_ERRORS)))

    async def cancel(self, task_id: str) -> None:
        """End it. Idempotent."""
        await self._call(lambda client: client.cancel_task(task_id))

    async def labelled(self, label: str) -> list[str]:
        """Tasks with that label that still go on."""
        query: dict[str, str | list[str]] = {"label": label, "status": ["ACTIVE", "INACTIVE"]}
        return await self._call(
            lambda client: [str(task["task_id"]) for task in _all(client.task_list(limit=10, filter=query))]  # pyright: ignore[reportArgumentType]
        )


_ERRORS = {"filter": "is_error:1"}


def _all(items: Iterable[Any]) -> list[dict[str, Any]]:
    return [dict(item) for item in items]


def explained(exc: globus_sdk.GlobusError) -> TransferError:
    """An error of the service, with its own words."""
    if isinstance(exc, globus_sdk.NetworkError):
        return SourceUnreachable(f"the Globus service is not reached: {exc}"[:500])
    if not isinstance(exc, globus_sdk.GlobusAPIError):
        return TransferError(f"globus-sdk: {exc}"[:500])
    shown = f"Globus says {exc.http_status} {exc.code}: {exc.message}"[:500]
    if exc.info.consent_required:
        missing = ", ".join(exc.info.consent_required.required_scopes or ())
        return AdapterCredentials(f"{shown}; consent is missing for {missing}"[:700], hint=LOGIN)
    if isinstance(exc, globus_sdk.AuthAPIError) or exc.http_status == 401:
        if exc.http_status >= 500 or exc.http_status == 429:
            return SourceUnreachable(shown)
        return AdapterCredentials(shown, hint=LOGIN)
    if exc.http_status == 429 or exc.http_status >= 500:
        return SourceUnreachable(shown, hint="the service is busy or down; it is asked again")
    if exc.http_status in {403, 404}:
        return SourceRefused(shown, hint="docs/adapters/globus.md, Permissions")
    return SourceInvalid(shown)
