"""What a changed configuration does to a running daemon, and what it says of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from librarian_daemon.assembly.reloader import Reloader, changes, in_force
from librarian_daemon.config.settings import (
    DataSettings,
    IntakeSettings,
    LogSettings,
    NotifySettings,
    SiteSettings,
    StoreSettings,
)
from librarian_daemon.runtime.logs import LogLevel
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.errors import ConfigInvalid
from librarian_protocol.names import SiteName

SITE = SiteName.parse("archive")
DROP = IntakeSettings(path="/drop", store="main")
SETTINGS = SiteSettings(site=SITE, store=[StoreSettings(label="main", path="/main")], intake=[DROP])
replace = msgspec.structs.replace


class Rig:
    """A reloader, and all that it told."""

    def __init__(self) -> None:
        self.wanted: SiteSettings | ConfigInvalid = SETTINGS
        self.level = LogLevel("info")
        self.incidents: dict[str, str] = {}
        self.done: list[str] = []
        self.service = Reloader(
            settings=SETTINGS,
            load=self.load,
            wake=Signal(),
            log_level=self.level,
            incidents=self,
            site=SITE,
            notify=self.notify,
            intakes=self.intakes,
            told=lambda settings: self.done.append("told"),
        )

    def load(self) -> SiteSettings:
        if isinstance(self.wanted, ConfigInvalid):
            raise self.wanted
        return self.wanted

    async def notify(self, settings: SiteSettings) -> None:
        if settings.notify[0].url == "bad://":
            raise ConfigInvalid("notify me: not understood")
        self.done.append("notify")

    async def intakes(self, wanted: Sequence[IntakeSettings]) -> None:
        self.done.append(f"intakes {' '.join(intake.path for intake in wanted)}")

    async def open(self, code: str, subject: str, message: str, hint: str) -> None:
        self.incidents[code] = message

    async def resolve(self, code: str, subject: str) -> None:
        self.incidents.pop(code, None)

    async def count(self, code: str, subject: str, number: int, message: str, hint: str) -> None:
        self.incidents[code] = message

    async def resolve_all(self, code: str, over: Callable[[str], bool]) -> None:
        self.incidents.pop(code, None)

    async def subjects(self, code: str) -> Sequence[str]:
        return []


async def test_what_can_change_changes_and_the_rest_is_named_until_it_is_put_back() -> None:
    rig = Rig()
    more = replace(DROP, path="/more")
    rig.wanted = replace(
        SETTINGS,
        log=LogSettings(level="debug"),
        notify=[NotifySettings(label="me", url="json://x")],
        intake=[DROP, more],
        data=DataSettings(listen="127.0.0.1:1"),
        store=[replace(SETTINGS.store[0], path="/other")],
    )
    await rig.service.reload()
    assert rig.level.level == "debug"
    assert rig.done == ["notify", "intakes /drop /more", "told"]
    assert list(rig.incidents) == ["restart-needed"]
    assert rig.incidents["restart-needed"].endswith(": data.listen, store[0].path")
    rig.wanted = replace(rig.wanted, data=SETTINGS.data, store=SETTINGS.store)
    await rig.service.reload()
    assert rig.incidents == {}
    assert rig.done[3:] == ["told"]


@pytest.mark.parametrize("notify", [False, True])
async def test_a_configuration_that_is_wrong_changes_nothing(notify: bool) -> None:
    rig = Rig()
    other = replace(SETTINGS, log=LogSettings(level="debug"), notify=[NotifySettings(label="me", url="bad://")])
    rig.wanted = other if notify else ConfigInvalid("site.toml: not TOML")
    await rig.service.reload()
    assert list(rig.incidents) == ["reload-failed"]
    assert rig.done == []
    assert rig.level.level == "info"
    rig.wanted = SETTINGS
    await rig.service.reload()
    assert rig.incidents == {}


def test_a_drop_directory_of_a_store_that_is_not_open_waits_for_the_restart() -> None:
    new_store = replace(SETTINGS, store=[*SETTINGS.store, StoreSettings(label="new", path="/new")])
    wanted = replace(new_store, intake=[replace(DROP, store="new"), IntakeSettings(path="/more", store="new")])
    found = in_force(SETTINGS, wanted)
    assert found.intake == [DROP]
    assert changes(found, wanted) == ["intake[0].store", "intake[1]", "store[1]"]
