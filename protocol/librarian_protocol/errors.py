"""The error tree, by who caused the error. Each class fixes a stable code, an exit code, and whether to retry::

    LibrarianError
    ├── InputError                E1xx  the input is wrong; the caller must change it
    │   ├── NameInvalid           E101
    │   ├── SiteNameInvalid       E102
    │   ├── DigestInvalid         E103
    │   ├── NotFound              E104
    │   ├── ConfigInvalid         E105
    │   ├── ManifestInvalid       E106
    │   ├── NameTaken             E107
    │   ├── ArgumentInvalid       E108
    │   ├── BookRefused           E109
    │   └── NotPossible           E110
    ├── PeerError                 E2xx  what another site sent breaks the protocol; it is not applied
    │   ├── SegmentInvalid        E201
    │   ├── SignatureInvalid      E202
    │   ├── ChainBroken           E203
    │   ├── Equivocation          E204
    │   ├── NotAdmitted           E205
    │   ├── TokenInvalid          E206
    │   └── RequestRefused        E207
    ├── TransferError             E3xx  bytes did not arrive; the transfer's reason says why
    │   ├── SourceMissing         E301
    │   ├── ChecksumMismatch      E302
    │   ├── SizeMismatch          E303
    │   ├── SourceUnreachable     E304
    │   ├── TransferTimeout       E305
    │   ├── SourceRefused         E306
    │   ├── SourceInvalid         E307
    │   ├── NotOffered            E308
    │   ├── SourceIdentity        E309
    │   ├── AdapterCredentials    E310
    │   └── TransferSlow          E311
    ├── StoreError                E4xx  a store cannot take or give bytes
    │   ├── StoreFull             E401
    │   ├── NoInodes              E402
    │   ├── StoreFault            E403
    │   ├── StoreNotMounted       E404
    │   ├── CaseTwin              E405
    │   └── NameOccupied          E406
    ├── SiteError                 E5xx  this site's own services
    │   ├── DaemonUnreachable     E501
    │   ├── CatalogFault          E502
    │   ├── BusUnavailable        E503
    │   ├── BusUnsafe             E504
    │   ├── AlreadyRunning        E505
    │   ├── NotifyFailed          E506
    │   └── NotPermitted          E507
    └── InvalidTransition         E601  a fault of this software: a state machine has no such transition

Exit codes (any other non-zero means failure): 1 failed or unhealthy, 2 usage, 3 partly done, 4 not found,
5 temporary, 6 integrity, 10 daemon unreachable, 11 locked or conflict, 12 not allowed.
"""

from __future__ import annotations

from typing import ClassVar


class LibrarianError(Exception):
    """An error with a code of this project.

    ``message`` says what, where and why; ``hint`` says what to do next (may be empty).
    """

    code: ClassVar[str] = "E000"
    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(LibrarianError):
    """The input is wrong."""

    code = "E100"
    kind = "input"
    exit_code = 2


class NameInvalid(InputError):
    """A file's name, or a member's path, breaks a rule of names (docs/architecture.md)."""

    code = "E101"
    kind = "name_invalid"


class SiteNameInvalid(InputError):
    """A site name is not ``[a-z][a-z0-9-]{0,30}``, or is reserved."""

    code = "E102"
    kind = "site_name_invalid"


class DigestInvalid(InputError):
    """A digest is not ``<algorithm>:<hex>`` of the right length."""

    code = "E103"
    kind = "digest_invalid"


class NotFound(InputError):
    """Nothing with that name or id is known here."""

    code = "E104"
    kind = "not_found"
    exit_code = 4


class ConfigInvalid(InputError):
    """The configuration is wrong; the message names the key's path."""

    code = "E105"
    kind = "config_invalid"


class ManifestInvalid(InputError):
    """A book's manifest is not in its canonical form (docs/architecture.md)."""

    code = "E106"
    kind = "manifest_invalid"
    exit_code = 6


class NameTaken(InputError):
    """Other bytes already have this name; files are immutable."""

    code = "E107"
    kind = "name_taken"
    exit_code = 11


class ArgumentInvalid(InputError):
    """An argument of a command or a request is wrong."""

    code = "E108"
    kind = "argument_invalid"


class BookRefused(InputError):
    """A book contains something that is neither a regular file nor a directory."""

    code = "E109"
    kind = "book_refused"


class NotPossible(InputError):
    """The request is well formed, but the present state does not allow it."""

    code = "E110"
    kind = "not_possible"
    exit_code = 11


class PeerError(LibrarianError):
    """What another site sent breaks the protocol."""

    code = "E200"
    kind = "peer"


class SegmentInvalid(PeerError):
    """A segment does not decode, is too large, or contradicts itself."""

    code = "E201"
    kind = "segment_invalid"
    exit_code = 6


class SignatureInvalid(PeerError):
    """A signature does not match the bytes and the key in the roster."""

    code = "E202"
    kind = "signature_invalid"
    exit_code = 6


class ChainBroken(PeerError):
    """A segment's ``prev`` or ``first_seq`` does not continue the journal that is held."""

    code = "E203"
    kind = "chain_broken"
    exit_code = 6


class Equivocation(PeerError):
    """One site signed two different segments for one place in its journal."""

    code = "E204"
    kind = "equivocation"
    exit_code = 6


