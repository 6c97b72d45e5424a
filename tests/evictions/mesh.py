"""What is searched: a few stores of a few sites, and what can go wrong there."""

from __future__ import annotations

import msgspec

from librarian_protocol.entries import StoreRole
from librarian_protocol.eviction.count import Known, Place
from librarian_protocol.names import SiteName
from librarian_protocol.requirement import Requirement


class Store(msgspec.Struct, frozen=True):
    """A store that holds the file at the beginning."""

    site: int
    domain: str
    role: StoreRole = StoreRole.BUFFER
    #: It gives up what it holds; all others only vouch. Leaves out what others do by symmetry, or never.
    evicts: bool = True
    allow_archive: bool = False


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """Stores, requirement, and what can happen. Loss, delay, repetition and restarts are always among it."""

    name: str
    stores: tuple[Store, ...]
    keep: Requirement
    #: What a site has said itself, where it is another requirement: it has not heard of the rule.
    own: tuple[tuple[int, Requirement], ...] = ()
    files: int = 1
    #: Instances that rot, at most, all told.
    rots: int = 0
    #: ... at any moment, also after they were read for a proof: of each that rots, one less may be left.
    rots_any_time: bool = False
    #: Catalogs that are replaced by a copy from before, at most, all told.
    rewinds: int = 0
    #: ... of these sites.
    rewound: tuple[int, ...] = (0,)
    #: A site notices it, and is in quarantine until its own entries are back.
    noticed: bool = True
    #: The file is dropped, or fetched, once more, at any time.
    lands: bool = False
    #: Sites hear of a hold.
    hold: bool = False
    #: Sites hear of a conflict, and of its end.
    conflict: bool = False
    #: Sites hear of a withdrawal, and that it does not count.
    withdrawal: bool = False
    #: Sites stop and start at any time.
    restarts: bool = True
    #: ... and others go on in between.
    down: bool = False

    @property
    def sites(self) -> int:
        """How many."""
        return 1 + max(store.site for store in self.stores)

    def place(self, store: int) -> Place:
        """As the machine names it."""
        return SiteName(f"s{self.stores[store].site}"), f"store{store}"

    def known(self) -> dict[Place, Known]:
        """What every site knows of all stores."""
        return {
            self.place(number): Known(domain=store.domain, role=store.role) for number, store in enumerate(self.stores)
        }

    def said(self, site: int) -> Requirement:
        """What a site requires, and demands in its answers."""
        return dict(self.own).get(site, self.keep)
