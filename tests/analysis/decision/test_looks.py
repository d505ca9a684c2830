"""Looking several times: p-values that are valid whenever a session stops, and those of a fixed plan for one look."""

from __future__ import annotations

import importlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.decision.evidence_of import POLICY, QUIET, arm, around, session
from zmlx_bench.analysis.decision import judge_session
from zmlx_bench.analysis.decision.levels import OVERALL, levels_of
from zmlx_bench.analysis.decision.looks import level_of_each, overall, sequential
from zmlx_bench.analysis.decision.outliers import set_aside
from zmlx_bench.protocol.looks import looks_of

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
probabilities = st.floats(0, 1)
counts = st.integers(1, 25)


@given(st.lists(probabilities, min_size=1, max_size=1))
def test_a_single_look_is_a_fixed_plan(p: list[float]) -> None:
    assert float(sequential(p, 1)) == p[0]
    assert level_of_each(0.02, 1) == 0.02


@given(st.lists(probabilities, min_size=2, max_size=12), probabilities)
def test_one_more_look_never_takes_a_rejection_back(p: list[float], more: float) -> None:
    planned = len(p) + 1
    assert sequential([*p, more], planned) <= sequential(p, planned)


@given(probabilities, probabilities, st.integers(2, 25))
def test_less_evidence_is_never_more(one: float, other: float, planned: int) -> None:
    low, high = sorted((one, other))
    assert overall(low, planned) <= overall(high, planned)


@given(probabilities, st.integers(2, 24))
def test_more_planned_looks_cost_more_and_never_more_than_bonferroni(p: float, planned: int) -> None:
    assert p <= overall(p, planned) <= min(1.0, p * planned) * (1 + 1e-3)
    assert overall(p, planned) <= overall(p, planned + 1) * 1.02


@given(st.floats(1e-6, 0.6), counts)
def test_the_level_of_each_look_spends_the_total(total: float, planned: int) -> None:
    assert float(overall(level_of_each(total, planned), planned)) == pytest.approx(total, rel=1e-9)


def test_the_table_falls_with_the_looks_and_rises_with_the_level() -> None:
    rows = [levels_of(looks)[0] for looks in range(2, 20)]
    assert all(list(row) == sorted(row) for row in rows)
    for fewer, more in pairwise(rows):
        assert all(after <= before * 1.02 for before, after in zip(fewer, more, strict=True))
    assert levels_of(5)[1][:-1] == OVERALL[::-1]
    assert levels_of(24)[0][:-1] == pytest.approx([level / 2 for level in levels_of(12)[0][:-1]])


def test_unknown_is_no_evidence_and_too_many_looks_are_refused() -> None:
    assert float(sequential([np.nan, np.nan], 4)) == 1.0
    assert float(sequential([np.nan, 0.001], 4)) == float(sequential([0.001], 4))
    assert float(sequential([], 4)) == 1.0
    with pytest.raises(ValueError, match="3 looks were taken, 2 planned"):
        sequential([0.1, 0.1, 0.1], 2)


@pytest.mark.parametrize(
    ("most", "looks"),
    [(3, (3,)), (4, (3, 4)), (11, (3, 4, 5, 6, 8, 10, 11)), (40, (3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40))],
)
def test_looks_begin_with_each_block_and_thin_out(most: int, looks: tuple[int, ...]) -> None:
    assert looks_of(3, most) == looks


@given(st.integers(1, 9), st.integers(0, 300))
def test_looks_ascend_from_the_fewest_to_the_most(fewest: int, more: int) -> None:
    looks = looks_of(fewest, fewest + more)
    assert (looks[0], looks[-1]) == (fewest, fewest + more)
    assert list(looks) == sorted(set(looks))


def decided(gain: tuple[float, ...], looks: tuple[int, ...], blocks: int) -> tuple[str, float]:
    tested = arm(gain[:blocks], gain[:blocks])
    found = judge_session(session(tested, looks=looks, blocks=blocks if looks else None), POLICY)[0]
    return found.verdict, next(gate.figure for gate in found.gates if gate.id == "faster")  # type: ignore[return-value]


@given(st.lists(st.floats(-0.05, 0.08), min_size=6, max_size=6))
def test_a_session_planned_with_one_look_is_judged_as_a_fixed_plan(gain: list[float]) -> None:
    assert decided(tuple(gain), (6,), 6) == decided(tuple(gain), (), 6)


