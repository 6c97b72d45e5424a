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


MAINTENANCE = (
    "tests/integration/sites/test_maintenance.py::test_what_is_paused_for_maintenance_waits_by_name_and_goes_on"
)
FILES_OF_BATCHES = "tests/conformance/catalog/test_files_of_batches.py"
MUTANTS = [
    Mutant(
        "a daemon starts with a wrong site key",
        "protocol/librarian_protocol/own_key.py",
        "        return Fit.OWN if key == known.ran_with else Fit.FOREIGN\n",
        "        return Fit.OWN\n",
        "tests/integration/sites/test_wrong_key.py::test_it_does_not_start_and_nothing_is_lost",
    ),
    Mutant(
        "a site that others hold back does not hear of it",
        "daemon/librarian_daemon/journal/heads.py",
        "told == known:",
        "told == known and False:",
        "tests/integration/sites/test_wrong_key.py"
        "::test_a_site_that_ran_with_a_wrong_key_learns_that_it_is_held_back_and_mends_it",
    ),
    Mutant(
        "a clock that was set back makes a pause hold for years",
        "protocol/librarian_protocol/pausing.py",
        "    if now < pause.began - _SET_BACK_S:\n",
        "    if False:\n",
        "tests/unit/protocol/test_pausing.py"
        "::test_it_is_over_when_its_time_has_come_and_whenever_the_clock_was_set_back",
    ),
    Mutant(
        "a batch goes on through a pause of transfers",
        "daemon/librarian_daemon/transfers/replicator.py",
        "            ends = self._put_off(job.source) or batches.ends(\n",
        "            ends = batches.ends(\n",
        MAINTENANCE,
    ),
    Mutant(
        "a paused site is given bytes",
        "daemon/librarian_daemon/dataplane/gate.py",
        "        if why := self.paused(site):\n",
        "        if (why := self.paused(site)) and False:\n",
        MAINTENANCE,
    ),
    Mutant(
        "who may only look can change things",
        "daemon/librarian_daemon/api/readers.py",
        '    return [route for route in routes if route.method == "GET" and route.path in READABLE]\n',
        "    return list(routes)\n",
        "tests/unit/daemon/api/test_readers.py::test_only_what_is_listed_is_readable_and_only_by_get",
    ),
    Mutant(
        "what is not reading reaches the routes of readers",
        "daemon/librarian_daemon/api/readers.py",
        '        if request.method != "GET" or request.path not in READABLE:\n',
        "        if False:\n",
        "tests/unit/daemon/api/test_readers.py"
        "::test_what_is_not_reading_is_refused_by_name_and_what_is_too_much_at_once_is_put_off",
    ),
    Mutant(
        "a link that somebody puts into a stored book makes it suspected",
        "daemon/librarian_daemon/fs/book_tree.py",
        "_beside(walk(book, other=extra.add if extra else None), ",
        "_beside(walk(book), ",
        "tests/conformance/stores/test_leaving.py",
    ),
    Mutant(
        "reconciling does not tell of what stands in books",
        "daemon/librarian_daemon/integrity/comparison.py",
        "                if seen.error is None:\n",
        "                if False:\n",
        "tests/integration/sites/test_reconciling.py::test_files_that_nobody_knows_are_reported_and_left_alone",
    ),
    Mutant(
        "what is less urgent goes with what is more, and holds it up",
        "daemon/librarian_daemon/transfers/batches.py",
        "        while pile and pile[0].owed.row.priority == priority:\n",
        "        while pile:\n",
        "tests/unit/daemon/transfers/test_batches.py::test_a_batch_is_of_one_priority_and_the_most_urgent_is_first",
    ),
    Mutant(
        "a push goes on through a pause",
        "daemon/librarian_daemon/dataplane/push_sender.py",
        "                self._check_paused(site)\n                yield chunk\n",
        "                yield chunk\n",
        "tests/unit/daemon/dataplane/test_paused.py::test_what_is_under_way_stops_and_what_came_is_kept",
    ),
    Mutant(
        "what is pulled goes on through a pause",
        "daemon/librarian_daemon/dataplane/kernel_copy.py",
        "            if not self._may_go_on():\n",
        "            if False:\n",
        "tests/unit/daemon/dataplane/test_paused.py::test_what_is_under_way_stops_and_what_came_is_kept",
    ),
    Mutant(
        "what is pulled over TLS goes on through a pause",
        "daemon/librarian_daemon/dataplane/routes.py",
        "        if self._gate.paused(site):\n",
        "        if False:\n",
        "tests/unit/daemon/dataplane/test_paused.py::test_what_is_under_way_stops_and_what_came_is_kept",
    ),
    Mutant(
        "a staged file that was changed since it was hashed is believed",
        "daemon/librarian_daemon/stores/posix/staging.py",
        "            if written is not None and written.stamp == stamp_of(fd):\n",
        "            if written is not None:\n",
        "tests/unit/daemon/stores/test_sink.py::test_what_was_changed_since_is_read",
    ),
    Mutant(
        "what is dropped during a pause is taken",
        "daemon/librarian_daemon/intake/service.py",
        "        if self._put_off():\n            for found",
        "        if False:\n            for found",
        MAINTENANCE,
    ),
    Mutant(
        "one directory that may not be read pauses all of its drop directory",
        "daemon/librarian_daemon/intake/directory/scanner.py",
        "                if not path:\n",
        "                if True:\n",
        "tests/integration/intake/test_pausing.py::test_a_directory_that_may_not_be_read_is_shown_and_hides_no_other",
    ),
    Mutant(
        "what rsync was stopped at is taken for finished",
        "daemon/librarian_daemon/intake/directory/file_times.py",
        "    return 0 < mtime_ns < 10**9\n",
        "    return False\n",
        "tests/integration/intake/test_unfinished.py::test_a_time_that_was_set_is_told_from_one_that_came_by_writing",
    ),
    Mutant(
        "a book that holds a temporary name is taken",
        "daemon/librarian_daemon/intake/candidates.py",
        "        if found.holds:\n",
        "        if False:\n",
        "tests/unit/daemon/intake/test_candidates.py"
        "::test_a_quiet_book_with_a_tools_temporary_name_in_it_waits_and_says_which",
    ),
    Mutant(
        "a replay believes the administrator that the file names",
        "daemon/librarian_daemon/journal/audit.py",
        "        administrator = begun.administrator if self._administrator else None\n",
        "        administrator = begun.administrator\n",
        "tests/conformance/catalog/test_auditors_script.py::test_a_file_does_not_say_which_administrator_is_believed",
    ),
    Mutant(
        "a directory is not made durable after a rename",
        "daemon/librarian_daemon/stores/posix/placer.py",
        "            fsync_beneath(fd, path)\n",
        "            pass\n",
        "tests/conformance/stores/test_posix.py::test_a_failed_directory_fsync_is_not_called_placed",
    ),
    Mutant(
        "a directory that was moved away counts as the one at its path",
        "daemon/librarian_daemon/stores/posix/placer.py",
        "                    if _inode(here) != entered:\n",
        "                    if False:\n",
        "tests/conformance/stores/test_posix.py"
        "::test_a_directory_that_is_moved_away_during_a_batch_is_not_called_entered",
    ),
    Mutant(
        "a batch waits for what others have written to the filesystem",
        "daemon/librarian_daemon/stores/posix/durability.py",
        " and dirty_bytes() < MUCH_DIRTY_BYTES)",
        ")",
        "tests/conformance/stores/test_durability.py::test_while_others_have_much_to_be_written_nobody_waits_for_it",
    ),
    Mutant(
        "a syncfs that told another batch of an error counts for all of them",
        "daemon/librarian_daemon/stores/posix/sealer.py",
        "                wait_written(fd)\n            except OSError as exc:\n                failed",
        "                pass\n            except OSError as exc:\n                failed",
        "tests/conformance/stores/test_durability.py"
        "::test_a_file_of_which_bytes_were_not_written_is_given_up_though_syncfs_told_another_of_it",
    ),
    Mutant(
        "syncfs is used where it may do nothing",
        "daemon/librarian_daemon/stores/posix/durability.py",
        " and filesystem_type(fd) in _SYNCFS_WORKS",
        "",
        "tests/conformance/stores/test_durability.py"
        "::test_syncfs_is_used_only_where_it_is_known_to_write_and_to_report",
    ),
    Mutant(
        "syncfs is used after it failed",
        "daemon/librarian_daemon/stores/posix/durability.py",
        "            self._failed = True\n            raise\n",
        "            raise\n",
        "tests/conformance/stores/test_durability.py::test_a_syncfs_that_failed_gives_up_its_batch_and_is_the_last_one",
    ),
    Mutant(
        "a file is not made durable before its rename",
        "daemon/librarian_daemon/stores/posix/sealer.py",
        "        fsync(file[1])\n",
        "        pass\n",
        "tests/conformance/stores/test_posix.py::test_a_failed_fsync_discards_the_staged_file",
    ),
    Mutant(
        "what stands at a name is overwritten",
        "daemon/librarian_daemon/fs/kept.py",
        "    rename_noreplace(source.at(old_parent), old_name, target.at(new_parent), new_name)\n",
        "    os.rename(old_name, new_name, src_dir_fd=source.at(old_parent), dst_dir_fd=target.at(new_parent))\n",
        "tests/conformance/stores/test_store.py::test_nothing_is_ever_overwritten",
    ),
    Mutant(
        "accepted is said before the commit",
        "daemon/librarian_daemon/catalog/committer.py",
        "            outcomes = [run_unit(connection, group, unit.work) for unit in units]\n",
        "            outcomes = [run_unit(connection, group, unit.work) for unit in units]\n"
        "            for unit, outcome in zip(units, outcomes, strict=True):\n"
        "                unit.result.set_result(outcome)\n",
        "tests/conformance/catalog/test_committing.py::test_a_commit_that_fails_fails_all_its_units_and_the_catalog_goes_on",
    ),
    Mutant(
        "a rename is not written down before it is made",
        "daemon/librarian_daemon/intake/ingest.py",
        "            return await self._ledger.begin(sealed)\n",
        "            return sealed\n",
        "tests/integration/intake/test_crashing.py::test_a_crash_at_any_step_loses_no_file",
    ),
    Mutant(
        "landing rows are not read after a crash",
        "daemon/librarian_daemon/intake/ingest.py",
        "        await commit.recover(self._store, left, ",
        "        await commit.recover(self._store, [], ",
        "tests/integration/intake/test_crashing.py::test_a_crash_at_any_step_loses_no_file",
    ),
    Mutant(
        "the reading cursor is not written with what was read",
        "daemon/librarian_daemon/catalog/journal/segments.py",
        "        note_reading(tx, segment.site, stream_seq, stalled)\n",
        "        pass\n",
        "tests/conformance/catalog/test_receiving.py::test_cursors_and_tables_change_in_one_transaction",
    ),
    Mutant(
        "a segment that is held is not recognised",
        "protocol/librarian_protocol/segment_verdict.py",
        "        return Verdict.IGNORE if at_place == segment_hash else Verdict.EQUIVOCATION\n",
        "        return Verdict.APPLY\n",
        "tests/conformance/catalog/test_receiving.py::test_duplicates_change_nothing_but_the_reading_cursor",
    ),
    Mutant(
        "two stories about one number are not noticed",
        "protocol/librarian_protocol/segment_verdict.py",
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
        "        verify(key or _NOBODY, Purpose.REQUEST, ",
        "        (lambda *_: None)(key, Purpose.REQUEST, ",
        "tests/unit/protocol/test_requests.py",
    ),
    Mutant(
        "a start does not begin a new incarnation",
        "daemon/librarian_daemon/journal/incarnation.py",
        "        incarnation = self._rng.hex(16)\n",
        '        incarnation = "0" * 16\n',
        "tests/conformance/catalog/test_committing.py::test_every_start_begins_an_incarnation_of_its_own",
    ),
    Mutant(
        "of two digests under one name the first wins",
        "daemon/librarian_daemon/catalog/apply.py",
        "    now = {name for name, result in meanings.items() if result.conflict}\n",
        "    now = set[str]()\n",
        "tests/conformance/catalog/test_applying.py::test_two_digests_under_one_name_are_a_conflict_until_one_is_withdrawn",
    ),
    Mutant(
        "there is no limit on what is held behind a gap",
        "daemon/librarian_daemon/catalog/journal/segments.py",
        "        if held(connection, segment.site) >= MAX_HELD:\n",
        "        if False:\n",
        "tests/conformance/catalog/test_receiving.py::test_no_more_than_a_limit_is_held_beyond_a_gap",
    ),
    Mutant(
        "grants are not asked for",
        "daemon/librarian_daemon/catalog/journal/permissions.py",
        "        if not any(globs.matches(grant, entry.name) for grant in grants):\n",
        "        if False:\n",
        "tests/conformance/catalog/test_receiving.py::test_ingests_outside_a_sites_grants_are_kept_and_not_applied",
    ),
    Mutant(
        "quarantine does not wait for those who could hold entries",
        "protocol/librarian_protocol/quarantine.py",
        "    found = [_has_not_told(peer, peer in away) for peer in awaited(recovery, site, members)]\n",
        "    found = list[str]()\n",
        "tests/unit/protocol/test_quarantine.py",
    ),
    Mutant(
        "after a kill between exchange and keeping, the bad bytes are lost",
        "daemon/librarian_daemon/stores/posix/placer.py",
        "                    if compare(root, root, name, landing, read_bytes=True) is None:\n",
        "                    if False:\n",
        "tests/conformance/stores/test_leaving.py::test_bad_and_good_bytes_change_places_in_one_step",
    ),
    Mutant(
        "who reads an instance that is found bad goes on",
        "daemon/librarian_daemon/dataplane/sender.py",
        "            reader.is_cut = True\n",
        "            pass\n",
        "tests/unit/daemon/dataplane/test_sender.py::test_who_reads_an_instance_gets_no_more_of_it_when_it_is_found_bad",
    ),
    Mutant(
        "bad members of a last instance are given",
        "daemon/librarian_daemon/dataplane/sender.py",
        "        if asked.member is not None and asked.member in holding.bad:\n",
        "        if False:\n",
        "tests/unit/daemon/dataplane/test_sender.py::test_bad_members_of_a_last_instance_are_not_given",
    ),
    Mutant(
        "bad bytes go although something stands among them that nobody else has",
        "daemon/librarian_daemon/stores/posix/away.py",
        "            if _has_more(fd, path, digest):\n",
        "            if False:\n",
        "tests/conformance/stores/test_leaving.py"
        "::test_kept_bad_bytes_are_removed_on_request_but_not_what_is_nobody_elses",
    ),
    Mutant(
        "many bad instances at once are all believed",
        "daemon/librarian_daemon/integrity/custodian.py",
        "        return found >= self._limit\n",
        "        return False\n",
        "tests/unit/daemon/integrity/test_custodian.py::test_where_many_are_suspected_already_no_more_are_without_a_person",
    ),
    Mutant(
        "a path below a root may leave it",
        "adapters/librarian_adapters/beneath.py",
        "    if has_openat2():\n"
        '        return _openat2(dirfd, path or b".", flags, mode)\n'
        "    return _walk(dirfd, path, flags, mode)\n",
        '    return os.open(path or b".", flags | os.O_CLOEXEC, mode or 0o600, dir_fd=dirfd)\n',
        "tests/conformance/stores/test_posix.py::test_no_path_leads_out",
    ),
    Mutant(
        "what strangers cause is logged without end",
        "daemon/librarian_daemon/runtime/logs.py",
        "            if self._lines[kind] > FEW:\n",
        "            if False:\n",
        "tests/unit/daemon/runtime/test_logs.py::test_of_what_strangers_cause_a_few_lines_are_logged_and_how_many_were_left_out",
    ),
    Mutant(
        "what a stranger sent is repeated in the answer",
        "daemon/librarian_daemon/runtime/tcp_server.py",
        '        text = "this request cannot be read\\n" if ',
        '        text = message or "" if ',
        "tests/unit/daemon/runtime/test_tcp_server.py::test_what_cannot_be_read_is_not_repeated",
    ),
    Mutant(
        "a removed instance comes back by an older word",
        "daemon/librarian_daemon/catalog/statements.py",
        "excluded.seq) > (instance.epoch,",
        "excluded.seq) <> (instance.epoch,",
        "tests/conformance/catalog/test_applying.py::test_a_removed_instance_is_not_brought_back_by_an_older_word",
    ),
    Mutant(
        "what is cancelled stays on the wire",
        "daemon/librarian_daemon/transfers/replicator.py",
        "                await self._end_stopped(look.held)\n",
        "",
        "tests/integration/sites/test_cancelling.py::test_what_is_cancelled_or_paused_leaves_the_wire",
    ),
    Mutant(
        "one source may hold every slot",
        "protocol/librarian_protocol/slots.py",
        "    if mine and free == 1:\n",
        "    if False:\n",
        "tests/integration/sites/test_slow_sources.py::test_one_slow_source_starves_nobody",
    ),
    Mutant(
        "one destination may hold every pusher",
        "daemon/librarian_daemon/dataplane/push_sender.py",
        "        while (site := self._slots.following(self._waiting)) is None:\n",
        "        while (site := next(iter(self._waiting), None)) is None:\n",
        "tests/unit/daemon/dataplane/test_push_receiver.py::test_a_destination_that_reads_slowly_does_not_hold_all_workers",
    ),
    Mutant(
        "a batch that trickles is never given up",
        "protocol/librarian_protocol/rates.py",
        "    return Pace(asked=max(FLOOR, pace.asked / 2), slow=True), True\n",
        "    return Pace(asked=max(FLOOR, pace.asked / 2), slow=True), False\n",
        "tests/unit/adapters/wrappers/test_wrappers.py::test_a_batch_in_which_too_little_moves_is_given_up_and_its_site_is_slow",
    ),
    Mutant(
        "a peer's data address may be this machine's loopback interface",
        "protocol/librarian_protocol/loopback.py",
        '        return "" if loopback else "it is this machine\'s own loopback address"\n',
        '        return ""\n',
        "tests/conformance/adapters/test_links.py::test_a_peer_that_announces_this_machine_is_not_dialled",
    ),
    Mutant(
        "the address of the socket is not looked at",
        "adapters/librarian_adapters/http/address.py",
        '        refuse("data address", str(host), loopback=loopback)\n',
        "",
        "tests/conformance/adapters/test_links.py::test_a_name_that_changes_its_meaning_leads_no_further",
    ),
    Mutant(
        "what something else answers comes into the journal",
        "adapters/librarian_adapters/http/client.py",
        '        raise SourceInvalid(f"{where}: did not answer in HTTP") from exc\n',
        '        raise SourceInvalid(f"{where}: did not answer in HTTP: {exc}") from exc\n',
        "tests/conformance/adapters/test_links.py::test_what_something_else_answers_is_not_passed_on",
    ),
    Mutant(
        "a batch does not name the files that it places",
        "daemon/librarian_daemon/catalog/transfers/batch_rows.py",
        '            "members": wire.encode(members) if members else None,\n',
        '            "members": None,\n',
        f"{FILES_OF_BATCHES}::test_a_start_finishes_what_stands_at_its_name_and_only_that",
    ),
    Mutant(
        "what was cancelled while it came gets its name",
        "daemon/librarian_daemon/transfers/lander.py",
        " and mine.transfer not in seen.stopped]\n",
        "]\n",
        f"{FILES_OF_BATCHES}::test_what_was_cancelled_meanwhile_gets_no_name_and_leaves_staging",
    ),
    Mutant(
        "what may meet something at its name has no row of its own",
        "daemon/librarian_daemon/catalog/transfers/arrivals.py",
        " or file.name in met",
        "",
        f"{FILES_OF_BATCHES}::test_what_may_meet_something_at_its_name_has_a_row_of_its_own",
    ),
    Mutant(
        "globs are tried again without end",
        "protocol/librarian_protocol/globs.py",
        "    return compiled is not None and compiled.matches(name)\n",
        "    across = re.escape(glob).replace(r'\\*\\*', '.*').replace(r'\\*', '[^/]*').replace(r'\\?', '[^/]')\n"
        "    return compiled is not None and re.fullmatch(across, name) is not None\n",
        "tests/unit/protocol/test_globs.py::test_no_glob_freezes_who_asks_it",
    ),
    Mutant(
        "one entry may claim any size",
        "protocol/librarian_protocol/entries.py",
        "SizeBytes = Annotated[int, Meta(ge=0, le=MAX_SIZE_BYTES)]\n",
        "SizeBytes = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]\n",
        "tests/conformance/catalog/test_bounds.py"
        "::test_a_file_that_claims_more_bytes_than_any_may_is_kept_and_never_applied[sqlite]",
    ),
    Mutant(
        "a sum of sizes overflows",
        "daemon/librarian_daemon/catalog/status/totals.py",
        "    halves = size_bytes // (1 << 32), size_bytes % (1 << 32)\n",
        "    halves = size_bytes * 0, size_bytes\n",
        "tests/conformance/catalog/test_bounds.py::test_sums_of_sizes_do_not_overflow[sqlite]",
    ),
    Mutant(
        "one section that fails takes the whole view along",
        "daemon/librarian_daemon/status/sections.py",
        "        except FAULTS as exc:\n",
        "        except ZeroDivisionError as exc:\n",
        "tests/unit/daemon/status/test_sections.py::test_a_section_that_fails_is_named_until_it_is_made_again",
    ),
    Mutant(
        "an epoch may be any number",
        "protocol/librarian_protocol/segment_verdict.py",
        "    return 0 < epoch - predecessor.epoch <= MAX_EPOCH_STEP\n",
        "    return 0 < epoch - predecessor.epoch\n",
        "tests/unit/protocol/test_segment_verdict.py::test_the_verdict_by_what_is_held",
    ),
    Mutant(
        "a browser is answered whoever it asks for",
        "daemon/librarian_daemon/runtime/cross_site.py",
        "    if is_foreign(request.headers):\n",
        "    if False:\n",
        "tests/unit/daemon/runtime/test_cross_site.py::test_only_the_address_itself_and_a_followed_link_are_answered",
    ),
    Mutant(
        "what has a low number is within a cut-off",
        "protocol/librarian_protocol/history.py",
        "    return Past.NO if whole or last_seq > end.last_seq else Past.UNKNOWN\n",
        "    return Past.YES if last_seq <= end.last_seq else Past.NO\n",
        "tests/unit/protocol/test_history.py",
    ),
    Mutant(
        "another admission forgets former keys",
        "protocol/librarian_protocol/roster.py",
        "    return msgspec.structs.replace(entry, former=before.former, tips=before.tips)\n",
        "    return entry\n",
        "tests/unit/protocol/test_roster.py::test_another_admission_of_a_known_site_forgets_no_former_key_and_no_end",
    ),
    Mutant(
        "the reserve of a store is filled",
        "protocol/librarian_protocol/store_choice.py",
        "        return self.free_bytes - self.reserve_bytes - self.promised_bytes\n",
        "        return self.free_bytes - self.promised_bytes\n",
        "tests/unit/protocol/test_store_choice.py::test_a_chosen_store_takes_it_and_never_goes_beyond_its_reserve",
    ),
    Mutant(
        "more of a store's room is promised than there is",
        "daemon/librarian_daemon/catalog/stores/promises.py",
        "    if size_bytes > room_bytes - max(",
        "    if False and size_bytes > room_bytes - max(",
        "tests/conformance/catalog/test_stores_of_site.py"
        "::test_no_more_is_promised_than_there_was_room_for_less_what_others_were_promised_since",
    ),
    Mutant(
        "a transfer moves to where another one of the file goes on",
        "daemon/librarian_daemon/catalog/transfers/moves.py",
        "        if one.store not in kept.get(one.file_id, set()):\n",
        "        if one:\n",
        "tests/conformance/catalog/test_stores_of_site.py"
        "::test_nothing_moves_to_where_another_transfer_goes_on_or_a_person_cancelled_it",
    ),
    Mutant(
        "a start activates a store that a person set inactive",
        "daemon/librarian_daemon/catalog/stores/attached.py",
        "                overrides=StoreOverrides() if old is None else old.overrides,\n",
        "                overrides=StoreOverrides(),\n",
        "tests/conformance/catalog/test_stores_of_site.py"
        "::test_a_start_keeps_what_a_person_set_and_takes_the_rest_from_the_configuration",
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
