"""The shipped unit under a real systemd: ready only when all is usable, restarted when it hangs, stopped without loss.

Only the intervals are shorter than shipped, by a drop-in.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.booted import boot, needs_nspawn
from tests.support.sites import Site

pytestmark = pytest.mark.timeout(300)

DROPIN = """[Service]
WatchdogSec=3
TimeoutAbortSec=2
RestartSec=100ms
ReadWritePaths=/data
"""

READ_SOCKET = "/run/librarian/read.sock"
#: Runs in the container, as root. What it saw is one JSON object.
DRIVER = """
import json, os, pathlib, signal, socket, subprocess, time

READ_SOCKET = "/run/librarian/read.sock"
seen = {}
results = pathlib.Path("/results")
(results / "began").touch()


def run(*command, ok=True):
    done = subprocess.run(command, capture_output=True, text=True)
    if ok and done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def show(name):
    return run("systemctl", "show", "--value", "-p", name, "lbd").strip()


def until(what, condition, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}; {show('ActiveState')} {show('StatusText')}")
        time.sleep(0.05)


def status():
    return json.loads(run("/opt/librarian/bin/lbctl", "-o", "json", "status", ok=False) or "{}")


def drop(number):
    for one in number:
        made = pathlib.Path(f"/data/making-{one}")
        made.write_bytes(b"x" * 1000 + str(one).encode())
        made.rename(f"/data/drop/{one}.dat")


def steps():
    run("systemctl", "stop", "lbd")  # a first boot may have enabled it
    # Ready only when the bus is usable: something else holds its port.
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", BUS_PORT))
    holder.listen()
    run("systemctl", "start", "--no-block", "lbd")
    until("it says what is missing", lambda: "bus" in show("StatusText"))
    seen["while the bus is missing"] = show("ActiveState")
    seen["said meanwhile"] = show("StatusText")
    holder.close()
    until("it is ready", lambda: show("ActiveState") == "active")
    seen["bus when ready"] = status()["bus"]["connected"]
    seen["user"] = show("User")
    seen["stores when ready"] = [one["state"] for one in status()["stores"]]

    # Restarted when it hangs.
    pid, before = show("MainPID"), show("NRestarts")
    os.kill(int(pid), signal.SIGSTOP)
    until("it was restarted", lambda: show("NRestarts") != before)
    until("it is ready again", lambda: show("ActiveState") == "active" and show("MainPID") not in {"0", pid})
    seen["journal of the hang"] = run("journalctl", "-u", "lbd", "-o", "cat")

    # Stopped without loss, in the midst of work.
    drop(range(300))
    until("it has begun", lambda: status().get("counts", {}).get("files", 0) > 0)
    run("systemctl", "stop", "lbd")
    seen["result of the stop"] = show("Result")
    seen["code of the stop"] = show("ExecMainStatus")
    run("systemctl", "start", "lbd")
    until("all are there", lambda: status().get("counts", {}).get("files") == 300)
    seen["stored"] = len(list(pathlib.Path("/data/store").glob("*.dat")))
    seen["left in the drop directory"] = len(list(pathlib.Path("/data/drop").glob("*.dat")))
    seen["audit"] = run("/opt/librarian/bin/lbctl", "events", "audit")
    groups()


