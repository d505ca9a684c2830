"""What is kept of a file of the predecessor: its figures under our names and units, and what does not add up in it.

Nothing is invented: what a file does not say is null, an arm that was skipped has no record.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from zmlx_bench.schema.base import (
    Count,
    Name,
    NonEmpty,
    Positive,
    Sha256,
    StrictModel,
    UtcTime,
)
from zmlx_bench.schema.sealed import Sealed

LegacyShape = Literal[
    "variant_capsule",
    "multi_variant_capsule",
    "model_capsule",
    "run_summary",
    "ledger_rows",
    "aggregate_snapshot",
    "kernel_search_decision",
    "contiguity_probe",
    "stress_statistics",
]
"""The layouts of the predecessor's files that zmlx recognises."""


class Inconsistency(StrictModel):
    """One thing in a file that does not add up."""

    code: Name
    """What kind it is, such as `speedup_not_ratio`."""
    field: NonEmpty
    """Where: the record (`results[2]`, `line 5`, an arm's name) and the field."""
    sentence: NonEmpty
    """What is wrong, for people."""


class LegacyArm(StrictModel):
    """One arm of a record: all runs of one process."""

    decode_tok_s: tuple[float, ...] = ()
    """Every run, in order; empty where the file has medians only."""
    prefill_tok_s: tuple[float, ...] = ()
    """Every run, in order; empty where the file has medians only."""
    stated_median_decode_tok_s: float | None = None
    """The median as the file says it."""
    stated_median_prefill_tok_s: float | None = None
    """The median as the file says it."""
    peak_mem_gb: float | None = None
    """The highest of MLX's peak memory, in 1e9 bytes; the predecessor never reset it between arms."""

    @model_validator(mode="after")
    def _measured_means_above_zero(self) -> Self:
        values = (*self.decode_tok_s, *self.prefill_tok_s)
        stated = (self.stated_median_decode_tok_s, self.stated_median_prefill_tok_s, self.peak_mem_gb)
        if any(value <= 0 for value in (*values, *(v for v in stated if v is not None))):
            raise ValueError("a measured rate or size is above zero; a thing not measured is absent")
        return self


class LegacyFidelity(StrictModel):
    """How many tokens the patched arm had in common with the baseline."""

    verdict: Literal["PASS", "FAIL"]
    matched: Count
    total: Positive


class LegacyRecord(StrictModel):
    """One variant at one budget, as one process of the predecessor measured it."""

    where: NonEmpty
    """Its place in the source file."""
    family: Literal["qwen3", "glm47", "other"]
    model: str | None
    """The checkpoint as the file names it."""
    variant: str | None
    """The lab's name of the variant; null where the file gives none."""
    patterns: tuple[str, ...] | None
    """The patch patterns applied, where named."""
    tokens: Positive
    """The budget."""
    runs: Positive | None
    """How often each arm was run, all in one process."""
    baseline: LegacyArm
    patched: LegacyArm
    fidelity: LegacyFidelity | None
    stated_speedup: float | None
    """Decode speed-up as the file says it."""
    stated_prefill_change: float | None
    """Fraction, positive when the patched arm was faster (the convention of the lab's capsules)."""
    speedup: float | None
    """Ratio of the medians, recomputed from the runs where there are any, else from the stated medians."""
    device: str | None = None
    device_memory_gb: float | None = None
    os: str | None = None
    python: str | None = None
    mlx: str | None = None
    zmlx: str | None = None
    commit: str | None = None
    command: str | None = None
    capsule: str | None = None
    """The capsule that the file names as the origin of this record."""
    notes: str | None = None
    stated_date: str | None = None
    """The date as the file writes it, in the lab's local time unless it says otherwise."""
    time_utc: UtcTime | None = None
    """The time, where the file says that it is UTC."""


class NotMeasured(StrictModel):
    """An arm that the file lists though it never ran."""

    where: NonEmpty
    variant: str | None
    reason: NonEmpty


class LegacyImport(Sealed):
    """One imported file: `capsules/legacy/<name>.json`."""

    schema_version: Literal[1] = 1
    kind: Literal["legacy"] = "legacy"
    source_name: NonEmpty
    """File name of the source, without its folder."""
    source_sha256: Sha256
    """SHA-256 of the source's bytes."""
    shape: LegacyShape
    is_evidence: bool
    """Whether its records take part in a legacy verdict. Even then they can reject, never make a CANDIDATE."""
    why_not: str | None
    """Why it is no evidence; null when it is."""
    records: tuple[LegacyRecord, ...]
    not_measured: tuple[NotMeasured, ...] = ()
    inconsistencies: tuple[Inconsistency, ...] = ()

    @model_validator(mode="after")
    def _says_why_not(self) -> Self:
        if self.is_evidence != (self.why_not is None):
            raise ValueError("`why_not` must be given exactly when the file is no evidence")
        return self
