"""Student t intervals of a mean of log differences.

Source: Student (1908), "The probable error of a mean"; quantiles from scipy.
The mean and the t interval suit few pairs whose noise is roughly symmetric on the log scale; the
process (one pair a block) is the unit, so tokens and runs of one process are never pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

from zmlx_bench.schema.figures import Ratio

DISPLAY_LEVEL = 0.90
"""Coverage of every printed interval; unadjusted for the number of variants, and labelled so."""


def mean_interval(values: Sequence[float], level: float) -> tuple[float, float, float]:
    """Return (mean, low, high) of a two-sided t interval with coverage `level`, ddof 1.

    Needs at least two values; raises ValueError otherwise. Identical values give a degenerate interval.
    """
    n = len(values)
    if n < 2:
        raise ValueError("an interval needs at least two values")
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * sd / math.sqrt(n)
    return mean, mean - half, mean + half


def ratio_of_logs(logs: Sequence[float], blocks: Sequence[int]) -> Ratio | None:
    """Return the paired ratio of per-block log differences, or None without a pair.

    value = exp(mean), interval = exp(mean +- t * sd / sqrt(n)); one pair has a value and no interval.
    """
    if not logs:
        return None
    if len(logs) == 1:
        return Ratio(value=math.exp(logs[0]), low=None, high=None, logs=tuple(logs), blocks=tuple(blocks))
    mean, low, high = mean_interval(logs, DISPLAY_LEVEL)
    return Ratio(value=math.exp(mean), low=math.exp(low), high=math.exp(high), logs=tuple(logs), blocks=tuple(blocks))
