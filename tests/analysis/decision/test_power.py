from __future__ import annotations

import numpy as np
import pytest
import scipy
from scipy import special

from tests.analysis.decision.evidence_of import POLICY
from zmlx_bench.analysis.decision.looks import level_of_each
from zmlx_bench.analysis.decision.power import blocks_needed, blocks_with_looks, exceeds, power
from zmlx_bench.protocol.looks import looks_of


@pytest.mark.parametrize("hypotheses", [1, 5, 20])
@pytest.mark.parametrize("sd", [0.0005, 0.001, 0.0019171, 0.002, 0.005, 0.01, 0.02, 0.05, 0.3])
def test_power_is_a_probability_that_grows_with_the_blocks(sd: float, hypotheses: int) -> None:
    found = [power(blocks, sd, hypotheses, POLICY) for blocks in range(2, POLICY.max_blocks + 1)]
    assert np.all(np.isfinite(found))
    assert np.all(np.diff(found) >= -1e-9)
    assert found[0] >= 0
    assert found[-1] <= 1


def test_power_agrees_with_simulation() -> None:
    rng = np.random.default_rng(3)
    sample = rng.normal(np.log(1.03), 0.012, (20_000, 6))
    p = scipy.stats.ttest_1samp(sample, np.log(1.01), axis=1, alternative="greater").pvalue
    assert power(6, 0.012, 5, POLICY) == pytest.approx(float(np.mean(p <= POLICY.faster_alpha / 5)), abs=0.012)


def test_the_blocks_needed_are_the_fewest() -> None:
    each = 1 - (1 - POLICY.planned_power) / 2
    for sd in (0.002, 0.00866, 0.02):
        found = blocks_needed({200: sd, 1024: 0.001}, 5, POLICY)
        assert found is not None
        blocks, capped = found
        assert not capped
        assert power(blocks, sd, 5, POLICY) >= each
        assert blocks == 3 or power(blocks - 1, sd, 5, POLICY) < each


def test_the_noisier_budget_decides_and_nothing_is_guessed() -> None:
    assert blocks_needed({200: 0.002, 1024: 0.02}, 1, POLICY) == blocks_needed({200: 0.02, 1024: 0.002}, 1, POLICY)
    assert blocks_needed({200: 0.02}, 1, POLICY) == blocks_needed({200: 0.02, 1024: 0.0}, 1, POLICY)
    assert blocks_needed({}, 1, POLICY) is None
    assert blocks_needed({200: 0.0, 1024: 0.0}, 1, POLICY) == (3, False)
    assert blocks_needed({200: 0.5, 1024: 0.0}, 1, POLICY) == (POLICY.max_blocks, True)


@pytest.mark.parametrize("sd", [0.0, 0.005, 0.01, 0.02, 0.03])
def test_looks_ask_for_the_blocks_that_their_level_takes_and_no_fewer(sd: float) -> None:
    found = blocks_with_looks(sd, 2, POLICY, looks_of)
    alpha = level_of_each(POLICY.faster_alpha, len(looks_of(3, found)))
    stricter = POLICY.model_copy(update={"faster_alpha": alpha})
    needed = blocks_needed({200: sd, 1024: sd}, 2, stricter)
    assert needed is not None
    assert needed[0] <= found
    plain = blocks_needed({200: sd, 1024: sd}, 2, POLICY)
    assert plain is not None
    assert (found == plain[0] == 3) if sd == 0.0 else (plain[0] < found <= 2 * plain[0])
    assert blocks_with_looks(1.0, 2, POLICY, looks_of) == POLICY.max_blocks


def test_below_two_blocks_there_is_no_power_and_without_scatter_it_is_certain() -> None:
    assert power(1, 0.0, 1, POLICY) == 0.0
    assert power(2, 0.0, 1, POLICY) == 1.0
    assert 0 < power(2, 1e-9, 1, POLICY) <= 1


