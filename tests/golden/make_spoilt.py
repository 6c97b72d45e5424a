"""Makes the exported journals of ``spoilt/`` and ``whole/``; run it as ``make.py``.

A mesh of three sites: summit, the first one; archive, which goes over to another key; campus. A file that exists is
left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3
from tests.conformance.catalog.peers import key_of

from librarian_protocol.keys import Purpose, SiteKey

HERE = Path(__file__).resolve().parent
MESH = "0123456789abcdef0123456789abcdef"
AT = "2026-01-02T03:04:05.000006Z"
ZEROS = "0" * 64
ADMINISTRATOR = key_of("administrator")
#: A segment: its site, bytes and signature.
Segment = tuple[dict[str, Any], bytes, str]


class Site:
    """Writes a journal, in any way it is asked to."""

    def __init__(self, name: str, key: str = "", epoch: int = 1) -> None:
        self.name, self.key = name, key_of(key or name)
        self.epoch, self.seq, self.prev = epoch, 0, ZEROS
        self.incarnation = blake3(f"{name} {epoch} {key}".encode()).hexdigest()[:16]

    def at(self, segment: Segment, *, epoch: int | None = None, incarnation: str = "", key: str = "") -> Site:
        """Another one who goes on behind that segment."""
        body = segment[0]
        other = Site(self.name, key, body["epoch"] if epoch is None else epoch)
        other.incarnation = incarnation or (body["incarnation"] if epoch is None else other.incarnation)
        other.seq, other.prev = body["entries"][-1]["seq"], blake3(segment[1]).hexdigest()
        other.key = key_of(key) if key else self.key
        return other

    def say(self, kind: str, *entries: dict[str, Any], **changed: Any) -> Segment:
        """Append a segment; ``changed`` are fields that are not what they should be."""
        numbered = [{"seq": self.seq + n, "at": AT, **entry} for n, entry in enumerate(entries, start=1)]
        body = {"v": 1, "site": self.name, "epoch": self.epoch, "incarnation": self.incarnation}
        body |= {"first_seq": self.seq + 1, "prev": self.prev, "kind": kind, "entries": numbered} | changed
        segment = sealed(body, self.key)
        self.seq += len(entries)
        self.prev = blake3(segment[1]).hexdigest()
        return segment


def sealed(body: dict[str, Any], key: SiteKey, payload: bytes = b"") -> Segment:
    payload = payload or json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return body, payload, key.sign(Purpose.SEGMENT, payload)


def admission(site: str, key: str = "", **others: Any) -> dict[str, Any]:
    named = key_of(key or site).public
    return {"site": site, "key": named, "access": "full", "domain": site, "grants": ["**"], **others}


def revocation(site: str, reason: str = "break-in", **others: Any) -> dict[str, Any]:
    entry = {"site": site, "key": key_of(site).public, "former": [], "domain": site, "grants": ["**"]}
    return entry | {"reason": reason, "cutoff": None, "statement": 0, "administrator": None} | others


def stated(kind: str, bare: dict[str, Any], entry: dict[str, Any], mesh: str = MESH) -> dict[str, Any]:
    """The entry, with the administrator's signature over what is said of ``bare`` on the page of events."""
    text = f"{mesh}\n{kind}\n" + json.dumps(bare, separators=(",", ":"), ensure_ascii=False)
    return entry | {"administrator": ADMINISTRATOR.sign(Purpose.ROSTER, text.encode())}


def stated_revocation(mesh: str = MESH, **others: Any) -> dict[str, Any]:
    entry = revocation("campus", statement=4, **others)
    return stated("revoked", {"seq": 0, "at": "", **entry}, entry, mesh)


def tip(segment: Segment) -> dict[str, Any]:
    body, payload, _ = segment
    last = body["first_seq"] + len(body["entries"]) - 1
    return {"incarnation": body["incarnation"], "seq": last, "hash": blake3(payload).hexdigest()}


def store(number: int = 0) -> dict[str, Any]:
    fields = {"label": "disk", "role": "archive", "technology": "posix", "active": True, "ingestable": True}
    return {"store": f"{number:032x}", **fields}


