"""Whether a version is like the good end of a range of versions or like the bad one, by figures of the same blocks.

y is the logarithm of a figure (decode speed, peak memory) of one process. In each block all arms are measured, so
u = y_asked - y_good and v = y_bad - y_asked are paired. With s the sign of the change from the good end to the bad one,

    like bad    s u > 0 beyond chance, and the version lies beyond half the change: s (u - v) > 0
    like good   s v > 0 beyond chance, and it lies before half of it
    undecided   neither

A version that is truly like the good end is called like the bad one only where s u > 0 by chance, so whatever the size
of the change and of the noise the answer is wrong at most as often as the level says. An arm may be off for a whole
session, which no block averages away: the standard error has the policy's `arm_effect` of both arms in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from zmlx_bench.analysis.decision.looks import sequential
from zmlx_bench.analysis.decision.statistics import Array, Estimate, estimate, interval, p_above
from zmlx_bench.schema.base import Estimator

WRONG = 0.001
"""Level of each side: how often a version that is like one end is called like the other, at most."""
LEAST_CHANGE = 0.05
"""A change between the ends that is smaller is not looked for."""
LEVEL = 0.90
"""Of the unadjusted intervals that are shown, as everywhere."""

Likeness = Literal["good", "bad", "undecided"]
Kind = Literal["changed", "same", "undecided"]


@dataclass(frozen=True)
class Change:
    """What two arms of the same blocks differ by."""

    kind: Kind
    ratio: float | None
    """The later to the earlier; null without blocks."""
    low: float | None
    """Of its 90% interval; null below two blocks."""
    high: float | None


def change(
    good: Sequence[float],
    bad: Sequence[float],
    looks: Sequence[int],
    planned: int,
    arm_effect: float,
    estimator: Estimator,
) -> Change:
    """Return how the ends differ, from ln figures by block in the same order; `looks` are those taken, of `planned`.

    `changed`: by LEAST_CHANGE or more, and beyond chance. `same`: by less, beyond chance.
    """
    logs = np.asarray(bad) - np.asarray(good)
    least = math.log1p(LEAST_CHANGE)
    latest = estimate(logs, estimator)
    if latest.blocks < 2:
        return Change("undecided", None if latest.blocks == 0 else math.exp(float(latest.mean)), None, None)
    low, high = interval(latest, LEVEL)

    def beyond(values: Array, floor: float) -> bool:
        return bool(_p(values, looks, planned, arm_effect, estimator, floor) <= WRONG)

    kind: Kind = "undecided"
    if abs(float(latest.mean)) >= least and (beyond(logs, 0.0) or beyond(-logs, 0.0)):
        kind = "changed"
    elif beyond(logs, -least) and beyond(-logs, -least):
        kind = "same"
    return Change(kind, *(math.exp(float(of)) for of in (latest.mean, low, high)))


def likeness(
    good: npt.ArrayLike,
    bad: npt.ArrayLike,
    asked: npt.ArrayLike,
    sign: int,
    looks: Sequence[int],
    planned: int,
    arm_effect: float,
    estimator: Estimator,
) -> npt.NDArray[np.int_]:
    """Return 1 where `asked` is like `bad`, -1 where it is like `good`, 0 where it is undecided.

    The figures are ln of what was measured, (..., blocks) in the same order; `looks` are how many blocks were looked at
    so far, the last of them all that are there, of `planned` looks.
    """
    arms = [np.asarray(of, dtype=np.float64) for of in (good, bad, asked)]
    seen = [_first(arms, blocks, sign, arm_effect, estimator) for blocks in looks]
    off_good = np.stack([one.off_good for one in seen], axis=-1)
    off_bad = np.stack([one.off_bad for one in seen], axis=-1)
    return told(Look(off_good, off_bad, seen[-1].beyond), planned)


def _first(arms: Sequence[Array], blocks: int, sign: int, arm_effect: float, estimator: Estimator) -> Look:
    good, bad, asked = (of[..., :blocks] for of in arms)
    return look(good, bad, asked, sign, arm_effect, estimator)


@dataclass(frozen=True)
class Look:
    """What the blocks up to a look say."""

    off_good: Array
    """p of "the version does not differ from the good end towards the bad one"; of several looks on the last axis."""
    off_bad: Array
    beyond: npt.NDArray[np.bool_]
    """Whether it lies beyond half the change, at the latest look."""


def look(good: Array, bad: Array, asked: Array, sign: int, arm_effect: float, estimator: Estimator) -> Look:
    """Return what these blocks say, whatever was looked at before; arrays as in `likeness`."""
    first, last, here = (sign * of for of in (good, bad, asked))
    return Look(
        p_above(_widened(estimate(here - first, estimator), arm_effect), 0.0),
        p_above(_widened(estimate(last - here, estimator), arm_effect), 0.0),
        estimate(here - (first + last) / 2, estimator).mean > 0,
    )


def told(seen: Look, planned: int) -> npt.NDArray[np.int_]:
    """Return what is told after all looks so far, of `planned`: 1, -1 or 0 as in `likeness`."""
    off_good, off_bad = sequential(seen.off_good, planned), sequential(seen.off_bad, planned)
    found = np.where(seen.beyond & (off_good <= WRONG), 1, np.where(~seen.beyond & (off_bad <= WRONG), -1, 0))
    return np.asarray(found)


def name_of(found: int) -> Likeness:
    """Return what a value of `likeness` says."""
    return "bad" if found > 0 else "good" if found < 0 else "undecided"


def _p(
    values: Array, looks: Sequence[int], planned: int, arm_effect: float, estimator: Estimator, floor: float = 0.0
) -> Array:
    """Sequential p-value of "the mean is at most `floor`", with what two arms may be off for a session."""
    found = [p_above(_widened(estimate(values[..., :seen], estimator), arm_effect), floor) for seen in looks]
    return sequential(np.stack(found, axis=-1), planned)


def _widened(of: Estimate, arm_effect: float) -> Estimate:
    return replace(of, se=np.sqrt(np.square(of.se) + 2 * arm_effect**2))
