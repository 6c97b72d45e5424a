"""Guards taken out of the code itself, one at a time: for each, a test that must fail.

A guard that can be taken out without a test that notices is a guard that nobody has. ``python -m tests.mutants`` tries
all; a number tries one. The code is changed in a copy. Those that only whole sites in trouble can notice are the
simulator's (``tests/simulation/mutations.py``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
#: Where packages stand, and their names.
PACKAGES = {
    "daemon": "librarian_daemon",
    "protocol": "librarian_protocol",
    "adapters": "librarian_adapters",
    "cli": "lbctl",
}
FAILED = 1


class Mutant(msgspec.Struct, frozen=True):
    """Text of a file that is replaced, and the test that must see it."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = [
    Mutant(
        "a directory is not made durable after a rename",
        "daemon/librarian_daemon/store/placing.py",
        "            fsync_beneath(fd, path)\n",
        "            pass\n",
        "tests/conformance/stores/test_posix.py::test_a_failed_directory_fsync_is_not_called_placed",
    ),
    Mutant(
        "a file is not made durable before its rename",
        "daemon/librarian_daemon/store/sealing.py",
        "                if sync:\n                    fsync(fd)\n",
        "",
        "tests/conformance/stores/test_posix.py::test_a_failed_fsync_discards_the_staged_file",
    ),
    Mutant(
        "what stands at a name is overwritten",
        "daemon/librarian_daemon/store/confined.py",
        "        rename_noreplace(source, old_name, target, new_name)\n",
        "        os.rename(old_name, new_name, src_dir_fd=source, dst_dir_fd=target)\n",
        "tests/conformance/stores/test_store.py::test_nothing_is_ever_overwritten",
    ),
    Mutant(
        "accepted is said before the commit",
        "daemon/librarian_daemon/catalog/writer.py",
        "            outcomes = [_run_unit(connection, group, unit.work) for unit in units]\n",
        "            outcomes = [_run_unit(connection, group, unit.work) for unit in units]\n"
        "            for unit, outcome in zip(units, outcomes, strict=True):\n"
        "                unit.result.set_result(outcome)\n",
        "tests/conformance/catalog/test_committing.py::test_a_commit_that_fails_fails_all_its_units_and_the_catalog_goes_on",
    ),
    Mutant(
        "a rename is not written down before it is made",
        "daemon/librarian_daemon/intake/ingest.py",
        "        await self._ledger.begin(sealed)\n",
        "",
        "tests/integration/intake/test_crashing.py::test_a_crash_at_any_step_loses_no_file",
    ),
    Mutant(
        "landing rows are not read after a crash",
        "daemon/librarian_daemon/intake/ingest.py",
        "        for landing in await self._ledger.unfinished(self._store.id):\n",
        "        for landing in []:\n",
        "tests/integration/intake/test_crashing.py::test_a_crash_at_any_step_loses_no_file",
    ),
    Mutant(
        "the reading cursor is not written with what was read",
        "daemon/librarian_daemon/catalog/journal.py",
        "        note_reading(tx, segment.site, stream_seq, stalled)\n",
        "        pass\n",
        "tests/conformance/catalog/test_receiving.py::test_cursors_and_tables_change_in_one_transaction",
    ),
    Mutant(
        "a segment that is held is not recognised",
        "protocol/librarian_protocol/receiving.py",
        "        return Verdict.IGNORE if at_place == segment_hash else Verdict.EQUIVOCATION\n",
        "        return Verdict.APPLY\n",
        "tests/conformance/catalog/test_receiving.py::test_duplicates_change_nothing_but_the_reading_cursor",
    ),
    Mutant(
        "two stories about one number are not noticed",
        "protocol/librarian_protocol/receiving.py",
        "        return Verdict.IGNORE if at_place == segment_hash else Verdict.EQUIVOCATION\n",
        "        return Verdict.IGNORE\n",
        "tests/conformance/catalog/test_receiving.py::test_two_segments_for_one_place_end_belief_in_that_incarnation",
    ),
    Mutant(
        "signatures of segments are not checked",
        "protocol/librarian_protocol/segments.py",
        "    verify(signer, Purpose.SEGMENT, payload, signature)\n",
        "",
        "tests/unit/protocol/test_segments.py::test_any_flipped_bit_of_the_payload_is_refused",
    ),
    Mutant(
        "signatures of requests are not checked",
        "protocol/librarian_protocol/requests.py",
        "        verify(key, Purpose.REQUEST, ",
        "        (lambda *_: None)(key, Purpose.REQUEST, ",
        "tests/unit/protocol/test_requests.py",
    ),
    Mutant(
        "a start does not begin a new incarnation",
        "daemon/librarian_daemon/incarnations.py",
        "        incarnation = self._rng.hex(16)\n",
        '        incarnation = "0" * 16\n',
        "tests/conformance/catalog/test_committing.py::test_every_start_begins_an_incarnation_of_its_own",
    ),
    Mutant(
        "of two digests under one name the first wins",
        "daemon/librarian_daemon/catalog/apply.py",
        "    now = {name for name, one in meanings.items() if one.conflict}\n",
        "    now = set[str]()\n",
        "tests/conformance/catalog/test_applying.py::test_two_digests_under_one_name_are_a_conflict_until_one_is_withdrawn",
    ),
    Mutant(
        "there is no limit on what is held behind a gap",
        "daemon/librarian_daemon/catalog/journal.py",
        "        if held(connection, segment.site) >= MAX_HELD:\n",
        "        if False:\n",
        "tests/conformance/catalog/test_receiving.py::test_no_more_than_a_limit_is_held_beyond_a_gap",
    ),
    Mutant(
        "grants are not asked for",
        "daemon/librarian_daemon/catalog/believed.py",
        "        if not any(globs.matches(grant, entry.name) for grant in grants):\n",
        "        if False:\n",
        "tests/conformance/catalog/test_receiving.py::test_ingests_outside_a_sites_grants_are_kept_and_not_applied",
    ),
    Mutant(
        "quarantine does not wait for those who could hold entries",
        "protocol/librarian_protocol/recovering.py",
        '    found = [f"{peer} has not told what it holds" for peer in awaited(recovery, site, members)]\n',
        "    found = list[str]()\n",
        "tests/unit/protocol/test_recovering.py",
    ),
    Mutant(
        "many bad instances at once are all believed",
        "daemon/librarian_daemon/custodian.py",
        "        return found >= self._limit\n",
        "        return False\n",
        "tests/unit/daemon/test_custodian.py::test_where_many_are_suspected_already_no_more_are_without_a_person",
    ),
    Mutant(
        "a path below a root may leave it",
        "daemon/librarian_daemon/store/confined.py",
        "    if has_openat2():\n"
        '        return _openat2(dirfd, path or b".", flags, mode)\n'
        "    return _walk(dirfd, path, flags, mode)\n",
        '    return os.open(path or b".", flags | os.O_CLOEXEC, mode or 0o600, dir_fd=dirfd)\n',
        "tests/conformance/stores/test_posix.py::test_no_path_leads_out",
    ),
    Mutant(
        "a removed instance comes back by an older word",
        "daemon/librarian_daemon/catalog/statements.py",
        "    return new > held\n",
        "    return new != held\n",
        "tests/conformance/catalog/test_applying.py::test_a_removed_instance_is_not_brought_back_by_an_older_word",
    ),
]


