"""The policy: every threshold of the decision, as data in `variants/policy.toml`.

Only a field that came later has a default, so that a workspace's older policy can be read.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from zmlx_bench.schema.base import (
    CheckpointKind,
    NonNegative,
    Positive,
    StrictModel,
    content_hash,
)

FUTILITY_POWER = 0.1
OUTLIER_BLOCKS = 0.5
OUTLIER_SHARE = 0.5
NEAR_KL = 0.001
NEAR_TOP1 = 0.01
NEAR_PROMPTS = 20
NEAR_POSITIONS = 100
NEAR_STOCK_TOP1 = 0.5
CLOCK_SET_S = 10.0
STALL_LEVEL = 0.02
STALL_LOSS = 0.175
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Policy(StrictModel):
    """What a kernel set must show before it may become the default."""

    schema_version: Literal[1]

    min_gain: Fraction
    """Smallest decode gain that matters: the least floor of `faster`, and the margin of `equivalent`."""
    faster_alpha: Fraction
    """Family-wise error of `faster` over the planned variants of a session (Holm)."""
    slower_alpha: Fraction
    """Family-wise error of `slower` over variants x budgets of a session (a Holm of its own)."""
    interval_level: Fraction
    """Level of the unadjusted interval that is printed, and that decides `equivalent`."""
    bias_level: Fraction
    """Level of the interval of the null arm; where it excludes zero, the session is biased."""
    outlier_blocks: Fraction = OUTLIER_BLOCKS
    """Outliers are a variant's own where the estimate sets aside so many blocks more in which it was slow than in which
    the stock model was; parts of a block count."""
    outlier_share: Fraction = OUTLIER_SHARE
    """Share of the estimated gain (log) that the plain mean must exceed where they are."""
    min_blocks: dict[Positive, Positive] = Field(min_length=1)
    """Budgets that a verdict needs (tokens), and the fewest blocks at each."""

    min_prompts: Positive
    """Fewest prompts whose baseline output does not loop."""
    distinct_8gram_share: Fraction
    """A baseline output loops when a smaller share than this of its 8-grams is distinct."""

    near_kl: Fraction = NEAR_KL
    """A near variant's mean KL divergence from the float32 reference may exceed stock's by less than this, nats."""
    near_top1: Fraction = NEAR_TOP1
    """Its share of positions whose most likely token is the reference's may fall short of stock's by less than this."""
    near_prompts: Annotated[int, Field(ge=2)] = NEAR_PROMPTS
    """Fewest prompts for both, of which the forced tokens do not loop."""
    near_positions: Positive = NEAR_POSITIONS
    """Fewest positions of each of them."""
    near_stock_top1: Fraction = NEAR_STOCK_TOP1
    """Least share of the audit's positions at which stock's most likely token is the reference's: below it nothing is
    said of what is near."""

    memory_tolerance: NonNegative
    """Allowed excess of the peak memory reported by MLX over the baseline's, as a fraction."""
    memory_slack_gb: NonNegative
    """Allowed excess in GB where that is more: an allocator's step, which matters for small checkpoints only."""
    resident_tolerance: NonNegative
    """Allowed excess of the process's peak resident set, which sees what MLX does not count, as a fraction."""
    resident_slack_gb: NonNegative
    """Allowed excess of the resident set in GB where that is more."""
    prefill_tolerance: Fraction
    """Allowed loss of prefill speed in paired blocks, as a fraction."""

    clock_disagreement: Fraction
    """Largest relative difference between the worker's and the supervisor's decode time."""

    sessions: Annotated[int, Field(ge=2)]
    """Latest valid sessions that must agree before a promotion or a demotion."""
    session_gap_s: NonNegative
    """Least time between two of them, seconds."""
    clock_set_s: NonNegative = CLOCK_SET_S
    """Most seconds by which the time of day may have been set while one of them ran: else its times prove no gap."""
    sessions_averaged: Positive
    """Most sessions, from the latest back while they agree, whose mean is held against `arm_effect`: more sessions
    than `sessions` need not be, but they make a smaller gain promotable."""
    arm_effect: NonNegative
    """Standard deviation (log) that a promotion allows for an arm being off for a whole session, which no
    number of blocks averages away; 0 does not ask for it."""
    promote_alpha: Fraction
    """Family-wise error of that allowance over the planned variants (Bonferroni)."""
    stall_level: Fraction = STALL_LEVEL
    """One-sided level of the bound on how many stalls of a variant the blocks of agreeing sessions may have missed."""
    stall_loss: Fraction = STALL_LOSS
    """Share of its speed that a process which stalls is taken to lose."""
    promotable_checkpoints: tuple[CheckpointKind, ...]
    """Checkpoints whose evidence may promote; the others end at CANDIDATE."""

    planned_effect: Fraction
    """Gain for which the blocks needed are computed, whatever gain was observed."""
    planned_power: Fraction
    """Probability with which that gain must be found."""
    max_blocks: Positive
    """Where more blocks than this would be needed, the answer is "more than"."""
    futility_power: Fraction = FUTILITY_POWER
    """A session that looks stops where even its last planned block would find that gain with less than this."""

    @model_validator(mode="after")
    def _figures_fit_each_other(self) -> Policy:
        if self.planned_effect <= self.min_gain:
            raise ValueError("`planned_effect` must be larger than `min_gain`, or no number of blocks finds it")
        if self.sessions_averaged < self.sessions:
            raise ValueError("`sessions_averaged` must not be smaller than `sessions`")
        return self

    @property
    def sha256(self) -> str:
        """Content hash; a promotion names the policy that made it.

        A field that came later is left out while it has its default: it turned no verdict of before.
        """
        came_later = {
            "futility_power": FUTILITY_POWER,
            "outlier_blocks": OUTLIER_BLOCKS,
            "outlier_share": OUTLIER_SHARE,
            "near_kl": NEAR_KL,
            "near_top1": NEAR_TOP1,
            "near_prompts": NEAR_PROMPTS,
            "near_positions": NEAR_POSITIONS,
            "near_stock_top1": NEAR_STOCK_TOP1,
            "clock_set_s": CLOCK_SET_S,
            "stall_level": STALL_LEVEL,
            "stall_loss": STALL_LOSS,
        }
        later = {field for field, value in came_later.items() if getattr(self, field) == value}
        return content_hash(self.model_dump(mode="json", exclude=later))
