"""The statistics under a verdict: estimates over blocks with Student's t, and Holm's correction, on arrays.

Everything works on the last axis and over any leading axes, so that the simulation of the rule
(`benchmarks/decision_error.py`) runs the very functions that decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy

from zmlx_bench.analysis.decision import robust
from zmlx_bench.analysis.decision.calibrated import FEWEST
from zmlx_bench.analysis.decision.robust import Array as Array
from zmlx_bench.schema.base import Estimator

# Scatter below this is rounding of logarithms, not measurement: the sample is constant.
_DUST = 1e-12


@dataclass(frozen=True)
class Estimate:
    """Location of a sample and its standard error; arrays over the leading axes of the sample."""

    blocks: int
    mean: Array
    """NaN without blocks."""
    se: Array
    """NaN below two blocks; of a mean the standard deviation (ddof 1) over sqrt(blocks)."""
    freedom: float
    """With which (mean - truth) / se is Student's t for normal noise; of a mean blocks - 1."""

    @property
    def sd(self) -> Array:
        """Return the scatter of a block that the standard error stands for."""
        return np.asarray(self.se * np.sqrt(self.blocks))


def estimate(sample: npt.ArrayLike, estimator: Estimator = "mean") -> Estimate:
    """Estimate where `sample` (..., blocks) lies.

    `bisquare` (see `robust`) is the mean too where there are too few blocks to tell an outlier, and where more than
    half the distances between blocks vanish, which leaves no scale to tell one by.
    """
    values = np.asarray(sample, dtype=np.float64)
    blocks = values.shape[-1]
    shape = values.shape[:-1]
    if blocks == 0:
        return Estimate(0, np.full(shape, np.nan), np.full(shape, np.nan), -1.0)
    mean = values.mean(axis=-1)
    if blocks == 1:
        return Estimate(1, mean, np.full(shape, np.nan), 0.0)
    sd = values.std(axis=-1, ddof=1)
    se = np.where(sd < _DUST, 0.0, sd / np.sqrt(blocks))
    if estimator == "mean" or blocks < FEWEST:
        return Estimate(blocks, mean, se, blocks - 1)
    found = robust.bisquare(values)
    known = found.scale >= _DUST
    return Estimate(blocks, np.where(known, found.value, mean), np.where(known, found.se, se), found.freedom)


def lost_weight(sample: npt.ArrayLike, estimator: Estimator = "mean") -> tuple[Array, Array]:
    """Return how many blocks' worth of weight an estimate takes from blocks (below, above) it; zero for a mean."""
    values = np.asarray(sample, dtype=np.float64)
    if estimator == "mean" or values.shape[-1] < FEWEST:
        nothing = np.zeros(values.shape[:-1])
        return nothing, nothing
    found = robust.bisquare(values)
    lost = np.where((found.scale >= _DUST)[..., None], 1 - found.weight, 0.0)
    low = values < found.value[..., None]
    return (lost * low).sum(axis=-1), (lost * ~low).sum(axis=-1)


def fallen(sample: npt.ArrayLike, estimator: Estimator) -> npt.NDArray[np.int_]:
    """Return how many blocks lie below an estimate and have lost more than half of their weight; none for a mean."""
    values = np.asarray(sample, dtype=np.float64)
    if estimator == "mean" or values.shape[-1] < FEWEST:
        return np.zeros(values.shape[:-1], dtype=np.int_)
    found = robust.bisquare(values)
    low = (found.weight < 0.5) & (values < found.value[..., None])
    return np.asarray((low & (found.scale >= _DUST)[..., None]).sum(axis=-1))


def p_above(of: Estimate, floor: npt.ArrayLike) -> Array:
    """One-sided t p-value of "the mean is at most `floor`" (Student).

    Without scatter it is 0 above the floor and 1 elsewhere; below two blocks it is NaN.
    """
    excess = of.mean - np.asarray(floor)
    if of.blocks < 2:
        return np.full(np.shape(excess), np.nan)
    scatter = of.se > 0
    t = excess / np.where(scatter, of.se, 1.0)
    return np.where(scatter, scipy.special.stdtr(of.freedom, -t), np.where(excess > 0, 0.0, 1.0))


def p_below(of: Estimate, ceiling: npt.ArrayLike) -> Array:
    """One-sided t p-value of "the mean is at least `ceiling`"."""
    mirrored = replace(of, mean=-of.mean)
    return p_above(mirrored, -np.asarray(ceiling))


def interval(of: Estimate, level: float) -> tuple[Array, Array]:
    """Two-sided t interval of the mean at `level`; NaN below two blocks."""
    if of.blocks < 2:
        nothing = np.full(of.mean.shape, np.nan)
        return nothing, nothing
    half = scipy.special.stdtrit(of.freedom, (1 + level) / 2) * of.se
    return of.mean - half, of.mean + half


def mean_interval(values: npt.ArrayLike, level: float, estimator: Estimator = "mean") -> tuple[float, float, float]:
    """Return (mean, low, high) of one sample (blocks,) as `interval` gives it; ValueError below two values."""
    of = estimate(values, estimator)
    if of.blocks < 2:
        raise ValueError("an interval needs at least two values")
    low, high = interval(of, level)
    return float(of.mean), float(low), float(high)


def difference_interval(then: Estimate, now: Estimate, level: float) -> tuple[float, float, float]:
    """Return (mean, low, high) of mean(now) - mean(then) for two samples that share no blocks.

    Welch's interval (Welch 1947, degrees of freedom after Satterthwaite) at coverage `level`; each sample needs two
    blocks. Without scatter in either it is degenerate.
    """
    difference = float(now.mean - then.mean)
    parts = [float(each.se) ** 2 for each in (then, now)]
    variance = sum(parts)
    if variance == 0:
        return difference, difference, difference
    # Shares instead of squares, which vanish for tiny variances.
    shares = [(part / variance) ** 2 / each.freedom for part, each in zip(parts, (then, now), strict=True)]
    half = float(scipy.special.stdtrit(1 / sum(shares), 0.5 + level / 2)) * variance**0.5
    return difference, difference - half, difference + half


def floor_of(null: Estimate | None, min_gain: float) -> Array:
    """delta0 = max(ln(1 + min_gain), |mean z|); without a null arm its first term."""
    least = np.float64(np.log1p(min_gain))
    if null is None or null.blocks == 0:
        return np.asarray(least)
    return np.maximum(least, np.abs(null.mean))


def biased(null: Estimate, level: float) -> npt.NDArray[np.bool_]:
    """Whether the null arm's interval at `level` excludes zero; False below two blocks."""
    low, high = interval(null, level)
    return (low > 0) | (high < 0)


def holm(p: npt.ArrayLike) -> Array:
    """Return p-values adjusted after Holm 1979 along the last axis; an unknown one (NaN) counts as 1."""
    values = np.asarray(p, dtype=np.float64)
    values = np.where(np.isnan(values), 1.0, values)
    order = np.argsort(values)
    factors = np.arange(values.shape[-1], 0, -1)
    stepped = np.minimum(1.0, np.take_along_axis(values, order, axis=-1) * factors)
    running = np.maximum.accumulate(stepped, axis=-1)
    return np.take_along_axis(running, np.argsort(order), axis=-1)
