"""p-values of a session that is looked at several times: valid whenever it stops, and the plain ones for a single look.

Every look has the same level (Pocock 1977), found by simulation for the estimate's own t statistics at these numbers of
blocks: see `levels`. The sequential p-value of a hypothesis is the smallest overall level at which some look so far
rejects it. It never rises from look to look, so a session may go on after any of them, for whatever reason.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from zmlx_bench.analysis.decision.levels import levels_of
from zmlx_bench.analysis.decision.statistics import Array


def sequential(p: npt.ArrayLike, planned: int) -> Array:
    """Return the sequential p-values from the p-values of the looks taken (..., looks), of `planned` looks in all.

    A p-value that is not known (NaN) counts as 1, and so does a session without a look.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.shape[-1] > planned:
        raise ValueError(f"{values.shape[-1]} looks were taken, {planned} planned")
    return overall(np.fmin.reduce(values, axis=-1, initial=1.0), planned)


def overall(smallest: npt.ArrayLike, planned: int) -> Array:
    """Return the overall level at which one of `planned` looks has a p-value of `smallest` or less by chance.

    Between the levels of the table by their logarithms; below them in proportion, where the table has come to
    Bonferroni's bound, which holds whatever the noise.
    """
    values = np.asarray(smallest, dtype=np.float64)
    if planned == 1:
        return values
    nominal, level = levels_of(planned)
    inside = np.exp(np.interp(np.log(np.maximum(values, nominal[0])), np.log(nominal), np.log(level)))
    return np.asarray(np.where(values < nominal[0], values * (level[0] / nominal[0]), inside))


def level_of_each(total: float, planned: int) -> float:
    """Return the level of each of `planned` looks that spends `total` over all of them: the inverse of `overall`."""
    if planned == 1:
        return total
    nominal, level = levels_of(planned)
    if total < level[0]:
        return total * nominal[0] / level[0]
    return math.exp(float(np.interp(math.log(total), np.log(level), np.log(nominal))))
