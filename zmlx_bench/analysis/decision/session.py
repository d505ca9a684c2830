"""The verdict on every variant of one session."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from zmlx_bench.analysis.decision import conditions
from zmlx_bench.analysis.decision.evidence import ArmEvidence, BudgetEvidence, SessionEvidence
from zmlx_bench.analysis.decision.outliers import set_aside
from zmlx_bench.analysis.decision.power import blocks_needed
from zmlx_bench.analysis.decision.speed import Evidence, Judgement, Speed, evidence, judge, kept, over_looks
from zmlx_bench.analysis.decision.statistics import Array, floor_of, interval
from zmlx_bench.analysis.decision.verdict import BudgetFigures, Gate, SessionVerdict, SpeedName, Verdict
from zmlx_bench.schema.policy import Policy

NO_DEFAULT = "declared near, it never becomes a default and is applied by its name only"


@dataclass(frozen=True)
class _Tables:
    """Judgements of all arms of a session, rows in the order of `arms`, columns in that of `tokens`."""

    tokens: tuple[int, ...]
    found: Evidence
    judgement: Judgement
    against_incumbent: Judgement | None


def judge_session(session: SessionEvidence, policy: Policy) -> tuple[SessionVerdict, ...]:
    """Judge every arm of `session`, in its order."""
    found = {verdict.variant: verdict for part in session.by_rule for verdict in _judge_alike(part, policy)}
    return tuple(found[arm.variant] for arm in session.arms)


def _judge_alike(session: SessionEvidence, policy: Policy) -> tuple[SessionVerdict, ...]:
    """Judge the arms of a session that are held to the same."""
    if not session.arms:
        return ()
    tables = _tables(session, policy)
    shared = conditions.session_bias(session, policy)
    return tuple(_judge_arm(session, row, tables, shared, policy) for row in range(len(session.arms)))


def speeds(session: SessionEvidence, policy: Policy) -> dict[str, Speed]:
    """Return each variant's speed over all budgets; UNRESOLVED too until it is told apart from an incumbent."""
    return {name: speed for part in session.by_rule for name, speed in _speeds_alike(part, policy).items()}


def _speeds_alike(session: SessionEvidence, policy: Policy) -> dict[str, Speed]:
    tables = _tables(session, policy)
    found = {}
    for row, arm in enumerate(session.arms):
        speed = Speed(int(tables.judgement.overall[row]))
        against = tables.against_incumbent
        rival = None if arm.variant == session.incumbent else against
        if speed == Speed.FASTER and rival is not None and rival.overall[row] == Speed.UNRESOLVED:
            speed = Speed.UNRESOLVED
        found[arm.variant] = speed
    return found


def _tables(session: SessionEvidence, policy: Policy) -> _Tables:
    tokens = tuple(sorted(policy.min_blocks))
    # Planned variants without a record take part in Holm as rows without evidence.
    absent = max(0, len(session.planned) - len(session.arms))
    found = _collect(session, absent, tokens, policy, lambda b: b.gain)
    against = None
    if session.incumbent is not None:
        others = [arm for arm in session.arms if arm.variant != session.incumbent]
        if others:
            against = judge(_collect(session, absent, tokens, policy, lambda b: b.over_incumbent), policy)
    return _Tables(tokens, found, judge(found, policy), against)


def _collect(
    session: SessionEvidence,
    absent: int,
    tokens: tuple[int, ...],
    policy: Policy,
    sample: Callable[[BudgetEvidence], tuple[float, ...]],
) -> Evidence:
    planned = max(1, len(session.looks))
    keeps = len(session.looks) > 1 and session.keeps_at_looks
    looks = [_at_look(session.arms, seen, planned, absent, tokens, policy, sample, keeps) for seen in session.taken]
    return over_looks(looks, planned)


def _at_look(
    arms: Sequence[ArmEvidence],
    seen: int | None,
    planned: int,
    absent: int,
    tokens: tuple[int, ...],
    policy: Policy,
    sample: Callable[[BudgetEvidence], tuple[float, ...]],
    keeps: bool,
) -> Evidence:
    shape = (len(arms) + absent, len(tokens))
    above, below = np.full(shape, np.nan), np.full(shape, np.nan)
    within = np.zeros(shape, dtype=np.bool_)
    for row, arm in enumerate(arms):
        for column, budget in enumerate(arm.budgets.get(t) for t in tokens):
            if budget is None:
                continue
            until = budget if seen is None else replace(budget, seen=seen)
            if len(sample(until)) < policy.min_blocks[budget.tokens]:
                continue
            cell = evidence(until.estimate(sample(until)), _floor(until, policy), policy, planned)
            if keeps:
                cell = kept(cell, set_aside(sample(until), until.estimator, policy).eats_the_gain)
            above[row, column], below[row, column] = cell.above, cell.below
            within[row, column] = cell.within
    return Evidence(above, below, within)


