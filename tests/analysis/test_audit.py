"""Figures of the audit from logits: divergences, agreement, and which arm is nearer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zmlx_bench.analysis.audit import derive, trace
from zmlx_bench.schema.audit import ArmTrace, Audit, PromptAudit

LOGITS = arrays.arrays(np.float32, (3, 7), elements=st.floats(-50, 50, width=32))


def audited(baseline: ArmTrace, variant: ArmTrace) -> PromptAudit:
    return PromptAudit(prompt="p", output="0" * 64, baseline=baseline, variant=variant)


@given(LOGITS)
def test_an_arm_is_at_no_distance_from_itself_nor_from_a_shift_of_all_logits(logits: np.ndarray) -> None:
    assert trace(logits, logits) == ArmTrace(kl=(0, 0, 0), agrees=(True, True, True), max_error=(0, 0, 0))
    shifted = trace(logits + np.float32(1), logits)
    assert max(shifted.kl) < 1e-5
    assert shifted.max_error == pytest.approx((1, 1, 1), abs=1e-4)


@given(LOGITS, LOGITS)
def test_divergences_are_those_of_the_definition(ours: np.ndarray, truth: np.ndarray) -> None:
    found = trace(ours, truth)
    for position in range(3):
        p = np.exp(truth[position].astype(float)) / np.exp(truth[position].astype(float)).sum()
        q = np.exp(ours[position].astype(float)) / np.exp(ours[position].astype(float)).sum()
        assert found.kl[position] == pytest.approx(float(np.sum(p * np.log(p / q))), abs=1e-9, rel=1e-6)
    assert found.agrees == tuple(bool(a == b) for a, b in zip(ours.argmax(1), truth.argmax(1), strict=True))


@given(LOGITS, LOGITS, LOGITS)
def test_the_nearer_arm_is_the_other_one_when_the_arms_change_places(
    a: np.ndarray, b: np.ndarray, truth: np.ndarray
) -> None:
    first, second = trace(a, truth), trace(b, truth)
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
