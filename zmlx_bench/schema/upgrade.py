"""Whether the promotions of a workspace hold in another environment, as far as that is known."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.schema.base import Backend, Count, Digest, Name, NonEmpty, NonNegative, Positive, Sha256, StrictModel
from zmlx_bench.schema.plan import Conditions

Holds = Literal["held", "fails", "undecided", "unmeasured"]


class UpgradedBudget(StrictModel):
    """How fast the variant is there at one budget, against the stock model there."""

    tokens: Positive
    speedup: NonNegative | None
    low: NonNegative | None
    """Of the unadjusted 90% interval."""
    high: NonNegative | None


class StockThere(StrictModel):
    """What the stock model in the environment is against the one here."""

    speed: NonNegative | None
    """Ratio of decode tok/s at the largest budget."""
    prompt: Name | None = None
    """The first whose tokens are others; null where all tokens are the same."""
    token: Count | None = None
    """Index of its first other token."""
    margin: NonNegative | None = None
    """Top-1 minus top-2 log-probability here, at that token."""


class UpgradeCheck(StrictModel):
    """What was found of one promotion."""

    family: Name
    checkpoint: Name
    checkpoint_digest: Digest
    backend: Backend
    device: NonEmpty
    cores: Positive | None = None
    conditions: Conditions = Conditions()
    variant: Name
    identity: Sha256 | None = None
    """Of the variant as it is here now; null where it could not be made out."""
    session: Name | None = None
    said: Holds | None = None
    """Null while its session runs."""
    why: str = ""
    budgets: tuple[UpgradedBudget, ...] = ()
    peak_mem_gb: NonNegative | None = None
    stock_peak_mem_gb: NonNegative | None = None
    """Of the stock model there."""
    stock: StockThere | None = None
    blocks_needed: Positive | None = None
    """Of a session that would decide what this one left undecided."""


class Upgrade(StrictModel):
    """The file `upgrades/NAME.json` of a workspace."""

    schema_version: Literal[1] = 1
    upgrade: Name
    environment: NonEmpty
    """By what it is asked for."""
    digest: Sha256 | None
    """Of the environment as it is; null where nothing was asked of it, and none was made."""
    blocks: Positive
    """Most blocks of a session."""
    seed: Count
    prompts: str | None = None
    """As they were asked for; null is the packaged ones."""
    prompts_sha256: Sha256 | None = None
    """Of what they were when it began; null in one from before it was written down."""
    checks: tuple[UpgradeCheck, ...] = ()
