"""Answers of the control API, for tests of what speaks to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from librarian_protocol import api

DIGEST = "blake3:" + "9a" * 32
AT = "2026-11-20T13:01:07.250000Z"


def summary(name: str = "obs/a.fits") -> api.FileSummary:
    """A file at two sites."""
    return api.FileSummary(
        name=name,
        digest=DIGEST,
        size_bytes=19_541_000_000,
        unit="book",
        origin="summit",
        ingested_at=AT,
        sites=["archive", "summit"],
        conflict=False,
    )


def transfer(number: int = 12) -> api.FileTransfer:
    """A transfer that waits."""
    return api.FileTransfer(
        id=number,
        name="obs/a.fits",
        digest=DIGEST,
        size_bytes=5 << 20,
        unit="file",
        store="0" * 32,
        label="main",
        state="waiting",
        reason="source-unreachable",
        message="summit does not answer on 127.0.0.1:7400",
        hint="nothing to do: it is tried again",
        source_site="summit",
        adapter="http",
        attempts=2,
        next_try_in_s=64.0,
        created_at=AT,
        changed_at=AT,
        moved_bytes=1 << 20,
    )


def detail(name: str = "obs/a.fits") -> api.NameDetail:
    """A file with one instance and one transfer."""
    instance = api.Instance(
        site="summit",
        store="1" * 32,
        label="ssd",
        state="verified",
        how="ingested",
        source_site=None,
        at=AT,
        verified_at=AT,
    )
    found = api.FileDetail(
        name=name,
        digest=DIGEST,
        size_bytes=5 << 20,
        unit="file",
        origin="summit",
        ingested_at=AT,
        withdrawn=False,
        instances=[instance],
        transfers=[transfer()],
    )
    return api.NameDetail(name=name, conflict=False, files=[found])


def verify_result(*, ok: bool) -> api.VerifyResult:
    """What reading found."""
    return api.VerifyResult(
        name="obs/a.fits",
        digest=DIGEST,
        store="0" * 32,
        label="main",
        ok=ok,
        size_bytes=5 << 20,
        found_digest=None,
        message="" if ok else "digest differs",
    )


def subscription(number: str = "5e1f0c2b9a7d4e63") -> api.Subscription:
    """A subscription of the own site."""
    return api.Subscription(id=number, site="archive", from_site="summit", match="**", into=["0" * 32], labels=["main"])


def keep_rule() -> api.KeepRule:
    """A keep rule of another site."""
    return api.KeepRule(
        id="summit/0f1e2d3c4b5a6978/21",
        site="summit",
        match="raw/**",
        instances=3,
        domains=2,
        role=None,
        reason="unique",
        at=AT,
    )


def hold_rule(until: str | None = None, *, over: bool = False) -> api.HoldRule:
    """A hold of another site."""
    return api.HoldRule(
        id="summit/0f1e2d3c4b5a6978/23", site="summit", match="raw/**", until=until, over=over, reason="review", at=AT
    )


def store() -> api.StoreStatus:
    """A store with room."""
    return api.StoreStatus(
        id="0" * 32,
        label="main",
        role="archive",
        technology="posix",
        path="/data/lb",
        state="open",
        instances=1204,
        size_bytes=3 << 30,
        total_bytes=8 << 40,
        free_bytes=2 << 40,
    )


def site() -> api.Site:
    """Another site."""
    return api.Site(
        site="summit",
        here=False,
        key="ed25519:" + "ab" * 32,
        fingerprint="abab-abab-abab-abab",
        access="full",
        domain="default",
        admitted_by=None,
        software="0.1.0",
        adapters=["http"],
        last_heard=None,
    )


def event(position: int = 7) -> api.Event:
    """A file was ingested."""
    return api.Event(
        site="summit",
        epoch=1,
        incarnation="0" * 16,
        seq=position,
        at=AT,
        kind="file.ingested",
        position=position,
        entry=msgspec.Raw(b'{"seq":7,"name":"obs/a.fits","digest":"blake3:9a","size_bytes":1048576,"unit":"file"}'),
    )


def report(*problems: str) -> api.JournalReport:
    """A journal that was checked."""
    return api.JournalReport(
        site="summit", segments=3, entries=12, last_seq=12, hash="9a" * 32, problems=list(problems)
    )


def status(*, healthy: bool = True) -> api.Status:
    """A site with one of everything; a stalled peer and two waiting things where it is not healthy."""
    problem = api.Problem(
        code="peer-stalled",
        subject="summit",
        message="its journal does not advance",
        hint="lbctl events verify --site summit",
        since=AT,
        count=3,
    )
    waiting = [api.WaitingItem(name=f"b{number}", reason="still being written") for number in range(7)]
    return api.Status(
        site="archive",
        mesh="ab" * 16,
        software="0.1.0",
        started_at=AT,
        healthy=healthy,
        problems=[] if healthy else [problem],
        bus=api.BusStatus(
            mode="join", connected=healthy, url="nats://127.0.0.1:4222", server_version="2.15.1", detail=""
        ),
        journal=api.JournalStatus(epoch=1, incarnation="0" * 16, seq=12, hash="9a" * 32, outbox=0 if healthy else 1),
        peers=[
            api.PeerStatus(
                site="summit",
                access="full",
                seq=214,
                last_heard=AT,
                stalled="" if healthy else "signature does not fit",
                owed_files=0 if healthy else 1,
                owed_bytes=0 if healthy else 1 << 30,
            )
        ],
        stores=[store()],
        intake=[
            api.IntakeStatus(
                path="/data/drop",
                unit="file",
                complete="quiet",
                state="watching",
                detail="inotify",
                accepted=3,
                refused=0,
                waiting=0 if healthy else 7,
                waiting_items=[] if healthy else waiting,
            )
        ],
        transfers={"stored": 1200, "parked": 2, "new-state": 1, "wanted": 0},
        counts=api.Counts(
            files=1204, instances_here=1200, instances_elsewhere=1204, conflicts=1, suspected=0, doubted=0
        ),
        counted_at=(datetime.now(UTC) - timedelta(minutes=0 if healthy else 2)).isoformat(),
    )
