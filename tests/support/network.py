"""Hosts for tests: network namespaces on a bridge of their own, with links that can be cut and slowed.

Each host is a namespace with one address; all traffic between hosts passes the bridge in a namespace of its own. A cut
link is silent: nothing is refused and nothing is reset, what was under way just does not arrive, as with a real one.
Needs root and iproute2; where that is not to be had, :func:`not_permitted` says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

_BRIDGE = "br0"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@cache
def not_permitted() -> str:
    """Why network namespaces cannot be made here; "" where they can."""
    name = f"lb-probe-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "add", _BRIDGE, "type", "bridge")
        finally:
            _ip("netns", "del", name)
    except OSError as exc:
        return str(exc)
    return ""


class Host:
    """One namespace, with one address on the network."""

    def __init__(self, network: Network, namespace: str, port: str, address: str) -> None:
        self._network = network
        self.namespace = namespace
        #: The bridge's end of the host's link.
        self._port = port
        self.address = address

    @property
    def prefix(self) -> list[str]:
        """What to put before a command to run it on this host."""
        return [shutil.which("ip") or "ip", "netns", "exec", self.namespace]

    def cut(self) -> None:
        """From now on nothing arrives and nothing leaves. Nobody is told."""
        _ip("-n", self._network.namespace, "link", "set", self._port, "down")

    def mend(self) -> None:
        """The link is there again."""
        _ip("-n", self._network.namespace, "link", "set", self._port, "up")

    def unplug(self) -> None:
        """As :meth:`cut`, but the host's own programs are told: the network is unreachable."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def plug(self) -> None:
        """The interface is there again."""
        _ip("-n", self.namespace, "link", "set", "eth0", "up")

    def limit(self, mbit_per_s: int) -> None:
        """Bound what the link carries, each way."""
        rate = ["root", "tbf", "rate", f"{mbit_per_s}mbit", "burst", "128kb", "latency", "100ms"]
        subprocess.run([*self.prefix, "tc", "qdisc", "replace", "dev", "eth0", *rate], check=True, timeout=30)
        there = ["ip", "netns", "exec", self._network.namespace, "tc", "qdisc", "replace", "dev", self._port]
        subprocess.run([*there, *rate], check=True, timeout=30)


class Network:
    """A bridge, and hosts on it. Made by :func:`network`."""

    def __init__(self) -> None:
        self._tag = f"lb{os.getpid():x}{os.urandom(2).hex()}"
        self.namespace = f"{self._tag}-wan"
        self._hosts: list[Host] = []
        _ip("netns", "add", self.namespace)
        _ip("-n", self.namespace, "link", "add", _BRIDGE, "type", "bridge")
        _ip("-n", self.namespace, "link", "set", _BRIDGE, "up")

    def host(self) -> Host:
        """One more host; its address is 10.77.0.N."""
        number = len(self._hosts) + 1
        namespace, port = f"{self._tag}-{number}", f"port{number}"
        address = f"10.77.0.{number}"
        _ip("netns", "add", namespace)
        self._hosts.append(Host(self, namespace, port, address))
        _ip("link", "add", port, "netns", self.namespace, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self.namespace, "link", "set", port, "master", _BRIDGE, "up")
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        return self._hosts[-1]

    def close(self) -> None:
        """Take all of it away."""
        for namespace in [self.namespace, *(host.namespace for host in self._hosts)]:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, timeout=30)


@contextmanager
def network() -> Generator[Network]:
    """A network that does not outlive the block."""
    made = Network()
    try:
        yield made
    finally:
        made.close()
