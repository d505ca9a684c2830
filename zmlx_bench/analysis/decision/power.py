"""How many blocks a new session needs to find the policy's planned effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import scipy

from zmlx_bench.analysis.decision.looks import level_of_each
from zmlx_bench.schema.policy import Policy

_NEGLIGIBLE = 1e-30
"""Probability of what is left out of an integral."""
_FAR = 9.0
"""Standard deviations beyond which a normal tail is nothing beside 1."""


def power(blocks: int, sd: float, hypotheses: int, policy: Policy) -> float:
    """Probability that one budget finds the planned effect with pair scatter `sd` (log).

    Noncentral t of the excess over the floor ln(1 + min_gain), at Holm's first step over `hypotheses` variants.
    """
    if blocks < 2:
        return 0.0
    excess = math.log1p(policy.planned_effect) - math.log1p(policy.min_gain)
    if sd <= 0:
        return 1.0
    critical = -float(scipy.special.stdtrit(blocks - 1, policy.faster_alpha / hypotheses))
    shift = excess / sd * math.sqrt(blocks)
    return _known(blocks - 1, shift, critical)


def exceeds(freedom: int, shift: float, critical: float) -> float:
    """Probability that noncentral t with `freedom` >= 1 and noncentrality `shift` >= 0 exceeds `critical` > 0."""
    below = float(scipy.special.nctdtr(freedom, shift, critical))
    if math.isfinite(below):
        return 1 - below
    # Where scipy's series gives up: t is a normal variable over the root s of a chi square by its freedom (Johnson,
    # Kotz, Balakrishnan 1995, chapter 31), and what is asked is the mean of P(normal > critical * s) over s.
    last = math.sqrt(float(scipy.special.chdtri(freedom, _NEGLIGIBLE)) / freedom)
    if float(scipy.special.ndtr(shift - critical * last)) == 1.0:
        # Of every s that counts; what integrates is a third of a second to import.
        return 1.0
    log_density = math.log(2) + freedom / 2 * math.log(freedom / 2) - float(scipy.special.gammaln(freedom / 2))

    def over(s: float) -> float:
        density = math.exp(log_density + (freedom - 1) * math.log(s) - freedom * s * s / 2)
        return density * float(scipy.special.ndtr(shift - critical * s))

    # Between these the normal tail goes from 1 to 0: where that is narrow, quad alone would not see it.
    edges = ((shift - _FAR) / critical, (shift + _FAR) / critical)
    between = [0.0, *sorted({edge for edge in edges if 0 < edge < last}), last]
    parts = [scipy.integrate.quad(over, a, b)[0] for a, b in pairwise(between)]
    return min(1.0, math.fsum(parts))


_known = lru_cache(maxsize=4096)(exceeds)
"""A session is judged again for each promotion and each entry that rests on it. No decorator: `make mutants` leaves
decorated functions alone, and a test that takes scipy's series away is not to be answered from here."""


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
