"""A variant that was slower than the default in the same blocks, measured before that one was the default.

Such a session is none against the incumbent, and a verdict is not changed by it; but nobody need ask again. It says
nothing where the default had other code then, or other tokens than the model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from zmlx_bench.analysis.decision.evidence import ArmEvidence
from zmlx_bench.analysis.decision.same_code import Entry
from zmlx_bench.analysis.decision.statistics import interval
from zmlx_bench.analysis.decision.verdict import GroupVerdict
from zmlx_bench.schema.policy import Policy

_OPEN = ("sessions", "gap", "coverage", "repeat", "stalls", "best", "over_incumbent")
"""Why a CANDIDATE is none for promotion that is faster than stock, and may not be than the default."""


def told(
    verdict: GroupVerdict, entries: Mapping[str, Sequence[Entry]], default: str | None, policy: Policy
) -> GroupVerdict:
    """Return the verdict, with where the session that it shows has found it slower than `default`, if it has."""
    if verdict.reason not in _OPEN or default is None:
        return verdict
    shown = verdict.latest.session
    mine, theirs = (_measured(entries.get(name, ()), shown) for name in (verdict.variant, default))
    if mine is None or theirs is None or theirs.verdict.wrong_tokens:
        return verdict
    if theirs.arm.identity != entries[default][0].arm.identity:
        return verdict
    found = _slower(mine.arm, theirs.arm, policy.interval_level)
    if found is None:
        return verdict
    ratio, tokens = found
    why = f"in the blocks of {shown} it was {ratio:.3f}x as fast as {default}, the default, at {tokens} tokens"
    return replace(verdict, why=why, behind=True)


def _measured(entries: Sequence[Entry], session: str) -> Entry | None:
    return next((each for each in entries if each.session.session == session), None)


def _slower(arm: ArmEvidence, default: ArmEvidence, level: float) -> tuple[float, int] | None:
    """Return the least ratio and its budget where the whole interval lies below 1 at one; None where it does at none.

    Both gains are over the same baseline, so their difference in a block is the log ratio of the two.
    """
    found = []
    for tokens in sorted(arm.budgets.keys() & default.budgets.keys()):
        mine, theirs = (each.budgets[tokens].gain_by_block for each in (arm, default))
        logs = tuple(mine[block] - theirs[block] for block in sorted(mine.keys() & theirs.keys()))
        if len(logs) > 1:
            estimate = arm.budgets[tokens].estimate(logs)
            if float(interval(estimate, level)[1]) < 0:
                found.append((math.exp(float(estimate.mean)), tokens))
    return min(found, default=None)
