"""From p-values to what a variant's speed is at each budget: slower, unresolved, equivalent or faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from zmlx_bench.analysis.decision.looks import level_of_each, sequential
from zmlx_bench.analysis.decision.statistics import Array, Estimate, holm, interval, p_above, p_below
from zmlx_bench.schema.policy import Policy


class Speed(IntEnum):
    """Speed of a variant, in the order of precedence: over several budgets the smallest holds."""

    SLOWER = 0
    UNRESOLVED = 1
    EQUIVALENT = 2
    FASTER = 3


@dataclass(frozen=True)
class Evidence:
    """Unadjusted evidence of a variant at a budget; every array has the same shape."""

    above: Array
    """p of "the gain is at most the floor"; NaN where it cannot be computed."""
    below: Array
    """p of "the variant is not slower"."""
    within: npt.NDArray[np.bool_]
    """Whether an interval at the policy's level lies within the margin of `min_gain` on both sides."""


@dataclass(frozen=True)
class Judgement:
    """Speed of every variant of a session."""

    speed: npt.NDArray[np.int_]
    """Values of `Speed` at each budget, (..., variants, budgets)."""
    overall: npt.NDArray[np.int_]
    """Values of `Speed` over all budgets, (..., variants)."""
    above: Array
    """p of `faster` at each budget, after Holm over the variants at that budget."""
    below: Array
    """p of `slower` at each budget, after Holm over variants x budgets."""
    faster: Array
    """p of `faster` at every budget at once, after Holm over the variants, (..., variants)."""


def evidence(gain: Estimate, floor: npt.ArrayLike, policy: Policy, planned_looks: int = 1) -> Evidence:
    """Evidence of the paired log differences d at one look: against the floor, against zero, and for equivalence.

    The p-values are those of the look alone; its interval is as wide as one of `planned_looks` must be.
    """
    margin = np.log1p(policy.min_gain)
    level = 1 - 2 * level_of_each((1 - policy.interval_level) / 2, planned_looks)
    low, high = interval(gain, level)
    return Evidence(p_above(gain, floor), p_below(gain, 0.0), (low >= -margin) & (high <= margin))


def kept(found: Evidence, eaten: npt.ArrayLike) -> Evidence:
    """Return the evidence of a look that tells of no gain where what the estimate sets aside eats it (`eaten`).

    A gain that was told once stays told, and by a later look the estimate may follow the blocks that it set aside.
    """
    return Evidence(np.where(eaten, 1.0, found.above), found.below, found.within)


def over_looks(taken: Sequence[Evidence], planned: int) -> Evidence:
    """Combine the evidence of the looks taken, of `planned` in all, first look first: sequential p-values."""
    if planned == 1:
        (only,) = taken
        return only
    above, below = (np.stack([getattr(one, side) for one in taken], axis=-1) for side in ("above", "below"))
    within = np.asarray(np.stack([one.within for one in taken], axis=-1).any(axis=-1))
    return Evidence(sequential(above, planned), sequential(below, planned), within)


def judge(found: Evidence, policy: Policy) -> Judgement:
    """Judge all variants of a session together; `found` has shape (..., variants, budgets).

    A variant is faster when it is so at every budget: its p is the largest of its budgets (an intersection-union
    test) and Holm runs over the variants. `slower` at any budget rejects, so its Holm runs over variants x budgets.
    At a single budget `faster` takes Holm over the variants there; that is never stricter than the test of all
    budgets, and says only which budget a variant's fate hangs on. Precedence: slower, unresolved, equivalent, faster.
    """
    above = np.swapaxes(holm(np.swapaxes(found.above, -1, -2)), -1, -2)
    *leading, variants, budgets = found.below.shape
    below = holm(found.below.reshape(*leading, variants * budgets)).reshape(found.below.shape)
    faster = holm(found.above.max(axis=-1))
    speed = np.select(
        [below <= policy.slower_alpha, above <= policy.faster_alpha, found.within],
        [Speed.SLOWER, Speed.FASTER, Speed.EQUIVALENT],
        default=Speed.UNRESOLVED,
    )
    worst = speed.min(axis=-1)
    short = (worst == Speed.FASTER) & (faster > policy.faster_alpha)
    return Judgement(speed, np.where(short, Speed.UNRESOLVED, worst), above, below, faster)