def _floor(budget: BudgetEvidence, policy: Policy) -> Array:
    return floor_of(budget.estimate(budget.null) if budget.null else None, policy.min_gain)


def _judge_arm(
    session: SessionEvidence, row: int, tables: _Tables, shared: list[Gate], policy: Policy
) -> SessionVerdict:
    arm = session.arms[row]
    figures = tuple(
        _figures(arm.budgets[t], float(tables.judgement.above[row, c]), row, c, tables, policy)
        for c, t in enumerate(tables.tokens)
        if t in arm.budgets
    )
    faithful, ended = conditions.faithful(arm, policy), conditions.status(arm, policy)
    memory = conditions.memory(arm, policy)
    quality = [*shared, *conditions.measurement(arm, policy)]
    slower = _slower(arm, row, tables, policy)
    proof = [*_blocks(arm, tables.tokens, policy), *conditions.prompts(arm, policy)]
    speed = _speed(figures, float(tables.judgement.faster[row]), policy)
    outliers = conditions.outliers(arm, policy)
    extras = [conditions.prefill(arm, policy)]
    if session.incumbent is not None and session.incumbent != arm.variant:
        extras.append(_over_incumbent(session, row, tables, policy))
    gates = (*faithful, ended, *memory, *quality, slower, *proof, speed, *outliers, *extras)

    verdict, reason, why = _precedence(
        faithful, ended, memory, quality, slower, proof, figures, speed, outliers, extras
    )
    scatter = {b.tokens: float(b.estimate(b.gain).sd) for b in conditions.judged(arm, policy) if len(b.gain) > 1}
    needed = blocks_needed(scatter, max(len(session.planned), len(session.arms)), policy)
    if verdict == "CANDIDATE" and arm.near:
        verdict, why = "NEAR-CANDIDATE", f"{why}; {'; '.join(gate.text for gate in faithful)}; {NO_DEFAULT}"
    return SessionVerdict(
        variant=arm.variant,
        identity=arm.identity,
        session=session.session,
        verdict=verdict,
        reason=reason,
        why=why,
        valid=verdict != "INCONCLUSIVE" or reason in ("unresolved", "outliers"),
        budgets=figures,
        gates=gates,
        blocks_needed=None if needed is None else needed[0],
        blocks_capped=needed is not None and needed[1],
        coverage=arm.coverage,
    )


def _precedence(
    faithful: list[Gate],
    ended: Gate,
    memory: list[Gate],
    quality: list[Gate],
    slower: Gate,
    proof: list[Gate],
    figures: tuple[BudgetFigures, ...],
    speed: Gate,
    outliers: list[Gate],
    extras: list[Gate],
) -> tuple[Verdict, str, str]:
    """Fidelity, crash, memory, biased or throttled, slower, unresolved, equivalent, its own outliers, faster."""
    if failed := _first_failed(faithful):
        return "REJECT", failed.id, failed.text
    if ended.outcome == "fail":
        return "REJECT", str(ended.figure), ended.text
    if failed := _first_failed(memory):
        return "REJECT", "memory", failed.text
    if ended.outcome == "unknown":
        return "INCONCLUSIVE", "unavailable", ended.text
    if failed := _first_failed(quality):
        return "INCONCLUSIVE", failed.id, failed.text
    if slower.outcome == "fail":
        return "REJECT", "performance", slower.text
    if failed := _first_failed(proof):
        return "INCONCLUSIVE", failed.id, failed.text
    if open_ := next((gate for gate in faithful if gate.outcome == "unknown"), None):
        return "INCONCLUSIVE", open_.id, open_.text
    speeds = {figure.speed for figure in figures}
    if "unresolved" in speeds or (speeds == {"faster"} and speed.outcome != "pass"):
        return "INCONCLUSIVE", "unresolved", speed.text
    if "equivalent" in speeds:
        return "HOLD", "equivalent", speed.text
    if failed := _first_failed(outliers):
        return "INCONCLUSIVE", failed.id, failed.text
    if failed := _first_failed(extras):
        return "HOLD", failed.id, failed.text
    return "CANDIDATE", "faster", speed.text


