"""All that can happen next in a small mesh, by the decisions of the machine itself.

A state is a tuple of small integers: for each instance its place on disk and in the catalog, and the answers that were
sent for its open attempt; for each site what it knows. Messages are never taken away: one that was sent can arrive at
any time, any number of times, or never. So loss, delay and repetition cost no states. What can never be live again
(answers for a nonce that nobody has, in no row and no backup) is forgotten; nonces are numbered anew.

What a decision gives for the same arguments is remembered, so the machine is asked once for each different case.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import combinations
from typing import cast

import msgspec
from tests.evictions.machine import Machine, Order
from tests.evictions.mesh import Mesh
from tests.evictions.state import BAD, CONTENT, DIGEST, ENDED, GOOD, NOTHING, Instance, Left, Site, State, Table

from librarian_protocol.eviction.count import Attempt, Place
from librarian_protocol.eviction.row import OPEN, Action, Found, Row, Stage
from librarian_protocol.eviction.voucher import COUNTING, Here, Looked, Question, Round, Vouch, prover
from librarian_protocol.names import Name
from librarian_protocol.requirement import Requirement

UNTRUE_TRASH = "bytes stand in trash, and no row says so"
UNTRUE_AVAILABLE = "it is said to be available, and its name is empty"
UNTRUE_GONE = "it is said to be gone, and stands at its name"


class World:
    """The states of a mesh."""

    def __init__(self, mesh: Mesh, machine: Machine, order: Order, *, forgets: bool = True) -> None:
        self.mesh, self.machine, self.order = mesh, machine, order
        #: Answers for a nonce that is gone are taken away: sound where the machine never looks at such.
        self.forgets = forgets and order.fresh_nonce
        self.known = mesh.known()
        self.instances: Table[Instance] = Table()
        self.votes: Table[frozenset[Vouch]] = Table()
        self.sites: Table[Site] = Table()
        self.left: Table[Left] = Table()
        #: Of each instance: its store, its file.
        self.where = [(store, file) for store in range(len(mesh.stores)) for file in range(mesh.files)]
        self.count = len(self.where)
        self.site_of = [mesh.stores[store].site for store, _ in self.where]
        #: Who can vouch for whom.
        self.others = [
            [j for j in range(self.count) if j != i and self.where[j][1] == self.where[i][1]] for i in range(self.count)
        ]
        #: Of each instance: all of its store.
        self.in_store = [
            [j for j in range(self.count) if self.where[j][0] == self.where[i][0]] for i in range(self.count)
        ]
        self.at_site = [[i for i in range(self.count) if self.site_of[i] == site] for site in range(mesh.sites)]
        self._remembered: dict[Hashable, object] = {}

    def first(self) -> State:
        """Everything stands where it should."""
        instance, vote = self.instances.number(Instance(Row())), self.votes.number(frozenset())
        left = self.left.number(Left(self.mesh.rots, self.mesh.rewinds))
        site = self.sites.number(Site())
        return (instance,) * self.count + (vote,) * self.count + (site,) * self.mesh.sites + (left,)

    def label(self, i: int) -> str:
        """For people."""
        store, file = self.where[i]
        return f"store {store}" if self.mesh.files == 1 else f"store {store}, file {file},"

    # ---- reading a state -------------------------------------------------------------------------

    def instance(self, state: State, i: int) -> Instance:
        return self.instances.values[state[i]]

    def site(self, state: State, i: int) -> Site:
        """Of the instance ``i``."""
        return self.sites.values[state[2 * self.count + self.site_of[i]]]

    def answers(self, state: State, i: int) -> frozenset[Vouch]:
        """Those that were sent to the evictor of ``i``; of a batch, all of its answers."""
        if self.mesh.files == 1:
            return self.votes.values[state[self.count + i]]
        key = ("answers", *(state[self.count + j] for j in self.in_store[i]))
        found = self._remembered.get(key)
        if found is None:
            found = frozenset(vouch for j in self.in_store[i] for vouch in self.votes.values[state[self.count + j]])
            self._remembered[key] = found
        assert isinstance(found, frozenset)
        return cast(frozenset[Vouch], found)

    def here(self, i: int, site: Site) -> Here:
        store = self.mesh.stores[self.where[i][0]]
        name, label = self.mesh.place(self.where[i][0])
        return Here(
            site=name,
            store=label,
            role=store.role,
            quarantine=site.quarantine,
            held=site.held,
            conflict=site.conflict,
            withdrawn=site.withdrawn,
            allow_archive=store.allow_archive,
        )

    def willing(self, state: State, i: int) -> bool:
        """Whether the machine lets the store give up anything, as far as its site knows."""
        key = ("willing", i, state[2 * self.count + self.site_of[i]])
        if key not in self._remembered:
            self._remembered[key] = self.machine.refused(self.here(i, self.site(state, i))) is None
        return bool(self._remembered[key])

    def file(self, i: int) -> Name:
        return Name(f"file{self.where[i][1]}")

    # ---- making a state --------------------------------------------------------------------------

    def put(
        self, state: State, changes: dict[int, Instance], votes: dict[int, frozenset[Vouch]] | None = None
    ) -> State:
        """The state with other instances. Votes that can never be counted again are forgotten, nonces numbered anew."""
        new = list(state)
        for i, instance in changes.items():
            new[i] = self.instances.number(instance)
        for i, sent in (votes or {}).items():
            new[self.count + i] = self.votes.number(sent)
        for i in {*changes, *(votes or {})}:
            self._tidy(new, i)
        return tuple(new)

    def put_site(self, state: State, number: int, site: Site) -> State:
        new = list(state)
        new[2 * self.count + number] = self.sites.number(site)
        for i in self.at_site[number]:
            self._tidy(new, i)
        return tuple(new)

    def _tidy(self, new: list[int], i: int) -> None:
        if self.mesh.files > 1:
            live = {self.instances.values[new[j]].row.nonce for j in self.in_store[i]} - {""}
            for j in self.in_store[i]:
                sent = self.votes.values[new[self.count + j]]
                if any(vouch.nonce not in live for vouch in sent):
                    new[self.count + j] = self.votes.number(frozenset(vouch for vouch in sent if vouch.nonce in live))
            return
        backup = self.sites.values[new[2 * self.count + self.site_of[i]]].backup
        row = None if backup is None else backup[0][self.at_site[self.site_of[i]].index(i)]
        key = ("tidy", new[i], new[self.count + i], row, i)
        found = self._remembered.get(key)
        if found is None:
            found = self._remembered[key] = self._tidied(new[i], new[self.count + i], row)
        assert isinstance(found, tuple)
        new[i], new[self.count + i] = found

    def _tidied(self, number: int, votes: int, backup: Row | None) -> tuple[int, int]:
        if not self.forgets:
            return number, votes
        instance, sent = self.instances.values[number], self.votes.values[votes]
        if instance.task[0] in ("rename", "close") and not self.machine.is_of(instance.row, instance.task[1]):
            # It looks under the lock, and does nothing.
            instance = instance._replace(task=("", ""))
        live = {instance.row.nonce, backup.nonce if backup else "", instance.task[1]} - {""}
        sent = frozenset(vouch for vouch in sent if vouch.nonce in live)
        if backup is not None:
            return self.instances.number(instance), self.votes.number(sent)
        row = instance.row
        if row.stage is Stage.GONE and row.trash != instance.trash:
            # The directory that it names is empty for good.
            row = msgspec.structs.replace(row, trash="")
        names = {"": ""}
        for nonce in (row.nonce, row.trash, instance.trash, instance.task[1]):
            names.setdefault(nonce, f"n{len(names)}")
        row = msgspec.structs.replace(row, nonce=names[row.nonce], trash=names[row.trash])
        instance = instance._replace(
            row=row, trash=names[instance.trash], task=(instance.task[0], names[instance.task[1]])
        )
        renamed = frozenset(self._renamed(vouch, names[vouch.nonce]) for vouch in sent)
        return self.instances.number(instance), self.votes.number(renamed)

    def _renamed(self, vouch: Vouch, nonce: str) -> Vouch:
        if vouch.nonce == nonce:
            return vouch
        proof = vouch.proof
        for content in CONTENT.values():
            if proof == self.proof(vouch.nonce, (vouch.site, vouch.store), content):
                proof = self.proof(nonce, (vouch.site, vouch.store), content)
                break
        return msgspec.structs.replace(vouch, nonce=nonce, proof=proof)

    def proof(self, nonce: str, place: Place, content: bytes) -> str:
        key = ("proof", nonce, place, content)
        found = self._remembered.get(key)
        if found is None:
            found = self._remembered[key] = prover(nonce, *place).update(content).hexdigest()
        assert isinstance(found, str)
        return found

    def fresh(self, state: State, i: int, round_: int) -> str:
        """A nonce that nobody has seen."""
        if not self.order.fresh_nonce:
            return f"n{round_}"
        if self.mesh.files > 1:
            return self.fresh_batch(state, self.where[i][0])
        used = self._nonces(state, i)
        return next(nonce for number in range(1, 99) if (nonce := f"n{number}") not in used)

    def _nonces(self, state: State, i: int) -> set[str]:
        instance, backup = self.instance(state, i), self.site(state, i).backup
        used = {instance.row.nonce, instance.row.trash, instance.trash, instance.task[1]}
        used |= {vouch.nonce for vouch in self.votes.values[state[self.count + i]]}
        if backup is not None:
            row = backup[0][self.at_site[self.site_of[i]].index(i)]
            used |= {row.nonce, row.trash}
        return used

    def fresh_batch(self, state: State, store: int) -> str:
        """A nonce that no file of the store has."""
        if not self.order.fresh_nonce:
            return "n1"
        mine = [i for i in range(self.count) if self.where[i][0] == store]
        used = {nonce for i in mine for nonce in self._nonces(state, i)}
        return next(nonce for number in range(1, 99) if (nonce := f"n{number}") not in used)

    # ---- the truth -------------------------------------------------------------------------------

    def too_few(self, state: State, i: int, *, names: bool) -> bool:
        """Whether without ``i`` fewer instances are left than the greatest requirement: by names, or by good bytes."""
        left: list[int] = []
        for j in self.others[i]:
            other = self.instance(state, j)
            if self.mesh.stores[self.where[j][0]].role not in COUNTING:
                continue
            whole = GOOD in (other.name, other.bytes) if not names else other.name in (GOOD, BAD)
            if whole or other.name == ENDED or (names and other.row.withdrawn):
                left.append(j)
        keep: Requirement = self.mesh.keep
        stores = [self.mesh.stores[self.where[j][0]] for j in left]
        rotten = self.mesh.rots - self.left.values[state[-1]].rots if self.mesh.rots_any_time and not names else 0
        return (
            len(left) < keep.instances - rotten
            or len({store.domain for store in stores}) < keep.domains - rotten
            or (keep.role is not None and all(store.role is not keep.role for store in stores))
        )

    def untrue(self, state: State) -> str:
        """What a site says that is not so; "" where nothing is. Asked of every state."""
        for i in range(self.count):
            site = self.site(state, i)
            key = ("untrue", state[i], site.quarantine, site.astray, site.down)
            found = self._remembered.get(key)
            if found is None:
                found = self._remembered[key] = self._untrue(self.instance(state, i), site)
            if found:
                return str(found)
        return ""

    def _untrue(self, instance: Instance, site: Site) -> str:
        row, stage = instance.row, instance.row.stage
        moved = stage in (Stage.DECIDED, Stage.TRASHED) and row.trash == instance.trash
        if instance.bytes != NOTHING and not moved and not site.down:
            return UNTRUE_TRASH
        if site.quarantine or site.astray:
            return ""
        if stage is Stage.AVAILABLE and instance.name in (NOTHING, ENDED):
            return UNTRUE_AVAILABLE
        if stage is Stage.GONE and instance.name in (GOOD, BAD):
            return UNTRUE_GONE
        return ""

    def settled(self, state: State) -> bool:
        """Nothing is under way, and nothing is wrong that could be mended."""
        for i in range(self.count):
            instance, site = self.instance(state, i), self.site(state, i)
            stage = instance.row.stage
            if site.down or site.quarantine or instance.task[0] or instance.bytes != NOTHING or stage in OPEN:
                return False
            if stage is Stage.SUSPECTED and any(self.serves(state, j) for j in self.others[i]):
                return False
        return True

    def serves(self, state: State, i: int) -> bool:
        """Whether another site can fetch good bytes there. What is on its way to trash, or in it, is served."""
        instance = self.instance(state, i)
        return GOOD in (instance.name, instance.bytes) and instance.row.stage not in (Stage.SUSPECTED, Stage.GONE)

    # ---- what the machine says -------------------------------------------------------------------

    def vouch(self, state: State, i: int, j: int, nonce: str, round_: Round) -> Vouch | None:
        """The answer of ``j`` to the evictor of ``i``, now; None: it declines."""
        voucher, site = self.instance(state, j), self.site(state, j)
        key = ("vouch", i, j, nonce, round_, voucher.row, voucher.name, site[:6])
        if key not in self._remembered:
            self._remembered[key] = self._vouch(i, j, nonce, round_, voucher, site)
        found = self._remembered[key]
        assert found is None or isinstance(found, Vouch)
        return found

    def _vouch(self, i: int, j: int, nonce: str, round_: Round, voucher: Instance, site: Site) -> Vouch | None:
        asker, place = self.mesh.place(self.where[i][0]), self.mesh.place(self.where[j][0])
        question = Question(nonce=nonce, round=round_, name=self.file(i), digest=DIGEST, site=asker[0], store=asker[1])
        looked = Looked(opens=voucher.name in CONTENT)
        if voucher.name in CONTENT and round_ is Round.BYTES:
            proof = self.proof(nonce, place, CONTENT[voucher.name])
            looked = Looked(opens=True, intact=voucher.name == GOOD, proof=proof)
        said = self.mesh.said(self.site_of[j])
        found = self.machine.answer(question, voucher.row, self.here(j, site), looked, said)
        return found if isinstance(found, Vouch) else None

    def enough(self, state: State, i: int, round_: Round) -> bool:
        """Whether some of the answers that were sent are enough, if only these arrive."""
        instance = self.instance(state, i)
        sent = self.answers(state, i)
        key = ("enough", i, round_, instance.row.nonce, instance.bytes, sent)
        found = self._remembered.get(key)
        if found is None:
            found = self._remembered[key] = self._enough(i, round_, instance, sent)
        return bool(found)

    def _enough(self, i: int, round_: Round, instance: Instance, sent: frozenset[Vouch]) -> bool:
        places = [self.mesh.place(self.where[j][0]) for j in self.others[i]]
        nonce = instance.row.nonce
        proofs: dict[Place, str] = {}
        if instance.bytes in CONTENT:
            proofs = {place: self.proof(nonce, place, CONTENT[instance.bytes]) for place in places}
        attempt = Attempt(
            nonce=nonce,
            round=round_,
            name=self.file(i),
            digest=DIGEST,
            place=self.mesh.place(self.where[i][0]),
            keep=self.mesh.said(self.site_of[i]),
            proofs=proofs,
        )
        return any(
            # Each of them arrives twice: what is repeated must count once.
            self.machine.verdict(attempt, arrived + arrived, self.known) is None
            for number in range(len(sent) + 1)
            for arrived in combinations(sorted(sent, key=lambda vouch: (vouch.site, vouch.store, vouch.nonce)), number)
        )

    def start(self, instance: Instance) -> tuple[Instance, bool]:
        """The instance after its site stopped and started, and whether bytes in trash were unlinked by it."""
        found = Found(trash=instance.trash, named=instance.name in CONTENT)
        action = self.machine.at_start(instance.row, found)
        name = instance.name
        if action is Action.NOTHING:
            intact, back = name == GOOD, False
            row = self.machine.started(instance.row, back, name in CONTENT, intact)
            return instance._replace(row=row, task=("", "")), False
        if action is Action.UNLINK:
            row = self.machine.started(instance.row, False, name in CONTENT, name == GOOD)
            return Instance(row, name), True
        if name != GOOD:
            name = instance.bytes
        row = self.machine.started(instance.row, True, True, name == GOOD)
        return Instance(row, name), False
