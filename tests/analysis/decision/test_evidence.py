"""What a verdict rests on: blocks up to a look, and evidence as rule 1 saw it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.analysis.decision.evidence_of import POLICY, arm, around, budget, group, session
from tests.schema.strategies import example
from zmlx_bench.analysis.decision.adapter import session_evidence
from zmlx_bench.analysis.decision.evidence import under_bytes
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.session import Session

FAST = around(0.05)


def test_a_look_sees_the_blocks_up_to_its_own() -> None:
    whole = budget(200, (0.1, 0.2, 0.3), null=(0.01, 0.02, 0.03), over_incumbent=(0.4, 0.5, 0.6))
    seen = replace(whole, seen=2)
    assert (whole.gain, seen.gain) == ((0.1, 0.2, 0.3), (0.1, 0.2))
    assert (seen.null, seen.over_incumbent) == ((0.01, 0.02), (0.4, 0.5))
    assert replace(whole, seen=0).gain == ()
    assert replace(budget(200, (0.1,), null=None), seen=1).null == ()


def test_a_log_without_a_block_is_refused() -> None:
    whole = budget(200, (0.1, 0.2, 0.3))
    assert whole.figures.speedup is not None
    torn = whole.figures.model_copy(update={"speedup": whole.figures.speedup.model_copy(update={"blocks": (1, 2)})})
    with pytest.raises(ValueError, match="zip"):
        _ = replace(whole, figures=torn, seen=3).gain


def test_under_rule_1_only_the_bytes_of_kernels_count() -> None:
    parts = Identity.model_construct()
    known = replace(arm(FAST, FAST), bytes_identity="bytes", coverage={"linear": 2.0}, parts=parts)
    (seen,) = under_bytes(group(session(known))).sessions
    (bound,) = seen.arms
    assert (bound.identity, bound.coverage, bound.parts) == ("bytes", None, None)
    assert bound.budgets == known.budgets


@pytest.mark.parametrize(("algorithm", "keeps"), [(1, False), (2, False), (3, True)])
def test_a_session_is_judged_as_when_it_was_planned(algorithm: int, keeps: bool) -> None:
    recorded = Session.model_validate(example(Session))
    planned = recorded.model_copy(update={"plan": recorded.plan.model_copy(update={"algorithm": algorithm})})
    assert session_evidence(planned, (), POLICY, {}).keeps_at_looks is keeps
