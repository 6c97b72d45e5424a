"""Sites as they are on the wire: signed segments, without a catalog of their own; and the entries they write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from blake3 import blake3

from librarian_protocol import segments, wire
from librarian_protocol.authenticity import Signed
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    Access,
    Entry,
    FileIngested,
    FileWithdrawn,
    How,
    InstanceDoubted,
    InstanceHealed,
    InstanceRegistered,
    InstanceRemoved,
    InstanceSuspected,
    SiteAdmitted,
    StoreDeclared,
    StoreRole,
    Unit,
)
from librarian_protocol.keys import Purpose, SiteKey
from librarian_protocol.names import Name, SiteName
from librarian_protocol.segments import NO_HASH, Position, Segment

AT = "2026-01-02T03:04:05.000006Z"
NAME = "raw/2026/first light.fits"


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """A segment as it travels."""

    segment: Segment
    payload: bytes
    signature: str
    hash: str
    #: Whose signature it is.
    key: str

    def signed(self) -> Signed:
        """As it is once its signature was checked."""
        return Signed(segment=self.segment, payload=self.payload, signature=self.signature, key=self.key)


class Peer:
    """A site that writes its journal."""

    def __init__(self, site: str, *, epoch: int = 1) -> None:
        self.site = SiteName.parse(site)
        self.key = key_of(self.site)
        self.store = store_of(self.site)
        self.position = Position(
            site=self.site, epoch=epoch, incarnation=incarnation_of(site, epoch), seq=0, hash=NO_HASH
        )

    def restart(self) -> None:
        """Begin a new incarnation."""
        epoch = self.position.epoch + 1
        self.position = msgspec.structs.replace(
            self.position, epoch=epoch, incarnation=incarnation_of(self.site, epoch)
        )

    def say(self, *entries: Entry) -> list[Sealed]:
        """Append: segments are cut where the kind changes."""
        found: list[Sealed] = []
        for done in segments.cut(self.position, entries, AT):
            found.append(self.seal(done.segment, done.payload))
            self.position = segments.following(self.position, done)
        return found

    def each(self, *entries: Entry) -> list[Sealed]:
        """Append each entry in a segment of its own."""
        return [segment for entry in entries for segment in self.say(entry)]

    def seal(self, segment: Segment, payload: bytes) -> Sealed:
        """Sign what stands there."""
        signature = self.key.sign(Purpose.SEGMENT, payload)
        return Sealed(
            segment=segment,
            payload=payload,
            signature=signature,
            hash=segments.hash_of(payload),
            key=self.key.public,
        )

    def say_raw(self, kind: str, *entries: dict[str, Any]) -> Sealed:
        """Append entries that this software would not write: of a later version, or against its rules."""
        first = self.position.seq + 1
        raws = [msgspec.Raw(wire.encode({"seq": first + n, "at": AT, **entry})) for n, entry in enumerate(entries)]
        segment = Segment(
            v=segments.VERSION,
            site=self.site,
            epoch=self.position.epoch,
            incarnation=self.position.incarnation,
            first_seq=first,
            prev=self.position.hash,
            kind=kind,
            entries=raws,
        )
        payload = wire.encode(segment)
        sealed = self.seal(segments.decode(payload), payload)
        self.position = msgspec.structs.replace(self.position, seq=segment.last_seq, hash=sealed.hash)
        return sealed


def key_of(site: str) -> SiteKey:
    """The key of a test site: it protects nothing."""
    return SiteKey(blake3(f"key of {site}".encode()).digest())


def store_of(site: str, number: int = 0) -> str:
    """The id of one of its stores."""
    return blake3(f"store {number} of {site}".encode()).hexdigest()[:32]


def incarnation_of(site: str, epoch: int) -> str:
    """The id of the incarnation that it begins with an epoch."""
    return blake3(f"{site} {epoch}".encode()).hexdigest()[:16]


# ---- entries -----------------------------------------------------------------------------------------------


def facts(name: str = NAME, content: str = "", *, size_bytes: int = 11, unit: Unit = Unit.FILE) -> dict[str, Any]:
    """A file: other ``content`` is another digest."""
    digest = Digest.blake3((content or name).encode())
    return {"name": Name.parse(name), "digest": digest, "size_bytes": size_bytes, "unit": unit}


def ingested(store: str, name: str = NAME, content: str = "", *, mtime_ns: int = 0, **others: Any) -> FileIngested:
    return FileIngested(**facts(name, content, **others), store=store, mtime_ns=mtime_ns)


def withdrawn(name: str = NAME, content: str = "") -> FileWithdrawn:
    return FileWithdrawn(**facts(name, content), reason="test exposure")


def registered(
    store: str, name: str = NAME, content: str = "", *, source: str = "summit", **others: Any
) -> InstanceRegistered:
    return InstanceRegistered(
        **facts(name, content, **others), store=store, source_site=SiteName.parse(source), how=How.PULLED
    )


def removed(store: str, name: str = NAME, content: str = "") -> InstanceRemoved:
    return InstanceRemoved(**facts(name, content), store=store, reason="policy")


def suspected(store: str, name: str = NAME, content: str = "") -> InstanceSuspected:
    return InstanceSuspected(**facts(name, content), store=store, reason="checksum-mismatch")


def healed(store: str, name: str = NAME, content: str = "") -> InstanceHealed:
    return InstanceHealed(**facts(name, content), store=store)


def doubted(owner: Peer, entry_seq: int, name: str = NAME, content: str = "") -> InstanceDoubted:
    """A doubt about the state that entry ``entry_seq`` of the owner's present incarnation gave its instance."""
    return InstanceDoubted(
        **facts(name, content),
        store=owner.store,
        owner=owner.site,
        reason="checksum-mismatch",
        epoch=owner.position.epoch,
        incarnation=owner.position.incarnation,
        entry_seq=entry_seq,
    )


def admission(
    site: str, *, may_admit: bool = False, grants: Sequence[str] = ("**",), key: SiteKey | None = None
) -> SiteAdmitted:
    return SiteAdmitted(
        site=SiteName.parse(site),
        key=(key or key_of(site)).public,
        access=Access.FULL,
        domain=site,
        grants=list(grants),
        may_admit=may_admit,
    )


def store_declared(store: str, *, active: bool = True) -> StoreDeclared:
    return StoreDeclared(
        store=store, label="disk", role=StoreRole.ARCHIVE, technology="posix", active=active, ingestable=True
    )
