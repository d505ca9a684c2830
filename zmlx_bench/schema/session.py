"""`session.json`: the plan of a session, where it ran, and how it ended."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.schema.base import Count, FileName, Name, NonEmpty, NonNegative, Positive, Sha256, StrictModel, UtcTime
from zmlx_bench.schema.capsule import Software
from zmlx_bench.schema.kernel import Site
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.migrations import session as migrations
from zmlx_bench.schema.plan import Plan
from zmlx_bench.schema.sealed import Sealed


class CapsuleRef(StrictModel):
    """A capsule that a finished session wrote."""

    file: FileName
    """Name in the session's folder."""
    content_sha256: Sha256


class FoundSites(StrictModel):
    """Modules of one class and size that have sites, or seem to have them: what was found in the loaded model."""

    sites: tuple[Site, ...]
    module: NonEmpty
    """Class of the modules."""
    first: str
    """Path of the first of them in the model."""
    modules: Positive
    sizes: str
    """Of their quantised weights, and how these are packed, in words."""
    why_not: NonEmpty | None
    """Why they are not offered to kernels; null where they are."""


class Stopped(StrictModel):
    """Where a session that was planned with looks ended."""

    blocks: Positive
    """Blocks that were run: one of the plan's looks."""
    why: Literal["decided", "futile", "most"]
    """Every variant was decided; no block left would have decided one; or it was the last look."""
    undecided: tuple[Name, ...]
    """Variants whose speed was not known then."""
    policy_sha256: Sha256
    """The policy that was asked."""


class Session(Sealed):
    """A session; written before its first process (`running`) and again when it has ended: `finished`, or `failed`
    where it cannot be finished."""

    updates = (migrations.update_to_2,)
    hashed = {1: migrations.hashed_1}

    schema_version: Literal[2]
    session: Name
    state: Literal["running", "finished", "failed"]
    started: UtcTime
    since_boot_s: NonNegative | None = None
    """When `started` was read, by a clock that nobody sets; null where it was not told."""
    preparing_s: NonNegative | None = None
    """Before it was written: checkpoint found and hashed, prompts made token ids; null where it was not told."""
    ended: UtcTime | None = None
    clock_set_s: float | None = None
    """By how many seconds, positive is ahead, the time of day was set while it ran; null where it was not told."""
    command: tuple[str, ...]
    checkpoint_option: NonEmpty
    """What `--checkpoint` said, or what `auto` came to; a resume finds the weights by it."""
    environment: dict[str, str] = {}
    shared_device: bool = False
    plan: Plan
    sites: tuple[FoundSites, ...] = ()
    """Of a model whose architecture has no family of its own: what its sites were found to be."""
    stopped: Stopped | None = None
    """Null before the timed blocks have ended, and in a session without looks."""
    machine: Machine
    software: Software
    capsules: tuple[CapsuleRef, ...] = ()
    failure: NonEmpty | None = None
    """Why a failed session cannot be finished."""
    extended: Count = 0
    """How often it was taken up again after a look had ended it."""
    resumed: Count = 0
    """How often it was taken up again."""

    @property
    def blocks(self) -> int:
        """Return how many blocks it runs: up to the look at which it stopped, or all that were planned."""
        return self.plan.blocks if self.stopped is None else self.stopped.blocks
