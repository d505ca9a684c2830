"""A variant within another environment is judged by the stock model that ran there, whatever the one here did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import Made, make_workspace
from tests.upgrade.sessions import STOCK, WITHIN, ran
from zmlx_bench.analysis.decision import judge_session
from zmlx_bench.analysis.decision.adapter import session_evidence
from zmlx_bench.analysis.decision.within import rebased
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def test_faster_than_the_stock_model_there_is_faster_though_both_are_slower_than_here(place: Workspace) -> None:
    policy = read_policy(place)
    session, found = ran(place, Made("fast", gain=-0.1))
    plain = {one.variant: one.verdict for one in judge_session(session_evidence(session, found, policy, {}), policy)}
    assert plain[WITHIN.asked] == "INCONCLUSIVE"  # a session without a null arm promotes nothing
    evidence = rebased(session, found, policy)
    assert evidence is not None
    (verdict,) = judge_session(evidence, policy)
    assert (verdict.variant, verdict.verdict) == (WITHIN.asked, "CANDIDATE")
    for budget in verdict.budgets:
        assert budget.speedup == pytest.approx(1.105, abs=0.003)
        assert budget.null_speedup == pytest.approx(1.0, abs=0.003)


@pytest.mark.parametrize(
    ("stock_wrong_at", "asked_wrong_at", "says"),
    [(3, 3, ("CANDIDATE", "faster")), (None, 3, ("REJECT", "fidelity")), (3, None, ("REJECT", "fidelity"))],
)
def test_tokens_are_those_of_the_stock_model_there(
    place: Workspace, stock_wrong_at: int | None, asked_wrong_at: int | None, says: tuple[str, str]
) -> None:
    policy = read_policy(place)
    stock = Made(STOCK.name, gain=-0.2, wrong_at=stock_wrong_at)
    evidence = rebased(*ran(place, Made("fast", gain=-0.1, wrong_at=asked_wrong_at), stock), policy)
    assert evidence is not None
    (verdict,) = judge_session(evidence, policy)
    assert (verdict.verdict, verdict.reason) == says


def test_where_the_stock_model_does_not_run_nothing_is_judged(place: Workspace) -> None:
    evidence = rebased(*ran(place, Made("fast"), Made(STOCK.name, status="crash")), read_policy(place))
    assert evidence is not None
    assert (evidence.arms, evidence.planned) == ((), (WITHIN.asked,))


def test_a_session_of_anything_else_is_none(place: Workspace) -> None:
    session, found = ran(place, Made("fast"))
    other = session.model_copy(update={"plan": session.plan.model_copy(update={"within": None})})
    assert rebased(other, found, read_policy(place)) is None
