"""The bus's two NKEYs."""

from __future__ import annotations

from pathlib import Path

import pytest

from librarian_daemon.bus import keys
from librarian_daemon.bus.server_config import is_public_user_key
from librarian_daemon.runtime.clock import SystemRng
from librarian_protocol.errors import ConfigInvalid


def test_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    made = keys.load(tmp_path / "keys", SystemRng())
    assert keys.load(tmp_path / "keys", SystemRng()) == made
    assert made.journal != made.link
    assert is_public_user_key(made.journal.public)
    assert is_public_user_key(made.link.public)
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == [
        f"bus-{role}.nk" for role in ("journal", "leaf", "link", "system")
    ]


def test_a_lost_key_is_made_anew_and_the_other_kept(tmp_path: Path) -> None:
    made = keys.load(tmp_path, SystemRng())
    (tmp_path / "bus-link.nk").unlink()
    again = keys.load(tmp_path, SystemRng())
    assert (again.journal, again.link != made.link) == (made.journal, True)


@pytest.mark.parametrize("text", ["", "nonsense", "SAAN54FRP5QDFBPPIM3PNY7D3TKDZUMP26ESO6VZ23QINN7FM5JZ4JJXQE", "ü"])
def test_a_file_without_a_users_seed_is_refused_and_not_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "bus-journal.nk").write_text(text)
    with pytest.raises(ConfigInvalid, match=r"bus-journal\.nk holds no NKEY seed"):
        keys.load(tmp_path, SystemRng())
    assert (tmp_path / "bus-journal.nk").read_text() == text
