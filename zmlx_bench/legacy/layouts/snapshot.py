"""The lab's aggregate of many summaries: rows that repeat figures measured and recorded elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from zmlx_bench.legacy.faults import speedup_of
from zmlx_bench.legacy.layouts.common import absent_files, build, has, utc_of_stamp
from zmlx_bench.legacy.schema import (
    Inconsistency,
    LegacyArm,
    LegacyFidelity,
    LegacyImport,
    LegacyRecord,
    LegacyShape,
)
from zmlx_bench.legacy.source import Source, SourceModel

WHY_NOT = (
    "an aggregate that copies the figures of other files and is measured by none; "
    "its sources would be evidence. Its rows may speak against a variant, never for it"
)


class _Row(SourceModel):
    suite: Literal["qwen3", "glm47"]
    model: str
    max_tokens: int
    replicate: str
    variant: str
    baseline_variant: str
    fidelity_verdict: Literal["PASS", "FAIL"]
    fidelity_matched: int
    fidelity_total: int
    decode_baseline_tok_s: float
    decode_patched_tok_s: float
    decode_speedup: float
    prefill_baseline_tok_s: float
    prefill_patched_tok_s: float
    prefill_change_pct_slower_positive: float
    memory_baseline_gb: float
    memory_patched_gb: float
    capsule_path: str


class _Protocol(SourceModel):
    runs_per_variant: int
    prefill_sign_convention: str


class _SourceSummary(SourceModel):
    summary_path: str
    suite: str
    max_tokens: int
    replicate: str
    timestamp_utc: str


class _Snapshot(SourceModel):
    snapshot_date: str
    protocol: _Protocol
    source_summaries: list[_SourceSummary]
    rows: list[_Row]


def recognise(data: Any) -> LegacyShape | None:
    """Name the layout, or return None."""
    return "aggregate_snapshot" if has(data, "snapshot_name", "source_summaries", "rows") else None


def _time_of(row: _Row, summaries: list[_SourceSummary]) -> str | None:
    key = (row.suite, row.max_tokens, row.replicate)
    stamps = [s.timestamp_utc for s in summaries if (s.suite, s.max_tokens, s.replicate) == key]
    return utc_of_stamp(stamps[0]) if len(stamps) == 1 else None


def _record(index: int, row: _Row, snapshot: _Snapshot) -> LegacyRecord:
    baseline = LegacyArm(
        stated_median_decode_tok_s=row.decode_baseline_tok_s,
        stated_median_prefill_tok_s=row.prefill_baseline_tok_s,
        peak_mem_gb=row.memory_baseline_gb,
    )
    patched = LegacyArm(
        stated_median_decode_tok_s=row.decode_patched_tok_s,
        stated_median_prefill_tok_s=row.prefill_patched_tok_s,
        peak_mem_gb=row.memory_patched_gb,
    )
    return LegacyRecord(
        where=f"rows[{index}]",
        family=row.suite,
        model=row.model,
        variant=row.variant,
        patterns=None,
        tokens=row.max_tokens,
        runs=snapshot.protocol.runs_per_variant,
        baseline=baseline,
        patched=patched,
        fidelity=LegacyFidelity(verdict=row.fidelity_verdict, matched=row.fidelity_matched, total=row.fidelity_total),
        stated_speedup=row.decode_speedup,
        stated_prefill_change=-row.prefill_change_pct_slower_positive / 100,
        speedup=speedup_of(baseline, patched),
        capsule=row.capsule_path,
        stated_date=snapshot.snapshot_date,
        time_utc=_time_of(row, snapshot.source_summaries),
    )


def _faults(source: Source, snapshot: _Snapshot) -> Iterator[Inconsistency]:
    yield Inconsistency(
        code="prefill_sign_flipped",
        field="rows[].prefill_change_pct_slower_positive",
        sentence="positive means slower here and faster in the capsules; the import turns it back",
    )
    controls = sorted({row.baseline_variant for row in snapshot.rows})
    if controls:
        yield Inconsistency(
            code="control_named_baseline",
            field="rows[].baseline_variant",
            sentence=f"calls a patched control the baseline ({', '.join(controls)}), while "
            "decode_baseline_tok_s is of the unpatched model",
        )
    named = [summary.summary_path for summary in snapshot.source_summaries]
    yield from absent_files(source, named, "source_summaries[].summary_path")
    yield from absent_files(source, [row.capsule_path for row in snapshot.rows], "rows[].capsule_path")


def load(source: Source, shape: LegacyShape) -> LegacyImport:
    """Map the rows; raise pydantic's ValidationError when a field is not what it should be."""
    snapshot = _Snapshot.model_validate(source.data)
    records = [_record(i, row, snapshot) for i, row in enumerate(snapshot.rows)]
    return build(source, shape, records, why_not=WHY_NOT, faults=list(_faults(source, snapshot)))