@pytest.mark.parametrize("blocks", [5, 12, 37, POLICY.max_blocks])
def test_power_that_is_just_enough_is_enough(blocks: int) -> None:
    sd = 0.006 * blocks**0.5
    there = power(blocks, sd, 1, POLICY)
    planned = POLICY.model_copy(update={"planned_power": 1 - 2 * (1 - there)})
    assert 1 - (1 - planned.planned_power) / 2 == there
    found = blocks_needed({200: sd, 1024: 0.0}, 1, planned)
    assert found == (blocks, False)
    assert isinstance(found[0], int)


def test_the_search_finds_what_counting_finds() -> None:
    each = 1 - (1 - POLICY.planned_power) / 2
    for sd in np.linspace(0.002, 0.045, 40):
        fewest = next(n for n in range(3, POLICY.max_blocks + 1) if power(n, float(sd), 3, POLICY) >= each)
        assert blocks_needed({200: float(sd)}, 3, POLICY) == (fewest, False)


def test_where_the_series_has_no_value_for_a_large_shift_the_power_is_certain() -> None:
    excess = np.log1p(POLICY.planned_effect) - np.log1p(POLICY.min_gain)
    seen = 0
    for blocks in range(2, 201, 3):
        for sd in np.geomspace(1e-6, 0.02, 60):
            critical = float(special.stdtrit(blocks - 1, 1 - POLICY.faster_alpha))
            shift = excess / sd * np.sqrt(blocks)
            if np.isnan(special.nctdtr(blocks - 1, shift, critical)):
                seen += 1
                assert power(blocks, float(sd), 1, POLICY) == pytest.approx(1.0, abs=1e-9)
    assert seen


@pytest.mark.parametrize("times", [0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("level", [5e-6, 2e-6, 1e-8, 1e-12, 1e-20])
def test_with_two_and_three_blocks_the_power_has_a_value_at_every_level(level: float, times: float) -> None:
    """For a critical value as large as these the chi under it decides alone: P(s < shift / critical)."""
    excess = np.log1p(POLICY.planned_effect) - np.log1p(POLICY.min_gain)
    strict = POLICY.model_copy(update={"faster_alpha": level})
    for freedom, chance in ((1, 2 * special.ndtr(times) - 1), (2, 1 - np.exp(-(times**2)))):
        critical = -special.stdtrit(freedom, level)
        sd = float(excess * np.sqrt(freedom + 1) / (times * critical))
        exact = pytest.approx(chance, rel=1e-3, abs=10 * level) if critical > 200 else pytest.approx(chance, abs=0.02)
        assert power(freedom + 1, sd, 1, strict) == exact
        assert exceeds(freedom, times * critical, critical) == exact


@pytest.mark.parametrize("freedom", [1, 2, 40])
def test_the_integral_is_right_to_nine_digits_however_steep_the_tail_is(
    freedom: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same by the other variable: the mean of P(chi < (shift + z) / critical) over a normal z."""
    monkeypatch.setattr(special, "nctdtr", lambda *_: np.nan)
    z = np.linspace(-9.5, 9.5, 40_001)
    for critical in (50.0, 1e3, 1e5):
        for shift in (0.5, 12.0, 0.3 * critical, critical, 2 * critical):
            below = np.maximum(0, (shift + z) / critical)
            chance = special.gammainc(freedom / 2, freedom * below**2 / 2)
            exact = float(scipy.integrate.trapezoid(chance * scipy.stats.norm.pdf(z), z))
            assert exceeds(freedom, shift, critical) == pytest.approx(exact, abs=1e-9)


def test_parts_that_add_up_to_more_than_one_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(special, "nctdtr", lambda *_: np.nan)
    assert exceeds(40, 250.81781958368825, 100.0) == 1.0


@pytest.mark.parametrize("freedom", [1, 2, 5, 40])
def test_the_integral_agrees_with_the_series_where_both_have_a_value(
    freedom: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = {}
    for shift in (0.0, 0.7, 3.0, 12.0):
        for critical in (2.0, 5.0, 30.0):
            series[shift, critical] = exceeds(freedom, shift, critical)
    monkeypatch.setattr(special, "nctdtr", lambda *_: np.nan)
    for (shift, critical), found in series.items():
        assert exceeds(freedom, shift, critical) == pytest.approx(found, abs=1e-9)
