"""Memory as the cache grew, for people: a row for each length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zmlx_bench.report import words
from zmlx_bench.schema.figures import Figures
from zmlx_bench.schema.run import Depth


@dataclass(frozen=True)
class Grown:
    """Memory at one length: of the variant and of the baseline, each `active / peak`."""

    name: str
    variant: str
    baseline: str


def rows(figures: Figures) -> Iterator[Grown]:
    """Yield memory at each length that was reached; nothing under the default conditions, which do not record it."""
    ours = {depth.length: depth for depth in figures.depths}
    stock = {depth.length: depth for depth in figures.baseline_depths}
    for length in sorted({*ours, *stock}):
        yield Grown(f"at {length} tokens, active / peak GB", _shown(ours.get(length)), _shown(stock.get(length)))


def _shown(depth: Depth | None) -> str:
    if depth is None:
        return words.DASH
    return f"{words.gigabytes(depth.active_gb)} / {words.gigabytes(depth.peak_gb)}"
