"""Guards of the daemon taken away one by one, in the running code: the simulator must see each of them missing.

A mutation is a piece of a function's text replaced, in the process that runs a seed; nothing on disk changes. By
``catches`` it must be seen: one that is caught for another reason proves nothing.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from typing import Any

import msgspec

from librarian_adapters.wrappers import verifying
from librarian_daemon.catalog import committer, transaction
from librarian_daemon.catalog.integrity import scrubbing
from librarian_daemon.catalog.journal import heads, standings
from librarian_daemon.catalog.transfers import batch_rows
from librarian_daemon.eviction import trash
from librarian_daemon.integrity import custodian, scrubber
from librarian_daemon.journal import catch_up
from librarian_daemon.journal import heads as heads_service
from librarian_daemon.landing import commit
from librarian_daemon.recovery import recovery as recovery_service
from librarian_daemon.transfers import planner, replicator
from librarian_protocol import history, name_resolution, roster, segment_verdict, segments
from librarian_protocol.eviction import count, voucher


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """One guard less."""

    name: str
    #: A module or class, and the function in it.
    owner: Any
    function: str
    old: str
    new: str
    #: Beginnings of violations, any of which shows it for what it is.
    catches: tuple[str, ...]
    #: The first seed that is tried: where it is known that earlier ones do not meet it.
    from_seed: int = 1

    def text(self) -> str:
        """The function without its guard. Raises where the guard is not, or not only, where it was."""
        source = textwrap.dedent(inspect.getsource(getattr(self.owner, self.function)))
        found = source.count(self.old)
        if found != 1:
            raise AssertionError(f"{self.name}: {self.old!r} stands {found} times in {self.function}")
        return "from __future__ import annotations\n" + source.replace(self.old, self.new)

    def apply(self) -> None:
        """Compile the function again without its guard, wherever it was imported to."""
        function = getattr(self.owner, self.function)
        module: Any = inspect.getmodule(function)
        made: dict[str, Any] = {}
        exec(compile(self.text(), f"<mutated {self.function}>", "exec"), module.__dict__, made)
        if inspect.isclass(self.owner):
            setattr(self.owner, self.function, made[self.function])
            return
        for loaded in list(sys.modules.values()):
            if getattr(loaded, self.function, None) is function:
                setattr(loaded, self.function, made[self.function])


MUTATIONS = (
    Mutation(
        name="wrong bytes are taken for right",
        owner=verifying,
        function="_judged",
        old="elif digest != item.digest:",
        new="elif False:",
        catches=("I2",),
    ),
    Mutation(
        name="bytes get their name before they are durable",
        owner=commit,
        function="seal",
        old="sealed = await store.seal(",
        new="sealed = list(",
        catches=("I1",),
    ),
    Mutation(
        name="registered before it stands at its name",
        owner=commit,
        function="place",
        old="placed = await store.place(begun)",
        new="placed = [Placed(one) for one in begun]",
        catches=("I1", "I2"),  # of a drop, and of a transfer
    ),
    Mutation(
        name="what adapters held is not begun again after a death",
        owner=batch_rows,
        function="restart",
        old="transfer.state == before.state.value",
        new='transfer.state == "no-such-state"',
        catches=("I10",),
    ),
    Mutation(
        name="a failure of a transfer is not written down",
        owner=replicator.Replicator,
        function="_run_job",
        old="failed.append(self._failed(job, owed, error))",
        new="self._failed(job, owed, error)",
        catches=("I10",),
    ),
    Mutation(
        name="what waited long enough is not tried again",
        owner=replicator.Replicator,
        function="_look",
        old="PAGE)).due:",
        new="PAGE)).due and False:",
        catches=("I10",),
    ),
    Mutation(
        name="a gap in a journal is skipped",
        owner=segment_verdict,
        function="judge",
        old="if predecessor is None:\n        return Verdict.HOLD",
        new="if predecessor is None:\n        return Verdict.APPLY",
        catches=("I4",),
    ),
    Mutation(
        name="what others hold is heard, and not asked for",
        owner=catch_up.CatchUp,
        function="run",
        old="for tip in due:",
        new="for tip in ():",
        catches=("I4", "I10"),
    ),
    Mutation(
        name="what hangs behind a gap is not asked for",  # the simulator found the daemon like that
        owner=heads,
        function="missing",
        old="connection.execute(_MISSING)",
        new="connection.execute(select(_HEAD.origin, _HEAD.hash, _HEAD.seq, _HEAD.peer)"
        ".where(~exists().where(_JOURNAL.hash == _HEAD.hash)))",
        catches=("I4", "I10"),
        from_seed=5,
    ),
    Mutation(
        name="sites do not tell which ends they hold",
        owner=heads_service.Announcer,
        function="run",
        old="await self._bus.announce(message)",
        new="pass",
        catches=("I4", "I10"),
        from_seed=9,
    ),
    Mutation(
        name="after a commit whose answer was lost, numbers go on where they were",
        owner=committer.Catalog,
        function="_commit_group",
        old="await self._reload()",
        new="pass",
        catches=("I5",),
        from_seed=11,
    ),
    Mutation(
        name="what could not be made durable is not written down as failed",
        owner=commit,
        function="seal",
        old="await not_sealed([outcome for outcome in sealed if isinstance(outcome, NotPlaced)])",
        new="pass",
        catches=("I10",),
        from_seed=66,
    ),
    Mutation(
        name="the planner passes files over whose plan was not committed",
        owner=planner.Planner,
        function="plan",
        old="_commit(tx, plan, self._clock.boottime_s())",
        new="pass",
        catches=("I10",),
    ),
    Mutation(
        name="after a restore it is not noted that names were compared",
        owner=recovery_service.Recoverer,
        function="_go_on",
        old="await write(quarantine.compared)",
        new="pass",
        catches=("I11",),
        from_seed=12,
    ),
    Mutation(
        name="two stories under one number are not noticed",
        owner=segment_verdict,
        function="judge",
        old="Verdict.IGNORE if at_place == segment_hash else Verdict.EQUIVOCATION",
        new="Verdict.IGNORE",
        catches=("I4", "I6"),
    ),
    Mutation(
        name="signatures of segments are not checked",
        owner=segments,
        function="open_of_member",
        old="    verify(signer, Purpose.SEGMENT, payload, signature)\n    segment",
        new="    segment",
        catches=("I6",),
    ),
    Mutation(
        name="what is not in the past of where a key ended is believed",
        owner=history,
        function="past",
        old="return Past.NO if whole or last_seq > end.last_seq else Past.UNKNOWN",
        new="return Past.YES",
        catches=("I4", "I6"),
        from_seed=40,
    ),
    Mutation(
        name="what is not in the past of where a key ended stays believed",
        owner=standings,
        function="not_counting",
        old="inside.__contains__) is not KeyStatus.COUNTS",
        new="lambda end: True) is not KeyStatus.COUNTS",
        catches=("I4", "I6"),
    ),
    Mutation(
        name="the rules of a site end when it is revoked",
        owner=roster,
        function="fold",
        old="might_admit=member.revoked and",
        new="might_admit=False and",
        catches=("I6",),
        from_seed=90,
    ),
    Mutation(
        name="of two digests under one name the first wins",
        owner=name_resolution,
        function="meaning",
        old="if len(digests) < 2:",
        new="if True:",
        catches=("I8",),
    ),
    Mutation(
        name="what is given up vouches",
        owner=voucher,
        function="declined",
        old="if row.stage is not Stage.AVAILABLE:",
        new="if False:",
        catches=("I3",),
    ),
    Mutation(
        name="too few answers are enough",
        owner=count,
        function="verdict",
        old="if not _enough(keep, places, stores):",
        new="if False:",
        catches=("I3",),
    ),
    Mutation(
        name="a start looks at no list in trash",
        owner=trash.TrashKeeper,
        function="recover",
        old="in (await trash.lists()).items():",
        new="in ():",
        catches=("I16",),
        from_seed=15,
    ),
    Mutation(
        name="what a start finds in trash by a row stays there",
        owner=trash.TrashKeeper,
        function="tend",
        old="if not await self.put_back(store, some):",
        new="if True:",
        catches=("I10",),
    ),
    Mutation(
        name="an eviction goes on though the file landed once more",
        owner=transaction.Group,
        function="append",
        old="if isinstance(entries[0], _STANDING):",
        new="if False:",
        catches=("I2", "I3", "I10"),
        from_seed=21,
    ),
    Mutation(
        name="a store in which too much is bad is read on before it is frozen",
        owner=scrubbing,
        function="note_bad",
        old="if last is None or not freezes(last.bad, budget):",
        new="if True:",
        catches=("I3",),
    ),
    Mutation(
        name="a pass ends before it has read everything",
        owner=scrubber.Scrubber,
        function="_advance",
        old="if page.empty:",
        new="if True:",
        catches=("I2",),
    ),
    Mutation(
        name="what a pass finds bad is not suspected",
        owner=custodian,
        function="_say",
        old="tx.append(holding.suspected(reason))",
        new="pass",
        catches=("I2",),
    ),
)
