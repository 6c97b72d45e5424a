"""What a row of the table is: work that is done by two or more variants, and the figures that come of their turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from benchmarks.bench.scratch import Scratch


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One execution of one variant."""

    #: Wall clock of the work itself, without what was prepared for it.
    seconds: float
    #: How much was done: files, MiB, commits, … as the bench says in ``unit``.
    amount: float
    #: Seconds of processor, user and system, by name of the process.
    cpu_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    #: Greatest resident memory during the turn, by name of the process.
    peak_bytes: Mapping[str, int] = field(default_factory=dict[str, int])
    #: What else was measured: latencies in ms, files lost, …
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    #: Under ``--count``: events of a kind, for each unit of the amount.
    counts: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def rate(self) -> float:
        """Amount a second."""
        return self.amount / self.seconds


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to do the work. ``run`` does one turn; where it is None, ``absent`` says why, such as ``no rclone``."""

    name: str
    run: Callable[[], Awaitable[Turn]] | None
    absent: str = ""
    #: Figures that somebody else measured elsewhere stand here: nothing is run.
    recorded: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a bench is to be opened."""

    scratch: Scratch
    #: The amounts are multiplied by it. Anything but 1 is for trying the bench, and its results are not kept.
    scale: float = 1.0
    #: Size of a large file where the full one does not fit; 0: as the bench says. The result tells.
    large_gib: float = 0.0
    #: Whether :attr:`Turn.counts` are wanted: processes are then started so that they count, which makes them slow, and
    #: only variants that count are opened.
    count: bool = False

    def amount(self, full: int, least: int = 1) -> int:
        """An amount at that scale."""
        return max(least, round(full * self.scale))


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Work with its variants, which several rows may share: it runs once for all of them."""

    name: str
    #: Unit of the amounts: ``files``, ``MiB``.
    unit: str
    #: What both sides do, said so that one sees that like is compared with like.
    method: str
    #: Starts what is needed and gives the variants; their turns are taken in this order, round by round.
    open: Callable[[Setting], AbstractAsyncContextManager[Sequence[Variant]]]
    #: Each turn is made twice, back to back, and the second is kept (the first GiB after idle is slow).
    keep_second: bool = False
    #: Size of the scratch filesystem.
    scratch_gib: float = 4.0


#: All turns that were kept, by the variant's name; a variant that is absent has none.
Turns = Mapping[str, Sequence[Turn]]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number of a row, with its spread over the rounds."""

    #: What it is, such as ``of rsync -a --fsync`` or ``p99``.
    name: str
    #: ``×``, ``ms``, ``µs/file``, …
    unit: str
    #: None where it could not be measured.
    median: float | None
    least: float | None = None
    most: float | None = None
    #: The target in the words of the budgets, such as ``≥ 6``.
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the budgets."""

    id: str
    work: str
    against: str
    bench: Bench
    figures: Callable[[Turns], Sequence[Figure]]
    #: Long ones run only when they are named.
    only_named: bool = False
