"""One file, once, whatever the subscriptions say; and subscriptions to what is new only."""

from __future__ import annotations

from pathlib import Path

from tests.support.oracle import digest_of, standing
from tests.support.sites import pair


def test_a_person_fetches_one_file_and_a_subscription_only_what_is_new(tmp_path: Path) -> None:
    with pair(tmp_path, subscribe=False) as both:
        for name in ("a[1].dat", "b.dat"):
            both.source.drop_file(name, name.encode())
        both.wait_for("both are heard of", lambda: len(both.destination.told("file.ingested", "summit")) == 2)
        assert standing(both.destination.store) == {}

        both.destination.lbctl("transfer", "add", "a[1].dat", "--from", "summit")
        both.acknowledged(1)
        assert standing(both.destination.store) == {"a[1].dat": digest_of(b"a[1].dat")}
        again = both.destination.lbctl("transfer", "add", "a[1].dat", exit_code=11)
        assert "a good instance stands" in again
        assert "no file named" in both.destination.lbctl("transfer", "add", "never.dat", exit_code=4)

        both.destination.lbctl("subscription", "add", "--from", "summit", "--new-only")
        both.source.drop_file("c.dat", b"c.dat")
        both.acknowledged(2)
        assert set(standing(both.destination.store)) == {"a[1].dat", "c.dat"}

        # A subscription's end cancels nothing that a person asked for.
        both.source.stop()
        both.destination.lbctl("transfer", "add", "b.dat")
        (rule,) = [known for known in both.destination.client.subscriptions() if known.site == "archive"]
        both.destination.lbctl("subscription", "rm", rule.id)
        both.source.start()
        both.acknowledged(3)
        both.assert_whole()
