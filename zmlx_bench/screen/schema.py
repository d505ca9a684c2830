"""What `zmlx screen` prints as JSON, and the events of its processes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zmlx_bench.analysis.screen import Advice
from zmlx_bench.schema.base import (
    Backend,
    Count,
    Digest,
    Name,
    NonEmpty,
    NonNegative,
    Positive,
    Status,
    StrictModel,
    UtcTime,
)
from zmlx_bench.schema.event import Done, Failed, Loaded, Patched, PromptEnd, PromptStart, Token
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.plan import DEFAULT, Conditions
from zmlx_bench.schema.variant import VariantEnv


class Began(StrictModel):
    """A segment begins."""

    event: Literal["began"] = "began"
    arm: Name


class Dropped(StrictModel):
    """A variant is not asked again in this process."""

    event: Literal["dropped"] = "dropped"
    arm: Name
    status: Literal["diverged", "unavailable"]
    message: NonEmpty
    matched: Count | None = None


Event = Annotated[
    Loaded | Began | Patched | PromptStart | Token | PromptEnd | Dropped | Done | Failed, Field(discriminator="event")
]


class ScreenedVariant(StrictModel):
    """One variant."""

    variant: Name
    env: VariantEnv
    status: Status | Literal["diverged", "waiting"]
    """`waiting`: not reached before the screening ended."""
    reason: str | None = None
    matched: Count | None = None
    """Of `diverged`: tokens before the first that is not stock's."""
    ratio: Ratio | None = None
    """Decode speed over stock's, paired within processes; `blocks` are their numbers. No interval of one process."""
    needed: Positive | None = None
    """Processes that bring the half-width of the interval to 1%."""
    advice: Advice | None = None
    """`session`: worth one; `more`: undecided, screen with more processes; `no`: no gain above the floor."""


class Surroundings(StrictModel):
    """The stock model in the processes of one set of variables."""

    env: VariantEnv
    decode_tok_s: NonNegative | None
    """Geometric mean over the processes."""
    null: Ratio | None
    """Stock again over stock, within processes."""
    against_default: Ratio | None = None
    """Stock under these variables over stock without any; null for that itself and below two processes of each."""


class ScreenedProcess(StrictModel):
    """One process that came to its end or not."""

    number: Positive
    env: VariantEnv
    order: tuple[Name, ...]
    """Of the first half; the second is the reverse."""
    counts: bool
    reason: str | None = None
    """Why it does not count."""
    drift: Ratio | None = None
    """Speed of its last stock segment over its first, with an interval within the process."""


class Screening(StrictModel):
    """The whole answer of `zmlx screen`. It is no evidence: nothing of it is written anywhere."""

    schema_version: Literal[1]
    time: UtcTime
    state: Literal["finished", "interrupted"]
    family: Name
    checkpoint: NonEmpty
    checkpoint_digest: Digest
    machine: Machine
    backend: Backend
    mlx: NonEmpty
    mlx_lm: NonEmpty
    zmlx: NonEmpty
    prompt: Name | None
    """Null where no process was to be started."""
    tokens: Positive
    conditions: Conditions = DEFAULT
    seed: Count
    shared_device: bool
    processes: Positive
    """Asked for, for each set of variables."""
    variants: tuple[ScreenedVariant, ...]
    """Best first."""
    surroundings: tuple[Surroundings, ...]
    ran: tuple[ScreenedProcess, ...]
    seconds: Count
    session: NonEmpty | None
    """The command that measures those worth a session; null where there is none."""
    again: NonEmpty | None
    """The command that screens the undecided ones again; null where there is none."""
