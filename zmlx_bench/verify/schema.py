"""What a verifying process is told and what it reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from zmlx_bench.schema.base import Backend, Count, Name, Positive, StrictModel
from zmlx_bench.schema.kernel import Numerics, Site
from zmlx_bench.schema.verification import Probe, SizesName, VerifiedRow


class Task(StrictModel):
    """One mode of one kernel."""

    kernel: Name
    mode: Name
    numerics: Numerics
    sites: tuple[Site, ...]
    max_tokens: Positive | None
    """Null: any."""


class Instructions(StrictModel):
    """All that a process is told: the tasks of one family at one configuration's sizes."""

    family: Name
    family_folder: str
    """Its facts.toml and family.py."""
    backend: Backend
    kernels: str
    """Folder of the workspace's kernels."""
    tasks: tuple[Task, ...]
    seed: Count
    sizes_name: SizesName
    sizes: dict[str, Any]
    """Replaces entries of the published configuration."""
    probe: bool
    """Whether to ask the device's compiler first."""


class Started(StrictModel):
    """The task at this index is being compared."""

    event: Literal["task"] = "task"
    index: Count


class Probed(StrictModel):
    """A probe is answered."""

    event: Literal["probe"] = "probe"
    probe: Probe


class Compared(StrictModel):
    """A row is done."""

    event: Literal["row"] = "row"
    row: VerifiedRow


class Done(StrictModel):
    """The last event of a process that came through."""

    event: Literal["done"] = "done"


Event = Annotated[Started | Probed | Compared | Done, Field(discriminator="event")]
