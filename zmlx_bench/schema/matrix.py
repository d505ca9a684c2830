"""A row of `matrix.jsonl`: one capsule in one line."""

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
    Status,
    StrictModel,
    UtcTime,
)
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.migrations import matrix as migrations
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.variant import FidelityRule


class MatrixRow(StrictModel):
    """The summary of a capsule. A thing not measured is null, never 0."""

    updates = (migrations.update_to_2,)

    schema_version: Literal[2]
    time: UtcTime
    session: Name
    family: Name
    checkpoint: Name
    checkpoint_digest: Digest
    conditions: Conditions
    backend: Backend
    device: NonEmpty
    cores: Positive | None
    """Null where it was not recorded."""
    variant: Name
    tokens: Positive
    blocks: Positive
    decode_tok_s: NonNegative | None
    baseline_decode_tok_s: NonNegative | None
    speedup: NonNegative | None
    speedup_low: NonNegative | None
    speedup_high: NonNegative | None
    null_speedup: NonNegative | None
    prefill_tok_s: NonNegative | None
    baseline_prefill_tok_s: NonNegative | None
    fidelity: Literal["identical", "diverged"] | None
    matched_tokens: Count | None
    total_tokens: Count | None
    peak_mem_gb: NonNegative | None
    baseline_peak_mem_gb: NonNegative | None
    peak_rss_gb: NonNegative | None
    energy_j_per_token: NonNegative | None = None
    baseline_energy_j_per_token: NonNegative | None = None
    environment: NonEmpty | None = None
    """By what name the variant asked for an environment of its own; null where it ran in the group's."""
    held_to: FidelityRule = Field(default="identical", exclude_if=lambda value: value == "identical")
    """What the variant's output is held to; absent where that is every token of the baseline."""
    identity: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)
    """What the variant's evidence is bound to: the digest of its identity; absent where the capsule has none, and in
    rows from before they told it."""
    status: Status
    mlx: NonEmpty
    mlx_lm: NonEmpty
    zmlx: NonEmpty
    commit: str | None
    dirty: bool | None
    capsule: NonEmpty
    """Path of the capsule in the workspace, with forward slashes."""
    capsule_sha256: Sha256
    """The capsule's content hash."""


def capsule_file_name(capsule: Capsule) -> str:
    """Return the capsule's file name in its session's folder."""
    return (
        f"{capsule.family}_{capsule.checkpoint.label}_{capsule.machine.backend}"
        f"_t{capsule.tokens}_r{capsule.protocol.blocks}_{capsule.variant.name}.json"
    )


def row_of(capsule: Capsule) -> MatrixRow:
    """Return the matrix row of a capsule."""
    figures = capsule.figures
    return MatrixRow(
        schema_version=2,
        time=capsule.time,
        session=capsule.session,
        family=capsule.family,
        checkpoint=capsule.checkpoint.label,
        checkpoint_digest=capsule.checkpoint.digest,
        conditions=capsule.conditions,
        backend=capsule.machine.backend,
        device=capsule.machine.device,
        cores=capsule.machine.cores,
        variant=capsule.variant.name,
        tokens=capsule.tokens,
        blocks=capsule.protocol.blocks,
        decode_tok_s=figures.decode_tok_s,
        baseline_decode_tok_s=figures.baseline_decode_tok_s,
        speedup=figures.speedup.value if figures.speedup else None,
        speedup_low=figures.speedup.low if figures.speedup else None,
        speedup_high=figures.speedup.high if figures.speedup else None,
        null_speedup=figures.null.value if figures.null else None,
        prefill_tok_s=figures.prefill_tok_s,
        baseline_prefill_tok_s=figures.baseline_prefill_tok_s,
        fidelity=figures.fidelity.verdict if figures.fidelity else None,
        matched_tokens=figures.fidelity.matched_tokens if figures.fidelity else None,
        total_tokens=figures.fidelity.total_tokens if figures.fidelity else None,
        peak_mem_gb=figures.memory.peak_mem_gb,
        baseline_peak_mem_gb=figures.baseline_memory.peak_mem_gb,
        peak_rss_gb=figures.memory.peak_rss_gb,
        energy_j_per_token=figures.energy_j_per_token,
        baseline_energy_j_per_token=figures.baseline_energy_j_per_token,
        environment=capsule.variant.environment.asked if capsule.variant.environment else None,
        held_to=capsule.variant.fidelity,
        identity=capsule.variant.identity.digest if capsule.variant.identity else None,
        status=capsule.status,
        mlx=capsule.software.mlx,
        mlx_lm=capsule.software.mlx_lm,
        zmlx=capsule.software.zmlx,
        commit=capsule.software.commit,
        dirty=capsule.software.dirty,
        capsule=f"capsules/{capsule.session}/{capsule_file_name(capsule)}",
        capsule_sha256=capsule.content_sha256,
    )
