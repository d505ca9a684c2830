"""The noise model and the rules that `decision_error.py` compares: arrays of simulated sessions, no files.

A session has the arms baseline, null and V variants at two budgets. Log decode speed of an arm in a block is
block drift + process noise + arm-by-session effect + what its place in the order adds, all shared as stated below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from drawn_orders import drawn_orders
from scipy import special

from zmlx_bench.analysis.decision.group import allowance
from zmlx_bench.analysis.decision.outliers import set_aside
from zmlx_bench.analysis.decision.speed import Evidence, Speed, evidence, judge
from zmlx_bench.analysis.decision.statistics import Estimate, biased, estimate, floor_of, p_above
from zmlx_bench.protocol.plan import ESTIMATOR
from zmlx_bench.schema.policy import Policy

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BLOCK_DRIFT = 0.05
COLD = 0.06
TREND = 0.05
WITHIN_RUN = 0.0075
RUNS_PER_PROCESS = 3

Shape = Literal["normal", "heavy", "cold", "trend", "every block cold"]


@dataclass(frozen=True)
class Noise:
    """How simulated processes scatter."""

    process_sd: float
    shape: Shape = "normal"
    """`heavy`: Student t, 3 degrees of freedom, scaled to the same variance; `cold`: the first timed process of
    each budget is 6% off, up or down; `trend`: 5% up or down over the session; `every block cold`: the first
    process of every block is 6% off, which the warm-up process is there to prevent."""
    arm_sd: float = 0.0
    """Arm-by-session effect, shared by both budgets."""


# True gains of a variant at (200, 1024) tokens.
WRONG: dict[str, tuple[float, float]] = {
    "equal": (0.0, 0.0),
    "1% slower at one": (0.0, -0.01),
    "20% faster at one, equal at the other": (0.2, 0.0),
    "20% faster at one, 1% slower at the other": (0.2, -0.01),
}
RIGHT: dict[str, tuple[float, float]] = {"+2%": (0.02,) * 2, "+3%": (0.03,) * 2, "+5%": (0.05,) * 2, "+20%": (0.2,) * 2}


@dataclass(frozen=True)
class Sessions:
    """Simulated sessions: the estimates that the rule needs, with no true gain added yet."""

    blocks: tuple[int, int]
    gain: tuple[Estimate, Estimate]
    """d at each budget, arrays (sessions, variants)."""
    null: tuple[Estimate, Estimate]
    own_outliers: tuple[Array, Array]
    """True gain (log) up to which the gate on a variant's own outliers holds it back;
    minus infinity elsewhere, (sessions, variants)."""
    raw: tuple[Array, Array]
    """ln decode speed, (sessions, arms, blocks): baseline, null, variants."""


@dataclass(frozen=True)
class Outcome:
    """What the rule says about every variant of every session, (sessions, variants)."""

    speed: npt.NDArray[np.int_]
    candidate: Flags
    valid: Flags
    """Whether the session may count, (sessions,)."""


def simulate(
    rng: np.random.Generator, sessions: int, variants: int, blocks: tuple[int, int], noise: Noise, policy: Policy
) -> Sessions:
    """Draw `sessions` sessions of equal arms."""
    arms = variants + 2
    offsets = rng.normal(0.0, noise.arm_sd, (sessions, arms, 1)) if noise.arm_sd else np.zeros((sessions, arms, 1))
    raw = tuple(_speeds(rng, sessions, arms, count, noise) + offsets for count in blocks)
    samples = [y[:, 2:] - (y[:, :1] + y[:, 1:2]) / 2 for y in raw]
    gain = tuple(estimate(sample, ESTIMATOR) for sample in samples)
    null = tuple(estimate(y[:, 1] - y[:, 0], ESTIMATOR) for y in raw)
    own = tuple(own_outliers(sample, policy) for sample in samples)
    return Sessions(blocks, (gain[0], gain[1]), (null[0], null[1]), (own[0], own[1]), (raw[0], raw[1]))


def own_outliers(sample: Array, policy: Policy) -> Array:
    """Up to which true gain the gate on a variant's own outliers holds it back, from d of equal arms (..., blocks)."""
    found = set_aside(sample, ESTIMATOR, policy)
    # Both the mean and the estimate move with the true gain g: mean + g <= share * (estimate + g).
    limit = (found.needed - found.plain) / (1 - policy.outlier_share)
    return np.where(found.mostly_own, limit, -np.inf)