class Mesh:
    """The three sites, and what they said."""

    def __init__(self) -> None:
        self.summit, self.archive, self.campus = Site("summit"), Site("archive"), Site("campus")
        self.rekeyed_to = key_of("archive again")
        say = self.summit.say
        self.s = [say("site.admitted", admission("summit", may_admit=True))]
        self.s += [say("site.admitted", admission("archive"), admission("campus"))]
        self.s += [say("store.declared", store(1))]
        self.a = [self.archive.say("store.declared", store(n)) for n in (2, 3)]
        self.a += [self.archive.say("site.rekeyed", {"key": self.rekeyed_to.public})]
        self.old = self.archive.at(self.a[-1])
        self.archive.key = self.rekeyed_to
        self.a += [self.archive.say("store.declared", store(4)), self.archive.say("store.declared", store(5))]
        self.c = [self.campus.say("store.declared", store(n)) for n in (6, 7, 8)]

    @property
    def all(self) -> list[Segment]:
        return [*self.s, *self.a, *self.c]

    def revoke(self, *tips: Segment) -> list[Segment]:
        """All of it, and the word that the campus is of the mesh no more."""
        word = revocation("campus", tips=[tip(segment) for segment in tips])
        return [*self.all, self.summit.say("site.revoked", word)]


def gone_over(mesh: Mesh) -> list[Segment]:
    """What a thief says who goes over to a key of his own behind the end of the campus, and says more with it."""
    over = mesh.campus.say("site.rekeyed", {"key": key_of("the thief").public})
    mesh.campus.key = key_of("the thief")
    return [over, mesh.campus.say("store.declared", store(9))]


