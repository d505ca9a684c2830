"""A probe of the lab: one patched model with and without a launch option, no unpatched baseline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zmlx_bench.legacy.faults import half_unit
from zmlx_bench.legacy.layouts.common import date_faults, has, refused
from zmlx_bench.legacy.schema import Inconsistency, LegacyImport, LegacyShape
from zmlx_bench.legacy.source import Source, SourceModel

WHY_NOT = (
    "a probe of one launch option: both of its cases are patched, there is no unpatched baseline "
    "and no tokens were compared"
)


class _Meta(SourceModel):
    date: str


class _Case(SourceModel):
    gen_tps: list[float]
    median_gen_tps: float


class _Delta(SourceModel):
    median_gen_tps_ratio: float


class _Probe(SourceModel):
    meta: _Meta
    default: _Case
    disable_row_contiguous: _Case
    delta: _Delta


def recognise(data: Any) -> LegacyShape | None:
    """Name the layout, or return None."""
    return "contiguity_probe" if has(data, "meta", "default", "disable_row_contiguous", "delta") else None


def _faults(source: Source, probe: _Probe) -> Iterator[Inconsistency]:
    yield from date_faults(source, probe.meta.date)
    ratio = probe.disable_row_contiguous.median_gen_tps / probe.default.median_gen_tps
    stated = probe.delta.median_gen_tps_ratio
    if abs(ratio - stated) > half_unit([stated]) + 1e-9:
        yield Inconsistency(
            code="speedup_not_ratio",
            field="delta.median_gen_tps_ratio",
            sentence=f"the medians give {ratio:.6f}, the file says {stated:.6f}",
        )


def load(source: Source, shape: LegacyShape) -> LegacyImport:
    """Recognise and refuse."""
    probe = _Probe.model_validate(source.data)
    return refused(source, shape, WHY_NOT, list(_faults(source, probe)))
