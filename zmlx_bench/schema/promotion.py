"""`variants/promoted.toml`: which variant is the default of a group, and the evidence that made it so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zmlx_bench.schema.base import (
    Backend,
    Count,
    Digest,
    Name,
    NonEmpty,
    NonNegative,
    Positive,
    Sha256,
    StrictModel,
    UtcTime,
)
from zmlx_bench.schema.cited import CitedCapsule
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.migrations import promotion as migrations
from zmlx_bench.schema.plan import Conditions


class PromotedCapsule(CitedCapsule):
    """One capsule that a promotion rests on: the gates that it passed need these figures."""

    speedup: NonNegative
    speedup_low: NonNegative
    speedup_high: NonNegative
    matched_tokens: Count
    total_tokens: Count


class Promotion(StrictModel):
    """The default of one group."""

    family: Name
    checkpoint: Name
    """Short name of the checkpoint."""
    checkpoint_digest: Digest
    backend: Backend
    device: NonEmpty
    cores: Positive | None = None
    """Absent where it was not recorded."""
    mlx: NonEmpty
    mlx_lm: NonEmpty | None = None
    """Absent in promotions whose sessions tell it."""
    conditions: Conditions = Conditions()
    variant: Name
    identity: Sha256
    """What its evidence is bound to."""
    since: UtcTime
    """When the session that decided had ended: all of the group that had ended by then took part."""
    replaced: Name | None = None
    """The default before it; absent when that was the stock model."""
    policy_sha256: Sha256
    """Hash of the policy that promoted it."""
    rule: Positive = 1
    """Number of the decision rule that promoted it; under rule 1 `identity` is of the bytes of its kernels."""
    sessions: tuple[Name, ...] = Field(min_length=2)
    """Those that it rests on, latest first."""
    parts: Identity | None = None
    """What `identity` is made of, for saying what has changed since; absent where that is not known."""
    capsules: tuple[PromotedCapsule, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _parts_of_its_identity(self) -> Promotion:
        if self.parts is not None and self.parts.digest != self.identity:
            raise ValueError("`parts.digest` must be `identity`")
        return self


class Promotions(StrictModel):
    """The file."""

    updates = (migrations.update_to_2,)

    schema_version: Literal[2] = 2
    promotion: tuple[Promotion, ...] = ()
