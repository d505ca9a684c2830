"""What sessions may have missed of a variant that stalls now and then, held against the gain that they tell together.

An estimate that survives outliers is blind to stalls, and a few blocks may hold none of them: with a stall in one
process of 8, twelve blocks hold none in a fifth of all sessions. No rule can tell such a session from one of a sound
variant. Several sessions are more blocks. Among n blocks of which k were the variant's own stalls (of which the
estimate sets aside more than half), its true share of stalls is at most p_u with confidence 1 - `stall_level` (Clopper,
Pearson 1934), so the mean of all blocks may be too high by what the missed share p_u - k / n costs where a stall makes
a process `stall_loss` slower. What is left has to be a gain. docs/decision-looks.md shows what that saves and costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from zmlx_bench.analysis.decision.statistics import Array, estimate, fallen
from zmlx_bench.analysis.decision.verdict import Gate
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.policy import Policy


@dataclass(frozen=True)
class Missed:
    """The blocks of several sessions at one budget."""

    tokens: int
    blocks: int
    share: float
    """Of its processes that may stall beyond those that were seen."""
    mean: float
    """Of all blocks (log)."""
    least: float
    """What is left of it."""
    enough: int | None
    """Blocks with which a gain would be left if no more stalls came; None where the policy's most would not do."""


def missed_share(stalls: npt.ArrayLike, blocks: npt.ArrayLike, level: float) -> Array:
    """Return p_u - k / n: how much larger than seen, k stalls in n blocks, the true share may be.

    p_u is the quantile 1 - `level` of Beta(k + 1, n - k).
    """
    seen, count = np.asarray(stalls, dtype=np.float64), np.asarray(blocks, dtype=np.float64)
    left = np.maximum(count - seen, np.finfo(np.float64).tiny)
    return np.asarray(scipy.special.betaincinv(seen + 1, left, 1 - level) - seen / count)


def missed(tokens: int, sample: Sequence[float], estimator: Estimator, policy: Policy) -> Missed:
    """Tell what the blocks `sample` (log ratios, at least one) of agreeing sessions may have missed."""
    own, mean, count = int(fallen(sample, estimator)), float(np.mean(sample)), len(sample)
    loss = -math.log1p(-policy.stall_loss)
    share = float(missed_share(own, count, policy.stall_level))
    more = np.arange(count, max(count, policy.max_blocks) + 1)
    settled = float(estimate(sample, estimator).mean)
    means = (count * mean + (more - count) * settled) / more
    good = means > loss * missed_share(own, more, policy.stall_level)
    enough = int(more[good.argmax()]) if good.any() else None
    return Missed(tokens, count, share, mean, mean - loss * share, enough)


def gate(name: str, what: str, found: Sequence[Missed], capsules: tuple[str, ...], policy: Policy) -> Gate:
    """Return the gate over the budgets: a gain must be left at each."""
    worst = min(found, key=lambda each: each.least)
    ratio = math.exp(worst.least)
    text = (
        f"mean {what} of {worst.blocks} blocks {math.exp(worst.mean):.3f}x at {worst.tokens} tokens; stalls in "
        f"{worst.share:.0%} of its processes could have been missed, {policy.stall_loss:.3g} of the speed each, "
        f"which leaves {ratio:.3f}x"
    )
    if worst.least <= 0:
        text += f"; {worst.enough or f'more than {policy.max_blocks}'} blocks in all that agree would do"
    return Gate(name, "pass" if worst.least > 0 else "fail", ratio, 1.0, capsules, text)
