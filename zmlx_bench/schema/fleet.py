"""A fleet's run: what was asked of all devices, what a device says of itself, and the journal of what happened."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from zmlx_bench.schema.base import Count, Name, NonEmpty, NonNegative, Positive, Sha256, StrictModel
from zmlx_bench.schema.machine import Machine, cores_told

LOCAL = "local"
"""In the place of an address: this machine without Ray."""
Outcome = Literal["finished", "interrupted", "taken", "changed", "failed", "refused"]
"""How a session's process ended on its node: with its capsules; by something that it can be resumed after; not begun,
because somebody else measures on the device; not resumed, because something changed; for good; not possible there."""


class FleetDevice(StrictModel):
    """A device of a node, as the node says it."""

    device: NonEmpty
    """`HOST/BACKEND-N`: the same after the node was started again."""
    host: NonEmpty
    """The machine: sessions on one may disturb each other."""
    machine: Machine
    mlx: NonEmpty
    mlx_lm: NonEmpty
    zmlx: NonEmpty
    code: Sha256
    """Of the measured paths of the families that zmlx comes with: two of one version may still differ."""
    select: dict[str, str] = {}
    """Environment variables by which a process takes this device and no other of the host."""
    checkpoints: tuple[Name, ...] = ()
    """Families whose published checkpoint lies in the node's cache."""
    problems: tuple[NonEmpty, ...] = ()
    """What prevents measuring there, as `zmlx doctor` says it."""
    nice: int = 0
    """Of its sessions' processes; Ray's own default is 15."""

    @property
    def group(self) -> str:
        """Return what evidence of this device is grouped by, beside family, checkpoint and conditions."""
        machine = self.machine
        device, cores = f"{machine.device} ({machine.backend})", cores_told(machine.device, machine.cores)
        return ", ".join([device, *cores, f"mlx {self.mlx}", f"mlx-lm {self.mlx_lm}"])


class FleetFamily(StrictModel):
    """A family that is asked about."""

    family: Name
    variants: tuple[Name, ...] | None
    """Null for the default ones of the device's backend."""


class FleetQuestion(StrictModel):
    """What `zmlx fleet run` was asked for: the same question is the same run until it has ended."""

    families: tuple[FleetFamily, ...] = Field(min_length=1)
    sessions: Positive
    """Of each family on each kind of device."""
    per_host: Positive
    devices: str | None
    """Only devices in whose name or group this stands."""
    tokens: tuple[Positive, ...]
    runs: Positive
    checkpoint: NonEmpty
    null_arm: bool
    seed: Count
    timeout_s: NonNegative | None
    prompts: NonEmpty | None
    """Ids of prompts that zmlx comes with, by comma; null for all of them."""
    gap_s: NonNegative
    """Least time between two sessions of one group: the policy's."""
    parcel: Sha256
    """Of the variants, kernels and families that travel."""


class FleetRun(StrictModel):
    """`run.json`: written before the first session; afterwards only its address changes."""

    schema_version: Literal[1]
    fleet: Name
    started: NonNegative
    """Seconds since 1970 by the head's clock, as every time of the journal."""
    question: FleetQuestion
    address: str | None
    """Of the Ray cluster; `local` is this machine without Ray, null a Ray of the head's own."""
    command: tuple[str, ...]


class FleetWork(StrictModel):
    """What a node is told of a session."""

    session: Name
    family: FleetFamily
    question: FleetQuestion
    device: FleetDevice
    """As it was when the session was given to it."""
    command: tuple[str, ...]


class Seen(StrictModel):
    """A device answers, for the first time or again."""

    event: Literal["seen"] = "seen"
    at: NonNegative
    device: FleetDevice
    refused: str | None = None
    """Why nothing is measured on it; null where it is used."""


class Lost(StrictModel):
    """A device answers no more."""

    event: Literal["lost"] = "lost"
    at: NonNegative
    device: NonEmpty


class Unused(StrictModel):
    """A node is there of which no device is known, or no longer."""

    event: Literal["unused"] = "unused"
    at: NonNegative
    node: NonEmpty
    why: NonEmpty | None = None
    """And whether it is asked again; null where its devices are known now, or the node is gone."""


class Assigned(StrictModel):
    """A session is given to a device; written before the node is told."""

    event: Literal["assigned"] = "assigned"
    at: NonNegative
    family: Name
    number: Positive
    device: NonEmpty
    session: Name
    """A new one, or the one that the device has half of."""


class Began(StrictModel):
    """The node has written the session's plan."""

    event: Literal["began"] = "began"
    at: NonNegative
    session: Name


class Ended(StrictModel):
    """The session's process has ended."""

    event: Literal["ended"] = "ended"
    at: NonNegative
    session: Name
    outcome: Outcome
    why: str = ""


class Collected(StrictModel):
    """The session's capsules stand in the head's workspace."""

    event: Literal["collected"] = "collected"
    at: NonNegative
    session: Name


class Rejected(StrictModel):
    """What the node returned is not taken."""

    event: Literal["rejected"] = "rejected"
    at: NonNegative
    session: Name
    why: NonEmpty


class Abandoned(StrictModel):
    """A session that its device has half of is done anew elsewhere; whatever comes of it is not taken."""

    event: Literal["abandoned"] = "abandoned"
    at: NonNegative
    session: Name
    why: NonEmpty


class GivenUp(StrictModel):
    """A session that is asked for will not be measured."""

    event: Literal["given_up"] = "given_up"
    at: NonNegative
    family: Name
    group: NonEmpty
    number: Positive
    why: NonEmpty


FleetEvent = Annotated[
    Seen | Lost | Unused | Assigned | Began | Ended | Collected | Rejected | Abandoned | GivenUp,
    Field(discriminator="event"),
]
"""A line of `journal.jsonl`."""
EVENT: TypeAdapter[FleetEvent] = TypeAdapter(FleetEvent)
