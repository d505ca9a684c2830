"""A decision file of the lab's kernel search: latencies of single kernels, accepted or rejected by a noise rule."""

from __future__ import annotations

from typing import Any

from zmlx_bench.legacy.layouts.common import date_faults, has, refused
from zmlx_bench.legacy.schema import LegacyImport, LegacyShape
from zmlx_bench.legacy.source import Source, SourceModel


class _Meta(SourceModel):
    date: str


def recognise(data: Any) -> LegacyShape | None:
    """Name the layout, or return None."""
    return "kernel_search_decision" if has(data, "meta", "policy", "decisions", "rejected") else None


def load(source: Source, shape: LegacyShape) -> LegacyImport:
    """Recognise and refuse: it times kernels alone, and nothing was decoded with them."""
    meta = _Meta.model_validate(source.data["meta"])
    count = len(source.data["decisions"]) if isinstance(source.data["decisions"], list) else 0
    why_not = f"times {count} candidates of one kernel alone: no decode, no tokens compared, no memory"
    return refused(source, shape, why_not, list(date_faults(source, meta.date)))
