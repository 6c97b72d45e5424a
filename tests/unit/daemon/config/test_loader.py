"""What ``site.toml`` and the environment become, and every way in which they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from librarian_daemon.config import loader
from librarian_daemon.config.settings import SiteSettings
from librarian_protocol.errors import ConfigInvalid

MINIMAL = """\
site = "summit"
[[store]]
label = "main"
path = "store"
"""
INTAKE = MINIMAL + '[[intake]]\npath = "drop"\nstore = "main"\n'


def loaded(directory: Path, text: str, **environ: str) -> SiteSettings:
    path = directory / "site.toml"
    path.write_text(text)
    return loader.load(path, environ)


def refused(directory: Path, text: str, **environ: str) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(directory, text, **environ)
    return caught.value


# ---- what it becomes -----------------------------------------------------------------------------------


def test_a_site_and_a_store_are_enough(tmp_path: Path) -> None:
    settings = loaded(tmp_path, MINIMAL)
    assert settings.site == "summit"
    assert settings.data.listen == "127.0.0.1:7400"


def test_relative_paths_are_taken_from_the_directory_of_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, INTAKE + '[bus]\nmode = "embedded"\npassword_file = "../secret"\n')
    assert settings.store[0].path == str(tmp_path / "store")
    assert settings.intake[0].path == str(tmp_path / "drop")
    assert settings.bus.password_file == str(tmp_path.parent / "secret")
    assert settings.state == str(tmp_path)
    assert settings.socket == str(tmp_path / "lbd.sock")
    assert settings.catalog.url == f"sqlite:///{tmp_path}/catalog.sqlite"
    assert settings.catalog.password_file == ""


def test_catalog_and_socket_stand_in_the_state_directory(tmp_path: Path) -> None:
    settings = loaded(tmp_path, 'state = "/var/lib/librarian"\n' + MINIMAL)
    assert settings.socket == "/var/lib/librarian/lbd.sock"
    assert settings.catalog.url == "sqlite:////var/lib/librarian/catalog.sqlite"


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    settings = loaded(tmp_path, 'socket = "/run/lb.sock"\n' + MINIMAL + '[catalog]\nurl = "sqlite:////x/c"\n')
    assert settings.socket == "/run/lb.sock"
    assert settings.catalog.url == "sqlite:////x/c"


def test_a_postgresql_url_stays_as_it_is(tmp_path: Path) -> None:
    text = MINIMAL + '[catalog]\nurl = "postgresql://lb@db.example/librarian?sslmode=require"\n'
    assert loaded(tmp_path, text).catalog.url == "postgresql://lb@db.example/librarian?sslmode=require"


# ---- the environment -----------------------------------------------------------------------------------


def test_the_environment_overlays_the_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        MINIMAL + '[bus]\nlisten = "127.0.0.1:4222"\n',
        LIBRARIAN_BUS__LISTEN="127.0.0.1:5222",
        LIBRARIAN_REPLICATOR__CONCURRENCY="7",
        LIBRARIAN_ADAPTERS__ORDER='["http", "local"]',
        LIBRARIAN_ADAPTERS__SETTINGS__HTTP__CHUNK="3",
        UNRELATED="1",
    )
    assert settings.bus.listen == "127.0.0.1:5222"
    assert settings.replicator.concurrency == 7
    assert settings.adapters.order == ["http", "local"]
    assert settings.adapters.settings == {"http": {"chunk": 3}}


def test_arrays_of_tables_are_given_whole(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path, 'site = "summit"\n', LIBRARIAN_STORE='[{label = "big", path = "/data", ingestable = false}]'
    )
    assert settings.store[0].path == "/data"
    assert not settings.store[0].ingestable


def test_text_that_is_not_toml_is_taken_as_it_stands(tmp_path: Path) -> None:
    assert loaded(tmp_path, MINIMAL, LIBRARIAN_STATE="/srv/a b").state == "/srv/a b"
    assert loaded(tmp_path, MINIMAL, LIBRARIAN_DOMAIN='"2024"').domain == "2024"


def test_text_with_line_breaks_cannot_bring_in_other_keys(tmp_path: Path) -> None:
    error = refused(tmp_path, MINIMAL, LIBRARIAN_DOMAIN='"a"\nstate = "/x"')
    assert "domain: not of the right form" in error.message


def test_an_error_names_the_variable_that_it_came_from(tmp_path: Path) -> None:
    error = refused(tmp_path, MINIMAL, LIBRARIAN_BUS__LISEN="x")
    assert error.message == f"{tmp_path}/site.toml with LIBRARIAN_BUS__LISEN: bus.lisen: unknown key"
    error = refused(tmp_path, MINIMAL, LIBRARIAN_STORE="[]")
    assert error.message == (f"{tmp_path}/site.toml with LIBRARIAN_STORE: store: a site has at least one store")


@pytest.mark.parametrize("text", [MINIMAL, 'site = "a"\n'])
def test_a_variable_below_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text, LIBRARIAN_SITE__NAME="x")
    assert error.message == "LIBRARIAN_SITE__NAME: site is not a table"


# ---- the file ------------------------------------------------------------------------------------------


def test_a_missing_file_hints_at_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no such file") as caught:
        loader.load(tmp_path / "site.toml", {})
    assert caught.value.hint == f"`lbctl init {tmp_path} --site NAME` writes one"


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="cannot be read: Is a directory"):
        loader.load(tmp_path, {})


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_bytes(b'site = "\xff"')
    with pytest.raises(ConfigInvalid, match="not UTF-8 at byte 8"):
        loader.load(tmp_path / "site.toml", {})


def test_broken_toml_is_refused_with_line_and_column(tmp_path: Path) -> None:
    assert "not TOML: Invalid value (at line 1, column 8)" in refused(tmp_path, "site = summit\n").message


def test_a_file_that_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    assert "nested too deep" in refused(tmp_path, "site = " + "[" * 5000 + "]" * 5000).message


# ---- every other message -------------------------------------------------------------------------------

REFUSED = [
    # unknown keys
    ('sitee = "x"\n' + MINIMAL, "sitee: unknown key", "did you mean site?"),
    (MINIMAL + '[bus]\nlisen = "x"\n', "bus.lisen: unknown key", "did you mean bus.listen?"),
    (MINIMAL + 'rolle = "archive"\n', "store[0].rolle: unknown key", "did you mean store[0].role?"),
    (MINIMAL + "[log]\nzzz = 1\n", "log.zzz: unknown key", "one of: format, level"),
    # types
    ('[[store]]\nlabel = "a"\npath = "b"\n', "site: missing", "it has no default"),
    (MINIMAL + "[[store]]\nlabel = 'b'\n", "store[1].path: missing", "it has no default"),
    ("site = 3\n", "site: expected text, got int", ""),
    (
        'site = "Summit"\n',
        "site: site name 'Summit' is not of the form [a-z][a-z0-9-]{0,30}",
        "a lower-case letter, then lower-case letters, digits, '-'; 31 characters at most",
    ),
    ("bus = 1\n" + MINIMAL, "bus: expected table, got integer", ""),
    (MINIMAL + '[replicator]\nconcurrency = "3"\n', "replicator.concurrency: expected integer, got text", ""),
    (MINIMAL + "[replicator]\nconcurrency = 0\n", "replicator.concurrency: expected integer >= 1", ""),
    (MINIMAL + "[replicator]\nstall_s = true\n", "replicator.stall_s: expected number, got boolean", ""),
    (MINIMAL + "[adapters]\norder = [1]\n", "adapters.order[0]: expected text, got integer", ""),
    (
        MINIMAL + '[log]\nlevel = "loud"\n',
        "log.level: invalid enum value 'loud'",
        "one of: debug, error, info, warning",
    ),
    (
        MINIMAL + 'role = "attic"\n',
        "store[0].role: invalid enum value 'attic'",
        "one of: source, buffer, archive, processing, drive",
    ),
    (
        MINIMAL + 'file_mode = "444"\n',
        "store[0].file_mode: not of the right form",
        'an octal mode in quotes, such as "0444"',
    ),
    (
        MINIMAL + 'dir_mode = "750"\n',
        "store[0].dir_mode: not of the right form",
        'an octal mode of four digits in quotes, such as "2750"',
    ),
    (MINIMAL + 'dir_mode = "0550"\n', "store[0].dir_mode: 0550 denies access to the daemon itself", 'such as "2750"'),
    (
        MINIMAL + 'dir_mode = "0777"\n',
        "store[0].dir_mode: 0777 lets everybody remove what is stored",
        'such as "2750", or "0755" to be read',
    ),
    (
        MINIMAL + 'group = "no such group"\n',
        "store[0].group: this machine knows no group 'no such group'",
        "groupadd --system 'no such group', or another",
    ),
    (
        MINIMAL.replace("main", "Main"),
        "store[0].label: not of the right form",
        "lower-case letters, digits and '-', not beginning with '-'; 63 characters at most",
    ),
    # catalog
    (
        MINIMAL + '[catalog]\nurl = "mysql://me:secret@host/db"\n',
        "catalog.url: 'mysql://…@host/db' names no catalog",
        '"sqlite:///catalog.sqlite" or "postgresql://user@host/database"',
    ),
    (
        MINIMAL + '[catalog]\nurl = "sqlite:///:memory:"\n',
        "catalog.url: 'sqlite:///:memory:' names no catalog",
        '"sqlite:///catalog.sqlite" or "postgresql://user@host/database"',
    ),
    # stores
    ('site = "summit"\n', "store: a site has at least one store", "add [[store]] with label and path"),
    (
        MINIMAL + '[[store]]\nlabel = "main"\npath = "other"\n',
        "store[1].label: 'main' is the label of store[0] too",
        "labels are unique within a site",
    ),
    (MINIMAL.replace('"store"', '""'), "store[0].path: is empty", ""),
    # intake
    (INTAKE.replace('"drop"', '""'), "intake[0].path: is empty", ""),
    (
        INTAKE.replace('store = "main"', 'store = "mian"'),
        "intake[0].store: no store has the label 'mian'",
        "one of: main",
    ),
    (
        INTAKE.replace('path = "store"', 'path = "store"\ningestable = false'),
        "intake[0].store: store 'main' is not ingestable",
        "name another, or set its ingestable = true",
    ),
    (
        INTAKE + 'prefix = "a//b"\n',
        "intake[0].prefix: name 'a//b' has an empty component",
        '"" or a form like "a/b"',
    ),
    (
        INTAKE + 'complete = "marker"\n',
        'intake[0].complete: "marker" is for books: a single file has no place for one',
        '"rename", "quiet" or "moved"',
    ),
    (
        INTAKE + "depth = 2\n",
        "intake[0].depth: is for books",
        "single files are taken at any depth; leave it out",
    ),
    (
        INTAKE + 'unit = "book"\ncomplete = "marker"\nmarker = "a/b"\n',
        "intake[0].marker: 'a/b' is not directly in the book",
        "a name without '/'",
    ),
    (INTAKE + 'unit = "book"\ncomplete = "marker"\nmarker = ""\n', "intake[0].marker: member is empty", ""),
    (
        INTAKE + 'ignore = ["*.tmp", "[a"]\n',
        "intake[0].ignore[1]: glob '[a' has a '[' without its ']'",
        "write '[[]' for the sign itself",
    ),
    # addresses, bus, adapters
    (
        MINIMAL + '[data]\nlisten = "7400"\n',
        "data.listen: '7400' is not of the form HOST:PORT",
        'such as "127.0.0.1:7400" or "[::1]:7400"',
    ),
    (
        MINIMAL + '[data]\nadvertise = "host:99999"\n',
        "data.advertise: 'host:99999' is not of the form HOST:PORT",
        'such as "127.0.0.1:7400" or "[::1]:7400"',
    ),
    (
        MINIMAL + '[data]\nlisten = "0.0.0.0:7400"\n',
        "data.advertise: missing, and other sites cannot dial '0.0.0.0:7400'",
        "set data.advertise to HOST:PORT by which they reach this host",
    ),
    (
        MINIMAL + '[bus]\nlisten = "h:1"\nadvertise = "[::]:4222"\n',
        "bus.advertise: other sites cannot dial '[::]:4222'",
        "the name or address of this host",
    ),
    (
        MINIMAL + '[bus]\nurl = "nats://h:1"\n',
        'bus.url: is not used in mode "embedded"',
        'set bus.mode = "external", or remove it',
    ),
    (
        MINIMAL + '[bus]\nmode = "external"\n',
        'bus.url: missing in mode "external"',
        'such as "nats://127.0.0.1:4222"',
    ),
    (
        MINIMAL + '[bus]\nmode = "external"\nurl = "nats://me:secret@host"\n',
        "bus.url: is not of the form nats://[user:password@]HOST:PORT",
        "",
    ),
    (MINIMAL + "[adapters]\norder = []\n", "adapters.order: names no adapter", '["http"]'),
    (MINIMAL + '[adapters]\norder = ["http", "http"]\n', "adapters.order: names an adapter twice", ""),
    (
        MINIMAL + "[adapters.settings.htpt]\nx = 1\n",
        "adapters.settings.htpt: adapter 'htpt' is not in adapters.order",
        "one of: http",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED, ids=[case[1][:40] for case in REFUSED])
def test_a_mistake_is_refused_with_its_key(tmp_path: Path, text: str, message: str, hint: str) -> None:
    error = refused(tmp_path, text)
    assert error.message == f"{tmp_path}/site.toml: {message}"
    assert error.hint == hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            MINIMAL + '[[store]]\nlabel = "b"\npath = "./store/"\n',
            "store[1].path: '{}/store' is store[0].path too",
        ),
        (
            MINIMAL + '[[store]]\nlabel = "b"\npath = "store/b"\n',
            "store[1].path: store[1].path lies in store[0].path",
        ),
        (
            INTAKE.replace('"store"', '"drop/store"'),
            "intake[0].path: store[0].path lies in intake[0].path",
        ),
        (MINIMAL.replace('"store"', '"."'), "store[0].path: the daemon's own directory '{}' lies in it"),
    ],
)
def test_directories_within_one_another_are_refused(tmp_path: Path, text: str, message: str) -> None:
    assert refused(tmp_path, text).message == f"{tmp_path}/site.toml: {message.format(tmp_path)}"


@pytest.mark.parametrize("url", ["nats://h:1", "tls://u:p@host.example:4222/", "nats://token@[::1]:4222"])
def test_a_url_of_an_external_bus_is_accepted(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, MINIMAL + f'[bus]\nmode = "external"\nurl = "{url}"\n').bus.url == url


# ---- the documentation ---------------------------------------------------------------------------------


def test_every_key_is_documented() -> None:
    text = (Path(__file__).parents[4] / "docs" / "configuration.md").read_text()
    sections = {part.split("\n")[0].strip("`[]"): part for part in text.split("\n## ")}
    missing: list[str] = []
    for path in loader.key_paths():
        table, _, key = path.rpartition(".")
        if f"| `{key}` |" not in sections[table.removesuffix("[]") or "Site"]:
            missing.append(path)
    assert missing == []


# ---- the page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", ["0.0.0.0:7480", "[::]:7480", "archive.example:7480", "7480", "127.0.0.1"])
def test_the_page_is_for_this_machine_only(tmp_path: Path, listen: str) -> None:
    error = refused(tmp_path, MINIMAL + f'[page]\nlisten = "{listen}"\n')
    assert f"page.listen: '{listen}'" in error.message
    assert "ssh -L" in error.hint


@pytest.mark.parametrize("listen", ["", "127.0.0.1:0", "localhost:7480", "[::1]:7480"])
def test_a_page_on_loopback_or_none(tmp_path: Path, listen: str) -> None:
    assert loaded(tmp_path, MINIMAL + f'[page]\nlisten = "{listen}"\n').page.listen == listen
