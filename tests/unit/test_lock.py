"""The lock: that it is one of pyproject.toml, what is listed of it, what an audit of it claims."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A repository of nothing but the lock and what is about it."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(copy: Path, *command: str) -> tuple[int, str]:
    program = [sys.executable, str(copy / "scripts" / command[0]), *command[1:]]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def change(path: Path, pattern: str, instead: str) -> None:
    text = path.read_text(encoding="utf-8")
    changed = re.sub(pattern, instead, text, count=1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


def test_the_lock_is_one_of_pyproject_and_the_list_is_of_the_lock(copy: Path) -> None:
    assert run(copy, "_lock.py", "check") == (0, "")
    assert run(copy, "sbom", "--check") == (0, "")


@pytest.mark.parametrize(
    ("pattern", "instead", "problem"),
    [
        (r'"msgspec>=[^"]*"', '"msgspec>=99"', "wanted is msgspec>=99"),
        (r'"rich>=15,<16",', r'"rich>=15,<16", "nowhere-to-be-found>=1",', "has no nowhere-to-be-found"),
        (r'"SQLAlchemy\[asyncio\]', '"SQLAlchemy', "dev.txt is of another pyproject.toml"),
        (r'\["hatchling>=[^"]*"', '["hatchling>=99"', "build.txt has hatchling"),
        (r'"uv>=[^"]*"', '"uv>=99"', "tools.txt has uv"),
        (r"\nglobus = ", "\nother = ", "globus.txt is for nothing in pyproject.toml"),
    ],
)
def test_a_changed_pyproject_asks_for_a_new_lock(copy: Path, pattern: str, instead: str, problem: str) -> None:
    if "other" in instead:
        change(copy / "pyproject.toml", r"\[globus,notify,server\]", "[other,notify,server]")
    change(copy / "pyproject.toml", pattern, instead)
    status, said = run(copy, "_lock.py", "check")
    assert status == 1
    assert problem in said
    assert said.endswith("run scripts/lock\n")


@pytest.mark.parametrize(
    "line",
    ["--index-url https://index.invalid/simple", "msgspec @ https://files.invalid/m.whl", "# local", "msgspec>=0.22"],
)
def test_nothing_but_names_versions_and_hashes_stands_in_the_lock(copy: Path, line: str) -> None:
    change(copy / "requirements" / "server.txt", r"\naiofiles==", f"\n{line}\naiofiles==")
    status, said = run(copy, "_lock.py", "check")
    assert (status, f"server.txt, line 2: neither a pin nor a hash: '{line}'" in said) == (1, True), said


def test_a_pin_without_a_hash_is_none(copy: Path) -> None:
    change(copy / "requirements" / "server.txt", r"\naiofiles==[^\n]*(\n    --hash[^\n]*)+", "\naiofiles==25.1.0 \\\\")
    assert run(copy, "_lock.py", "check")[0] == 1


def test_what_is_installed_together_has_one_version(copy: Path) -> None:
    change(copy / "requirements" / "notify.txt", r"\nattrs==[^ ]*", "\nattrs==1")
    assert "notify.txt and dev.txt have different versions of attrs" in run(copy, "_lock.py", "check")[1]


def test_another_lock_asks_for_another_list(copy: Path) -> None:
    change(copy / "requirements" / "server.txt", r"\nattrs==[^ ]*", "\nattrs==99")
    assert run(copy, "sbom", "--check") == (1, "requirements/sbom.cdx.json is not of this lock: run scripts/sbom\n")


def test_the_list_names_every_version_once_and_what_a_site_has_of_it() -> None:
    text = (ROOT / "requirements" / "sbom.cdx.json").read_text(encoding="utf-8")
    components = json.loads(text)["components"]
    refs = [component["bom-ref"] for component in components]
    assert sorted(refs) == sorted(set(refs))
    scopes = {component["name"]: component["scope"] for component in components}
    assert (scopes["aiohttp"], scopes["apprise"], scopes["pytest"]) == ("required", "optional", "excluded")
    assert "timestamp" not in text
    assert "serialNumber" not in text


def test_another_lock_makes_another_environment(copy: Path) -> None:
    """The stamp in it depends on the locks, all of them."""

    def digest() -> str:
        command = f"venv_python={sys.executable}; . scripts/_venv.sh; venv_digest"
        return subprocess.run(["sh", "-c", command], cwd=copy, capture_output=True, text=True, check=True).stdout

    first = digest()
    assert first == digest()
    change(copy / "requirements" / "build.txt", "sha256:.", "sha256:0")
    assert digest() != first


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("[{'name': n, 'version': v, 'vulns': []} for n, v in pins]", 0, "vulnerabilities: 0"),
        (
            "[{'name': n, 'version': v, 'vulns': [{'id': 'X-1', 'fix_versions': ['9']}] if n == 'msgspec' else []}"
            " for n, v in pins]",
            1,
            ": X-1, fixed in 9",
        ),
        ("[{'name': n, 'skip_reason': 'not found'} for n, v in pins]", 3, "NOT AUDITED"),
        ("[{'name': n, 'version': v, 'vulns': []} for n, v in pins if n != 'msgspec']", 3, "NOT AUDITED: of 1 of"),
        ("sys.exit('unreachable')", 3, "the service gave no answer"),
    ],
)
def test_an_audit_claims_no_more_than_it_heard(copy: Path, answer: str, status: int, said: str) -> None:
    program = copy / "pip-audit"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "value = lambda option: sys.argv[sys.argv.index(option) + 1]\n"
        "pins = [line.strip().split('==') for line in open(value('--requirement'))]\n"
        f"found = {answer}\n"
        "json.dump({'dependencies': found}, open(value('--output'), 'w'))\n"
    )
    program.chmod(0o755)
    found, text = run(copy, "_audit.py", str(program))
    assert (found, said in text) == (status, True), text
    assert ("vulnerabilities: 0" in text) == (status == 0 or "of 1 of" in said)


@pytest.mark.parametrize(
    ("log", "status"),
    [
        ("test-newest: lock passed\ntest-newest: check passed\ntest-newest: test passed\n", 0),
        ("test-newest: lock passed\ntest-newest: check FAILED\ntest-newest: test passed\n", 1),
        ("test-newest: lock passed\ntest-newest: check passed\n", 1),
        ("", 1),
    ],
)
def test_what_the_newest_breaks_is_told_and_a_run_without_an_end_is_no_success(
    copy: Path, log: str, status: int
) -> None:
    (copy / "build").mkdir()
    (copy / "benchmarks" / "results").mkdir(parents=True)
    for bounds in ("ranges", "unbounded"):
        shutil.copy(copy / "requirements" / "dev.txt", copy / "build" / f"test-newest-{bounds}.txt")
        (copy / "build" / f"test-newest-{bounds}.log").write_text(log)
    change(copy / "build" / "test-newest-unbounded.txt", r"\nrich==[^ ]*", "\nrich==99")
    found, said = run(copy, "_newest.py", "tell", "0" * 40, "scripts/test-newest")
    assert (found, said.count("the same versions as locked")) == (status, 1), said
    assert re.search(r"rich: locked \S+, newest 99\n", said)
    assert (copy / "benchmarks" / "results" / "test-newest.txt").read_text() == said


def test_upper_bounds_are_taken_out_and_nothing_else(copy: Path) -> None:
    before = (copy / "pyproject.toml").read_text(encoding="utf-8")
    run(copy, "_newest.py", "unbound", str(copy / "pyproject.toml"))
    after = (copy / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r'>=[^"]*,<', after)
    assert re.sub(r',<[^"]*"', '"', before) == after
