"""The estimate that outliers do not move: what it is on clean samples, and what an outlier does to it."""

from __future__ import annotations

import importlib
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zmlx_bench.analysis.decision import robust
from zmlx_bench.analysis.decision.calibrated import FEWEST, freedom_and_factor
from zmlx_bench.analysis.decision.statistics import estimate, interval, lost_weight, p_above

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
CLEAN = (0.029, 0.031, 0.027, 0.033, 0.030, 0.0285, 0.0315, 0.0295)
samples = st.lists(st.floats(-0.2, 0.2).map(lambda x: round(x, 6)), min_size=FEWEST, max_size=14)


def test_clean_blocks_give_nearly_the_mean_and_its_interval() -> None:
    found, plain = estimate(CLEAN, "bisquare"), estimate(CLEAN)
    assert float(found.mean) == pytest.approx(float(plain.mean), abs=1e-4)
    assert float(found.se) == pytest.approx(float(plain.se), rel=0.1)


@pytest.mark.parametrize("outlier", [-0.2, -5.0, 0.3])
def test_an_outlier_moves_a_mean_and_not_the_estimate(outlier: float) -> None:
    spoilt = (*CLEAN, outlier)
    found = estimate(spoilt, "bisquare")
    assert float(found.mean) == pytest.approx(0.03, abs=5e-4)
    assert float(p_above(found, 0.01)) < 1e-4
    assert float(p_above(estimate(spoilt), 0.01)) > 0.05


def test_how_far_a_block_is_moved_beyond_reach_does_not_matter() -> None:
    near, far = (estimate((*CLEAN, outlier), "bisquare") for outlier in (-1.0, -2.0))
    assert (float(near.mean), float(near.se)) == (float(far.mean), float(far.se))


@pytest.mark.parametrize("blocks", [2, FEWEST - 1])
def test_few_blocks_have_their_mean_to_the_last_digit(blocks: int) -> None:
    sample = (*CLEAN[: blocks - 1], -0.2)
    found, plain = estimate(sample, "bisquare"), estimate(sample)
    assert (found.mean, found.se, found.freedom) == (plain.mean, plain.se, blocks - 1)
    with pytest.raises(ValueError, match=str(FEWEST)):
        robust.bisquare(np.array(sample))


def test_from_six_blocks_on_an_outlier_is_told() -> None:
    sample = (*CLEAN[: FEWEST - 1], -0.2)
    assert float(estimate(sample, "bisquare").mean) > 0.028 > float(estimate(sample).mean)


def test_blocks_that_are_mostly_equal_leave_no_scale_and_give_their_mean() -> None:
    sample = (0.03,) * 9 + (0.1,)
    assert float(estimate(sample, "bisquare").mean) == pytest.approx(0.037)
    assert lost_weight(sample, "bisquare") == (0.0, 0.0)


@given(samples, st.floats(-1, 1), st.floats(0.1, 10))
def test_it_moves_and_stretches_with_the_sample(values: list[float], shift: float, stretch: float) -> None:
    assume(float(robust.shamos(np.array(values))) > 1e-6)
    found, moved = estimate(values, "bisquare"), estimate(np.array(values) * stretch + shift, "bisquare")
    assert float(moved.mean) == pytest.approx(float(found.mean) * stretch + shift, abs=1e-7)
    assert float(moved.se) == pytest.approx(float(found.se) * stretch, abs=1e-7, rel=1e-6)


@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_blocks_gives_the_same_digits(values: list[float], random: object) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assume(float(robust.shamos(np.array(values))) > 1e-6)
    assert estimate(shuffled, "bisquare").se == estimate(values, "bisquare").se
    assert estimate(shuffled, "bisquare").mean == estimate(values, "bisquare").mean


@given(samples)
def test_the_estimate_lies_within_the_sample_and_its_interval_around_it(values: list[float]) -> None:
    found = estimate(values, "bisquare")
    low, high = interval(found, 0.9)
    assert min(values) - 1e-12 <= found.mean <= max(values) + 1e-12
    assert low <= found.mean <= high


def test_weight_is_taken_on_the_side_of_the_outlier() -> None:
    below, above = lost_weight((*CLEAN, -0.2, -0.1), "bisquare")
    assert below == pytest.approx(2.0, abs=0.2)
    assert above < 0.2
    assert lost_weight((*CLEAN, -0.2)) == (0.0, 0.0)


def test_leading_axes_are_samples_of_their_own() -> None:
    both = estimate(np.array([CLEAN, (*CLEAN[:-1], -0.2)]), "bisquare")
    assert float(both.mean[1]) == float(estimate((*CLEAN[:-1], -0.2), "bisquare").mean)
    assert both.mean.shape == (2,)


def test_the_table_is_monotone_and_has_no_gap() -> None:
    found = [freedom_and_factor(blocks) for blocks in range(FEWEST, 300)]
    # Fitted row by row: a hundredth of a degree is chance.
    assert all(before[0] <= after[0] + 0.02 for before, after in pairwise(found))
    assert all(freedom < blocks - 1 for blocks, (freedom, _) in enumerate(found, start=FEWEST))
    assert all(0.89 < factor <= 1 for _, factor in found)
    assert freedom_and_factor(28)[0] == pytest.approx((freedom_and_factor(24)[0] + freedom_and_factor(32)[0]) / 2)
    assert freedom_and_factor(1000) == freedom_and_factor(60)


def level_at(blocks: int, count: int, nominal: float) -> tuple[float, float]:
    """Return how often normal noise has a p below `nominal`, and the standard error of that."""
    drawn = np.random.default_rng(blocks).standard_normal((count, blocks))
    p = p_above(estimate(drawn, "bisquare"), 0.0)
    rate = float(np.mean(np.concatenate([p, 1 - p]) <= nominal))
    return rate, math.sqrt(nominal * (1 - nominal) / (2 * count))


