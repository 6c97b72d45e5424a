"""Only what cannot be another machine counts as loopback."""

from __future__ import annotations

import pytest

from librarian_protocol.loopback import is_loopback, not_dialled


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    """Hosts that can only be this machine."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "10.0.0.1", "localhost.example", "127.0.0.1.example", "loop"])
def test_perhaps_another(host: str) -> None:
    """Each of these can be another machine, also a name that begins like a loopback address."""
    assert not is_loopback(host)


LOOPBACK = [
    "127.0.0.1",
    "127.255.0.9",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "2001:0:5ef5:79fb:0:0:80ff:fffe",
]


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_addresses_in_every_form_are_dialled_only_where_all_sites_are_on_this_machine(address: str) -> None:
    assert "loopback" in not_dialled(address, loopback=False)
    assert not_dialled(address, loopback=True) == ""


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("240.0.0.1", "reserved"),
        ("4000::1", "reserved"),
        ("127.1", "not written"),
        ("2130706433", "not written"),
        ("0x7f000001", "not written"),
        ("localhost", "not written"),
        ("", "not written"),
    ],
)
def test_addresses_that_no_site_has_are_never_dialled(address: str, why: str, loopback: bool) -> None:
    assert why in not_dialled(address, loopback=loopback)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.9", "192.0.2.1", "2001:db8::1", "fd00::1", "64:ff9b::c000:201", "::192.0.2.1"]
)
def test_other_addresses_are(address: str) -> None:
    """Addresses of other machines may be dialled: private ones, and those of IPv4 within IPv6."""
    assert not_dialled(address, loopback=False) == ""
