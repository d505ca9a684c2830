"""The printed ratio: where the log differences lie, with a t interval.

It is the estimate that the decision uses; the process (one pair a block) is the unit, so tokens and runs of one process
are never pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from zmlx_bench.analysis.decision.statistics import mean_interval
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.figures import Ratio

DISPLAY_LEVEL = 0.90
"""Coverage of every printed interval; unadjusted for the number of variants, and labelled so."""


def ratio_of_logs(logs: Sequence[float], blocks: Sequence[int], estimator: Estimator = "mean") -> Ratio | None:
    """Return the paired ratio of per-block log differences, or None without a pair.

    value = exp(estimate), interval = exp(estimate +- t * se); one pair has a value and no interval.
    """
    if not logs:
        return None
    if len(logs) == 1:
        return Ratio(value=math.exp(logs[0]), low=None, high=None, logs=tuple(logs), blocks=tuple(blocks))
    value, low, high = (math.exp(log) for log in mean_interval(logs, DISPLAY_LEVEL, estimator))
    return Ratio(value=value, low=low, high=high, logs=tuple(logs), blocks=tuple(blocks))
