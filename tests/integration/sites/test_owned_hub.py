"""Whoever owns the hub, where the links of all sites meet, can delay; he cannot make anybody believe anything.

The attacker rewrites the configuration of the hub's server: a stream of his own answers for the telescope's, and the
telescope itself hears no more that somebody asks. What the campus reads then is what he likes.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.integration.bus.intruder import Intruder
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.rogue import AT
from tests.support.sites import Site, free_port, sites, wait_for

from librarian_daemon.runtime import machine
from librarian_protocol import segments, subjects
from librarian_protocol.digests import Digest
from librarian_protocol.entries import FileIngested, Unit
from librarian_protocol.keys import Purpose, SiteKey
from librarian_protocol.names import Name, SiteName
from librarian_protocol.segments import Position

TELESCOPE = SiteName("telescope")
STREAM = "LB_telescope"
CONSUMER = "telescope_to_campus"
#: The attacker's account, which answers where the telescope should.
FAKE = f"""
  FAKE {{
    jetstream {{ max_mem: 0, max_file: 1GB }}
    exports: [
      {{ service: "$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}", response_type: stream, accounts: [LINK] }}
      {{ service: "$JS.API.CONSUMER.RESET.{STREAM}.{CONSUMER}", response_type: singleton, accounts: [LINK] }}
    ]
    users: [ {{ user: evil, password: evil }} ]
  }}
"""
IMPORTS = "imports: [\n" + "".join(
    f'{{ service: {{ account: FAKE, subject: "$JS.API.CONSUMER.{verb}.{STREAM}.{CONSUMER}" }},'
    f' to: "lb.{word}.telescope.campus" }}\n'
    for verb, word in (("MSG.NEXT", "pull"), ("RESET", "reset"))
)


@contextmanager
def three(root: Path) -> Generator[tuple[Site, Site, Site]]:
    """A hub, and a telescope and a campus that dial it; the campus wants what the telescope takes."""
    heads = {"LIBRARIAN_BUS__HEADS_EVERY_S": "1"}
    leaf = {"LIBRARIAN_BUS__LEAF_LISTEN": f"127.0.0.1:{free_port()}"}
    hub = Site(root / "hub", "hub", bus=f"embedded:{free_port()}", overlay=heads | leaf)
    telescope, campus = (
        Site(root / name, name, bus=f"embedded:{free_port()}", overlay=heads) for name in ("telescope", "campus")
    )
    with sites(hub, telescope, campus):
        hub.start()
        wait_for("the hub's bus is up", lambda: hub.client.status().bus.connected, hub)
        for site in (telescope, campus):
            site.lbctl("site", "join", "--yes", hub.lbctl("site", "invite").strip())
            site.start()
        wait_for(
            "the campus reads the telescope",
            lambda: {peer.site: peer.link for peer in campus.client.status().peers}.get("telescope") == "up",
            *(hub, telescope, campus),
        )
        campus.lbctl("subscription", "add", "--from", "telescope")
        yield hub, telescope, campus


def rewrite(hub: Site, text: str) -> None:
    """Give the hub's server another configuration, as its owner can."""
    (hub.root / "nats" / "nats.conf").write_text(text)
    pid = hub.bus_pid()
    assert pid is not None
    os.kill(pid, signal.SIGHUP)


def owned(text: str) -> str:
    """The configuration in which the attacker answers for the telescope, towards the campus."""
    before, link = text.split("  LINK {", 1)
    link = link.replace("imports: [\n", IMPORTS, 1)
    for what in ("pull", "reset"):
        link = link.replace(f'"lb.{what}.telescope.*"', f'"lb.{what}.telescope.hub"')
    return f"{before.rstrip()}{FAKE}  LINK {{{link}"


def forged(position: Position, key: SiteKey, name: str) -> tuple[bytes, str]:
    """A segment that the telescope never said, and a signature."""
    entry = FileIngested(
        name=Name.parse(name),
        digest=Digest.blake3(name.encode()),
        size_bytes=4,
        unit=Unit.FILE,
        store="0" * 32,
        mtime_ns=0,
    )
    (done,) = segments.cut(position, [entry], AT)
    return done.payload, key.sign(Purpose.SEGMENT, done.payload)


