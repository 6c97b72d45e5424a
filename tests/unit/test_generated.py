"""What is generated from the protocol's code is up to date, and the documents say what the code does."""

from __future__ import annotations

import inspect
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from librarian_protocol.entries import KINDS, AdapterOffer
from librarian_protocol.keys import Purpose
from librarian_protocol.segment_verdict import Verdict
from librarian_protocol.segments import Segment

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "protocol" / "schema"
GOLDEN = ROOT / "tests" / "golden" / "segments"
EVENTS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_json(SCHEMAS / f"{name}.json"))


def _without(value: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value[name] for name in value if name != field}


@pytest.mark.parametrize("script", ["schemas", "generate-docs"])
def test_generated_files_are_up_to_date(script: str) -> None:
    """The script itself says what differs."""
    done = subprocess.run([sys.executable, ROOT / "scripts" / script, "--check"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0), done.stdout + done.stderr


@pytest.mark.parametrize("indent", ["", "    "])
def test_a_schema_does_not_depend_on_how_a_library_renders_docstrings(
    indent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """msgspec 0.22 gives their lines with the indentation of the source, 0.23 without."""
    rendered = msgspec.json.schema_components

    def other(*args: Any, **kwargs: Any) -> Any:
        references, components = rendered(*args, **kwargs)
        for body in components.values():
            if "description" in body:
                first, *rest = inspect.cleandoc(body["description"]).splitlines()
                body["description"] = "\n".join([first, *(indent + line if line else "" for line in rest)])
        return references, components

    monkeypatch.setattr(msgspec.json, "schema_components", other)
    documents = runpy.run_path(str(ROOT / "scripts" / "schemas"))["documents"]()
    assert documents == {path.name: path.read_text(encoding="utf-8") for path in SCHEMAS.glob("*.json")}


def test_there_is_a_schema_of_the_segment_and_of_every_kind() -> None:
    """Each itself a valid schema."""
    assert {path.stem for path in SCHEMAS.glob("*.json")} == {"segment", *KINDS}
    for path in SCHEMAS.glob("*.json"):
        jsonschema.Draft202012Validator.check_schema(_json(path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_golden_segment_satisfies_its_schemas(kind: str) -> None:
    """Envelope and entries; and without any one required field they do not."""
    segment = _json(GOLDEN / f"{kind}.json")
    envelope, entry = _validator("segment"), _validator(kind)
    envelope.validate(segment)
    (sample,) = segment["entries"]
    entry.validate(sample)
    entry.validate({**sample, "from_the_future": 1})
    for field in _json(SCHEMAS / "segment.json")["required"]:
        assert not envelope.is_valid(_without(segment, field))
    required = _json(SCHEMAS / f"{kind}.json")["required"]
    assert "seq" in required
    for field in required:
        assert not entry.is_valid(_without(sample, field))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "/a"),
        ("name", "a//b"),
        ("name", "a/../b"),
        ("name", ".."),
        ("name", "a/"),
        ("name", "a\n"),
        ("name", "a\x00"),
        ("name", ".Librarian/x"),
        ("name", ""),
        ("digest", "blake3:" + "0" * 63),
        ("digest", "blake3:" + "0" * 64 + "\n"),
        ("store", "0" * 32 + "\n"),
        ("unit", "link"),
        ("seq", 0),
        ("size_bytes", 2**53),
    ],
)
def test_a_schema_refuses_what_a_receiver_refuses(field: str, value: Any) -> None:
    """The patterns say as much as a pattern can."""
    (sample,) = _json(GOLDEN / "file.ingested.json")["entries"]
    assert not _validator("file.ingested").is_valid({**sample, field: value})


@pytest.mark.parametrize("name", ["...", "a..b/.c", ".librarian2", "Ångström/x y", "..a"])
def test_a_schema_accepts_odd_names_that_break_no_rule(name: str) -> None:
    """Neither does it say more."""
    (sample,) = _json(GOLDEN / "file.ingested.json")["entries"]
    assert _validator("file.ingested").is_valid({**sample, "name": name})


# ---- docs/events.md --------------------------------------------------------------------------------


def _section(title: str) -> str:
    found = re.search(rf"^### `{re.escape(title)}`\n(.*?)(?=^##|\Z)", EVENTS, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


def _table(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_lists_the_fields_of_every_kind(kind: str) -> None:
    """In their order; those that all entries, or all entries about files, have are listed once."""
    section = _section(kind)
    common = ["seq", "at"]
    if "*about a file*" in section:
        common += ["name", "digest", "size_bytes", "unit"]
    assert common + _table(section) == list(KINDS[kind].__struct_encode_fields__)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_in_the_reference_is_the_golden_one(kind: str) -> None:
    """So it is real, and signed."""
    found = re.search(r"```json\n(.*?)\n```", _section(kind), re.DOTALL)
    assert found is not None
    assert [msgspec.json.decode(found[1])] == _json(GOLDEN / f"{kind}.json")["entries"]


def test_the_reference_describes_the_envelope_offers_verdicts_and_prefixes() -> None:
    """All fields, all words."""
    envelope = EVENTS.partition("## The segment")[2].partition("\n## ")[0]
    assert _table(envelope) == list(Segment.__struct_fields__)
    assert _table(_section("AdapterOffer")) == list(AdapterOffer.__struct_fields__)
    receiving = EVENTS.partition("## Receiving")[2].partition("\n## ")[0]
    assert set(_table(receiving)) == {verdict.value for verdict in Verdict}
    for purpose in Purpose:
        assert f'"{purpose.value.strip()}\\n"' in EVENTS


def test_the_journal_in_the_reference_is_the_golden_one() -> None:
    """The worked example: payload, hash and signature of the first segment."""
    assert (GOLDEN / "site.admitted.json").read_text(encoding="utf-8") in EVENTS
    assert (GOLDEN / "site.admitted.sig").read_text(encoding="utf-8") in EVENTS
    second = _json(GOLDEN / "site.announced.json")
    assert second["prev"] in EVENTS
