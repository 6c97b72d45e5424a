"""Which adapters are made from a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints

import pytest
from tests.support.source import Destination

from librarian_adapters import registry
from librarian_adapters.contract import ENTRY_POINTS, Adapter
from librarian_protocol.errors import ConfigInvalid


def points(*pairs: tuple[str, str]) -> EntryPoints:
    return EntryPoints(EntryPoint(name, value, ENTRY_POINTS) for name, value in pairs)


BUILT_IN = (("local", "librarian_adapters.local:factory"), ("http", "librarian_adapters.http.adapter:factory"))


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    extra: tuple[tuple[str, str], ...] = getattr(request, "param", ())

    def entry_points(*, group: str) -> EntryPoints:
        assert group == "librarian.adapters"
        return points(*BUILT_IN, *extra)

    monkeypatch.setattr(registry, "entry_points", entry_points)


def load(order: Sequence[str], settings: dict[str, dict[str, object]] | None = None) -> list[Adapter]:
    destination = Destination()
    return registry.load(order, site=destination.name, sign=destination.sign, settings=settings or {}, roots={})


def test_adapters_come_in_the_configured_order() -> None:
    assert [adapter.name for adapter in load(["http", "local"])] == ["http", "local"]
    assert [adapter.name for adapter in load(["local", "http"])] == ["local", "http"]
    assert load([]) == []


def test_an_unknown_adapter_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigInvalid, match=r"no adapter 'htpp' is installed; there are: http, local"):
        load(["htpp"])


def test_an_adapter_listed_twice_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="more than once"):
        load(["http", "http"])


def test_each_adapter_gets_its_own_settings() -> None:
    load(["http", "local"], {"http": {"idle_s": 5}})
    with pytest.raises(ConfigInvalid, match=r"adapters\.settings\.http"):
        load(["http"], {"http": {"nonsense": 5}})


@pytest.mark.parametrize(
    "installed",
    [(("odd", "no_such_module:factory"),), (("odd", "os:no_such"),), (("odd", "os:O_RDONLY"),)],
    indirect=True,
)
def test_an_adapter_that_does_not_load_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="'odd'"):
        load(["odd"])


@pytest.mark.parametrize("installed", [(("http", "elsewhere:factory"),)], indirect=True)
def test_two_packages_may_not_bring_one_name() -> None:
    with pytest.raises(ConfigInvalid, match="two installed packages bring an adapter named 'http'"):
        load(["local"])