def groups():
    # The recipes of deploy/README.md for those who only look, and for those who read the store.
    os.environ["PATH"] += ":/usr/sbin"
    for group, person in (("lbread", "watcher"), ("observers", "reader")):
        run("groupadd", "--system", "--force", group)
        run("usermod", "--append", "--groups", group, "librarian")
        run("useradd", "--no-create-home", "--user-group", "--groups", group, person)
    config = pathlib.Path("/var/lib/librarian/site.toml")
    text = config.read_text()
    for key, value in (
        ("readers", "lbread"), ("read_socket", READ_SOCKET), ("dir_mode", "2750"), ("group", "observers")
    ):
        assert f'# {key} = ""' in text, key
        text = text.replace(f'# {key} = ""', f'{key} = "{value}"')
    config.write_text(text)
    looks = pathlib.Path("/run/read.toml")
    looks.write_text(f'socket = "/var/lib/librarian/lbd.sock"\\n[control]\\nread_socket = "{READ_SOCKET}"\\n')
    added = pathlib.Path("/run/systemd/system/lbd.service.d/groups.conf")
    added.parent.mkdir(parents=True, exist_ok=True)
    lines = ("RuntimeDirectory=librarian", "RuntimeDirectoryMode=0755", "PrivateUsers=no", "RestrictSUIDSGID=no")
    added.write_text("\\n".join(("[Service]", *lines, "")))
    read_socket = pathlib.Path(READ_SOCKET)
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "--no-block", "lbd")
    until("it is active with its groups", lambda: show("ActiveState") == "active" and read_socket.exists())
    def person(name, *command):
        whole = ["setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups", *command]
        done = subprocess.run(whole, capture_output=True, text=True)
        return [done.returncode, done.stdout, done.stderr]

    asks = ("env", f"LBCTL_CONFIG={looks}", "/opt/librarian/bin/lbctl")
    seen["asked by a watcher"] = person("watcher", *asks, "status")
    seen["asked by a reader"] = person("reader", *asks, "status")
    made = pathlib.Path("/data/night")
    made.mkdir()
    (made / "late.dat").write_bytes(b"late")
    for path in (made, made / "late.dat"):
        path.chmod(0o777)
    made.rename("/data/drop/night")
    late = pathlib.Path("/data/store/night/late.dat")
    until("it is stored", lambda: status().get("counts", {}).get("files") == 301)
    seen["made as"] = [oct(late.parent.stat().st_mode & 0o7777), late.parent.group()]
    seen["read by a reader"] = person("reader", "cat", str(late))
    seen["read by a watcher"] = person("watcher", "cat", str(late))


try:
    steps()
except BaseException as exc:
    seen["failed"] = repr(exc)
    seen["log"] = run("journalctl", "-u", "lbd", "-o", "cat", ok=False)[-6000:]
(results / "seen.json").write_text(json.dumps(seen))
"""


def test_the_unit_starts_is_watched_and_stops(tmp_path: Path) -> None:
    needs_nspawn()
    state, data = tmp_path / "state", tmp_path / "data"
    bus_port = 4222
    site = Site(state, "summit", bus=f"embedded:{bus_port}")
    for name in ("store", "drop"):
        (data / name).mkdir(parents=True)
    text = site.config.read_text()
    text = text.replace('path = "store"', 'path = "/data/store"').replace('path = "drop"', 'path = "/data/drop"')
    site.config.write_text(text)
    for path in (data, data / "store", data / "drop"):
        path.chmod(0o777)  # accounts of the container have numbers of their own
    results = boot(
        tmp_path,
        DRIVER.replace("BUS_PORT", str(bus_port)),
        dropin=DROPIN,
        config=Path("/var/lib/librarian/site.toml"),
        binds={state: "/var/lib/librarian", data: "/data"},
    )
    assert (results / "seen.json").exists(), (results / "console").read_text()[-4000:]
    seen = json.loads((results / "seen.json").read_text())
    assert "failed" not in seen, f"{seen['failed']}\n{seen['log']}"
    assert seen["while the bus is missing"] == "activating"
    assert "bus" in seen["said meanwhile"]
    assert seen["bus when ready"] is True
    assert seen["stores when ready"] == ["ok"]
    assert seen["user"] == "librarian"
    assert "Watchdog timeout" in seen["journal of the hang"]
    assert (seen["result of the stop"], seen["code of the stop"]) == ("success", "0")
    assert (seen["stored"], seen["left in the drop directory"]) == (300, 0)
    code, said, wrong = seen["asked by a watcher"]
    assert (code, f"read-only: by {READ_SOCKET}" in said + wrong) == (0, True), said + wrong
    assert seen["asked by a reader"][0] == 12, "he is of another group"
    assert seen["made as"] == ["0o2750", "observers"]
    assert seen["read by a reader"][:2] == [0, "late"]
    assert seen["read by a watcher"][0] == 1
