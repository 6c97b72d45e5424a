"""Signed data requests."""

from __future__ import annotations

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.protocol.samples import ARCHIVE, ARCHIVE_KEY, CAMPUS, SUMMIT, SUMMIT_KEY

from librarian_protocol.errors import RequestRefused
from librarian_protocol.keys import Purpose, SiteKey, verify
from librarian_protocol.names import SiteName
from librarian_protocol.requests import LIFETIME_S, LONGEST_S, Request, RequestUnproven, check, check_body, sign

NOW = 1_767_323_045
REQUEST = Request(
    source=SUMMIT,
    destination=ARCHIVE,
    method="GET",
    target="/data/v1/file?name=a",
    range="bytes=0-9",
    body=b"",
    expires=NOW + LIFETIME_S,
)
ROSTER = {ARCHIVE: ARCHIVE_KEY.public, SUMMIT: SUMMIT_KEY.public}


def _check(headers: dict[str, str], request: Request = REQUEST, now: int = NOW) -> SiteName:
    return check(
        headers,
        source=request.source,
        method=request.method,
        target=request.target,
        range=request.range,
        now=now,
        roster=ROSTER,
    )


def test_a_signed_request_names_its_site() -> None:
    """The source learns who asks, by the roster's key."""
    assert _check(sign(REQUEST, ARCHIVE_KEY)) == ARCHIVE


def test_what_is_signed_is_this() -> None:
    """One line a field, the body as its blake3, which is declared in a header."""
    payload = (
        f"summit\narchive\nGET\n/data/v1/file?name=a\nbytes=0-9\n{NOW + 120}\n{blake3(b'').hexdigest()}"
    ).encode()
    assert REQUEST.payload() == payload
    headers = sign(REQUEST, ARCHIVE_KEY)
    assert set(headers) == {"Lb-Site", "Lb-Expires", "Lb-Body", "Lb-Signature"}
    assert headers["Lb-Body"] == blake3(b"").hexdigest()
    verify(ARCHIVE_KEY.public, Purpose.REQUEST, payload, headers["Lb-Signature"])


@pytest.mark.parametrize(
    "change",
    [
        {"source": CAMPUS},
        {"method": "POST"},
        {"target": "/data/v1/file?name=b"},
        {"range": "bytes=0-10"},
    ],
)
def test_a_captured_request_is_good_for_nothing_else(change: dict[str, object]) -> None:
    """Not at another source, not for other bytes."""
    with pytest.raises(RequestUnproven, match="request of site 'archive': signature does not fit"):
        _check(sign(REQUEST, ARCHIVE_KEY), msgspec.structs.replace(REQUEST, **change))


def test_a_captured_request_cannot_be_prolonged_nor_given_to_another() -> None:
    """The headers are signed as well."""
    headers = sign(REQUEST, ARCHIVE_KEY)
    for change in (
        {"Lb-Expires": str(NOW + 200)},
        {"Lb-Site": "summit"},
        {"Lb-Body": blake3(b"x").hexdigest()},
    ):
        with pytest.raises(RequestUnproven, match="does not fit"):
            _check({**headers, **change})


def test_a_body_is_the_declared_one_or_refused() -> None:
    """It is looked at when it has come; the headers were found good without it."""
    request = msgspec.structs.replace(REQUEST, body=b"asked")
    headers = sign(request, ARCHIVE_KEY)
    assert _check(headers, request) == ARCHIVE
    check_body(headers, b"asked")
    for body, declared in ((b"asked!", headers), (b"", headers), (b"", {})):
        with pytest.raises(RequestRefused, match="body is not the one declared in its header 'Lb-Body'"):
            check_body(declared, body)


@pytest.mark.parametrize("expires", [NOW, NOW + LONGEST_S])
def test_a_request_is_good_until_it_expires(expires: int) -> None:
    """To the second; and at most ten minutes ahead."""
    request = msgspec.structs.replace(REQUEST, expires=expires)
    assert _check(sign(request, ARCHIVE_KEY), request) == ARCHIVE


