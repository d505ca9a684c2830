"""The gates of a variant that is declared to be near: not farther from the float32 reference than stock is.

Both must pass, so that what is farther by one of them passes as seldom as one bound is wrong (intersection-union).
Where stock itself is far from the reference, whatever is compared with it is about as far, and neither gate could fail
what is wrong (no assay sensitivity, ICH E10, 1.5): then nothing is said.
"""

from __future__ import annotations

from zmlx_bench.analysis.decision.evidence import ArmEvidence, BudgetEvidence
from zmlx_bench.analysis.decision.verdict import Gate, Outcome
from zmlx_bench.schema.audit import Bounded, Nearness
from zmlx_bench.schema.policy import Policy


def gates(arm: ArmEvidence, policy: Policy) -> list[Gate]:
    """Pass where the upper bound is below the margin, fail where the lower one is not, unknown between them."""
    budget = _audited(arm)
    if budget is None or budget.near is None:
        why = "no audit was made" if budget is None else f"the audit has no figures: {budget.audit_failed}"
        capsules = tuple(found.capsule for found in arm.budgets.values())
        text = f"{why}, so nothing shows how near the variant is to float32"
        return [Gate("near_audit", "unknown", None, "ok", capsules, text)]
    stock = _stock(budget, policy)
    if any(gate.outcome != "pass" for gate in stock):
        return stock
    found = budget.near
    return [
        *stock,
        _gate("near_kl", "the KL divergence from float32", "nats", found.kl, policy.near_kl, budget),
        _gate("near_top1", "the loss of top-1 agreement", "of the positions", found.top1, policy.near_top1, budget),
    ]


def asks_stock(arm: ArmEvidence) -> bool:
    """Whether an arm is near, and it is asked how near stock is."""
    return arm.near and any(budget.stock_top1 is not None for budget in arm.budgets.values())


def enough(arm: ArmEvidence, policy: Policy) -> list[Gate]:
    """Whether there were prompts and positions enough; nothing where there was no audit."""
    budget = _audited(arm)
    if budget is None or budget.near is None:
        return []
    found: Nearness = budget.near
    each = (
        ("near_prompts", found.prompts, policy.near_prompts, "prompts whose forced tokens do not loop"),
        ("near_positions", found.positions, policy.near_positions, "positions of a prompt"),
    )
    return [
        Gate(
            name,
            "pass" if have >= least else "fail",
            have,
            least,
            (budget.capsule,),
            f"{have} {what}, {least} needed to call a variant near",
        )
        for name, have, least, what in each
    ]


def _audited(arm: ArmEvidence) -> BudgetEvidence | None:
    known = [b for _, b in sorted(arm.budgets.items()) if b.near is not None or b.audit_failed is not None]
    return known[0] if known else None


def _stock(budget: BudgetEvidence, policy: Policy) -> list[Gate]:
    """Whether stock itself is near enough to the reference to be compared with; nothing where that is not asked."""
    share, least = budget.stock_top1, policy.near_stock_top1
    if share is None:
        return []
    near = share >= least
    text = f"stock itself agrees with float32 at {share:.1%} of the positions, {100 * least:g}% needed"
    if not near:
        text += ": nothing can be near to a reference that stock is not near to"
    return [Gate("near_stock_top1", "pass" if near else "unknown", share, least, (budget.capsule,), text)]


def _gate(name: str, what: str, unit: str, found: Bounded, margin: float, budget: BudgetEvidence) -> Gate:
    if found.upper is None or found.lower is None:
        text = f"{what} has no bound: two prompts are needed, and the policy asks for more"
        return Gate(name, "unknown", None, margin, (budget.capsule,), text)
    outcome: Outcome = "pass" if found.upper < margin else "fail" if found.lower >= margin else "unknown"
    said = {
        "pass": "not above",
        "fail": "above",
        "unknown": "not shown to be below or above (more prompts tell)",
    }[outcome]
    text = (
        f"{what} exceeds stock's by {found.mean:.2g} {unit}, 95% bounds {found.lower:.2g} and {found.upper:.2g}: "
        f"{said} the margin {margin:g}"
    )
    return Gate(name, outcome, found.upper, margin, (budget.capsule,), text)
