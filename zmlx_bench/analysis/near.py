"""Whether a variant is as near to the float32 reference as stock: its distance minus stock's, prompt by prompt; pure.

A prompt is the unit: positions of one text are no independent draws. The bounds are those of a studentised bootstrap
over prompts (Efron & Tibshirani 1993, 12.5), and never inside Student's: `benchmarks/near_error.py` prints how often
they pass what is exactly at the margin. The resamples are the same for every variant, from a generator whose stream is
fixed, so that a check finds the figures again.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import scipy

from zmlx_bench.analysis.decision.statistics import Array
from zmlx_bench.analysis.fidelity import LOOP_SHARE, distinct_ngrams
from zmlx_bench.schema.audit import Bounded, Nearness, PromptAudit

LEVEL = 0.95
"""Of each one-sided bound."""
RESAMPLES = 10_000
SEED = 20261129
_DUST = 1e-9
"""Scatter of a resample, relative to the sample's, below which it is none: rounding."""


def nearness(prompts: Sequence[PromptAudit], answers: Mapping[str, Sequence[int]]) -> Nearness:
    """Return how much farther the variant is than stock over the prompts whose forced tokens do not loop.

    `answers` are the baseline's token ids by their hash; KeyError where one is missing.
    """
    counting = [one for one in prompts if _counts(answers[one.output][: len(one.baseline.kl)])]
    kl = [float(np.mean(np.subtract(one.variant.kl, one.baseline.kl))) for one in counting]
    top1 = [_share(one.baseline.agrees) - _share(one.variant.agrees) for one in counting]
    return Nearness(
        prompts=len(counting),
        positions=min((len(one.baseline.kl) for one in counting), default=0),
        kl=bounded(kl),
        top1=bounded(top1),
    )


def _counts(forced: Sequence[int]) -> bool:
    return distinct_ngrams(forced) >= LOOP_SHARE


def _share(agrees: Sequence[bool]) -> float:
    return sum(agrees) / len(agrees)


def bounded(values: Sequence[float]) -> Bounded:
    """Return the mean of one value a prompt with its bounds; without two of them there are none."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return Bounded(mean=float(sample.sum()), lower=None, upper=None)
    return Bounded(mean=float(sample.mean()), lower=float(0.0 - upper(-sample)), upper=float(upper(sample)))


def upper(sample: Array) -> Array:
    """Return the upper bound at `LEVEL` of the mean of values (..., prompts), two prompts at least.

    With m and s / sqrt(n) the mean and its standard error, and t* = (m* - m) / (s* / sqrt(n)) of resamples, it is
    m - q s / sqrt(n) with q the quantile of t* at 1 - `LEVEL`; a resample without scatter takes the sample's, where
    t* would be infinite. A sample without scatter has its mean as its bound.
    """
    prompts = sample.shape[-1]
    mean = sample.mean(axis=-1)
    error = sample.std(axis=-1, ddof=1) / np.sqrt(prompts)
    steady = error <= 1e-15 * np.abs(sample).max(axis=-1)
    scale = np.where(steady, 1.0, error)[..., None]
    standard = (sample - mean[..., None]) / scale
    counts = resampled(prompts)
    means = standard @ counts.T / prompts
    squares = standard**2 @ counts.T / prompts
    errors = np.sqrt(np.maximum(squares - means**2, 0.0) / (prompts - 1))
    t = means / np.where(errors < _DUST, 1.0, errors)
    low = np.quantile(t, 1 - LEVEL, axis=-1, method="lower")
    return np.asarray(
        np.where(steady, mean, mean + error * np.maximum(-low, scipy.special.stdtrit(prompts - 1, LEVEL)))
    )


@functools.lru_cache(maxsize=8)
def resampled(prompts: int) -> Array:
    """Return how often each prompt is in each resample (resamples, prompts)."""
    raw = np.random.PCG64(SEED).random_raw(RESAMPLES * prompts).reshape(RESAMPLES, prompts)
    drawn = (raw % np.uint64(prompts)).astype(np.int64) + np.arange(RESAMPLES)[:, None] * prompts
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * prompts).reshape(RESAMPLES, prompts)
    return counts.astype(np.float64)
