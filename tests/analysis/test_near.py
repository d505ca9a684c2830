"""How much farther from float32 a variant is than stock: by prompt, with bounds that a check finds again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zmlx_bench.analysis.near import bounded, nearness, upper
from zmlx_bench.schema.audit import ArmTrace, PromptAudit

DISTANCES = st.lists(st.floats(0, 2), min_size=4, max_size=4)


def trace(kl: Sequence[float], agrees: Sequence[bool] | None = None) -> ArmTrace:
    return ArmTrace(kl=tuple(kl), agrees=tuple(agrees or [True] * len(kl)), max_error=(0.0,) * len(kl))


def prompt(number: int, baseline: ArmTrace, variant: ArmTrace) -> PromptAudit:
    return PromptAudit(prompt=f"p{number}", output=f"{number:064x}", baseline=baseline, variant=variant)


def answers(prompts: Sequence[PromptAudit]) -> dict[str, tuple[int, ...]]:
    """Answers that do not loop."""
    return {one.output: tuple(range(200)) for one in prompts}


@given(st.lists(st.tuples(DISTANCES, st.lists(st.booleans(), min_size=4, max_size=4)), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_what_is_stock_is_exactly_as_near(arms: list[tuple[list[float], list[bool]]]) -> None:
    prompts = [prompt(i, trace(*arm), trace(*arm)) for i, arm in enumerate(arms)]
    found = nearness(prompts, answers(prompts))
    assert (found.prompts, found.positions) == (len(arms), 4)
    for each in (found.kl, found.top1):
        assert (each.mean, each.lower, each.upper) == (0.0, 0.0, 0.0)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=30), st.integers(-8, 8))
@settings(max_examples=40, deadline=None)
def test_the_bounds_hold_the_mean_and_change_sides_with_the_sign(values: list[int], power: int) -> None:
    found, scaled, mirrored = (bounded([v * factor for v in values]) for factor in (1.0, 2.0**power, -1.0))
    assert found.lower is not None
    assert found.upper is not None
    assert scaled.upper is not None
    assert mirrored.lower is not None
    slack = 1e-12 * max(map(abs, values))
    assert found.lower <= found.mean + slack
    assert found.mean <= found.upper + slack
    assert scaled.upper == pytest.approx(found.upper * 2.0**power, rel=1e-9, abs=1e-12)
    assert mirrored.lower == pytest.approx(-found.upper, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=30))
@settings(max_examples=40, deadline=None)
def test_the_bound_is_never_inside_students(values: list[float]) -> None:
    sample = np.array(values)
    students = sample.mean() + stats.t.ppf(0.95, len(values) - 1) * stats.sem(sample)
    assert upper(sample) >= students - 1e-9


def test_a_prompt_counts_once_however_many_positions_it_has() -> None:
    short = prompt(0, trace([0.0] * 2), trace([0.2] * 2))
    long = prompt(1, trace([0.0] * 8), trace([0.0] * 8))
    found = nearness([short, long], answers([short, long]))
    assert found.kl.mean == pytest.approx(0.1)
    assert found.positions == 2


def test_the_loss_of_agreement_is_stocks_share_minus_the_variants() -> None:
    one = prompt(0, trace([0.0] * 4, [True, True, True, False]), trace([0.0] * 4, [True, False, False, True]))
    two = prompt(1, trace([0.0] * 4), trace([0.0] * 4))
    assert nearness([one, two], answers([one, two])).top1.mean == pytest.approx(0.125)


def test_a_prompt_whose_forced_tokens_loop_does_not_count() -> None:
    prompts = [prompt(i, trace([0.0] * 40), trace([0.5 * (i == 0)] * 40)) for i in range(3)]
    given = answers(prompts) | {prompts[0].output: (1, 2) * 100}
    found = nearness(prompts, given)
    assert (found.prompts, found.kl.mean) == (2, 0.0)
    # What comes after the forced tokens does not matter.
    late = given | {prompts[0].output: (*range(40), *(1, 2) * 100)}
    assert nearness(prompts, late).prompts == 3


def test_one_prompt_has_no_bound_and_none_no_mean() -> None:
    one = [prompt(0, trace([0.0]), trace([0.25]))]
    found = nearness(one, answers(one))
    assert (found.kl.mean, found.kl.lower, found.kl.upper) == (0.25, None, None)
    assert nearness([], {}).positions == 0


def test_the_bounds_are_the_same_on_every_machine() -> None:
    """Of values that were written down: a check compares what another machine recorded."""
    found = bounded([0.0, 1.0, 4.0, 9.0, 16.0, 25.0])
    assert found.mean == pytest.approx(55 / 6, rel=1e-12)
    assert (found.lower, found.upper) == (pytest.approx(1.149970052502745), pytest.approx(26.22996992990409))
