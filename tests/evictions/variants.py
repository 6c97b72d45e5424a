"""Each rule of the machine, and the machine without it: the search must find a broken invariant, by name.

One decision is replaced, or one order of the caller's: nothing else. Where two rules guard the same thing, each alone
is not missed by the search; that is said (``why``), and both together are.
"""

from __future__ import annotations

import msgspec
from tests.evictions import bad, steps
from tests.evictions.bad import MACHINE
from tests.evictions.machine import Machine, Order
from tests.evictions.search import TRAPPED
from tests.evictions.world import UNTRUE_AVAILABLE, UNTRUE_TRASH

from librarian_protocol.entries import StoreRole
from librarian_protocol.eviction.row import Stage
from librarian_protocol.requirement import LEAST

ORDER = Order()


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """The machine without a rule."""

    rule: str
    #: Where it is looked for, of ``meshes``.
    mesh: str
    #: What is broken then. "" where another rule guards the same.
    breaks: str
    machine: Machine = MACHINE
    order: Order = ORDER
    #: Where nothing is broken: why not.
    why: str = ""
    #: False where it looks at answers that the machine would never look at.
    forgets: bool = True


VARIANTS = [
    Variant(
        rule="what is pending does not vouch",
        mesh="pair",
        breaks=steps.NAMES,
        machine=bad.row_as_available(Stage.PENDING),
    ),
    Variant(
        rule="what is decided or in trash does not vouch",
        mesh="pair",
        breaks=steps.BYTES,
        machine=bad.answering(bad.trash_vouches),
    ),
    Variant(
        rule="the intent is committed before others are asked",
        mesh="pair",
        breaks=steps.NAMES,
        order=ORDER._replace(intent_before_sites=False),
    ),
    Variant(
        rule="a sibling store's row is read after the intent",
        mesh="siblings",
        breaks=steps.NAMES,
        order=ORDER._replace(intent_before_siblings=False),
    ),
    Variant(
        rule="each attempt has a fresh nonce",
        mesh="pair",
        breaks=steps.NAMES,
        order=ORDER._replace(fresh_nonce=False),
    ),
    Variant(
        rule="a rename and an unlink look at row and nonce under the lock",
        mesh="pair",
        breaks=steps.BYTES,
        machine=MACHINE._replace(is_of=bad.still, trashed=bad.trashed_unasked, close=bad.closed_unasked),
    ),
    Variant(
        rule="landing voids the nonce",
        mesh="pair",
        breaks=steps.NAMES,
        machine=MACHINE._replace(land=bad.healed_with_nonce, trashed=bad.trashed_unasked, close=bad.closed_unasked),
    ),
    Variant(
        rule="healing voids the nonce",
        mesh="rot",
        breaks=steps.NAMES,
        machine=MACHINE._replace(heal=bad.healed_with_nonce, trashed=bad.trashed_unasked, close=bad.closed_unasked),
    ),
    Variant(
        rule="round 2 reads the bytes",
        mesh="rot",
        breaks=steps.BYTES,
        machine=bad.counting(bad.without_proof, bad.answering(bad.rows_in_round_2)),
    ),
    Variant(
        rule="round 2 has a fresh nonce",
        mesh="rot",
        breaks=steps.BYTES,
        machine=bad.counting(bad.without_proof, MACHINE._replace(trashed=bad.one_nonce)),
    ),
    Variant(
        rule="the decision is committed before the rename",
        mesh="pair",
        breaks="",
        machine=MACHINE._replace(trashed=bad.trashed_unasked),
        order=ORDER._replace(decided_before_rename=False),
        why="a start puts back what the trash's list names",
    ),
    Variant(
        rule="the decision is committed before the rename, or a start looks at the trash's list",
        mesh="pair",
        breaks=UNTRUE_TRASH,
        machine=MACHINE._replace(trashed=bad.trashed_unasked, at_start=bad.only_what_rows_say),
        order=ORDER._replace(decided_before_rename=False),
    ),
    Variant(
        rule="bytes are put back before the row says so",
        mesh="pair",
        breaks=UNTRUE_TRASH,
        order=ORDER._replace(back_before_commit=False),
    ),
    Variant(
        rule="what was put back is hashed",
        mesh="rot",
        breaks=steps.UNHASHED,
        machine=MACHINE._replace(put_back=bad.unhashed),
    ),
    Variant(
        rule="a start aborts what was pending",
        mesh="rewound, unnoticed",
        breaks=steps.NAMES,
        machine=MACHINE._replace(started=bad.pending_resumes),
    ),
    Variant(
        rule="a start puts back what was decided",
        mesh="rewound, unnoticed",
        breaks=steps.NAMES,
        machine=MACHINE._replace(started=bad.resumes, at_start=bad.stays),
    ),
    Variant(
        rule="a start puts back what the trash's list names, whatever the row says",
        mesh="rewound, unnoticed",
        breaks=UNTRUE_TRASH,
        machine=MACHINE._replace(at_start=bad.only_what_rows_say),
    ),
    Variant(
        rule="a start unlinks only in the directory that the row names",
        mesh="rot, rewound",
        breaks=steps.UNASKED,
        machine=MACHINE._replace(at_start=bad.whatever_is_gone),
    ),
    Variant(
        rule="domains are counted, not sites",
        mesh="one domain",
        breaks=steps.NAMES,
        machine=bad.counting(bad.sites_for_domains),
    ),
    Variant(
        rule="a voucher's requirement is carried in its answer",
        mesh="rule unheard",
        breaks=steps.NAMES,
        machine=bad.answering(lambda asked, its, here, looked, keep: (asked, its, here, looked, LEAST)),
    ),
    Variant(
        rule="the evictor's own requirement counts",
        mesh="rule heard by the evictor",
        breaks=steps.NAMES,
        machine=bad.counting(lambda asked, vouches, stores: (bad.replace(asked, keep=LEAST), vouches, stores)),
    ),
    Variant(
        rule="each store counts once",
        mesh="trio of any two",
        breaks=steps.NAMES,
        machine=MACHINE._replace(verdict=bad.each_answer),
    ),
    Variant(
        rule="the last instance is not given up",
        mesh="pair",
        breaks=steps.NAMES,
        machine=MACHINE._replace(verdict=bad.the_last_too),
    ),
    Variant(
        rule="an answer counts for its own question",
        mesh="pair",
        breaks=steps.NAMES,
        machine=bad.counting(bad.any_nonce),
        forgets=False,
    ),
    Variant(
        rule="round 1 opens the name",
        mesh="rewound, unnoticed",
        breaks=steps.NAMES,
        machine=bad.answering(
            lambda asked, its, here, looked, keep: (asked, its, here, bad.replace(looked, opens=True), keep)
        ),
    ),
    Variant(
        rule="what is suspected does not vouch",
        mesh="rot",
        breaks="",
        machine=bad.row_as_available(Stage.SUSPECTED),
        why="round 2 reads its bytes",
    ),
    Variant(
        rule="a voucher that reads bad bytes does not vouch",
        mesh="rot",
        breaks="",
        machine=bad.answering(
            lambda asked, its, here, looked, keep: (asked, its, here, bad.replace(looked, intact=True), keep)
        ),
        why="the evictor compares its proof with one over its own bytes",
    ),
    Variant(
        rule="an evictor compares proofs",
        mesh="rot",
        breaks="",
        machine=bad.counting(bad.without_proof),
        why="an honest voucher that reads bad bytes does not vouch",
    ),
    Variant(
        rule="answers are counted for each file",
        mesh="batch",
        breaks=steps.NAMES,
        machine=bad.counting(bad.for_the_batch),
    ),
    Variant(
        rule="what was aborted does not join its batch again",
        mesh="batch",
        breaks=steps.NAMES,
        order=ORDER._replace(no_rejoin=False),
    ),
    Variant(rule="a voucher heeds a hold", mesh="hold", breaks=steps.HELD_VOUCH, machine=bad.here(held=False)),
    Variant(rule="an evictor heeds a hold", mesh="hold", breaks=steps.HELD, machine=bad.refused(held=False)),
    Variant(
        rule="a voucher heeds a conflict",
        mesh="conflict",
        breaks=steps.CONFLICT_VOUCH,
        machine=bad.here(conflict=False),
    ),
    Variant(
        rule="an evictor heeds a conflict",
        mesh="conflict",
        breaks=steps.CONFLICT,
        machine=bad.refused(conflict=False),
    ),
    Variant(
        rule="nobody vouches in quarantine",
        mesh="hold, rewound",
        breaks=steps.HELD_VOUCH,
        machine=bad.here(quarantine=False),
    ),
    Variant(
        rule="nobody evicts in quarantine",
        mesh="hold, rewound",
        breaks=steps.HELD,
        machine=bad.refused(quarantine=False),
    ),
    Variant(
        rule="quarantine ends after names were compared",
        mesh="rewound, noticed",
        breaks=UNTRUE_AVAILABLE,
        order=ORDER._replace(names_compared=False),
    ),
    Variant(
        rule="quarantine ends after the site's own entries are back",
        mesh="hold, rewound",
        breaks=steps.HELD,
        order=ORDER._replace(entries_back=False),
    ),
    Variant(
        rule="a processing store counts for nothing, at both ends",
        mesh="processing",
        breaks=steps.NAMES,
        machine=bad.processing_counts(bad.here(role=StoreRole.BUFFER)),
    ),
    Variant(
        rule="a store of a role that does not count does not vouch",
        mesh="processing",
        breaks="",
        machine=bad.here(role=StoreRole.BUFFER),
        why="the evictor knows the store's role, and believes no other one",
    ),
    Variant(
        rule="an evictor counts by the roles that it knows",
        mesh="processing",
        breaks="",
        machine=bad.processing_counts(MACHINE),
        why="an honest store of such a role does not vouch",
    ),
    Variant(
        rule="an archive is demanded",
        mesh="archive",
        breaks=steps.NAMES,
        machine=bad.counting(bad.archive_for_buffer),
    ),
    Variant(
        rule="a withdrawn file does not vouch",
        mesh="withdrawal",
        breaks="",
        machine=bad.here(withdrawn=False),
        why="its row does not vouch as soon as it is decided about; before that its bytes are there",
    ),
    Variant(
        rule="a withdrawal's trash is emptied only while the entry counts",
        mesh="withdrawal",
        breaks=steps.VOIDED,
        machine=bad.empties(withdrawn=True),
    ),
    Variant(
        rule="a withdrawal's trash is kept by a hold",
        mesh="withdrawal, hold",
        breaks=steps.HELD,
        machine=bad.empties(held=False),
    ),
    Variant(
        rule="a withdrawal's trash is not emptied in quarantine",
        mesh="withdrawal, rewound",
        breaks=steps.VOIDED,
        machine=bad.empties(quarantine=False),
    ),
    Variant(
        rule="what is pending times out",
        mesh="pair",
        breaks=TRAPPED,
        order=ORDER._replace(can_time_out=False),
    ),
    Variant(
        rule="what is decided can be put back",
        mesh="hold",
        breaks=TRAPPED,
        order=ORDER._replace(can_put_back=False),
    ),
]