def copied(mutant: Mutant, into: Path) -> list[Path]:
    """The packages with the change made; where to import them from."""
    for folder, package in PACKAGES.items():
        shutil.copytree(ROOT / folder / package, into / folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "cli/librarian_client", into / "cli/librarian_client")
    path = into / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.name}: the text is not there once"
    path.write_text(text.replace(mutant.old, mutant.new))
    return [into / folder for folder in PACKAGES]


def is_caught(mutant: Mutant) -> tuple[bool, str]:
    """Whether its test fails with the change made, and what it said."""
    with tempfile.TemporaryDirectory(prefix="librarian-mutant-") as directory:
        paths = copied(mutant, Path(directory))
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
        environ.pop("PYTEST_XDIST_WORKER", None)
        where = " ".join(map(str, [ROOT, *paths]))  # what pytest itself puts in front
        options = ["-q", "-x", "-p", "no:cacheprovider", "--timeout", "100", "-o", f"pythonpath={where}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, mutant.test],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
        )
    return done.returncode == FAILED and "failed" in done.stdout, done.stdout[-2000:]


def main() -> int:
    """Try them; 1 if one is not caught."""
    chosen = [MUTANTS[int(number)] for number in sys.argv[1:]] or MUTANTS
    missed = 0
    for mutant in chosen:
        caught, said = is_caught(mutant)
        missed += not caught
        sys.stdout.write(f"{'caught' if caught else 'MISSED'}  {mutant.name}: {mutant.test}\n")
        sys.stdout.write("" if caught else said + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - missed} of {len(chosen)} caught\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
