"""What a verdict rests on, as plain values; `adapter` makes them from capsules, tests make them from nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from zmlx_bench.schema.base import CheckpointKind, Status
from zmlx_bench.schema.identity import Identity


@dataclass(frozen=True)
class GroupKey:
    """Evidence never crosses it."""

    family: str
    checkpoint: str
    """Identity, not the label."""
    backend: str
    device: str
    mlx: str


@dataclass(frozen=True)
class FidelityEvidence:
    """Tokens of a variant against the baseline's, over all prompts at one budget."""

    identical: bool
    matched: int
    total: int
    counting_prompts: int
    """Prompts whose baseline output does not loop."""
    baseline_repeats: bool | None
    null_identical: bool | None
    divergence: tuple[str, int] | None = None
    """First prompt that differs and the index of its first differing token."""


@dataclass(frozen=True)
class BudgetEvidence:
    """One capsule: a variant at one budget in one session. Unknown is None."""

    tokens: int
    capsule: str
    """Path in the workspace."""
    status: Status
    gain: tuple[float, ...]
    """d of each block: ln decode speed against the mean of baseline and null (the baseline alone without null)."""
    null: tuple[float, ...] | None
    """z of each block: the null arm against the baseline."""
    over_incumbent: tuple[float, ...] | None
    """ln decode speed against the incumbent in the same blocks."""
    fidelity: FidelityEvidence | None
    message: str | None = None
    """What the process that failed said, one printable line."""
    prefill: float | None = None
    """Mean log ratio of prefill speed, paired like `gain`."""
    peak_mem_gb: float | None = None
    baseline_peak_mem_gb: float | None = None
    peak_rss_gb: float | None = None
    baseline_peak_rss_gb: float | None = None
    clock_disagreement: float | None = None
    throttled: bool | None = None
    idle_kernels: tuple[str, ...] = ()
    """Kernels of the variant that were never called: then the stock model was measured."""


@dataclass(frozen=True)
class ArmEvidence:
    """A variant in a session."""

    variant: str
    identity: str
    """What its evidence is bound to: sessions of another one ran other code."""
    budgets: Mapping[int, BudgetEvidence]
    bytes_identity: str = ""
    """Hash of the resolved variant with the bytes of its kernels: what evidence was bound to under rule 1."""
    coverage: Mapping[str, float] | None = None
    """Calls of each site per decoded token; None where no process ended well, and then not compared."""
    parts: Identity | None = None
    """What `identity` is made of; None where that is not known."""


@dataclass(frozen=True)
class SessionEvidence:
    """All variants of one session; those planned of which nothing was recorded count for Holm all the same."""

    session: str
    started: datetime
    ended: datetime
    null_arm: bool
    arms: tuple[ArmEvidence, ...]
    planned: tuple[str, ...]
    """Variants of the plan, the incumbent included."""
    incumbent: str | None = None
    """The incumbent measured in the same blocks."""


@dataclass(frozen=True)
class GroupEvidence:
    """All sessions of one group."""

    key: GroupKey
    checkpoint_kind: CheckpointKind
    sessions: tuple[SessionEvidence, ...]
    incumbent: str | None = None
    """The variant now promoted for the group."""
    labels: tuple[str, ...] = field(default=())
    """Short names of the checkpoint, for tables."""


def under_bytes(group: GroupEvidence) -> GroupEvidence:
    """Return a group as rule 1 saw it: bound to the bytes of kernels, whatever ran around them and how often."""
    sessions = tuple(
        replace(
            session,
            arms=tuple(replace(arm, identity=arm.bytes_identity, coverage=None, parts=None) for arm in session.arms),
        )
        for session in group.sessions
    )
    return replace(group, sessions=sessions)
