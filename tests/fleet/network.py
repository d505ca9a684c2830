"""Two machines on this one: network namespaces and a switch between them, whose cable can be pulled."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

AWAY = "n1"
"""The node that is on the other machine; every other process is on the first."""
FIRST_IP, AWAY_IP = "10.213.0.1", "10.213.0.2"
_SWITCH, _PORT = "switch", "port"


class Network:
    """Packets between the two are lost while the cable is out, without a word to either side."""

    def __init__(self) -> None:
        self._first, self._away = f"zmlx-{os.getpid()}-a", f"zmlx-{os.getpid()}-b"

    def make(self) -> None:
        """Make both machines; OSError or RuntimeError where that cannot be done, whole or in part."""
        for name in (self._first, self._away):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self._first, "link", "add", _SWITCH, "type", "bridge")
        _ip("-n", self._first, "address", "add", f"{FIRST_IP}/24", "dev", _SWITCH)
        _ip("-n", self._first, "link", "add", _PORT, "type", "veth", "peer", "name", "eth0", "netns", self._away)
        _ip("-n", self._first, "link", "set", _PORT, "master", _SWITCH, "up")
        _ip("-n", self._first, "link", "set", _SWITCH, "up")
        _ip("-n", self._away, "address", "add", f"{AWAY_IP}/24", "dev", "eth0")
        _ip("-n", self._away, "link", "set", "eth0", "up")

    def within(self, name: str) -> list[str]:
        """Return the beginning of a command that runs on the machine of a node."""
        return ["ip", "netns", "exec", self._away if name == AWAY else self._first]

    def pull(self) -> None:
        """Pull the cable."""
        _ip("-n", self._first, "link", "set", _PORT, "down")

    def plug(self) -> None:
        """Put it back."""
        _ip("-n", self._first, "link", "set", _PORT, "up")

    def remove(self) -> None:
        """Remove what there is of both machines: their processes must have ended."""
        for name in (self._first, self._away):
            with contextlib.suppress(OSError, RuntimeError):
                _ip("netns", "del", name)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Make a network until the block ends; skip the test where this system does not let us."""
    made = Network()
    try:
        try:
            made.make()
        except (OSError, RuntimeError) as error:
            pytest.skip(f"needs network namespaces, which root may make: {error}")
        yield made
    finally:
        made.remove()