def _speeds(rng: np.random.Generator, sessions: int, arms: int, blocks: int, noise: Noise) -> Array:
    shape = (sessions, arms, blocks)
    scatter = rng.standard_t(3, shape) / np.sqrt(3) if noise.shape == "heavy" else rng.standard_normal(shape)
    speeds: Array = rng.normal(0.0, BLOCK_DRIFT, (sessions, 1, blocks)) + noise.process_sd * scatter
    if noise.shape in ("normal", "heavy"):
        return speeds
    places = drawn_orders(rng, sessions, arms, blocks).argsort(axis=-1).swapaxes(1, 2)
    sign = rng.choice([-1.0, 1.0], (sessions, 1, 1))
    if noise.shape == "trend":
        return speeds + sign * TREND * (np.arange(blocks) * arms + places) / (blocks * arms)
    cold = (places == 0) & (np.arange(blocks) < (1 if noise.shape == "cold" else blocks))
    return speeds + sign * COLD * cold


def shifted(gain: Estimate, true: Array) -> Estimate:
    """Add true gains (as fractions, one a variant) to estimates of equal arms."""
    return replace(gain, mean=gain.mean + np.log1p(true))


def true_gains(gains: tuple[float, float], variants: int, one: bool) -> tuple[Array, Array]:
    """True gain of each variant at each budget; with `one` only the first has it and the others are equal."""
    at = tuple(np.where(np.arange(variants) < (1 if one else variants), gain, 0.0) for gain in gains)
    return at[0], at[1]


def decide(drawn: Sessions, gains: tuple[Array, Array], policy: Policy) -> Outcome:
    """Apply the rule with the very functions that `zmlx promote` uses."""
    cells = [
        evidence(shifted(gain, true), floor_of(null, policy.min_gain)[:, None], policy)
        for gain, null, true in zip(drawn.gain, drawn.null, gains, strict=True)
    ]
    stacked = Evidence(*(np.stack([getattr(c, f) for c in cells], axis=-1) for f in ("above", "below", "within")))
    for column, (count, least) in enumerate(zip(drawn.blocks, policy.min_blocks.values(), strict=True)):
        if count < least:
            stacked.above[..., column] = np.nan
            stacked.below[..., column] = np.nan
            stacked.within[..., column] = False
    speed = judge(stacked, policy).overall
    off = biased(drawn.null[0], policy.bias_level) | biased(drawn.null[1], policy.bias_level)
    speed = np.where(off[:, None], Speed.UNRESOLVED, speed)
    enough = all(n >= least for n, least in zip(drawn.blocks, policy.min_blocks.values(), strict=True))
    own = np.any([np.log1p(true) <= limit for limit, true in zip(drawn.own_outliers, gains, strict=True)], axis=0)
    return Outcome(speed, (speed == Speed.FASTER) & ~own, ~off & enough)


def promotions(
    drawn: Sessions, outcome: Outcome, gains: tuple[Array, Array], policy: Policy, lags: int = 4
) -> tuple[float, float]:
    """Rate of sessions pairs in which some variant is promoted: (of pairs run, of pairs of valid sessions)."""
    rates = []
    variants = outcome.candidate.shape[1]
    for chosen in (np.arange(len(outcome.valid)), np.flatnonzero(outcome.valid)):
        if len(chosen) <= lags:
            rates.append(float("nan"))
            continue
        hits = [
            _promoted(drawn, outcome, gains, policy, variants, chosen, np.roll(chosen, lag)).any(axis=1).mean()
            for lag in range(1, lags + 1)
        ]
        rates.append(float(np.mean(hits)))
    return rates[0], rates[1]


