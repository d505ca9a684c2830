"""A bisection as it stands: what was asked, the versions, and what each session said. Written after every step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from zmlx_bench.schema.base import Count, Name, NonEmpty, NonNegative, Positive, Sha256, StrictModel

On = Literal["speed", "tokens", "memory"]
Said = Literal["good", "bad", "undecided", "skipped"]


class BisectedVersion(StrictModel):
    """One version between the ends, or an end."""

    version: NonEmpty
    environment: NonEmpty
    """What its environment is asked for by."""


class LeftOut(StrictModel):
    """A version between the ends that was not considered."""

    version: NonEmpty
    why: NonEmpty


class Divergence(StrictModel):
    """The first token in which two versions differ."""

    prompt: Name
    token: Count
    """Index from 0."""
    good: Count | None
    """Token id; null where the output had ended."""
    bad: Count | None
    margin: NonNegative | None
    """The baseline's top-1 minus top-2 log-probability there; null where its tokens are neither's."""


class Figure(StrictModel):
    """How a version differs from the good end: decode tok/s or peak memory, with its unadjusted 90% interval."""

    ratio: NonNegative
    low: NonNegative | None
    high: NonNegative | None


class BisectionStep(StrictModel):
    """What was found of one version."""

    version: NonEmpty
    session: Name | None = None
    """Null where its environment could not be made."""
    said: Said | None = None
    """Null while its session runs."""
    why: str = ""
    """Why it was skipped or is undecided."""
    figure: Figure | None = None
    """Against the good end in the same blocks; null for tokens."""
    divergence: Divergence | None = None
    """From the good end; null where all tokens are the same, and where nothing was asked about tokens."""
    distributions: dict[str, str] = {}
    """Version of everything that was installed beside the package."""


class Bisection(StrictModel):
    """The file `bisections/NAME.json` of a workspace."""

    schema_version: Literal[1] = 1
    bisection: Name
    family: NonEmpty
    package: NonEmpty
    on: On
    good: NonEmpty
    bad: NonEmpty
    tokens: Positive
    blocks: Positive
    """Most blocks of a step."""
    checkpoint: NonEmpty
    """As it was asked for."""
    backend: NonEmpty
    seed: Count
    prompts: str | None = None
    """As they were asked for; null is what the question needs."""
    prompts_sha256: Sha256 | None = None
    """Of what they were when it began; null in one from before it was written down."""
    wheels: dict[str, Sha256] = {}
    """By version, of the wheels in folders that were named."""
    versions: tuple[BisectedVersion, ...] = Field(min_length=2)
    """From the good end to the bad one."""
    left_out: tuple[LeftOut, ...] = ()
    ends: BisectionStep | None = None
    """The bad end against the good one; said is `bad` where they differ, `good` where they do not."""
    good_distributions: dict[str, str] = {}
    steps: tuple[BisectionStep, ...] = ()
    """In the order in which they were asked about."""

    def step(self, version: str) -> BisectionStep | None:
        """Return the latest that is known of a version between the ends."""
        return next((one for one in reversed(self.steps) if one.version == version), None)
