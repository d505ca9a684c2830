"""A stress file of the lab: statistics over prompts and lengths, without the variant's name or its runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zmlx_bench.legacy.layouts.common import date_faults, has, refused
from zmlx_bench.legacy.schema import Inconsistency, LegacyImport, LegacyShape
from zmlx_bench.legacy.source import Source, SourceModel

WHY_NOT = "names neither the variant nor the patterns it measured, and gives statistics instead of runs"


class _Metadata(SourceModel):
    date: str


class _Stats(SourceModel):
    peak_mem_gb: float


class _Stress(SourceModel):
    metadata: _Metadata
    baseline_stats: dict[str, _Stats]
    patched_stats: dict[str, _Stats]


def recognise(data: Any) -> LegacyShape | None:
    """Name the layout, or return None."""
    keys = ("metadata", "baseline_stats", "patched_stats", "generation_lengths")
    return "stress_statistics" if has(data, *keys) else None


def _faults(source: Source, stress: _Stress) -> Iterator[Inconsistency]:
    yield from date_faults(source, stress.metadata.date, "metadata.date")
    peaks = [stats.peak_mem_gb for stats in (*stress.baseline_stats.values(), *stress.patched_stats.values())]
    if len(peaks) > 2 and peaks == sorted(peaks):
        yield Inconsistency(
            code="peak_memory_running_maximum",
            field="patched_stats[].peak_mem_gb",
            sentence=f"never falls over {len(peaks)} measurements from short to long and back: a running maximum",
        )
    yield Inconsistency(code="variant_not_named", field="patched_stats", sentence="no variant and no pattern is named")


def load(source: Source, shape: LegacyShape) -> LegacyImport:
    """Recognise and refuse."""
    stress = _Stress.model_validate(source.data)
    return refused(source, shape, WHY_NOT, list(_faults(source, stress)))