def test_what_an_earlier_look_found_stands() -> None:
    looks = looks_of(3, 6)
    fast_then_wild = (0.2, 0.2001, 0.1999, -0.3, 0.5, -0.2)
    assert decided(fast_then_wild, looks, 3)[0] == "CANDIDATE"
    assert decided(fast_then_wild, looks, 6) == decided(fast_then_wild, looks, 3)
    assert decided(fast_then_wild, (), 6)[0] == "INCONCLUSIVE"


def test_the_floor_of_a_look_is_that_of_the_null_arm_in_its_own_blocks() -> None:
    gain, null = (*around(0.025, 3, 0.0001), 0.3, -0.4, 0.2), (*QUIET[:3], 0.1, -0.02, 0.1)
    told = session(arm(gain, gain, null=null), looks=looks_of(3, 6), blocks=6)
    assert judge_session(told, POLICY)[0].verdict == "CANDIDATE"


def test_a_look_at_fewer_blocks_than_a_budget_needs_tells_nothing_of_it() -> None:
    gain = (0.2, 0.2001, -0.3, 0.5, -0.2, 0.3)
    assert POLICY.min_blocks == {200: 3, 1024: 2}
    (verdict,) = judge_session(session(arm(gain, gain), looks=(2, 6), blocks=6), POLICY)
    assert [budget.speed for budget in verdict.budgets] == ["unresolved", "faster"]


TOLD_AND_EATEN = (-0.1, 0.05, 0.051, 0.05, -0.1, 0.051, 0.049, 0.05, -0.1, -0.1)
"""After eight blocks the estimate sets two slow ones aside and is significant; ten have a mean of nothing, and it does
not set them aside any more."""


@pytest.mark.parametrize(
    ("keeps", "blocks", "verdict"),
    [(False, 8, "outliers"), (False, 10, "faster"), (True, 8, "unresolved"), (True, 10, "unresolved")],
)
def test_a_look_tells_of_no_gain_that_its_own_outliers_eat(keeps: bool, blocks: int, verdict: str) -> None:
    """Sessions of earlier plans are judged as they were; these are INCONCLUSIVE, but the one that is `faster`."""
    plain = arm(TOLD_AND_EATEN[:blocks], TOLD_AND_EATEN[:blocks], null=np.resize(QUIET, blocks).tolist())
    found = replace(plain, budgets={t: replace(b, estimator="bisquare") for t, b in plain.budgets.items()})
    looked = session(found, looks=looks_of(3, 40), blocks=blocks, keeps_at_looks=keeps)
    assert judge_session(looked, POLICY)[0].reason == verdict


@pytest.mark.parametrize("looks", [(), (8,)])
def test_one_look_alone_keeps_nothing(looks: tuple[int, ...]) -> None:
    """There is no later one by which what was told is forgotten: the outliers themselves are what is said."""
    gain = TOLD_AND_EATEN[:8]
    plain = arm(gain, gain, null=np.resize(QUIET, 8).tolist())
    found = replace(plain, budgets={t: replace(b, estimator="bisquare") for t, b in plain.budgets.items()})
    looked = session(found, looks=looks, blocks=8, keeps_at_looks=True)
    assert judge_session(looked, POLICY)[0].reason == "outliers"


@pytest.mark.parametrize("blocks", [8, 10])
def test_the_first_of_two_looks_keeps_whether_or_not_the_other_is_taken(blocks: int) -> None:
    gain = TOLD_AND_EATEN[:blocks]
    plain = arm(gain, gain, null=np.resize(QUIET, blocks).tolist())
    found = replace(plain, budgets={t: replace(b, estimator="bisquare") for t, b in plain.budgets.items()})
    looked = session(found, looks=(8, 10), blocks=blocks, keeps_at_looks=True)
    assert judge_session(looked, POLICY)[0].reason == "unresolved"


