"""The teacher-forced audit: how near stock and a variant are to a float32 reference on the same tokens.

It explains a divergence. No verdict rests on it, but that of a variant which is declared to be near.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zmlx_bench.schema.base import Count, Name, NonNegative, Positive, Sha256, Status, StrictModel


class ArmTrace(StrictModel):
    """One arm against the reference, position by position."""

    kl: tuple[NonNegative, ...]
    """Kullback-Leibler divergence of the arm's distribution of the next token from the reference's, nats."""
    agrees: tuple[bool, ...]
    """Whether the arm's most likely token is the reference's."""
    max_error: tuple[NonNegative, ...]
    """Largest absolute difference of any logit."""

    @model_validator(mode="after")
    def _same_length(self) -> ArmTrace:
        if not len(self.kl) == len(self.agrees) == len(self.max_error) > 0:
            raise ValueError("kl, agrees and max_error must have the same number of positions, at least one")
        return self


class PromptAudit(StrictModel):
    """One prompt, followed by the baseline's tokens one at a time."""

    prompt: Name
    prompt_sha256: Sha256 | None = None
    """Of the token ids that the process prefilled; null in evidence from before processes told it."""
    output: Sha256
    """Hash of the baseline's answer, of which the first tokens were forced."""
    baseline: ArmTrace
    variant: ArmTrace

    @model_validator(mode="after")
    def _same_positions(self) -> PromptAudit:
        if len(self.baseline.kl) != len(self.variant.kl):
            raise ValueError("both arms must have the same positions")
        return self


class ArmDistance(StrictModel):
    """An arm's distance from the reference over all positions."""

    kl_mean: NonNegative
    kl_max: NonNegative
    top1_agreement: NonNegative
    """Share of the positions at which the most likely token is the reference's."""
    max_error: NonNegative


class AuditFigures(StrictModel):
    """What the traces say."""

    positions: Positive
    baseline: ArmDistance
    variant: ArmDistance
    nearer: Literal["variant", "baseline", "equal"]
    """The arm with the smaller mean KL."""
    variant_nearer: Count
    """Positions at which the variant has the smaller KL."""
    baseline_nearer: Count


class Bounded(StrictModel):
    """A mean over prompts, and one-sided bounds of it."""

    mean: float
    lower: float | None
    """95% lower bound; null where there are too few prompts."""
    upper: float | None
    """95% upper bound; null likewise."""


class Nearness(StrictModel):
    """How much farther from the reference a variant is than stock, from prompt to prompt (`analysis.near`)."""

    prompts: Count
    """Whose forced tokens do not loop: the others do not count."""
    positions: Count
    """Of the prompt that has fewest; 0 without a prompt."""
    kl: Bounded
    """Mean KL divergence from the reference: the variant's minus stock's, nats."""
    top1: Bounded
    """Share of positions whose most likely token is the reference's: stock's minus the variant's."""


class Audit(StrictModel):
    """The audit of one variant: its process, the raw traces, and what they say."""

    status: Status
    message: str | None = None
    prompts: tuple[PromptAudit, ...] = ()
    figures: AuditFigures | None = None
    """Null where the process failed."""
    near: Nearness | None = Field(default=None, exclude_if=lambda value: value is None)
    """Of a variant that is declared to be near; absent from others'."""

    @model_validator(mode="after")
    def _status_fits_fields(self) -> Audit:
        if (self.status == "ok") != bool(self.prompts) or bool(self.prompts) != (self.figures is not None):
            raise ValueError("prompts and figures belong to status 'ok', and to no other")
        return self
