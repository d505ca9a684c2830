"""What the scheduler knows: a device and what it is at, and an item, which is a session that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zmlx_bench.schema.fleet import FleetDevice

State = Literal["waiting", "running", "arriving", "collected", "given up"]
Key = tuple[str, str, int]
"""Family, group, number of the session."""


@dataclass(slots=True)
class Item:
    """One session of a family on a kind of device. Times are seconds since 1970."""

    family: str
    group: str
    number: int
    since: float
    """Of its state."""
    state: State = "waiting"
    session: str | None = None
    """The attempt under way, or that its device has half of."""
    device: str | None = None
    """Where that is; it goes on there or nowhere."""
    begun: bool = False
    """Whether the device has written the session's plan."""
    not_before: float | None = None
    """When it may start; None until the session before it is collected."""
    patient_until: float | None = None
    """When its device is waited for no longer; None where it is not in the way."""
    starts: int = 0
    why: str = ""
    """What was last in its way."""
    failed_on: set[str] = field(default_factory=set)
    """Devices on which it has failed once."""
    not_on: set[str] = field(default_factory=set)
    """Devices on which it cannot be done."""

    @property
    def key(self) -> Key:
        """Return what it is found by."""
        return self.family, self.group, self.number

    @property
    def over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ("collected", "given up")

    def tried_out(self, terms: Terms) -> bool:
        """Whether it was started where it is as often as it may be."""
        return self.starts >= terms.starts

    @property
    def tried(self) -> str:
        """How often it was started where it is, and what came of it."""
        return f"started {self.starts} times; last: {self.why}"


@dataclass(slots=True)
class Slot:
    """A device as the scheduler sees it."""

    about: FleetDevice
    alive: bool = True
    refused: str | None = None
    """Why nothing is measured on it."""
    item: Item | None = None
    """What runs on it."""
    pinned: Item | None = None
    """What it has half of and goes on with."""
    arriving: dict[Key, Item] = field(default_factory=dict)
    """What it has finished and the head has not."""
    aside_until: float = 0.0
    """Not before this, for somebody else measures on it."""


@dataclass(frozen=True)
class Terms:
    """How patient the head is. Times in seconds."""

    patience_s: float = 1800.0
    """How long a device may be gone or taken before its session is done anew elsewhere, or given up."""
    taken_s: float = 60.0
    """Between two tries to have a device that somebody else measures on."""
    again_s: float = 5.0
    """Before an interrupted session goes on, doubled each time."""
    starts: int = 8
    """Most times that one item is started on a device."""
