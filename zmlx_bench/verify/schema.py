"""What a verifying process is told and what it reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from zmlx_bench.bench.schema import AllDone, BenchTask, TaskStarted
from zmlx_bench.schema.base import Backend, Count, Name, StrictModel
from zmlx_bench.schema.verification import Probe, SizesName, VerifiedRow


class Instructions(StrictModel):
    """All that a process is told: the tasks of one family at one configuration's sizes."""

    family: Name
    family_folder: str
    """Its facts.toml and family.py."""
    backend: Backend
    kernels: str
    """Folder of the workspace's kernels."""
    tasks: tuple[BenchTask, ...]
    seed: Count
    sizes_name: SizesName
    sizes: dict[str, Any]
    """Replaces entries of the published configuration."""
    probe: bool
    """Whether to ask the device's compiler first."""


class Probed(StrictModel):
    """A probe is answered."""

    event: Literal["probe"] = "probe"
    probe: Probe


class Compared(StrictModel):
    """A row is done."""

    event: Literal["row"] = "row"
    row: VerifiedRow


Event = Annotated[TaskStarted | Probed | Compared | AllDone, Field(discriminator="event")]
