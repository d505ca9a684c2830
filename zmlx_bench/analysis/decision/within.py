"""The evidence of a variant within another environment: as if the stock model that ran there were its baseline.

The arms are those of any session, each recorded against the stock model of the default environment. Here the runs of
the stock model in the other environment, and of the same once more, take the places of baseline and null arm; every
figure is derived again by the function that derives all of them, so that the verdict follows by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from zmlx_bench.analysis import figures
from zmlx_bench.analysis.decision.adapter import session_evidence
from zmlx_bench.analysis.decision.evidence import SessionEvidence
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.run import RunSet
from zmlx_bench.schema.session import Session


def rebased(session: Session, capsules: Iterable[tuple[str, Capsule]], policy: Policy) -> SessionEvidence | None:
    """Return what the session says of its variant within the other environment; None where it asks about none.

    `capsules` are whole, with their paths. Without an arm where the stock model does not run there.
    """
    within = session.plan.within
    if within is None:
        return None
    found = list(capsules)
    by_name = {(capsule.variant.name, capsule.tokens): capsule for _, capsule in found}
    moved: list[tuple[str, Capsule]] = []
    for path, capsule in found:
        if capsule.variant.name != within.asked:
            continue
        stock, again = (by_name.get((name, capsule.tokens)) for name in (within.stock, within.again))
        if stock is not None and again is not None and stock.status == again.status == "ok":
            moved.append((path, against(capsule, stock, again)))
    evidence = session_evidence(session, moved, policy, {})
    return replace(evidence, null_arm=True, planned=(within.asked,))


def against(asked: Capsule, stock: Capsule, again: Capsule) -> Capsule:
    """Return a capsule with the variants of two others of its session and budget as baseline and null arm."""
    runs, untimed = (
        RunSet(baseline=of_stock.variant, null=of_again.variant, variant=own.variant)
        for of_stock, of_again, own in (
            (stock.runs, again.runs, asked.runs),
            (stock.fidelity_runs, again.fidelity_runs, asked.fidelity_runs),
        )
    )
    outputs = {**stock.outputs, **again.outputs, **asked.outputs}
    prompts = [prompt.id for prompt in asked.prompts.prompt]
    derived = figures.derive(runs, untimed, outputs, asked.tokens, prompts, True, asked.protocol.estimator)
    return asked.model_copy(update={"runs": runs, "fidelity_runs": untimed, "outputs": outputs, "figures": derived})
