"""The status page in a real Chromium, and what asks it by hand. Screenshots are kept in ``build/screenshots``."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from tests.support.oracle import some_bytes
from tests.support.programs import needs
from tests.support.sites import Pair, Site, free_port, sites, wait_for

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
PAGE = {"LIBRARIAN_PAGE__LISTEN": "127.0.0.1:0"}
IMAGE = "<img src=x onerror=document.title='owned'>.dat"
TURNED = "holiday\u202egpj.dat"
#: Debian's Chromium, as root and without the services that it would call.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pair]:
    """Two sites with pages; the second is subscribed to the first."""
    root = tmp_path_factory.mktemp("sites")
    source = Site(root / "summit", "summit", bus=f"embedded:{free_port()}", overlay=PAGE)
    destination = Site(root / "archive", "archive", overlay=PAGE)
    with sites(source, destination):
        made = Pair(source, destination)
        made.join()
        destination.lbctl("subscription", "add", "--from", "summit")
        yield made


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    needs("chromium")
    program = shutil.which("chromium")
    with sync_playwright() as driver, driver.chromium.launch(executable_path=program, args=FLAGS) as started:
        yield started


class Tab:
    """A page of the browser that remembers every complaint and every request to another place."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.url = wait_for("the page is served", lambda: site.client.status().page, site)
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "request", lambda request: None if request.url.startswith(self.url) else self.foreign.append(request.url)
        )

    def _heard(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"{message.type}: {message.text}")

    def keep(self, name: str) -> None:
        """A screenshot of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def assert_quiet(self) -> None:
        """Nothing on the console, nothing from elsewhere."""
        assert self.complaints == []
        assert self.foreign == []


@pytest.fixture
def tabs(browser: Browser) -> Generator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(tabs: ExitStack, browser: Browser, site: Site, *, width: int = 1200, script: bool = True) -> Tab:
    context = tabs.enter_context(
        browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=script)
    )
    return Tab(context.new_page(), site)


# ---- in the browser ------------------------------------------------------------------------------------


def test_a_dropped_file_is_seen_to_arrive_without_reload(both: Pair, browser: Browser, tabs: ExitStack) -> None:
    tab = opened(tabs, browser, both.destination)
    tab.page.goto(tab.url)
    expect(tab.page.get_by_text("Live: changes show by themselves.")).to_be_visible()
    tab.page.evaluate("window.same = true")
    facts = tab.page.locator("dl.facts")
    expect(facts).to_contain_text("0 files")
    both.source.drop_file("seen.dat", some_bytes(100_000))
    expect(facts).to_contain_text("1 here, 1 elsewhere", timeout=30_000)
    expect(facts).to_contain_text("1 stored", timeout=30_000)
    assert tab.page.evaluate("window.same"), "it is the same document"
    expect(tab.page.get_by_role("row", name="summit")).to_contain_text("nothing")
    tab.keep("status")
    tab.assert_quiet()


def test_a_search_shows_where_the_instances_are(both: Pair, browser: Browser, tabs: ExitStack) -> None:
    both.source.drop_file("found.dat", some_bytes(1000))
    files = both.destination.client.files
    wait_for("it arrived", lambda: len(files("found.dat").files[0].sites) == 2 if files("found.dat").files else False)
    tab = opened(tabs, browser, both.destination)
    tab.page.goto(tab.url)
    tab.page.get_by_role("searchbox").fill("ound")
    tab.page.get_by_role("button", name="Search").click()
    row = tab.page.get_by_role("row", name="found.dat")
    expect(row).to_contain_text("archive, summit")
    tab.keep("search")
    tab.page.get_by_role("link", name="found.dat").click()
    expect(tab.page.get_by_role("row", name="archive main verified")).to_be_visible()
    expect(tab.page.get_by_role("row", name="summit main verified")).to_be_visible()
    tab.keep("file")
    tab.assert_quiet()


@pytest.mark.parametrize("name", [IMAGE, TURNED])
def test_a_hostile_name_does_nothing(both: Pair, browser: Browser, tabs: ExitStack, name: str) -> None:
    both.source.drop_file(name, some_bytes(500))
    wait_for(
        "it is a file, or refused",
        lambda: both.source.client.files(f"**{name[-7:]}").files or name in both.source.rejected(),
        both.source,
    )
    tab = opened(tabs, browser, both.source)
    text, known = "", bool(both.source.client.files(f"**{name[-7:]}").files)
    for path in ("", "files?match=", *([f"files?match={quote(name)}", f"file?name={quote(name)}"] if known else [])):
        tab.page.goto(tab.url + path)
        expect(tab.page.locator("img")).to_have_count(0)
        assert "owned" not in tab.page.title() or "<img" in tab.page.title()
        text = tab.page.locator("body").inner_text()
        assert "\u202e" not in text + tab.page.title()
    shown = name.replace("\u202e", "\\u202e")
    assert shown in text
    tab.keep("hostile-image" if name == IMAGE else "hostile-turned")
    tab.assert_quiet()


def test_an_incident_is_shown_with_what_to_do(both: Pair, browser: Browser, tabs: ExitStack) -> None:
    both.source.drop_file("bad\nname", b"refused")
    wait_for("the refusal is an incident", lambda: both.source.problems().get("intake-refused"), both.source)
    tab = opened(tabs, browser, both.source)
    tab.page.goto(tab.url)
    expect(tab.page.get_by_text("needs attention").first).to_be_visible()
    tab.page.locator(".problem a").first.click()
    expect(tab.page.get_by_role("heading", name="What to do")).to_be_visible()
    assert tab.page.locator("ol li").count() > 0
    tab.keep("incident")
    tab.assert_quiet()


@pytest.mark.parametrize("path", ["", "files?match=", "files?match=no-such-name"])
def test_it_is_usable_on_a_narrow_screen(both: Pair, browser: Browser, tabs: ExitStack, path: str) -> None:
    tab = opened(tabs, browser, both.destination, width=400)
    tab.page.goto(tab.url + path)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 400
    for box in (element.bounding_box() for element in tab.page.locator("a, button, input").all()):
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 400
    tab.keep(f"narrow-{'files' if path else 'status'}")
    tab.assert_quiet()


def test_it_works_without_javascript(both: Pair, browser: Browser, tabs: ExitStack) -> None:
    tab = opened(tabs, browser, both.destination, script=False)
    tab.page.goto(tab.url)
    expect(tab.page.get_by_text("Reload the page to see what changed.")).to_be_visible()
    expect(tab.page.get_by_role("heading", name="archive", level=1)).to_be_visible()
    both.source.drop_file("quiet.dat", some_bytes(77))
    wait_for("it is known", lambda: both.destination.client.files("quiet.dat").files, *both.sites)
    tab.page.get_by_role("searchbox").fill("quiet.dat")
    tab.page.get_by_role("searchbox").press("Enter")
    expect(tab.page.get_by_role("link", name="quiet.dat")).to_be_visible()
    tab.assert_quiet()


def test_a_daemon_that_stopped_is_noticed_and_followed_again(tmp_path: Path, browser: Browser, tabs: ExitStack) -> None:
    port = free_port()
    site = Site(
        tmp_path / "summit",
        "summit",
        bus=f"embedded:{free_port()}",
        overlay={"LIBRARIAN_PAGE__LISTEN": f"127.0.0.1:{port}"},
    )
    with sites(site):
        site.start()
        tab = opened(tabs, browser, site)
        tab.page.goto(tab.url)
        expect(tab.page.get_by_text("Live: changes show by themselves.")).to_be_visible()
        assert site.stop() == 0
        expect(tab.page.get_by_text("does not answer just now")).to_be_visible(timeout=20_000)
        site.start()
        expect(tab.page.get_by_text("Live: changes show by themselves.")).to_be_visible(timeout=30_000)


# ---- by hand -------------------------------------------------------------------------------------------


def asked(url: str, method: str = "GET", host: str = "", headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}) | ({"Host": host} if host else {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def test_it_only_shows(both: Pair) -> None:
    """No request changes anything: methods that could are refused, with the reason."""
    url = both.source.client.status().page
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, text = asked(url, method)
        assert status == 405
        assert "nothing can be changed by it" in text


def test_what_is_not_there_is_said(both: Pair) -> None:
    url = both.source.client.status().page
    for path, code in (
        ("no-such-page", 404),
        ("assets/../page/server.py", 404),
        ("assets/%2e%2e%2fserver.py", 404),
        ("file?name=never-dropped", 404),
        ("incident?id=999999", 404),
        ("incident?id=x", 400),
        ("file", 400),
        ("files?match=[", 400),
    ):
        status, text = asked(url + path)
        assert status == code, path
        assert "Not shown" in text, path
        assert "Traceback" not in text


def test_another_hosts_page_is_told_nothing(both: Pair) -> None:
    status, text = asked(both.source.client.status().page, host="evil.example")
    assert status == 421
    assert "summit" not in text


CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


@pytest.mark.parametrize(
    "headers",
    [
        CROSS,
        CROSS | {"Sec-Fetch-Site": "same-site"},
        CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
)
def test_what_a_browser_asks_for_a_foreign_page_is_not_answered(both: Pair, headers: dict[str, str]) -> None:
    url = both.source.client.status().page
    for path in ("", "files?match=x", "file?name=x", "incident?id=1", "live", "assets/live.js", "favicon.ico"):
        status, text = asked(url + path, headers=headers)
        assert status == 403, path
        assert "summit" not in text
    for path in ("metrics", "livez", "readyz", "data/v1/bytes/x"):
        assert asked(f"http://127.0.0.1:{both.source.data_port}/{path}", headers=headers)[0] == 403, path


def test_what_the_page_itself_a_program_or_a_followed_link_asks_is_answered(both: Pair) -> None:
    url = both.source.client.status().page
    followed = CROSS | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    own = {"Origin": url.rstrip("/"), "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    for headers in ({}, {"Sec-Fetch-Site": "none"}, own, followed):
        assert asked(url + "files?match=", headers=headers)[0] == 200, headers


def test_a_foreign_page_in_the_same_browser_gets_no_answer(both: Pair, browser: Browser, tabs: ExitStack) -> None:
    """One that another program of this machine serves: also the browser's own rules let it ask."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as foreign:
        threading.Thread(target=foreign.serve_forever).start()
        try:
            tab = opened(tabs, browser, both.source)
            tab.page.goto(f"http://127.0.0.1:{foreign.server_port}/")
            with tab.page.expect_response(lambda reply: reply.url.startswith(tab.url)) as reply:
                tab.page.evaluate(
                    "url => document.body.append(Object.assign(document.createElement('iframe'), {src: url}))",
                    f"{tab.url}files?match=x",
                )
        finally:
            foreign.shutdown()
    assert reply.value.status == 403


