"""What a context cost: how fast it was prefilled, and the memory that it and the answer took as they grew."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from zmlx_bench.analysis.throughput import paired_speeds
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.schema.run import Depth, Run


def by_block(runs: Sequence[Run]) -> dict[int, float]:
    """Return the tok/s at which each block's process prefilled its context; nothing where there was none."""
    return {
        run.block: run.filled.tokens / run.filled.seconds
        for run in runs
        if run.status == "ok" and run.block is not None and run.filled is not None and run.filled.seconds > 0
    }


def median_tok_s(runs: Sequence[Run]) -> float | None:
    """Return the median over blocks; None where nothing was measured."""
    found = by_block(runs).values()
    return statistics.median(found) if found else None


def paired(
    variant: Sequence[Run], baseline: Sequence[Run], null: Sequence[Run] | None, estimator: Estimator
) -> Ratio | None:
    """Return the variant's paired ratio to the stock arms; `null` is None where the session has no null arm."""
    references = [by_block(baseline), *([by_block(null)] if null is not None else [])]
    return paired_speeds(by_block(variant), references, estimator)


def depths(runs: Sequence[Run]) -> tuple[Depth, ...]:
    """Return the largest of each figure over the timed processes, at every length that all of them reached."""
    each = [_of(run) for run in runs if run.status == "ok"]
    if not each:
        return ()
    lengths = sorted(set.intersection(*(set(found) for found in each)))
    return tuple(
        Depth(
            length=length,
            active_gb=max(found[length].active_gb for found in each),
            cache_gb=max(found[length].cache_gb for found in each),
            peak_gb=max(found[length].peak_gb for found in each),
        )
        for length in lengths
    )


def _of(run: Run) -> dict[int, Depth]:
    filled = run.filled.depths if run.filled is not None else ()
    return {depth.length: depth for depth in (*filled, *run.generations[0].depths)}
