"""How many blocks a new session needs to find the policy's planned effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import scipy

from zmlx_bench.analysis.decision.looks import level_of_each
from zmlx_bench.schema.policy import Policy


def power(blocks: int, sd: float, hypotheses: int, policy: Policy) -> float:
    """Probability that one budget finds the planned effect with pair scatter `sd` (log).

    Noncentral t of the excess over the floor ln(1 + min_gain), at Holm's first step over `hypotheses` variants.
    """
    if blocks < 2:
        return 0.0
    excess = math.log1p(policy.planned_effect) - math.log1p(policy.min_gain)
    if sd <= 0:
        return 1.0
    critical = float(scipy.special.stdtrit(blocks - 1, 1 - policy.faster_alpha / hypotheses))
    shift = excess / sd * math.sqrt(blocks)
    missed = float(scipy.special.nctdtr(blocks - 1, shift, critical))
    # scipy's series gives NaN for some large shifts, where the normal limit is exact to all digits that matter.
    return float(scipy.special.ndtr(shift - critical)) if math.isnan(missed) else 1 - missed


def blocks_needed(scatter: Mapping[int, float], hypotheses: int, policy: Policy) -> tuple[int, bool] | None:
    """Return (blocks, capped): the fewest blocks that find the planned effect at every budget whose scatter is known.

    `scatter` maps tokens to the standard deviation of d; None when no budget of the policy has one. The power that
    each budget must reach leaves the planned power for all of them together (Bonferroni). `capped` says that even
    `max_blocks` does not reach it.
    """
    known = [tokens for tokens in policy.min_blocks if tokens in scatter]
    if not known:
        return None
    each = 1 - (1 - policy.planned_power) / len(policy.min_blocks)
    needed = max(policy.min_blocks.values())
    for tokens in known:
        low, high = needed, policy.max_blocks
        if power(high, scatter[tokens], hypotheses, policy) < each:
            return policy.max_blocks, True
        while low < high:
            middle = (low + high) // 2
            if power(middle, scatter[tokens], hypotheses, policy) >= each:
                high = middle
            else:
                low = middle + 1
        needed = low
    return needed, False


def blocks_with_looks(sd: float, hypotheses: int, policy: Policy, looks_of: Callable[[int, int], Sequence[int]]) -> int:
    """Return the blocks that `blocks_needed` asks for with the level that a session's looks leave each of them.

    `sd` is the standard deviation of d at every budget, `looks_of` tells the looks from the fewest blocks to the most.
    """
    scatter = dict.fromkeys(policy.min_blocks, sd)
    fewest = most = max(policy.min_blocks.values())
    while True:
        alpha = level_of_each(policy.faster_alpha, len(looks_of(fewest, most)))
        needed = blocks_needed(scatter, hypotheses, policy.model_copy(update={"faster_alpha": alpha}))
        if needed is None or needed[0] <= most:
            return most
        # More blocks are more looks, which leave each of them less.
        most = needed[0]
