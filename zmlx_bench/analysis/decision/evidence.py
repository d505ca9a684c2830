"""What a verdict rests on, as plain values; `adapter` makes them from capsules, tests make them from nothing."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from zmlx_bench.analysis.decision.statistics import Estimate, estimate
from zmlx_bench.schema.audit import Nearness
from zmlx_bench.schema.base import CheckpointKind, Estimator, Status
from zmlx_bench.schema.figures import Figures, Ratio
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.plan import Conditions, Contrast, Within


@dataclass(frozen=True)
class GroupKey:
    """Evidence never crosses it."""

    family: str
    checkpoint: str
    """Digest, not the label."""
    conditions: Conditions
    backend: str
    device: str
    cores: int | None
    """CPU cores that processes may use; None in evidence of version 1, which did not record them."""
    mlx: str
    mlx_lm: str | None
    """None in a promotion of version 1 whose sessions are not here."""

    def covers(self, other: GroupKey) -> bool:
        """Whether what was found here holds for `other`: the same group but for what was not recorded here."""
        unknown = {name: getattr(other, name) for name in ("cores", "mlx_lm") if getattr(self, name) is None}
        if self.cores is None and other.device.startswith(f"{self.device} ("):
            # Where no cores were recorded, a device had its bare name.
            unknown["device"] = other.device
        return replace(self, **unknown) == other

    @property
    def order(self) -> tuple[object, ...]:
        """Return what groups are sorted by."""
        values = (getattr(self.conditions, name) for name in type(self.conditions).model_fields)
        run = tuple(-1 if value is None else value for value in (*values, self.cores))
        return self.family, self.checkpoint, self.backend, self.device, self.mlx, self.mlx_lm or "", run


@dataclass(frozen=True)
class BudgetEvidence:
    """One capsule: a variant at one budget in one session. Unknown is None."""

    tokens: int
    capsule: str
    """Path in the workspace."""
    status: Status
    figures: Figures
    estimator: Estimator = "mean"
    """What every ratio of its blocks is estimated with."""
    counting_prompts: int = 0
    """Prompts whose baseline output does not loop, by the policy's measure."""
    message: str | None = None
    """What the process that failed said, one printable line."""
    idle_kernels: tuple[str, ...] = ()
    """Kernels of the variant that were never called: then the stock model was measured."""

    near: Nearness | None = None
    """What the audit of a variant that is declared to be near found."""
    stock_top1: float | None = None
    """Share of all its positions at which stock's most likely token is the reference's; None where it is not asked."""
    audit_failed: str | None = None
    """Why its audit found nothing, one printable line; None where it did, or there was none."""

    seen: int | None = None
    """Only blocks up to this one; None is all."""

    @property
    def gain(self) -> tuple[float, ...]:
        """Return d of each block: ln decode speed against the mean of baseline and null, or the baseline alone."""
        return self._logs(self.figures.speedup)

    @property
    def null(self) -> tuple[float, ...]:
        """Return z of each block: the null arm against the baseline; empty without a null arm."""
        return self._logs(self.figures.null)

    @property
    def over_incumbent(self) -> tuple[float, ...]:
        """Return ln decode speed against the incumbent in the same blocks; empty where none was measured."""
        return self._logs(self.figures.incumbent)

    def estimate(self, sample: tuple[float, ...]) -> Estimate:
        """Estimate where d, z or another log ratio of these blocks lies."""
        return estimate(sample, self.estimator)

    @property
    def gain_by_block(self) -> dict[int, float]:
        """Return d by the number of its block."""
        return self._by_block(self.figures.speedup)

    def _logs(self, ratio: Ratio | None) -> tuple[float, ...]:
        if ratio is None or self.seen is None:
            return () if ratio is None else ratio.logs
        return tuple(self._by_block(ratio).values())

    def _by_block(self, ratio: Ratio | None) -> dict[int, float]:
        if ratio is None:
            return {}
        pairs = zip(ratio.blocks, ratio.logs, strict=True)
        return {block: log for block, log in pairs if self.seen is None or block <= self.seen}


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
    environment: str | None = None
    """By what name it asked for another environment than its baseline's; None where they share one."""
    near: bool = False
    """Whether it is declared to be near, and so not held to every token: then it has verdicts of its own."""


