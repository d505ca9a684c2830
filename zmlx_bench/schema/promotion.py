"""`variants/promoted.toml`: which variant is the default of a group, and the evidence that made it so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
from zmlx_bench.schema.plan import Conditions


class PromotedCapsule(StrictModel):
    """One capsule that a promotion rests on, with its figures."""

    capsule: NonEmpty
    """Path in the workspace, with forward slashes."""
    capsule_sha256: Sha256
    """The capsule's content hash."""
    tokens: Positive
    speedup: NonNegative
    speedup_low: NonNegative
    speedup_high: NonNegative
    null_speedup: NonNegative | None
    matched_tokens: Count
    total_tokens: Count
    peak_mem_gb: NonNegative | None = None
    baseline_peak_mem_gb: NonNegative | None = None


class Promotion(StrictModel):
    """The default of one group."""

    family: Name
    checkpoint: Name
    """Short name of the checkpoint."""
    checkpoint_id: Digest
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
    """Hash of the resolved variant with the source hashes of its kernels."""
    since: UtcTime
    """When the newest session of the group had ended: all that had ended by then took part in the decision."""
    replaced: Name | None = None
    """The default before it; absent when that was the stock model."""
    policy_sha256: Sha256
    """Hash of the policy that promoted it."""
    sessions: tuple[Name, ...] = Field(min_length=2)
    """Those that it rests on, latest first."""
    capsules: tuple[PromotedCapsule, ...] = Field(min_length=2)


class Promotions(StrictModel):
    """The file."""

    schema_version: Literal[1] = 1
    promotion: tuple[Promotion, ...] = ()