def test_a_glob_that_a_browser_sends_freezes_nothing(both: Pair) -> None:
    both.source.drop_file("a" * 44, some_bytes(10))
    wait_for("it is known", lambda: both.source.client.files("a" * 44).files, both.source)
    status, text = asked(f"{both.source.client.status().page}files?match={quote('**?' * 12 + 'x')}")
    assert status == 200
    assert "aaaa" not in text
    assert both.source.client.status().site == "summit"


def test_the_socket_of_the_control_api_is_not_served(both: Pair) -> None:
    assert asked(both.source.client.status().page + "api/v1/status")[0] == 404


def test_a_page_whose_address_is_taken_keeps_nothing_else_from_working(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        site = Site(
            tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", overlay={"LIBRARIAN_PAGE__LISTEN": address}
        )
        with sites(site):
            site.start()
            wait_for("it was tried", lambda: site.logged("page_not_served"), site)
            site.drop_file("all-the-same.dat", b"taken in")
            wait_for("it is taken in", lambda: site.client.status().counts.files, site)
            assert site.client.status().page == ""
            checks = {check["check"]: check for check in json.loads(site.lbctl("-o", "json", "doctor"))}
            assert checks["status page"]["level"] == "warning"
            assert f"{address}: Address already in use" in checks["status page"]["message"]