def line(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def lines(segments: list[Segment], key: SiteKey | None = None, **begin: Any) -> list[bytes]:
    """A file, closed as it should be."""
    key = key or key_of("summit")
    first: dict[str, Any] = {"t": "begin", "v": 1, "mesh": MESH, "by": "summit", "key": key.public, "at": AT}
    first |= {"anchor": "summit", "anchor_key": key_of("summit").public, "administrator": None, **begin}
    found = [line(**first)]
    found += [line(t="segment", payload=segment[1].decode(), signature=segment[2]) for segment in segments]
    return closed(found, key)


def closed(found: list[bytes], key: SiteKey | None = None) -> list[bytes]:
    chain = ZEROS
    for text in found:
        chain = blake3(chain.encode() + text).hexdigest()
    signature = (key or key_of("summit")).sign(Purpose.EXPORT, chain.encode())
    return [*found, line(t="end", segments=len(found) - 1, chain=chain, signature=signature)]


def without(segments: list[Segment], *left_out: Segment) -> list[Segment]:
    return [segment for segment in segments if segment not in left_out]


def doubled(segment: Segment, key: SiteKey, field: bytes) -> Segment:
    """With a field twice in it, which comes to nothing for who believes the last."""
    at = segment[1].index(b'"' + field + b'":')
    return sealed(segment[0], key, segment[1][:at] + b'"' + field + b'":"x",' + segment[1][at:])


WHOLE: dict[str, Callable[[Mesh], list[bytes]]] = {
    "three-sites": lambda m: lines(m.all),
    "in-another-order": lambda m: lines([*m.c, *m.a, *m.s]),
    "a-segment-twice": lambda m: lines([*m.all, m.c[1]]),
    "honest-branch": lambda m: lines([*m.all, m.campus.at(m.c[0], epoch=2).say("store.declared", store(9))]),
    "begun-anew": lambda m: lines([*m.all, Site("campus", epoch=2).say("store.declared", store(9))]),
    "revoked-at-its-end": lambda m: lines(m.revoke(m.c[-1])),
    "kind-of-later": lambda m: lines([*m.all, m.campus.say("store.painted", {"colour": "Ångström"})]),
    "readmitted": lambda m: lines(
        [
            *m.all,
            m.summit.say(
                "site.admitted", admission("campus", "new", former=[key_of("campus").public], tips=[tip(m.c[-1])])
            ),
            Site("campus", "new", 2).say("store.declared", store(9)),
        ]
    ),
    "cutoff-of-before": lambda m: lines(
        [*m.all, m.summit.say("site.revoked", revocation("campus", cutoff=tip(m.c[1])))]
    ),
    "stated": lambda m: lines(
        [*m.all, m.archive.say("site.revoked", stated_revocation(tips=[tip(m.c[0])], reason='Ångström\x01\x7f"\\/'))],
        administrator=ADMINISTRATOR.public,
    ),
    "stated-admission": lambda m: lines(
        [
            *m.all,
            m.archive.say(
                "site.admitted",
                stated(
                    "admitted",
                    admission("hill", statement=9),
                    admission("hill", may_admit=False, leaf=None, statement=9),
                ),
            ),
            Site("hill").say("store.declared", store(10)),
        ],
        administrator=ADMINISTRATOR.public,
    ),
    # What does not count, although it is no fault of the journals.
    "old-key-goes-on": lambda m: lines([*m.all, m.old.say("store.declared", store(9))]),
    "thief-begins-anew": lambda m: lines(
        [*m.revoke(m.c[1]), Site("campus", epoch=1000).say("store.declared", store(9))]
    ),
    "thief-branches-off": lambda m: lines(
        [*m.revoke(m.c[1]), m.campus.at(m.c[0], epoch=1000).say("site.admitted", admission("mallory"))]
    ),
    "thief-of-a-former-key": lambda m: lines(
        [*m.all, Site("archive", "archive", 1000).say("site.admitted", admission("mallory"))]
    ),
    "thief-goes-over-to-another-key": lambda m: lines([*m.revoke(m.c[1]), *gone_over(m)]),
    "beyond-a-cutoff": lambda m: lines(m.revoke(m.c[0])),
    "not-a-member": lambda m: lines([*m.all, Site("mallory").say("store.declared", store(9))]),
    "named-nobody": lambda m: lines([*m.all, Site("nobody").say("site.admitted", admission("mallory"))]),
    "admitted-by-who-may-not": lambda m: lines(
        [*m.all, m.campus.say("site.admitted", admission("mallory")), Site("mallory").say("store.declared", store(9))]
    ),
}

SPOILT: dict[str, Callable[[Mesh], list[bytes]]] = {
    "one-segment-with-two-signatures": lambda m: lines([*m.all, sealed(m.a[-1][0], key_of("archive"), m.a[-1][1])]),
    "early-segments-signed-by-the-later-key": lambda m: lines(
        [*m.s, *(sealed(segment[0], m.rekeyed_to, segment[1]) for segment in m.a[:2]), *m.a[2:], *m.c]
    ),
    "later-key-begins-early": lambda m: lines(
        [*m.all, Site("archive", "archive again", 0).say("store.declared", store(9))]
    ),
    "equivocation": lambda m: lines([*m.all, m.campus.at(m.c[0]).say("store.declared", store(9))]),
    "equivocation-of-a-first-segment": lambda m: lines([*m.all, Site("campus").say("store.declared", store(9))]),
    "overlapping-numbers": lambda m: lines(
        [*m.all, m.campus.at(m.c[0]).say("store.declared", store(9), store(10), store(11))]
    ),
    "incarnation-of-the-same-epoch": lambda m: lines(
        [*m.all, m.campus.at(m.c[-1], incarnation="f" * 16).say("store.declared", store(9))]
    ),
    "branch-of-the-same-epoch": lambda m: lines(
        [*m.all, m.campus.at(m.c[0], incarnation="f" * 16).say("store.declared", store(9))]
    ),
    "incarnation-of-an-earlier-epoch": lambda m: lines(
        [*m.all, m.campus.at(m.c[-1], epoch=0).say("store.declared", store(9))]
    ),
    "one-incarnation-of-two-epochs": lambda m: lines(
        [*m.all, m.campus.at(m.c[-1], epoch=2, incarnation=m.campus.incarnation).say("store.declared", store(9))]
    ),
    "missing-segment": lambda m: lines(without(m.all, m.c[1])),
    "missing-first-segment": lambda m: lines(without(m.all, m.c[0])),
    "missing-before-the-rekey": lambda m: lines(without(m.all, m.a[1])),
    "missing-rekey": lambda m: lines(without(m.all, m.a[2])),
    "missing-anchor": lambda m: lines(without(m.all, m.s[0])),
    "missing-tip": lambda m: lines(without(m.revoke(m.c[1]), m.c[0])),
    "splice": lambda m: lines(
        [*m.all, m.campus.say("store.declared", store(9), first_seq=6, entries=[{"seq": 6, "at": AT, **store(9)}])]
    ),
    "another-sites-predecessor": lambda m: lines(
        [*m.all, m.campus.say("store.declared", store(9), prev=blake3(m.s[2][1]).hexdigest())]
    ),
    "altered-payload": lambda m: lines([*m.all[:-1], (m.c[2][0], m.c[2][1].replace(b"disk", b"disc"), m.c[2][2])]),
    "altered-signature": lambda m: lines([*m.all[:-1], (*m.c[2][:2], "0" * 128)]),
    "anothers-signature": lambda m: lines([*m.all[:-1], sealed(m.c[2][0], key_of("summit"), m.c[2][1])]),
    "gap-in-the-entries": lambda m: lines([*m.all, m.campus.say("store.declared", {**store(9), "seq": 9})]),
    "first-without-zeros": lambda m: lines(
        [*m.all, Site("campus", epoch=2).say("store.declared", store(9), prev="a" * 64)]
    ),
    "version-2": lambda m: lines([*m.all, m.campus.say("store.declared", store(9), v=2)]),
    "no-entries": lambda m: lines([*m.all, m.campus.say("store.declared", entries=[])]),
    "bad-kind": lambda m: lines([*m.all, m.campus.say("Store", store(9))]),
    "bad-site": lambda m: lines([*m.all, m.campus.say("store.declared", store(9), site="head")]),
    "field-twice-in-a-segment": lambda m: lines([*m.all[:-1], doubled(m.c[2], key_of("campus"), b"site")]),
    "field-twice-in-an-entry": lambda m: lines([*m.all[:-1], doubled(m.c[2], key_of("campus"), b"label")]),
    "field-twice-in-a-line": lambda m: closed([text.replace(b'{"t"', b'{"t":"x","t"') for text in lines(m.all)[:-1]]),
    "line-dropped": lambda m: [*lines(m.all)[:3], *lines(m.all)[4:]],
    "lines-swapped": lambda m: [*lines(m.all)[:2], *reversed(lines(m.all)[2:4]), *lines(m.all)[4:]],
    "cut-off-behind-a-line": lambda m: lines(m.all)[:-1],
    "cut-off-within-a-line": lambda m: [*lines(m.all)[:-1], lines(m.all)[-1][:40]],
    "behind-the-end": lambda m: [*lines(m.all), lines(m.all)[3]],
    "closed-by-a-stranger": lambda m: lines(m.all, key_of("mallory")),
    "closed-with-a-key-that-ended": lambda m: lines(m.all, key_of("archive"), by="archive"),
    "anchor-of-the-thief": lambda m: lines(m.all, anchor_key=key_of("mallory").public),
    "administrator-of-the-thief": lambda m: lines(m.all, administrator=key_of("mallory").public),
    "statement-for-another-mesh": lambda m: lines(
        [*m.all, m.archive.say("site.revoked", stated_revocation("f" * 32))], administrator=ADMINISTRATOR.public
    ),
    "mesh-altered": lambda m: lines(
        [*m.all, m.archive.say("site.revoked", stated_revocation())], mesh="f" * 32, administrator=ADMINISTRATOR.public
    ),
    "statement-altered": lambda m: lines(
        [*m.all, m.archive.say("site.revoked", stated_revocation() | {"reason": "another"})],
        administrator=ADMINISTRATOR.public,
    ),
}


def main() -> None:
    """Write what is missing."""
    for folder, files in (("whole", WHOLE), ("spoilt", SPOILT)):
        (HERE / folder).mkdir(exist_ok=True)
        for name, make in files.items():
            path = HERE / folder / f"{name}.zst"
            if not path.exists():
                path.write_bytes(zstandard.ZstdCompressor(level=19).compress(b"".join(make(Mesh()))))


if __name__ == "__main__":
    main()
