"""Figures of the audit from traces: divergences, agreement, and which arm is nearer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.analysis.audit import derive
from zmlx_bench.schema.audit import ArmTrace, Audit, PromptAudit

POSITIONS = 3
DISTANCES = st.tuples(*[st.floats(0, 50)] * POSITIONS)
TRACES = st.builds(ArmTrace, kl=DISTANCES, agrees=st.tuples(*[st.booleans()] * POSITIONS), max_error=DISTANCES)


def audited(baseline: ArmTrace, variant: ArmTrace) -> PromptAudit:
    return PromptAudit(prompt="p", output="0" * 64, baseline=baseline, variant=variant)


@given(TRACES, TRACES)
def test_the_nearer_arm_is_the_other_one_when_the_arms_change_places(first: ArmTrace, second: ArmTrace) -> None:
    one, other = derive([audited(first, second)]), derive([audited(second, first)])
    opposite = {"variant": "baseline", "baseline": "variant", "equal": "equal"}
    assert other.nearer == opposite[one.nearer]
    assert (one.variant_nearer, one.baseline_nearer) == (other.baseline_nearer, other.variant_nearer)
    assert derive([audited(first, first)]).nearer == "equal"


def test_figures_are_over_all_positions_of_all_prompts() -> None:
    near = ArmTrace(kl=(0.1, 0.3), agrees=(True, True), max_error=(1, 2))
    far = ArmTrace(kl=(0.2, 0.4), agrees=(True, False), max_error=(5, 1))
    figures = derive([audited(far, near), audited(near, near)])
    assert (figures.positions, figures.nearer, figures.variant_nearer, figures.baseline_nearer) == (4, "variant", 2, 0)
    assert figures.baseline.kl_mean == pytest.approx(0.25)
    assert (figures.baseline.kl_max, figures.baseline.max_error) == (0.4, 5)
    assert figures.baseline.top1_agreement == 0.75


@pytest.mark.parametrize(("status", "has"), [("ok", False), ("crash", True)])
def test_an_audit_has_figures_exactly_when_its_process_came_through(status: str, has: bool) -> None:
    same = ArmTrace(kl=(0.1,), agrees=(True,), max_error=(1,))
    prompts = (audited(same, same),) if has else ()
    with pytest.raises(ValueError, match="status 'ok'"):
        Audit.model_validate({"status": status, "prompts": prompts, "figures": derive(prompts) if has else None})