def _first_failed(gates: list[Gate]) -> Gate | None:
    return next((gate for gate in gates if gate.outcome == "fail"), None)


def _figures(
    budget: BudgetEvidence, adjusted: float, row: int, column: int, tables: _Tables, policy: Policy
) -> BudgetFigures:
    gain = budget.estimate(budget.gain)
    low, high = interval(gain, policy.interval_level)
    name = Speed(int(tables.judgement.speed[row, column])).name.lower()
    return BudgetFigures(
        evidence=budget,
        low=_ratio(low),
        high=_ratio(high),
        floor=math.exp(_floor(budget, policy)),
        p_faster=_known(tables.found.above[row, column]),
        p_faster_adjusted=adjusted,
        p_slower=_known(tables.found.below[row, column]),
        p_slower_adjusted=float(tables.judgement.below[row, column]),
        speed=cast(SpeedName, name),
    )


def _known(value: float | Array) -> float | None:
    return None if math.isnan(float(value)) else float(value)


def _ratio(log: float | Array) -> float | None:
    return None if math.isnan(float(log)) else math.exp(float(log))


def _slower(arm: ArmEvidence, row: int, tables: _Tables, policy: Policy) -> Gate:
    known = [(c, arm.budgets[t]) for c, t in enumerate(tables.tokens) if t in arm.budgets]
    known = [(c, budget) for c, budget in known if budget.gain]
    if not known:
        return Gate("slower", "unknown", None, policy.slower_alpha, (), "no blocks were compared")
    column, budget = min(known, key=lambda pair: float(tables.judgement.below[row, pair[0]]))
    p, ratio = float(tables.judgement.below[row, column]), math.exp(budget.estimate(budget.gain).mean)
    slower = p <= policy.slower_alpha
    text = f"{ratio:.3f}x at {budget.tokens} tokens, {'slower' if slower else 'not shown to be slower'} (p {p:.2g})"
    return Gate("slower", "fail" if slower else "pass", p, policy.slower_alpha, (budget.capsule,), text)


def _blocks(arm: ArmEvidence, tokens: tuple[int, ...], policy: Policy) -> list[Gate]:
    gates = []
    for budget in tokens:
        least = policy.min_blocks[budget]
        found = arm.budgets.get(budget)
        blocks = 0 if found is None else len(found.gain)
        capsules = () if found is None else (found.capsule,)
        if found is None:
            text = f"{budget} tokens were not measured in this session"
        else:
            text = f"{blocks} blocks at {budget} tokens, {least} needed"
        name = "budget" if found is None else "blocks"
        gates.append(Gate(name, "pass" if blocks >= least else "fail", blocks, least, capsules, text))
    return gates


def _speed(figures: tuple[BudgetFigures, ...], p: float, policy: Policy) -> Gate:
    capsules = tuple(f.capsule for f in figures)
    if len(figures) < len(policy.min_blocks):
        return Gate("faster", "unknown", None, policy.faster_alpha, capsules, "a budget is missing")
    told = "; ".join(f"{f.tokens} tokens {_shown(f.speedup)} {f.speed}" for f in figures)
    return Gate("faster", "pass" if p <= policy.faster_alpha else "fail", p, policy.faster_alpha, capsules, told)


def _shown(ratio: float | None) -> str:
    return "not measured" if ratio is None else f"{ratio:.3f}x"


def _over_incumbent(session: SessionEvidence, row: int, tables: _Tables, policy: Policy) -> Gate:
    arm = session.arms[row]
    budgets = conditions.judged(arm, policy)
    capsules = tuple(b.capsule for b in budgets)
    if tables.against_incumbent is None or not all(b.over_incumbent for b in budgets):
        text = f"the incumbent {session.incumbent} was not measured beside it"
        return Gate("incumbent", "unknown", None, policy.faster_alpha, capsules, text)
    p = float(tables.against_incumbent.faster[row])
    faster = p <= policy.faster_alpha
    ratios = "; ".join(f"{math.exp(b.estimate(b.over_incumbent).mean):.3f}x at {b.tokens} tokens" for b in budgets)
    text = f"{'faster' if faster else 'not shown to be faster'} than the incumbent {session.incumbent}: {ratios}"
    return Gate("incumbent", "pass" if faster else "fail", p, policy.faster_alpha, capsules, text)
