"""The port between the head and its nodes; `local`, `ray` and the tests' scripted nodes are behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from zmlx_bench.schema.fleet import FleetDevice, FleetWork, Outcome


class NodeFails(Exception):
    """A node does not do what it was asked now; perhaps later. The text is for people."""


@dataclass(frozen=True)
class Report:
    """How a session stands on its node."""

    session: str
    begun: bool = False
    outcome: Outcome | None = None
    """None while it runs."""
    why: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    """What can be fetched of a finished one: bytes by name."""


class Nodes(Protocol):
    """All nodes. None of these waits longer than a few seconds for a node; NodeFails where one does not answer."""

    def devices(self) -> Sequence[FleetDevice]:
        """Return the devices that answer now; NodeFails where there can be none."""

    def unused(self) -> Mapping[str, str]:
        """Return the nodes of which no device is known, as of the last `devices`: why, and whether they are asked
        again."""

    def start(self, work: FleetWork, parcel: bytes) -> None:
        """Begin a session on its device, or go on with what the device has of it. To say it twice does no harm."""

    def look(self, work: FleetWork) -> None:
        """Know of a session that a head before this one gave to its device; nothing is started."""

    def poll(self, sessions: Sequence[str]) -> Sequence[Report]:
        """Return how those that were started or looked for stand, as far as it is known and was not said before."""

    def fetch(self, session: str, name: str) -> bytes:
        """Return a file of a finished session."""

    def stop(self, work: FleetWork, *, drop: bool) -> None:
        """End a session where it runs; with `drop` remove what the node has of it."""

    def close(self) -> None:
        """Let go of the nodes; what runs on other machines goes on."""
