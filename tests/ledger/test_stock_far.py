"""Where stock itself is far from the float32 reference, an audit says nothing and no variant is near."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.builders import BUDGETS, Made, add_session, make_workspace
from zmlx_bench.analysis import near
from zmlx_bench.analysis.decision import ArmEvidence, decide_group, nearness
from zmlx_bench.analysis.decision.adapter import budget_evidence
from zmlx_bench.analysis.decision.rules import RULE, RULE_OF_TOKENS
from zmlx_bench.files import read_json
from zmlx_bench.ledger import promotions
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import Decided, Recorded, decide, record
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.report import words
from zmlx_bench.report.build import build
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """One whose policy is from before stock was asked, and audits of fewer positions are enough."""
    made = make_workspace(tmp_path / "workspace")
    path = made.variants / "policy.toml"
    text = path.read_text().replace("near_stock_top1 = 0.5\n", "")
    path.write_text(text.replace("near_positions = 100", f"near_positions = {BUDGETS[0]}"))
    return made


def said(decided: Decided) -> dict[str, tuple[str, str]]:
    (decision,) = decided.decisions.values()
    return {v.variant: (v.verdict, v.reason) for v in decision.verdicts}


@pytest.mark.parametrize(
    ("stock_top1", "verdict"), [(0.5, ("NEAR-CANDIDATE", "faster")), (0.45, ("INCONCLUSIVE", "near_stock_top1"))]
)
def test_what_an_earlier_rule_made_of_it_stands(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, stock_top1: float, verdict: tuple[str, str]
) -> None:
    for hour in (0, 2):
        close = Made("close", wrong_at=7, stock_top1=stock_top1)
        add_session(workspace, hour, [Made("fast", 0.08), close], prompts=20, blocks=4)
    with monkeypatch.context() as then:
        then.setattr(promotions, "decide_group", partial(decide_group, rule=RULE_OF_TOKENS))
        before = decide(workspace, None)
        recorded = record(workspace, before)
    now = decide(workspace, None)
    assert (recorded.promotions, len(recorded.entries)) == (True, 1)
    assert said(before) == {"fast": ("PROMOTE", "faster"), "close": ("NEAR-CANDIDATE", "faster")}
    assert said(now) == {"fast": ("PROMOTE", "faster"), "close": verdict}
    assert now.after == before.after
    assert check_workspace(workspace, processes=1).findings == ()
    assert record(workspace, now) == Recorded(promotions=False)


def test_a_near_variant_beside_it_makes_no_default_anew(workspace: Workspace) -> None:
    """What the fifth rule says of it is no newer rule for the default, which keeps the sessions that promoted it."""
    fast, close = Made("fast", 0.08), Made("close", wrong_at=7, stock_top1=0.9)
    for hour in (0, 2):
        add_session(workspace, hour, [fast, close], prompts=20, blocks=4)
    record(workspace, decide(workspace, None))
    (promoted,) = promotions.read(workspace).promotion
    add_session(workspace, 4, [fast, close], prompts=20, blocks=4)
    later = decide(workspace, None)
    assert said(later) == {"fast": ("PROMOTE", "faster"), "close": ("NEAR-CANDIDATE", "faster")}
    assert later.after.promotion == (promoted,)


def test_an_audit_of_what_is_held_to_every_token_is_none_of_the_rules_for_near_variants(workspace: Workspace) -> None:
    add_session(workspace, 0, [Made("fast", 0.08), Made("exact", 0.02)], audited=True)
    (decision,) = decide(workspace, None).decisions.values()
    assert decision.rule == decision.rule_of_tokens < RULE


@pytest.mark.parametrize(("stock_top1", "again"), [(0.5, True), (0.45, False)])
def test_nobody_is_asked_to_measure_again_what_cannot_be_told(
    workspace: Workspace, stock_top1: float, again: bool
) -> None:
    add_session(workspace, 0, [Made("close", spread=0.03, wrong_at=7, stock_top1=stock_top1)], prompts=20, blocks=4)
    (group,) = build(workspace, None).groups
    assert [line.reason for line in group.near] == ["unresolved" if again else "near_stock_top1"]
    assert bool(group.next_runs) is again


@pytest.mark.parametrize(
    ("session", "capsules"), [("20261129T183958Z-qwen3-9423", 11), ("20261129T190302Z-glm47-bbd9", 6)]
)
def test_the_audits_on_random_weights_say_nothing(repository: Workspace, session: str, capsules: int) -> None:
    paths = sorted(repository.session(session).glob("*_*.json"))
    policy = read_policy(repository)
    assert len(paths) == capsules
    for path in paths:
        capsule = read_json(path, Capsule)
        audit = capsule.audit
        assert audit is not None
        told = words.audit(audit)
        assert "stock itself agrees with float32 at 0.0% of the positions" in told
        assert "nearer to" not in told
        declared = audit.model_copy(update={"near": near.nearness(audit.prompts, capsule.outputs)})
        found = budget_evidence(path.name, capsule.model_copy(update={"audit": declared}), policy)
        (gate,) = nearness.gates(ArmEvidence("near", "a", {found.tokens: found}, near=True), policy)
        assert (gate.id, gate.outcome, gate.figure) == ("near_stock_top1", "unknown", 0.0)
