"""The capsule: one variant at one budget in one session, every raw number and what is derived from them."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.schema.audit import Audit
from zmlx_bench.schema.base import (
    Count,
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
from zmlx_bench.schema.plan import Checkpoint
from zmlx_bench.schema.prompts import PromptSet
from zmlx_bench.schema.run import RunSet
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
    runs: Positive
    seed: Count
    cooldown_s: NonNegative
    null_arm: bool
    order: tuple[tuple[Name, ...], ...]
    """The arms of each block at this budget, in the order they ran."""
    environment: dict[str, str] = {}
    """MLX_* and ZMLX_* variables that were set for all arms."""
    shared_device: bool = False
    trust_remote_code: bool = False


class Capsule(StrictModel):
    """A repro capsule."""

    schema_version: Literal[1]
    session: Name
    time: UtcTime
    """When the session's last process ended."""
    family: Name
    checkpoint: Checkpoint
    machine: Machine
    software: Software
    variant: ResolvedVariant
    incumbent: ResolvedVariant | None
    """The variant that was promoted when the session was planned; null when there was none."""
    tokens: Positive
    protocol: Protocol
    prompts: PromptSet
    timed_prompt: Name
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
    content_sha256: Sha256
    """Hash of everything above, so that an edit shows."""


def sealed(fields: dict[str, object]) -> Capsule:
    """Build a capsule from all its fields but the hash, and seal it with `content_sha256`."""
    draft = Capsule.model_validate({**fields, "content_sha256": "0" * 64})
    return draft.model_copy(update={"content_sha256": capsule_hash(draft)})


def capsule_hash(capsule: Capsule) -> str:
    """Return the hash that `capsule` must carry."""
    fields = capsule.model_dump(mode="json", exclude={"content_sha256"})
    if capsule.audit is None:
        # Capsules that were written before there was an audit keep their hash.
        del fields["audit"]
    return content_hash(fields)


def output_hash(tokens: tuple[int, ...] | list[int]) -> str:
    """Return the hash under which generated token ids are stored."""
    return content_hash(list(tokens))
