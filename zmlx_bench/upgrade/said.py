"""What a finished session says of a promotion in another environment."""

from __future__ import annotations

from collections.abc import Sequence

from zmlx_bench import printable
from zmlx_bench.analysis.decision import SessionVerdict, judge_session
from zmlx_bench.analysis.decision.within import rebased
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.session import Session
from zmlx_bench.schema.upgrade import Holds, StockThere, UpgradeCheck, UpgradedBudget

_SAID: dict[str, Holds] = {"CANDIDATE": "held", "HOLD": "fails", "REJECT": "fails", "INCONCLUSIVE": "undecided"}


def judged(session: Session, capsules: Sequence[Capsule], policy: Policy, check: UpgradeCheck) -> UpgradeCheck:
    """Return the check with what the session says: whether the variant would be a CANDIDATE with the stock model of
    the other environment as its baseline."""
    within = session.plan.within
    assert within is not None
    of_stock = _of(capsules, within.stock)
    for arm in (of_stock, _of(capsules, within.again)):
        if not arm or any(capsule.status != "ok" for capsule in arm):
            # With the variant or without: after the upgrade nothing of the model runs.
            said = "fails" if arm and all(capsule.status != "unavailable" for capsule in arm) else "unmeasured"
            why = f"the stock model itself does not run there: {_message(arm)}"
            return check.model_copy(update={"said": said, "why": why})
    check = check.model_copy(update={"stock": _stock(of_stock), "stock_peak_mem_gb": _peak(of_stock)})
    asked = _of(capsules, within.asked)
    if not asked or any(capsule.status == "unavailable" for capsule in asked):
        return check.model_copy(update={"said": "unmeasured", "why": _message(asked)})
    evidence = rebased(session, [(capsule.variant.name, capsule) for capsule in capsules], policy)
    assert evidence is not None
    (verdict,) = judge_session(evidence, policy)
    undecided = verdict.verdict == "INCONCLUSIVE"
    return check.model_copy(
        update={
            "said": _SAID[verdict.verdict],
            "why": f"{verdict.reason}: {verdict.why}",
            "budgets": tuple(_budgets(verdict)),
            "peak_mem_gb": _peak(asked),
            "blocks_needed": verdict.blocks_needed if undecided else None,
        }
    )


def _of(capsules: Sequence[Capsule], name: str) -> list[Capsule]:
    return sorted((one for one in capsules if one.variant.name == name), key=lambda capsule: capsule.tokens)


def _message(arm: Sequence[Capsule]) -> str:
    failed = next((run for capsule in arm for run in capsule.own_runs if run.status != "ok"), None)
    return (
        "no process of it ran"
        if failed is None
        else f"{failed.status}: {printable.said(failed.message) or 'no message'}"
    )


def _budgets(verdict: SessionVerdict) -> list[UpgradedBudget]:
    return [
        UpgradedBudget(tokens=one.tokens, speedup=one.speedup, low=one.low, high=one.high) for one in verdict.budgets
    ]


def _peak(arm: Sequence[Capsule]) -> float | None:
    return arm[-1].figures.memory.peak_mem_gb


def _stock(arm: Sequence[Capsule]) -> StockThere:
    """Return how the stock model there differs from the one here: its capsules are held against that."""
    figures = arm[-1].figures
    speed = None if figures.speedup is None else figures.speedup.value
    for one in () if figures.fidelity is None else figures.fidelity.prompts:
        if not one.identical:
            return StockThere(speed=speed, prompt=one.prompt, token=one.first_divergence, margin=one.baseline_margin)
    return StockThere(speed=speed)
