"""Whether a session that is looked at may stop: when every variant is decided, or when no block left would decide one.

The levels of the looks allow for stopping at any of them, so neither answer costs anything in wrong verdicts: a session
that was stopped because nothing would be found may be taken up again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from zmlx_bench.analysis.decision import conditions, contrast
from zmlx_bench.analysis.decision.calibrated import FEWEST
from zmlx_bench.analysis.decision.evidence import ArmEvidence, SessionEvidence
from zmlx_bench.analysis.decision.looks import level_of_each
from zmlx_bench.analysis.decision.power import power
from zmlx_bench.analysis.decision.session import speeds
from zmlx_bench.analysis.decision.speed import Speed
from zmlx_bench.analysis.decision.statistics import biased
from zmlx_bench.schema.policy import Policy

Why = Literal["decided", "futile", "most"]


@dataclass(frozen=True)
class Stop:
    """Why a session stops at a look, and which variants it leaves undecided."""

    why: Why
    undecided: tuple[str, ...] = ()


def seen_until(session: SessionEvidence, blocks: int) -> SessionEvidence:
    """Return the evidence as it was after `blocks` blocks, as far as it lies in the blocks."""
    arms = tuple(
        replace(arm, budgets={tokens: replace(b, seen=blocks) for tokens, b in arm.budgets.items()})
        for arm in session.arms
    )
    return replace(session, arms=arms, blocks=blocks)


def stop(session: SessionEvidence, policy: Policy) -> Stop | None:
    """Say whether `session` stops at its latest look; None where it goes on."""
    left = undecided(session, policy)
    if not left:
        return Stop("decided")
    if session.blocks is None or not session.looks or session.blocks >= session.looks[-1]:
        return Stop("most", left)
    if session.contrast is None and all(_hopeless(arm, session, policy) for arm in session.arms if arm.variant in left):
        return Stop("futile", left)
    return None


def undecided(session: SessionEvidence, policy: Policy) -> tuple[str, ...]:
    """Return the variants that have neither failed nor a known speed; the incumbent only where it is alone.

    A session whose null arm is off has decided nothing: more blocks tell whether it is. A step of a bisection is about
    its own arms alone.
    """
    if session.contrast is not None:
        return contrast.untold(session, session.contrast, policy)
    rivals = [arm for arm in session.arms if arm.variant != session.incumbent] or list(session.arms)
    known = speeds(session, policy)
    off = _biased(session, policy)
    return tuple(
        arm.variant
        for arm in rivals
        if not failed(arm, policy)
        and (
            off
            or known[arm.variant] == Speed.UNRESOLVED
            or _own_outliers(arm, known[arm.variant], policy)
            or _unusable(arm, policy)
        )
    )


def failed(arm: ArmEvidence, policy: Policy) -> bool:
    """Whether the variant has a verdict whatever its speed, or no process of it runs any more."""
    gates = [*conditions.faithful(arm, policy), conditions.status(arm, policy), *conditions.memory(arm, policy)]
    return any(gate.outcome == "fail" for gate in gates) or any(b.status != "ok" for b in arm.budgets.values())


def _unusable(arm: ArmEvidence, policy: Policy) -> bool:
    """Whether its processes were disturbed, or its kernels never called: no further block mends that."""
    return any(gate.outcome == "fail" for gate in conditions.measurement(arm, policy))


def _own_outliers(arm: ArmEvidence, speed: Speed, policy: Policy) -> bool:
    return speed == Speed.FASTER and any(gate.outcome == "fail" for gate in conditions.outliers(arm, policy))


def _biased(session: SessionEvidence, policy: Policy) -> bool:
    budgets = [budget for arm in session.arms for budget in conditions.judged(arm, policy)]
    return any(bool(biased(budget.estimate(budget.null), policy.bias_level)) for budget in budgets)


def _hopeless(arm: ArmEvidence, session: SessionEvidence, policy: Policy) -> bool:
    """Whether all the blocks planned would hardly find the planned effect at the scatter seen, or nothing counts."""
    if _unusable(arm, policy):
        return True
    hypotheses = session.hypotheses(arm)
    last = policy.model_copy(update={"faster_alpha": level_of_each(policy.faster_alpha, len(session.looks))})
    return any(
        len(budget.gain) >= FEWEST
        and power(session.looks[-1], float(budget.estimate(budget.gain).sd), hypotheses, last) < policy.futility_power
        for budget in conditions.judged(arm, policy)
    )
