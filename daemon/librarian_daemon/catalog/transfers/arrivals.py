"""What stands in the way of files that have arrived: read before they get their names."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from librarian_daemon.catalog import landings
from librarian_daemon.catalog.transfers import batch_rows, planning
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_protocol.entries import Unit
from librarian_protocol.names import SiteName


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """How those of a batch stand, by the ids of their transfers."""

    #: Nobody wants them any longer.
    stopped: set[int]
    #: They get landing rows, or go no further, in a transaction: books; what is in conflict or withdrawn, or lies below
    #: a file; and files at whose name something of this site's stands, or should.
    special: set[int]


def look(connection: Connection, site: SiteName, store: str, batch: str, files: Sequence[TransferView]) -> Arrivals:
    """How these files of one batch stand, which are to be placed in a store."""
    going = batch_rows.going(connection, batch, [file.id for file in files])
    frozen = planning.frozen(connection, [file.row.file_id for file in files])
    names = [file.name for file in files]
    met = landings.below_files(connection, names).keys() | landings.claimed(connection, site, store, names)
    return Arrivals(
        stopped={file.id for file in files} - going,
        special={file.id for file in files if file.unit is Unit.BOOK or file.row.file_id in frozen or file.name in met},
    )
