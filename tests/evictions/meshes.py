"""The meshes that are searched."""

from __future__ import annotations

from tests.evictions.mesh import Mesh, Store

from librarian_protocol.entries import StoreRole
from librarian_protocol.requirement import Requirement

ONE = Requirement(instances=1, domains=1)
TWO = Requirement(instances=2, domains=2)
THREE = Requirement(instances=3, domains=3)
ANY_TWO = Requirement(instances=2, domains=1)
ARCHIVED = Requirement(instances=1, domains=1, role=StoreRole.ARCHIVE)

PAIR = (Store(0, "a"), Store(1, "b"))
TRIO = (*PAIR, Store(2, "c"))
FOUR = (*TRIO, Store(3, "d"))
#: Only the first one evicts.
ONE_OF_THREE = (Store(0, "a"), Store(1, "b", evicts=False), Store(2, "c", evicts=False))
TWO_OF_THREE = (*PAIR, Store(2, "c", evicts=False))
#: Two stores of the first site, one of another.
SIBLINGS = (Store(0, "a"), Store(0, "a"), Store(1, "b"))
ARCHIVE = Store(0, "a", StoreRole.ARCHIVE, allow_archive=True)

#: Searched with each run of the tests: some seconds, all told.
SMALL = [
    Mesh(name="pair", stores=PAIR, keep=ONE, lands=True),
    Mesh(name="trio", stores=TRIO, keep=ONE),
    Mesh(name="trio of two", stores=TRIO, keep=TWO, lands=True),
    Mesh(name="trio of any two", stores=TRIO, keep=ANY_TWO),
    Mesh(name="rot", stores=TWO_OF_THREE, keep=TWO, rots=1),
    Mesh(name="rewound, noticed", stores=PAIR, keep=ONE, rewinds=1, lands=True),
    Mesh(name="rewound, unnoticed", stores=PAIR, keep=ONE, rewinds=1, noticed=False, lands=True),
    Mesh(name="hold", stores=PAIR, keep=ONE, hold=True),
    Mesh(name="hold, rewound", stores=PAIR, keep=ONE, hold=True, rewinds=1),
    Mesh(name="conflict", stores=PAIR, keep=ONE, conflict=True),
    Mesh(name="withdrawal", stores=PAIR, keep=ONE, withdrawal=True),
    Mesh(name="withdrawal, hold", stores=PAIR, keep=ONE, withdrawal=True, hold=True),
    Mesh(name="siblings", stores=SIBLINGS, keep=ONE, lands=True),
    Mesh(name="siblings of two", stores=SIBLINGS, keep=TWO),
    Mesh(name="one domain", stores=(Store(0, "a"), Store(1, "a"), Store(2, "b")), keep=TWO),
    Mesh(name="rule unheard", stores=TRIO, keep=TWO, own=((0, ONE),)),
    Mesh(
        name="rule heard by the evictor", stores=(Store(0, "a"), Store(1, "b", evicts=False)), keep=TWO, own=((1, ONE),)
    ),
    Mesh(name="processing", stores=(*PAIR, Store(2, "c", StoreRole.PROCESSING)), keep=ONE),
    Mesh(name="archive", stores=(ARCHIVE, Store(1, "b"), Store(2, "c")), keep=ARCHIVED),
]
#: Searched by ``scripts/search-evictions`` only, beside the small ones.
LARGE = [
    Mesh(name="batch", stores=PAIR, keep=ONE, files=2, restarts=False),
    Mesh(name="pair, down", stores=PAIR, keep=ONE, lands=True, down=True),
    Mesh(name="pair, down and rewound", stores=PAIR, keep=ONE, lands=True, down=True, rewinds=1, noticed=False),
    Mesh(name="trio, down", stores=TRIO, keep=ONE, down=True),
    Mesh(name="trio of two, down, rot", stores=TRIO, keep=TWO, down=True, rots=1),
    Mesh(name="pair, each rewound", stores=PAIR, keep=ONE, lands=True, rewinds=2, rewound=(0, 1), noticed=False),
    Mesh(name="pair, each rewound, noticed", stores=PAIR, keep=ONE, rewinds=2, rewound=(0, 1)),
    Mesh(name="rot at any time", stores=TRIO, keep=TWO, rots=1, rots_any_time=True, lands=True),
    Mesh(name="rot of three", stores=TRIO, keep=TWO, rots=1),
    Mesh(name="rot, rewound", stores=ONE_OF_THREE, keep=TWO, rots=1, rewinds=1, lands=True),
    Mesh(name="withdrawal, rewound", stores=PAIR, keep=ONE, withdrawal=True, rewinds=1),
    Mesh(name="withdrawal of three", stores=TRIO, keep=ONE, withdrawal=True),
    Mesh(name="hold of three", stores=TRIO, keep=TWO, hold=True),
    Mesh(name="conflict of three", stores=TRIO, keep=ONE, conflict=True),
    Mesh(name="trio, rewound, noticed", stores=TRIO, keep=ONE, rewinds=1, lands=True),
    Mesh(name="trio, rewound, unnoticed", stores=TRIO, keep=ONE, rewinds=1, noticed=False, lands=True),
    Mesh(name="trio of two, rewound, unnoticed", stores=TRIO, keep=TWO, rewinds=1, noticed=False, lands=True),
    Mesh(name="trio of two, rot and rewound, unnoticed", stores=TRIO, keep=TWO, rots=1, rewinds=1, noticed=False),
    Mesh(name="trio of two, rewound twice", stores=TRIO, keep=TWO, rewinds=2, noticed=False),
    Mesh(name="pair, rewound twice", stores=PAIR, keep=ONE, rewinds=2, noticed=False, lands=True),
    Mesh(name="trio of two, rot, dropped", stores=TRIO, keep=TWO, rots=1, lands=True),
    Mesh(name="siblings, rewound", stores=SIBLINGS, keep=ONE, rewinds=1, noticed=False),
    Mesh(name="siblings, rot", stores=SIBLINGS, keep=ANY_TWO, rots=1, lands=True),
    Mesh(name="two and two siblings", stores=(*SIBLINGS, Store(1, "b")), keep=TWO, lands=True),
    Mesh(name="four, of two", stores=FOUR, keep=TWO),
    Mesh(name="four, of three", stores=FOUR, keep=THREE, lands=True),
    Mesh(name="four, of three, rot", stores=FOUR, keep=THREE, rots=2),
    Mesh(name="four in two domains", stores=(Store(0, "a"), Store(1, "a"), Store(2, "b"), Store(3, "b")), keep=TWO),
    Mesh(name="siblings, hold", stores=SIBLINGS, keep=ONE, hold=True),
    Mesh(name="hold, rewound, dropped", stores=PAIR, keep=ONE, hold=True, rewinds=1, lands=True, down=True),
    Mesh(name="conflict, rewound", stores=PAIR, keep=ONE, conflict=True, rewinds=1, lands=True),
    Mesh(name="rule unheard, rot", stores=TRIO, keep=TWO, own=((0, ONE),), rots=1, lands=True),
    Mesh(name="archive, rot", stores=(ARCHIVE, Store(1, "b"), Store(2, "c", StoreRole.ARCHIVE)), keep=ARCHIVED, rots=1),
    Mesh(name="archive of four", stores=(ARCHIVE, Store(1, "b"), Store(2, "c"), Store(3, "d")), keep=ARCHIVED),
]
#: What the protocol does not close (docs/adr/0038): the search finds it, and must go on to find it.
OPEN = [
    Mesh(name="rule heard by one that is not asked", stores=TRIO, keep=TWO, own=((0, ONE), (1, ONE))),
]
NAMED = {mesh.name: mesh for mesh in SMALL + LARGE + OPEN}