async def test_who_owns_the_hub_makes_nobody_believe_anything_and_the_truth_comes_another_way(tmp_path: Path) -> None:
    with three(tmp_path) as (hub, telescope, campus):
        wanted = {"before.dat": some_bytes(4000, "before"), "after.dat": some_bytes(4000, "after")}
        telescope.drop_file("before.dat", wanted["before.dat"])
        wait_for("it arrives", lambda: campus.client.status().counts.instances_here == 1, hub, telescope, campus)

        honest = (hub.root / "nats" / "nats.conf").read_text()
        before = reloads(hub)
        rewrite(hub, owned(honest))
        wait_for("the server has taken that over", lambda: reloads(hub) > before, hub)
        evil = Intruder()
        await evil.connect(address(honest))
        try:
            stream = {"name": STREAM, "subjects": ["lb.telescope.>"], "storage": "file"}
            await evil.client.request(f"$JS.API.STREAM.CREATE.{STREAM}", msgspec.json.encode(stream))
            consumer = {
                "stream_name": STREAM,
                "config": {"durable_name": CONSUMER, "ack_policy": "none", "deliver_policy": "all"},
            }
            made = await evil.client.request(
                f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}", msgspec.json.encode(consumer)
            )
            assert b"error" not in made.data

            status = telescope.client.status().journal
            position = Position(
                site=TELESCOPE, epoch=status.epoch, incarnation=status.incarnation, seq=status.seq, hash=status.hash
            )
            hubs_key = machine.load_key(hub.root / "keys" / "site.key")
            subject = subjects.journal(TELESCOPE, "file.ingested")
            (genuine, signature), *_ = records(telescope)
            lies = (
                forged(position, hubs_key, "forged.dat"),
                forged(position, SiteKey(b"\x07" * 32), "invented.dat"),
                (genuine.replace(b"before.dat", b"behind.dat"), signature),
                (genuine, signature),
            )
            for payload, signed in lies * 5:  # from whichever number on the campus reads, it reads all of them
                headers = {subjects.SIGNATURE_HEADER: signed}
                await evil.client.request(subject, payload, headers=headers)

            telescope.drop_file("after.dat", wanted["after.dat"])
            wait_for(
                "the campus refused what was forged",
                lambda: any(problem.code == "message-refused" for problem in campus.client.status().problems),
                *(hub, telescope, campus),
            )
            wait_for(
                "it hears the truth all the same, and has the file",
                lambda: campus.client.status().counts.instances_here == 2,
                *(hub, telescope, campus),
                deadline_s=60,
            )
            assert standing(campus.store) == {name: digest_of(content) for name, content in wanted.items()}
            for site in (telescope, campus):
                known = site.lbctl("events", "tail", "--no-follow", "--kind", "file.ingested", "-o", "jsonl")
                assert "before.dat" in known
                assert not any(name in known for name in ("forged.dat", "invented.dat", "behind.dat"))
                site.lbctl("events", "audit")
            assert telescope.logged("repair_not_answered") == []
        finally:
            await evil.client.close()

        rewrite(hub, honest)
        telescope.drop_file("honest.dat", b"again")
        wait_for("all is as before", lambda: campus.client.status().counts.instances_here == 3, hub, telescope, campus)


def reloads(hub: Site) -> int:
    """How often the hub's server has taken over its configuration."""
    return (hub.root / "nats" / "nats-server.log").read_text().count("Reloaded server configuration")


def address(configuration: str) -> str:
    """Where the attacker connects."""
    found = re.search(r'^listen: "(.*)"$', configuration, re.MULTILINE)
    assert found is not None
    return f"nats://evil:evil@{found[1]}"


def records(site: Site) -> list[tuple[bytes, str]]:
    """The segments that tell of files, as they were signed."""
    found = site.client.journal(None, site.name).records
    return [
        (record.payload.encode(), record.signature) for record in found if '"kind":"file.ingested"' in record.payload
    ]
