"""Whether what an estimate sets aside is a variant's own doing, and eats the gain that the estimate tells.

An estimate that survives outliers would call a variant faster whose every sixth process stalls, though on average it
gains nothing. So the plain mean is asked too, where clearly more weight was taken from blocks in which the variant was
slow than from blocks in which the stock model was: it must keep its share of the estimate. `benchmarks/estimators.py`
shows what the two thresholds cost in gains that are missed, and what they save.

Everything works on the last axis and over any leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zmlx_bench.analysis.decision.statistics import Array, estimate, lost_weight
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.policy import Policy


@dataclass(frozen=True)
class SetAside:
    """What an estimate of d sets aside; arrays over the leading axes of the sample."""

    below: Array
    """Blocks' worth of weight taken where the variant was slow."""
    above: Array
    """The same where the stock model was."""
    plain: Array
    """The mean of all blocks (log)."""
    needed: Array
    """What that mean must exceed where the outliers are the variant's own (log)."""
    mostly_own: npt.NDArray[np.bool_]

    @property
    def eats_the_gain(self) -> npt.NDArray[np.bool_]:
        """Whether the outliers are the variant's own and leave too little of its gain."""
        return np.asarray(self.mostly_own & (self.plain <= self.needed))


def set_aside(sample: npt.ArrayLike, estimator: Estimator, policy: Policy) -> SetAside:
    """Tell what an estimate of d (..., blocks), at least one block, sets aside; nothing where it is a mean."""
    values = np.asarray(sample, dtype=np.float64)
    below, above = lost_weight(values, estimator)
    needed = policy.outlier_share * estimate(values, estimator).mean
    return SetAside(below, above, values.mean(axis=-1), needed, below - above > policy.outlier_blocks)
