"""Memory of an arm: the largest value over its processes, each of which started empty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from zmlx_bench.schema.figures import Memory
from zmlx_bench.schema.run import Run

Number = TypeVar("Number", int, float)


def of_runs(runs: Sequence[Run]) -> Memory:
    """Return the largest of each memory figure over successful runs; null where nothing was measured."""
    ok = [run for run in runs if run.status == "ok"]
    generations = [generation for run in ok for generation in run.generations]
    return Memory(
        peak_mem_gb=_largest((*(g.peak_mem_gb for g in generations), *_of_contexts(ok))),
        temporary_gb=_largest(max(0.0, g.peak_mem_gb - g.active_before_gb) for g in generations),
        cache_gb=_largest(g.cache_gb for g in generations),
        peak_rss_gb=_largest(run.peak_rss_gb for run in ok),
        peak_footprint_gb=_largest(run.peak_footprint_gb for run in ok),
        page_faults_minor=_largest(run.page_faults_minor for run in ok),
        page_faults_major=_largest(run.page_faults_major for run in ok),
    )


def _of_contexts(runs: Sequence[Run]) -> Iterable[float]:
    """Return the peak while each process prefilled its context."""
    return (depth.peak_gb for run in runs if run.filled is not None for depth in run.filled.depths)


def compressed_gb(runs: Sequence[Run]) -> float | None:
    """Return by how much macOS's compressor grew at most while one of the runs lasted; None where it is not known."""
    return _largest(
        max(0.0, run.after.compressed_gb - run.before.compressed_gb)
        for run in runs
        if run.before is not None
        and run.after is not None
        and run.before.compressed_gb is not None
        and run.after.compressed_gb is not None
    )


def _largest(values: Iterable[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
