"""The figures of a capsule that a promotion or an entry of the notebook names: some of its matrix row's, by name."""

from __future__ import annotations

from zmlx_bench.schema.base import Count, NonEmpty, NonNegative, Positive, Sha256, StrictModel
from zmlx_bench.schema.matrix import MatrixRow


class CitedCapsule(StrictModel):
    """A capsule with figures. Each field is the row's of the same name; a figure not measured is null."""

    capsule: NonEmpty
    """Path in the workspace, with forward slashes."""
    capsule_sha256: Sha256
    """The capsule's content hash."""
    tokens: Positive
    speedup: NonNegative | None
    speedup_low: NonNegative | None
    speedup_high: NonNegative | None
    null_speedup: NonNegative | None
    matched_tokens: Count | None
    total_tokens: Count | None
    peak_mem_gb: NonNegative | None = None
    baseline_peak_mem_gb: NonNegative | None = None

    @classmethod
    def of(cls, row: MatrixRow) -> CitedCapsule:
        """Return what is cited of a row."""
        return cls.model_validate(row.model_dump(include=set(cls.model_fields)))
