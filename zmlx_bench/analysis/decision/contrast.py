"""What a session that is a step of a bisection has told: how the ends differ, or which of them a version is like.

Both by decode speed, at the largest budget, over the blocks that all the arms have. Each arm's gain is against the
stock arms of its block, so the difference of two gains is that of the two arms.
"""

from __future__ import annotations

import numpy as np

from zmlx_bench.analysis.decision.evidence import SessionEvidence
from zmlx_bench.analysis.decision.statistics import Array
from zmlx_bench.analysis.likeness import Change, Likeness, change, likeness, name_of
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.plan import Contrast
from zmlx_bench.schema.policy import Policy


def untold(session: SessionEvidence, contrast: Contrast, policy: Policy) -> tuple[str, ...]:
    """Return the arm of which nothing can be said yet; empty where something can, or where an arm fails."""
    name = contrast.bad if contrast.asked is None else contrast.asked
    wanted = {contrast.good, contrast.bad, name}
    arms = [arm for arm in session.arms if arm.variant in wanted]
    if len(arms) < len(wanted) or any(budget.status != "ok" for arm in arms for budget in arm.budgets.values()):
        return ()
    said = (ends if contrast.asked is None else like)(session, contrast, policy)
    told = said.kind != "undecided" if isinstance(said, Change) else said != "undecided"
    return () if told else (name,)


def ends(session: SessionEvidence, contrast: Contrast, policy: Policy) -> Change:
    """Return how the bad end differs from the good one."""
    good, bad = _gains(session, (contrast.good, contrast.bad))
    looks, planned = _looks(session, good.size)
    return change(good.tolist(), bad.tolist(), looks, planned, policy.arm_effect, _estimator(session))


def like(session: SessionEvidence, contrast: Contrast, policy: Policy) -> Likeness:
    """Return which end the version asked about is like; ValueError for a contrast that asks about none."""
    if contrast.asked is None or contrast.sign is None:
        raise ValueError("the contrast is one of the ends alone")
    good, bad, asked = _gains(session, (contrast.good, contrast.bad, contrast.asked))
    looks, planned = _looks(session, good.size)
    if not looks:
        return "undecided"
    found = likeness(good, bad, asked, contrast.sign, looks, planned, policy.arm_effect, _estimator(session))
    return name_of(int(found))


def against_good(session: SessionEvidence, contrast: Contrast, policy: Policy) -> Change:
    """Return how the version asked about differs from the good end."""
    other = contrast.bad if contrast.asked is None else contrast.asked
    return ends(session, contrast.model_copy(update={"bad": other}), policy)


def _gains(session: SessionEvidence, names: tuple[str, ...]) -> list[Array]:
    """Return ln(speed) of these arms, whatever the stock arms' is, in the blocks that all of them have."""
    found = {arm.variant: max(arm.budgets.items())[1] for arm in session.arms if arm.variant in names and arm.budgets}
    by_block: list[dict[int, float]] = []
    for name in names:
        ratio = found[name].figures.speedup if name in found else None
        pairs = {} if ratio is None else dict(zip(ratio.blocks, ratio.logs, strict=True))
        by_block.append({at: log for at, log in pairs.items() if session.blocks is None or at <= session.blocks})
    shared = sorted(set.intersection(*map(set, by_block)))
    return [np.asarray([of[block] for block in shared]) for of in by_block]


def _looks(session: SessionEvidence, blocks: int) -> tuple[tuple[int, ...], int]:
    """Return the looks that were taken, as blocks of those that are there, and how many were planned."""
    if not session.looks:
        return ((blocks,) if blocks else ()), 1
    taken = tuple(min(look, blocks) for look in session.taken if look is not None)
    return (taken if blocks else ()), len(session.looks)


def _estimator(session: SessionEvidence) -> Estimator:
    """Return what the session's ratios are estimated with: one for all its capsules."""
    return next((budget.estimator for arm in session.arms for budget in arm.budgets.values()), "mean")