@pytest.mark.parametrize(("keeps", "outcome"), [(False, "pass"), (True, "fail")])
def test_a_look_tells_of_no_gain_over_the_incumbent_that_its_own_outliers_eat(keeps: bool, outcome: str) -> None:
    gain, over = around(0.2, blocks=8), TOLD_AND_EATEN[:8]
    plain = arm(gain, gain, null=np.resize(QUIET, 8).tolist(), over_incumbent=over)
    found = replace(plain, budgets={t: replace(b, estimator="bisquare") for t, b in plain.budgets.items()})
    looked = session(found, looks=looks_of(3, 40), blocks=8, keeps_at_looks=keeps, incumbent="old")
    (verdict,) = judge_session(looked, POLICY)
    assert next(gate.outcome for gate in verdict.gates if gate.id == "incumbent") == outcome


@pytest.mark.parametrize("keeps", [False, True])
def test_outliers_that_leave_enough_of_a_gain_take_nothing_from_a_look(keeps: bool) -> None:
    gain = (0.1, 0.1, *around(0.2, blocks=10))
    assert set_aside(gain, "bisquare", POLICY).mostly_own
    plain = arm(gain, gain, null=np.resize(QUIET, 12).tolist())
    found = replace(plain, budgets={t: replace(b, estimator="bisquare") for t, b in plain.budgets.items()})
    looked = session(found, looks=looks_of(8, 40), blocks=12, keeps_at_looks=keeps)
    assert judge_session(looked, POLICY)[0].verdict == "CANDIDATE"


def test_looking_costs_what_lies_between_the_levels() -> None:
    weak = around(0.02, blocks=6, spread=0.0075)
    fixed, looked = decided(weak, (), 6), decided(weak, looks_of(3, 40), 6)
    assert fixed[0] == "CANDIDATE"
    assert looked[0] == "INCONCLUSIVE"
    assert looked[1] > fixed[1]


def smallest(monkeypatch: pytest.MonkeyPatch, looks: tuple[int, ...], samples: int) -> np.ndarray:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("calibrate_looks").smallest(looks, samples, seed=5)[:, -1]  # type: ignore[no-any-return]


@pytest.mark.parametrize("looks", [looks_of(3, 12)])
def test_the_levels_spend_what_they_say(monkeypatch: pytest.MonkeyPatch, looks: tuple[int, ...]) -> None:
    found = smallest(monkeypatch, looks, 10_000)
    rate = float(np.mean(overall(found, len(looks)) <= 0.02))
    assert rate == pytest.approx(0.02, abs=4 * np.sqrt(0.02 / len(found)))


@pytest.mark.slow
@pytest.mark.parametrize("looks", [looks_of(3, most) for most in (4, 7, 12, 14, 20, 30, 40)] + [looks_of(6, 24)])
def test_the_levels_hold_for_every_plan(monkeypatch: pytest.MonkeyPatch, looks: tuple[int, ...]) -> None:
    found = smallest(monkeypatch, looks, 60_000)
    for level in (0.05, 0.02, 0.004, 0.001):
        rate = float(np.mean(overall(found, len(looks)) <= level))
        assert rate <= level * 1.06 + 4 * np.sqrt(level / len(found))


@pytest.mark.parametrize("planned", [2, 5, 12, 24])
def test_the_table_holds_at_its_points_between_them_and_below(planned: int) -> None:
    nominal, level = levels_of(planned)
    assert overall(nominal, planned) == pytest.approx(level, rel=1e-12)
    assert [level_of_each(each, planned) for each in level] == pytest.approx(nominal, rel=1e-12)
    between = [(a * b) ** 0.5 for a, b in pairwise(nominal)]
    assert overall(between, planned) == pytest.approx([(a * b) ** 0.5 for a, b in pairwise(level)], rel=1e-12)
    halves = [(a * b) ** 0.5 for a, b in pairwise(level)]
    assert [level_of_each(each, planned) for each in halves] == pytest.approx(between, rel=1e-12)
    assert overall(nominal[0] / 3, planned) == pytest.approx(level[0] / 3, rel=1e-12)
    assert level_of_each(level[0] / 3, planned) == pytest.approx(nominal[0] / 3, rel=1e-12)


def test_p_values_are_real_numbers_whatever_they_came_as() -> None:
    assert (sequential([0, 1], 2).dtype, overall([0, 1], 1).dtype) == (np.float64, np.float64)
    assert float(sequential([], 1)) == 1.0


def test_the_looks_of_each_session_are_its_own() -> None:
    p = np.random.default_rng(2).random((4, 3))
    assert np.array_equal(sequential(p, 6), [float(sequential(row, 6)) for row in p])