@pytest.mark.parametrize("expires", [NOW - 1, NOW + LONGEST_S + 1, -1, 10**17])
def test_a_request_that_is_too_old_or_too_long_dated_is_refused(expires: int) -> None:
    """The message tells of the clocks."""
    request = msgspec.structs.replace(REQUEST, expires=expires)
    with pytest.raises(RequestRefused, match="the clock here says") as caught:
        _check(sign(request, ARCHIVE_KEY), request)
    assert caught.value.hint == "the two clocks must agree to within 120 s"


def test_the_lifetimes_are_these() -> None:
    """Two minutes when made, ten at most when checked."""
    assert (LIFETIME_S, LONGEST_S) == (120, 600)


def test_a_site_that_is_not_admitted_is_refused() -> None:
    """However well it signs."""
    request = msgspec.structs.replace(REQUEST, destination=CAMPUS)
    for key in (ARCHIVE_KEY, SiteKey(bytes(32))):
        with pytest.raises(RequestUnproven, match="site 'campus' is not admitted here"):
            _check(sign(request, key), request)


def test_only_who_is_proven_is_told_of_the_clocks() -> None:
    """Else a stranger learns by a late request which names are admitted."""
    request = msgspec.structs.replace(REQUEST, expires=NOW - 1)
    with pytest.raises(RequestUnproven):
        _check(sign(request, SUMMIT_KEY), request)


@pytest.mark.parametrize("missing", ["Lb-Site", "Lb-Expires", "Lb-Body", "Lb-Signature"])
def test_a_missing_header_is_named(missing: str) -> None:
    """An unsigned request says what it lacks."""
    headers = sign(REQUEST, ARCHIVE_KEY)
    del headers[missing]
    with pytest.raises(RequestUnproven, match=f"is not signed: header '{missing}' is missing or malformed"):
        _check(headers)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Lb-Site", "Archive"),
        ("Lb-Expires", "soon"),
        ("Lb-Expires", "9" * 5000),
        ("Lb-Expires", "1_0"),
        ("Lb-Signature", ""),
        ("Lb-Body", ""),
        ("Lb-Body", "A" * 64),
        ("Lb-Body", "0" * 64 + "\n"),
    ],
)
def test_a_malformed_header_is_refused(header: str, value: str) -> None:
    """Before anything is looked up."""
    with pytest.raises(RequestUnproven, match=f"^request is not signed: header '{header}' is missing or malformed$"):
        _check({**sign(REQUEST, ARCHIVE_KEY), header: value})


def test_a_line_feed_cannot_shift_one_field_into_the_next() -> None:
    """Two requests with one payload would be one signature for both."""
    signed = msgspec.structs.replace(REQUEST, target="/a", range="x\ny")
    shown = msgspec.structs.replace(REQUEST, target="/a\nx", range="y")
    assert signed.payload() == shown.payload()
    for request in (signed, shown):
        with pytest.raises(RequestUnproven, match="has a line feed"):
            _check(sign(signed, ARCHIVE_KEY), request)


@pytest.mark.parametrize("text", ["bytes=\xe4", "bytes=\udcff"])
def test_what_is_not_ascii_is_refused_and_never_crashes(text: str) -> None:
    """Undecodable bytes of a header come as lone surrogates, which cannot be encoded again."""
    headers = sign(REQUEST, ARCHIVE_KEY)
    for change in ({"method": text}, {"target": text}, {"range": text}):
        with pytest.raises(RequestUnproven, match="not only ASCII"):
            _check(headers, msgspec.structs.replace(REQUEST, **change))


@given(st.dictionaries(st.sampled_from(["Lb-Site", "Lb-Expires", "Lb-Body", "Lb-Signature"]), st.text()))
def test_arbitrary_headers_are_refused_and_never_crash(headers: dict[str, str]) -> None:
    """Whatever an HTTP client sends."""
    with pytest.raises(RequestRefused):
        _check(headers)


@given(st.text(max_size=30))
def test_an_arbitrary_signature_is_refused_and_never_crashes(signature: str) -> None:
    """With all else in order."""
    with pytest.raises(RequestRefused):
        _check({**sign(REQUEST, ARCHIVE_KEY), "Lb-Signature": signature})
