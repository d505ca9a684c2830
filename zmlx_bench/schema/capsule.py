"""The capsule: one variant at one budget in one session, every raw number and what is derived from them."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from zmlx_bench.schema.audit import Audit
from zmlx_bench.schema.base import (
    Count,
    Estimator,
    Name,
    NonEmpty,
    NonNegative,
    Positive,
    Sha256,
    Status,
    StrictModel,
    UtcTime,
    content_hash,
)
from zmlx_bench.schema.figures import Figures
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.migrations import capsule as migrations
from zmlx_bench.schema.plan import Checkpoint, Conditions
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.schema.run import Run, RunSet
from zmlx_bench.schema.sealed import Sealed
from zmlx_bench.schema.variant import ResolvedVariant


class Software(StrictModel):
    """Versions that the numbers belong to."""

    mlx: NonEmpty
    mlx_lm: NonEmpty
    zmlx: NonEmpty
    python: NonEmpty
    commit: str | None
    """Git commit of the workspace; null outside a repository."""
    dirty: bool | None
    """Whether tracked files outside the evidence differed from that commit."""


class Protocol(StrictModel):
    """How it was measured."""

    command: tuple[str, ...]
    """The exact command line, without the interpreter's path."""
    blocks: Positive
    estimator: Estimator = "mean"
    """What the ratios of its blocks, and the verdict, are estimated with."""
    seed: Count
    cooldown_s: NonNegative
    cool_at_most_s: NonNegative | None = None
    """Longest wait before a timed process for the machine to be as cool as at the session's start; null: none."""
    null_arm: bool
    order: tuple[tuple[Name, ...], ...]
    """The arms of each block at this budget, in the order they ran."""
    environment: dict[str, str] = {}
    """MLX_* and ZMLX_* variables that were set for all arms."""
    shared_device: bool = False
    trust_remote_code: bool = False


class Capsule(Sealed):
    """A repro capsule."""

    updates = (migrations.update_to_2,)
    hashed = {1: migrations.hashed_1}

    schema_version: Literal[2]
    session: Name
    time: UtcTime
    """When the session's last process ended."""
    family: Name
    checkpoint: Checkpoint
    conditions: Conditions
    machine: Machine
    software: Software
    variant: ResolvedVariant
    incumbent: ResolvedVariant | None
    """The variant that was promoted when the session was planned; null when there was none."""
    tokens: Positive
    protocol: Protocol
    prompts: PromptSet
    timed_prompt: Name
    encoded: Encoded | None = None
    """The prompts as token ids; null in evidence from before they were made once a session."""
    chat_template: bool
    """Whether a chat template was applied to the prompts."""
    status: Status
    """The worst of the variant's processes."""
    runs: RunSet
    """Timed processes, one a block."""
    fidelity_runs: RunSet
    """Untimed processes that answered the other prompts at the session's largest budget."""
    outputs: dict[Sha256, tuple[Count, ...]]
    """Generated token ids by their hash, as far as this capsule's runs name them."""
    figures: Figures
    audit: Audit | None = None
    """Distance of both arms from a float32 reference; null where the session had no audit, or it did not come to it."""

    @property
    def own_runs(self) -> tuple[Run, ...]:
        """The variant's own runs: the timed ones, then the untimed ones."""
        return (*self.runs.variant, *self.fidelity_runs.variant)

    @model_validator(mode="after")
    def _encoded_fits_prompts(self) -> Capsule:
        if self.encoded is not None:
            self.encoded.check(self.prompts)
        return self


def output_hash(tokens: tuple[int, ...] | list[int]) -> str:
    """Return the hash under which generated token ids are stored."""
    return content_hash(list(tokens))