class NotAdmitted(PeerError):
    """The site is not in the roster."""

    code = "E205"
    kind = "not_admitted"
    exit_code = 12


class TokenInvalid(PeerError):
    """An invite token is malformed, expired, used, or for another mesh."""

    code = "E206"
    kind = "token_invalid"
    exit_code = 12


class RequestRefused(PeerError):
    """A data request is not signed, not fresh, or not allowed."""

    code = "E207"
    kind = "request_refused"
    exit_code = 12


class TransferError(LibrarianError):
    """Bytes did not arrive."""

    code = "E300"
    kind = "transfer"
    retryable = True
    exit_code = 5


class SourceMissing(TransferError):
    """The source does not have what it announced."""

    code = "E301"
    kind = "source_missing"


class ChecksumMismatch(TransferError):
    """The bytes that arrived are not the bytes that were announced."""

    code = "E302"
    kind = "checksum_mismatch"
    exit_code = 6


class SizeMismatch(TransferError):
    """More or fewer bytes arrived than were announced."""

    code = "E303"
    kind = "size_mismatch"
    exit_code = 6


class SourceUnreachable(TransferError):
    """The source cannot be reached, or the connection broke."""

    code = "E304"
    kind = "source_unreachable"


class TransferTimeout(TransferError):
    """The source sent nothing for longer than the adapter waits."""

    code = "E305"
    kind = "timeout"


class SourceRefused(TransferError):
    """The source answered that this site may not have the file."""

    code = "E306"
    kind = "source_refused"
    exit_code = 12


class SourceInvalid(TransferError):
    """The source gave an answer outside the adapter's protocol."""

    code = "E307"
    kind = "source_invalid"


class NotOffered(TransferError):
    """The source has the file, but does not offer it to this site."""

    code = "E308"
    kind = "not_offered"
    exit_code = 12


class SourceIdentity(TransferError):
    """The server at the source's address does not have the certificate that the source announced."""

    code = "E309"
    kind = "source_identity"
    exit_code = 12


class AdapterCredentials(TransferError):
    """The service that moves the bytes needs a person: for a login, a consent or a new secret."""

    code = "E310"
    kind = "adapter_credentials"
    retryable = False
    exit_code = 12


class TransferSlow(TransferError):
    """The source sends bytes, but for minutes below the minimum rate."""

    code = "E311"
    kind = "too_slow"


class StoreError(LibrarianError):
    """A store cannot take or give bytes."""

    code = "E400"
    kind = "store"


class StoreFull(StoreError):
    """No space is left for bytes."""

    code = "E401"
    kind = "store_full"
    retryable = True
    exit_code = 5


class NoInodes(StoreError):
    """Space is left, but no inodes."""

    code = "E402"
    kind = "no_inodes"
    retryable = True
    exit_code = 5


class StoreFault(StoreError):
    """The filesystem answered with an error (EIO, EROFS, failed fsync)."""

    code = "E403"
    kind = "store_fault"
    retryable = True


class StoreNotMounted(StoreError):
    """The store's marker is missing: the store is not mounted. This never means that its files are gone."""

    code = "E404"
    kind = "store_not_mounted"
    retryable = True
    exit_code = 5


class CaseTwin(StoreError):
    """Another name differs from this one only in letter case."""

    code = "E405"
    kind = "case_twin"
    exit_code = 11


class NameOccupied(StoreError):
    """Something else is at the final name, or at a directory above it."""

    code = "E406"
    kind = "name_occupied"
    exit_code = 11


class SiteError(LibrarianError):
    """One of this site's own services does not work."""

    code = "E500"
    kind = "site"


class DaemonUnreachable(SiteError):
    """No daemon answers on the control socket."""

    code = "E501"
    kind = "daemon_unreachable"
    retryable = True
    exit_code = 10


class CatalogFault(SiteError):
    """The catalog cannot be opened or written."""

    code = "E502"
    kind = "catalog_fault"


class BusUnavailable(SiteError):
    """The NATS server does not answer, or refuses the connection."""

    code = "E503"
    kind = "bus_unavailable"
    retryable = True
    exit_code = 5


class BusUnsafe(SiteError):
    """The NATS server is too old, or its settings can lose what it acknowledged."""

    code = "E504"
    kind = "bus_unsafe"


class AlreadyRunning(SiteError):
    """Another daemon holds this site's lock."""

    code = "E505"
    kind = "already_running"
    exit_code = 11


class NotifyFailed(SiteError):
    """A channel could not send notifications of incidents."""

    code = "E506"
    kind = "notify_failed"
    retryable = True
    exit_code = 5


class NotPermitted(SiteError):
    """The operating system does not allow this user to do it, for example to open the socket or to read a file."""

    code = "E507"
    kind = "not_permitted"
    exit_code = 12


class InvalidTransition(LibrarianError):
    """A state machine was asked for a transition that it does not have; nothing was changed."""

    code = "E601"
    kind = "invalid_transition"


def by_code() -> dict[str, type[LibrarianError]]:
    """Every error class by its code, to turn an error from the wire into an exception again.

    A subclass without a code of its own is a special case of the class that it takes its code from.
    """
    found: dict[str, type[LibrarianError]] = {}
    pending: list[type[LibrarianError]] = [LibrarianError]
    while pending:
        error = pending.pop()
        if "code" in vars(error):
            found[error.code] = error
        pending.extend(error.__subclasses__())
    return found