@dataclass(frozen=True)
class SessionEvidence:
    """All variants of one session; those planned of which nothing was recorded count for Holm all the same."""

    session: str
    started: datetime
    ended: datetime
    null_arm: bool
    arms: tuple[ArmEvidence, ...]
    planned: tuple[str, ...]
    """Variants of the plan that are held to every token, the incumbent included."""
    near_planned: tuple[str, ...] = ()
    """Variants of the plan that are declared to be near: a family of hypotheses of their own."""
    incumbent: str | None = None
    """The incumbent measured in the same blocks."""
    looks: tuple[int, ...] = ()
    """After how many blocks the session was planned to be looked at; empty where its blocks were fixed."""
    keeps_at_looks: bool = False
    """Whether a look tells of no gain that what its estimate sets aside eats: in sessions planned since plans of
    algorithm 3."""
    blocks: int | None = None
    """Blocks that were run, where there are looks."""
    clock_set_s: float | None = None
    """By how many seconds the time of day was set while it ran; None where that was not told."""
    contrast: Contrast | None = None
    """What it stops by in the place of its variants' verdicts."""
    within: Within | None = None
    """The arms of an upgrade check, which no `zmlx run` is asked for."""

    @property
    def by_rule(self) -> tuple[SessionEvidence, SessionEvidence]:
        """Return the session as it is for variants held to every token, and for those that are near.

        Neither takes part in the other's Holm, and what is near is not compared with the incumbent.
        """
        strict, near = (tuple(arm for arm in self.arms if arm.near is is_near) for is_near in (False, True))
        return (
            replace(self, arms=strict, near_planned=()),
            replace(self, arms=near, planned=self.near_planned, near_planned=(), incumbent=None),
        )

    def hypotheses(self, arm: ArmEvidence) -> int:
        """Return over how many variants an arm's verdict is adjusted: those of the plan held to what it is."""
        planned = self.near_planned if arm.near else self.planned
        return max(len(planned), sum(each.near is arm.near for each in self.arms))

    @property
    def stopped_early(self) -> bool:
        """Whether it stopped at a look before its last: then chance had a hand in when, and its gain is overstated."""
        return bool(self.looks) and self.blocks is not None and self.blocks < self.looks[-1]

    @property
    def taken(self) -> tuple[int | None, ...]:
        """Return the looks that were taken, each as the last block that it saw; a fixed plan has one look at all."""
        if not self.looks:
            return (None,)
        return tuple(look for look in self.looks if self.blocks is None or look <= self.blocks)


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


def at_budgets(group: GroupEvidence, budgets: Container[int]) -> GroupEvidence:
    """Return a group as rules before the fourth saw what is held to every token: at these budgets alone."""
    sessions = tuple(
        replace(session, arms=tuple(arm if arm.near else _only(arm, budgets) for arm in session.arms))
        for session in group.sessions
    )
    return replace(group, sessions=sessions)


def without_stock(group: GroupEvidence) -> GroupEvidence:
    """Return a group as rules before the fifth saw it: whatever stock's own distance from the float32 reference."""
    sessions = tuple(
        replace(
            session,
            arms=tuple(
                replace(arm, budgets={tokens: replace(found, stock_top1=None) for tokens, found in arm.budgets.items()})
                for arm in session.arms
            ),
        )
        for session in group.sessions
    )
    return replace(group, sessions=sessions)


def _only(arm: ArmEvidence, budgets: Container[int]) -> ArmEvidence:
    return replace(arm, budgets={tokens: found for tokens, found in arm.budgets.items() if tokens in budgets})