def _promoted(
    drawn: Sessions,
    outcome: Outcome,
    gains: tuple[Array, Array],
    policy: Policy,
    variants: int,
    one: npt.NDArray[np.int_],
    two: npt.NDArray[np.int_],
) -> Flags:
    both: Flags = outcome.candidate[one] & outcome.candidate[two]
    for gain, true in zip(drawn.gain, gains, strict=True):
        moved = shifted(gain, true)
        needed = allowance([moved.se[one], moved.se[two]], 1.5, variants, policy)
        both = both & ((moved.mean[one] + moved.mean[two]) / 2 > needed)
    return both


def replacement(drawn: Sessions, lead: float, policy: Policy) -> tuple[float, float]:
    """Rates at which a rival that is truly `lead` (log) ahead of the incumbent beats it: (in a session, for good).

    The rival is the first variant, the incumbent the second, 5% ahead of the stock model. "For good" is of pairs of
    valid sessions: faster than the stock model and than the incumbent in both, and beyond the allowance.
    """
    ahead = np.log1p(0.05) + np.array([lead, 0.0])
    found = decide(drawn, (np.expm1(ahead), np.expm1(ahead)), policy)
    over = [estimate(y[:, 2:3] - y[:, 3:4] + lead, ESTIMATOR) for y in drawn.raw]
    cells = [
        evidence(of, floor_of(null, policy.min_gain)[:, None], policy)
        for of, null in zip(over, drawn.null, strict=True)
    ]
    # As in a session, the incumbent stands among the planned variants, without evidence against itself.
    blank = np.full((len(found.valid), 1, 2), np.nan)
    above, below = (
        np.concatenate([np.stack([getattr(c, f) for c in cells], axis=-1), blank], axis=1) for f in ("above", "below")
    )
    beaten = judge(Evidence(above, below, np.zeros(above.shape, dtype=np.bool_)), policy).overall[:, 0] == Speed.FASTER
    better = found.candidate[:, 0] & beaten
    one = np.flatnonzero(found.valid)
    two = np.roll(one, 1)
    both = better[one] & better[two]
    for against, per_session, shift in ((drawn.gain, 1.5, ahead[0]), (over, 2.0, 0.0)):
        for of in against:
            mean, se = of.mean[:, 0] + shift, of.se[:, 0]
            needed = allowance([se[one], se[two]], per_session, 2, policy)
            both &= (mean[one] + mean[two]) / 2 > needed
    return float(better.mean()), float(both.mean()) if len(one) else float("nan")


def others(rng: np.random.Generator, drawn: Sessions, gains: tuple[Array, Array], alpha: float) -> Mapping[str, float]:
    """Rates at which other rules call a single variant faster at both budgets, on the same sessions."""
    verdicts: dict[str, list[Flags]] = {"median": [], "welch": [], "pooled": []}
    for raw, true in zip(drawn.raw, gains, strict=True):
        base, variant = raw[:, 0], raw[:, 2] + np.log1p(true[0])
        verdicts["median"].append(np.median(variant, axis=-1) > np.median(base, axis=-1))
        verdicts["welch"].append(_welch(variant, base) <= alpha)
        runs = rng.normal(0.0, WITHIN_RUN, (2, *base.shape, RUNS_PER_PROCESS))
        apart = (variant[..., None] + runs[0] - base[..., None] - runs[1]).reshape(len(base), -1)
        verdicts["pooled"].append(p_above(estimate(apart), 0.0) <= alpha)
    return {name: float((flags[0] & flags[1]).mean()) for name, flags in verdicts.items()}


def _welch(variant: Array, base: Array) -> Array:
    """One-sided p-values of Welch's unequal-variances t-test on unpaired log speeds."""
    n = base.shape[-1]
    of_variant, of_base = variant.var(axis=-1, ddof=1) / n, base.var(axis=-1, ddof=1) / n
    total = of_variant + of_base
    freedom = total**2 * (n - 1) / (of_variant**2 + of_base**2)
    t = (variant.mean(axis=-1) - base.mean(axis=-1)) / np.sqrt(total)
    return np.asarray(special.stdtr(freedom, -t))


def worst(rates: Sequence[float]) -> float:
    """Largest known rate."""
    known = [rate for rate in rates if not np.isnan(rate)]
    return max(known, default=float("nan"))
