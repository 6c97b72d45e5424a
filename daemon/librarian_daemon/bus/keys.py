"""The NKEYs of this site's bus connections. They sign texts that a server chooses, so they have no other use.

The site key, which signs what other sites believe, is a different key and is never used on the bus (docs/events.md).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import nkeys

from librarian_daemon.fs import private_file
from librarian_daemon.ports.time import Rng
from librarian_protocol.errors import ConfigInvalid


class UserKey(msgspec.Struct, frozen=True):
    """An NKEY of a bus user."""

    #: Secret: ``SU…``.
    seed: str
    #: ``U…``.
    public: str


class BusKeys(msgspec.Struct, frozen=True, kw_only=True):
    """This site's NKEYs."""

    journal: UserKey
    link: UserKey
    #: By which its own server dials out to another's.
    leaf: UserKey
    #: By which its daemon asks its own server about leaf links.
    system: UserKey


def new_user(rng: Rng) -> UserKey:
    """A new NKEY, not stored."""
    return _user(nkeys.encode_seed(rng.bytes(32), nkeys.PREFIX_BYTE_USER).decode())


def public_of(seed: str) -> str:
    """The public NKEY of a user's seed.

    Raises:
        ConfigInvalid: it is none.
    """
    try:
        return _user(seed).public
    except (nkeys.NkeysError, ValueError) as exc:
        raise ConfigInvalid("the seed of the invited bus user is not valid") from exc


def load(directory: Path, rng: Rng) -> BusKeys:
    """Read ``bus-journal.nk``, ``-link``, ``-leaf``, ``-system``, making what is missing. Idempotent.

    Raises:
        ConfigInvalid: a file holds no seed of a user.
        OSError: it cannot be read or written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return BusKeys(**{role: _kept(directory / f"bus-{role}.nk", rng) for role in BusKeys.__struct_fields__})


def _kept(path: Path, rng: Rng) -> UserKey:
    if not path.exists():
        # All or nothing: half a seed would be a key that nobody admitted.
        private_file.write(path, f"{new_user(rng).seed}\n".encode())
    try:
        return _user(path.read_text("ascii").strip())
    except (nkeys.NkeysError, ValueError) as exc:
        raise ConfigInvalid(
            f"{path} holds no NKEY seed of a user",
            hint="restore it, or remove it: a new one is made and must be admitted again",
        ) from exc


def _user(seed: str) -> UserKey:
    public = bytes(nkeys.from_seed(bytearray(seed.encode())).public_key)
    if not public.startswith(b"U"):
        raise ValueError("not the key of a user")
    return UserKey(seed, public.decode())
