"""What a decision says: gates, verdicts of a session, verdicts of a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from zmlx_bench.analysis.decision.evidence import BudgetEvidence
from zmlx_bench.schema.figures import Ratio

Verdict = Literal["PROMOTE", "CANDIDATE", "NEAR-CANDIDATE", "HOLD", "INCONCLUSIVE", "REJECT"]
Outcome = Literal["pass", "fail", "unknown"]
SpeedName = Literal["slower", "unresolved", "equivalent", "faster"]


@dataclass(frozen=True)
class Gate:
    """One condition of a verdict."""

    id: str
    outcome: Outcome
    """`unknown` where it could not be judged; whether that holds a verdict back depends on the gate."""
    figure: float | int | str | None
    """What was found."""
    threshold: float | int | str | None
    """What it was held against."""
    capsules: tuple[str, ...]
    """The capsules that the figure comes from."""
    text: str
    """One plain sentence."""


@dataclass(frozen=True)
class BudgetFigures:
    """What follows from a capsule for a variant's speed at one budget."""

    evidence: BudgetEvidence
    low: float | None
    """Of the speed-up's interval: a ratio, unadjusted, at the policy's level."""
    high: float | None
    floor: float
    """delta0 as a ratio: what the speed-up must exceed."""
    p_faster: float | None
    """One-sided, before Holm."""
    p_faster_adjusted: float
    p_slower: float | None
    p_slower_adjusted: float
    speed: SpeedName

    @property
    def tokens(self) -> int:
        """The budget."""
        return self.evidence.tokens

    @property
    def capsule(self) -> str:
        """Path in the workspace."""
        return self.evidence.capsule

    @property
    def blocks(self) -> int:
        """Blocks in which the variant was compared."""
        return len(self.evidence.gain)

    @property
    def speedup(self) -> float | None:
        """Return exp(mean d)."""
        return _value(self.evidence.figures.speedup)

    @property
    def null_speedup(self) -> float | None:
        """Return exp(mean z)."""
        return _value(self.evidence.figures.null)


def _value(ratio: Ratio | None) -> float | None:
    return None if ratio is None else ratio.value


@dataclass(frozen=True)
class SessionVerdict:
    """The verdict on one variant from one session."""

    variant: str
    identity: str
    session: str
    verdict: Verdict
    """Never PROMOTE: that takes more than one session."""
    reason: str
    """One word or two: the gate that decided, such as `fidelity`, `performance`, `bias`; `faster` for CANDIDATE."""
    why: str
    """One plain sentence."""
    valid: bool
    """Whether the session measured this variant properly, so that the verdict counts towards the group's."""
    budgets: tuple[BudgetFigures, ...]
    gates: tuple[Gate, ...]
    blocks_needed: int | None
    """Blocks of a new session that would find the policy's planned effect; None when the scatter is unknown."""
    blocks_capped: bool = False
    """Whether more than `blocks_needed` (the policy's limit) would be needed."""
    coverage: Mapping[str, float] | None = None
    """Calls of each site per decoded token; None where not known."""

    @property
    def wrong_tokens(self) -> bool:
        """Whether the session rejected the variant for its tokens."""
        return self.verdict == "REJECT" and self.reason == "fidelity"


@dataclass(frozen=True)
class GroupVerdict:
    """The verdict on one variant from all sessions of a group."""

    variant: str
    verdict: Verdict
    reason: str
    why: str
    latest: SessionVerdict
    """The session verdict that is shown: the latest valid one, or the latest."""
    rests_on: tuple[str, ...]
    """Sessions that the verdict rests on, latest first."""
    gates: tuple[Gate, ...]
    """Gates of the session shown, then those between sessions."""
    gain: float | None
    """Mean over the sessions of the mean d at the weakest budget (log), which ranks promotions."""
    behind: bool = False
    """Whether the session shown found it slower than the default in the same blocks, before that was the default."""


Action = Literal["promote", "keep", "demote", "none"]


@dataclass(frozen=True)
class GroupDecision:
    """What becomes of a group's default."""

    action: Action
    recommended: str | None
    """The variant to run; None is the stock model."""
    why: str
    """Why that one is recommended, in words that follow its name."""
    verdicts: tuple[GroupVerdict, ...]
    """Best first: by verdict, then by speed-up at the weakest budget."""
    rule: int
    """Number of the rule that was followed."""
    rule_of_tokens: int
    """The same for what is held to every token, and so for the default: no rule for near variants has a part in it."""