@pytest.mark.parametrize("blocks", [3, 6, 9, 12])
def test_normal_noise_is_called_faster_as_often_as_the_level_says(blocks: int) -> None:
    rate, error = level_at(blocks, 20_000, 0.02)
    assert rate == pytest.approx(0.02, abs=4 * error + 0.0005)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [6, 7, 8, 10, 13, 17, 24, 28, 40, 50])
@pytest.mark.parametrize(("nominal", "off"), [(0.02, 0.03), (0.005, 0.1), (0.001, 0.15)])
def test_the_levels_hold_at_every_size(blocks: int, nominal: float, off: float) -> None:
    count = 100_000 if blocks <= 24 else 30_000
    rate, error = level_at(blocks, count, nominal)
    assert rate == pytest.approx(nominal, abs=4 * error + off * nominal)


def test_the_benchmark_fits_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    calibrate = importlib.import_module("calibrate_estimate")
    freedom, factor = calibrate.fitted(calibrate.quantiles(10, 40_000), 10)
    known = freedom_and_factor(10)
    assert (freedom, factor) == (pytest.approx(known[0], rel=0.1), pytest.approx(known[1], rel=0.02))


def test_the_cut_off_is_the_textbooks_for_many_blocks_and_wider_for_few() -> None:
    assert robust.cut_off(5) == pytest.approx(2 * 4.685)
    assert robust.cut_off(10) == pytest.approx(1.25 * 4.685)
    assert robust.cut_off(10**6) == pytest.approx(4.685)


def by_the_book(sample: tuple[float, ...]) -> tuple[float, float, list[float], float]:
    """(location, asymptotic standard error, weights, scale) after Beaton and Tukey, block by block."""
    n = len(sample)
    distances = sorted(abs(a - b) for i, a in enumerate(sample) for b in sample[i + 1 :])
    scale = 1.0483 * float(np.median(distances))
    reach = 4.685 * (1 + 25 / n**2) * scale
    at = float(np.median(sample))
    for _ in range(10):
        weights = [(1 - ((x - at) / reach) ** 2) ** 2 if abs(x - at) < reach else 0.0 for x in sample]
        at = math.fsum(w * x for w, x in zip(weights, sample, strict=True)) / math.fsum(weights)
    inside = [u for x in sample if abs(u := (x - at) / reach) < 1]
    weights = [(1 - ((x - at) / reach) ** 2) ** 2 if abs(x - at) < reach else 0.0 for x in sample]
    score = math.fsum((u * reach * (1 - u**2) ** 2) ** 2 for u in inside)
    slope = math.fsum((1 - u**2) * (1 - 5 * u**2) for u in inside)
    return at, math.sqrt(score * n / (n - 1)) / slope, weights, scale


@pytest.mark.parametrize("outliers", [(), (-0.2,), (0.05,), (0.02, 0.045), (0.012, 0.3), (-5.0, 5.0)])
@pytest.mark.parametrize("clean", [CLEAN, (0.01, 0.013, 0.008, 0.011, 0.017, 0.009, 0.002, 0.012, 0.01, 0.0185)])
def test_it_is_the_textbooks_estimate(clean: tuple[float, ...], outliers: tuple[float, ...]) -> None:
    sample = (*clean, *outliers)
    at, se, weights, scale = by_the_book(sample)
    plain, scaled = (robust.bisquare(np.array(sample), calibrated=wanted) for wanted in (False, True))
    freedom, factor = freedom_and_factor(len(sample))
    for found in (plain, scaled, robust.bisquare(np.array(sample))):
        assert float(found.value) == pytest.approx(at, rel=1e-9)
        assert found.weight == pytest.approx(weights, abs=1e-9)
        assert float(found.scale) == pytest.approx(scale, rel=1e-12)
    assert (float(plain.se), plain.freedom) == (pytest.approx(se, rel=1e-9), len(sample) - 1)
    assert (float(scaled.se), scaled.freedom) == (pytest.approx(factor * se, rel=1e-9), freedom)
    assert robust.bisquare(np.array(sample)).se == scaled.se


def test_from_six_blocks_on_weight_is_lost_and_each_sample_loses_its_own() -> None:
    six = (*CLEAN[:5], -0.2)
    below, above = lost_weight(six, "bisquare")
    assert float(below) == pytest.approx(1, abs=0.05)
    assert float(above) < 0.05
    assert [float(x) for x in lost_weight(six[1:], "bisquare")] == [0.0, 0.0]
    two = np.array([six, tuple(-x for x in six)])
    each = lost_weight(two, "bisquare")
    assert each[0] == pytest.approx([below, above])
    assert each[1] == pytest.approx([above, below])
    assert [x.shape for x in lost_weight(np.zeros((3, 2, 4)), "bisquare")] == [(3, 2), (3, 2)]
    assert [x.shape for x in lost_weight(np.zeros((3, 2, 8)))] == [(3, 2), (3, 2)]


def test_the_digits_do_not_depend_on_how_the_sample_was_kept() -> None:
    narrow = np.array(CLEAN, dtype=np.float32)
    for estimator in ("mean", "bisquare"):
        found = estimate(narrow, estimator)  # type: ignore[arg-type]
        assert (found.mean.dtype, found.se.dtype) == (np.float64, np.float64)
        assert float(found.mean) == float(estimate(narrow.astype(np.float64), estimator).mean)  # type: ignore[arg-type]
    assert lost_weight(narrow, "bisquare") == lost_weight(narrow.astype(np.float64), "bisquare")
