"""Simulated sessions whose processes are slow now and then, in every arm or in some."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PROCESS_SD = 0.01
SLOWEST, LEAST_SLOW = 0.25, 0.10
OUTLIERS = 1 / 25
STALLS = {4: 1 / 4, 6: 1 / 6, 8: 1 / 8}
FOUND = float(np.log1p(0.03))
BUDGETS_APART, BUDGETS_TOGETHER = False, True


@dataclass(frozen=True)
class Shape:
    """How often a process of the stock arms, and of a variant, is an outlier, and what the budgets share."""

    stock: float
    variant: float
    together: bool
    """Whether one process serves both budgets: then it is slow at both, and its noise is the same."""
    process_sd: float = PROCESS_SD
    arm_sd: float = 0.0
    """Of an arm that is off for the whole session, at both budgets alike."""
    heavy: bool = False
    """Student's t with 3 degrees of freedom instead of normal noise, of the same variance."""

    @staticmethod
    def mean_loss(rate: float) -> float:
        """Return the mean of ln(speed) that stalls of this rate cost: uniform between 10 and 25%."""
        a, b = 1 - LEAST_SLOW, 1 - SLOWEST
        mean = ((a * np.log(a) - a) - (b * np.log(b) - b)) / (a - b)
        return float(rate * mean)


def sessions(rng: np.random.Generator, count: int, variants: int, blocks: int, shape: Shape) -> tuple[Array, Array]:
    """Return ln(speed) of equal arms (sessions, arms, blocks) at both budgets: baseline, null, variants.

    The drift of a block, which every arm shares, cancels in d and z and is left out.
    """
    size = (count, variants + 2, blocks)
    rate = np.array([shape.stock] * 2 + [shape.variant] * variants)[:, None]

    def processes() -> Array:
        noise = rng.standard_t(3, size) / np.sqrt(3) if shape.heavy else rng.standard_normal(size)
        slow = np.log1p(-rng.uniform(LEAST_SLOW, SLOWEST, size))
        return np.asarray(shape.process_sd * noise + np.where(rng.random(size) < rate, slow, 0.0))

    first = processes()
    second = first if shape.together else processes()
    off = rng.normal(0.0, shape.arm_sd, (count, variants + 2, 1)) if shape.arm_sd else 0.0
    return first + off, second + off
