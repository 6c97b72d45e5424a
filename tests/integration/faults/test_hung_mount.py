"""A store's filesystem stops answering while the daemon runs: all else goes on, and it heals by itself."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from tests.integration.sites.test_endpoints import get
from tests.support.mounts import fuse
from tests.support.sites import Pair, Site, free_port, sites, wait_for


def alive(listening: socket.socket, times: int) -> None:
    """What was said is passed over; then the daemon says so many times that its loop turns."""
    listening.setblocking(False)
    try:
        while True:
            listening.recv(4096)
    except BlockingIOError:
        pass
    listening.settimeout(60)
    while times:
        times -= b"WATCHDOG=1" in listening.recv(4096)


def state_of(site: Site, label: str) -> str:
    return {store.label: store.state for store in site.client.status().stores}[label]


def test_a_hung_mount_is_an_incident_and_watchdog_other_stores_and_peers_go_on(tmp_path: Path) -> None:
    far, address = tmp_path / "far", str(tmp_path / "notify")
    root = tmp_path / "summit"
    stores = [{"label": "main", "path": str(root / "store")}, {"label": "far", "path": str(far)}]
    with fuse(far, tmp_path / "behind") as mount, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        summit = Site(
            root,
            "summit",
            bus=f"embedded:{free_port()}",
            overlay={
                "LIBRARIAN_STORE": json.dumps(stores).replace('":', '" ='),
                "NOTIFY_SOCKET": address,
                "WATCHDOG_USEC": "1000000",
            },
        )
        archive = Site(tmp_path / "archive", "archive")
        with sites(summit, archive):
            both = Pair(summit, archive)
            both.join()
            archive.lbctl("subscription", "add", "--from", "summit")
            assert (state_of(summit, "main"), state_of(summit, "far")) == ("ok", "ok")

            mount.hang()
            wait_for("it is seen", lambda: "does not answer" in state_of(summit, "far"), summit)
            wait_for("it is told", lambda: summit.problems().get("store-not-answering") == ["far"], summit)
            alive(manager, 5)
            _, metrics = get(summit, "/metrics", summit.metrics_port)
            assert 'librarian_store_up{site="summit",store="far"} 0.0' in metrics, "the alert StoreAbsent"
            assert state_of(summit, "main") == "ok"
            summit.drop_file("meanwhile.dat", b"goes on")
            both.wait_for("the other store and the other site go on", (archive.store / "meanwhile.dat").exists)
            both.acknowledged(1)
            assert "store-not-answering" in summit.lbctl("status", exit_code=1)
            alive(manager, 2)

            mount.go_on()
            wait_for("it heals by itself", summit.is_healthy, summit)
            assert state_of(summit, "far") == "ok"
            assert summit.stop() == 0
