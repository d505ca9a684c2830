from __future__ import annotations

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zmlx_bench.analysis.decision.statistics import (
    biased,
    difference_interval,
    estimate,
    floor_of,
    holm,
    interval,
    mean_interval,
    p_above,
    p_below,
)

logs = st.lists(st.floats(-0.5, 0.5, allow_nan=False), min_size=2, max_size=20)
probabilities = hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1))


@given(logs, st.floats(-0.1, 0.1))
def test_p_agrees_with_scipys_one_sample_t_test(sample: list[float], floor: float) -> None:
    if np.std(sample) < 1e-6:
        return
    expected = scipy.stats.ttest_1samp(sample, floor, alternative="greater").pvalue
    assert float(p_above(estimate(sample), floor)) == pytest.approx(expected, abs=1e-9)
    assert float(p_below(estimate(sample), floor)) == pytest.approx(1 - expected, abs=1e-9)


@given(logs)
def test_interval_agrees_with_scipy_and_holds_the_mean(sample: list[float]) -> None:
    if np.std(sample) < 1e-6:
        return
    low, high = interval(estimate(sample), 0.9)
    expected = scipy.stats.ttest_1samp(sample, 0.0).confidence_interval(0.9)
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(logs, st.floats(-0.1, 0.1), st.floats(0, 0.1))
def test_a_higher_floor_is_never_easier(sample: list[float], floor: float, more: float) -> None:
    found = estimate(sample)
    assert p_above(found, floor + more) >= p_above(found, floor)


@given(logs, st.randoms(use_true_random=False))
def test_the_order_of_blocks_does_not_matter(sample: list[float], random: object) -> None:
    shuffled = sample.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    if np.std(sample) < 1e-9:
        return
    assert float(p_above(estimate(shuffled), 0.01)) == pytest.approx(float(p_above(estimate(sample), 0.01)), rel=1e-6)


@pytest.mark.parametrize(("value", "p"), [(0.05, 0.0), (0.01, 1.0), (0.0, 1.0)])
def test_without_scatter_only_the_side_counts(value: float, p: float) -> None:
    constant = estimate([value] * 3)
    assert float(p_above(constant, 0.01)) == p
    low, high = interval(constant, 0.99)
    assert float(low) == float(high) == pytest.approx(value)


def test_rounding_of_equal_logs_is_not_scatter() -> None:
    sample = [math.log(50.1) - math.log(50.0) + dust for dust in (0.0, 1e-17, -1e-17)]
    assert float(estimate(sample).se) == 0.0


@pytest.mark.parametrize("sample", [[], [0.05]])
def test_below_two_blocks_nothing_is_known(sample: list[float]) -> None:
    found = estimate(sample)
    assert math.isnan(float(p_above(found, 0.0)))
    assert math.isnan(float(interval(found, 0.9)[0]))
    assert not biased(found, 0.99)


def test_floor_is_the_larger_of_gain_and_null() -> None:
    assert float(floor_of(None, 0.01)) == pytest.approx(math.log(1.01))
    assert float(floor_of(estimate([0.001, -0.002]), 0.01)) == pytest.approx(math.log(1.01))
    assert float(floor_of(estimate([-0.03, -0.02]), 0.01)) == pytest.approx(0.025)


def test_a_null_arm_that_is_off_in_every_block_is_bias() -> None:
    assert biased(estimate([0.02, 0.021, 0.019, 0.02]), 0.99)
    assert not biased(estimate([0.02, -0.021, 0.019, -0.02]), 0.99)
    assert not biased(estimate([0.0, 0.0, 0.0]), 0.99)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(probabilities)
def test_holm_lies_between_no_correction_and_bonferroni(p: np.ndarray) -> None:
    adjusted = holm(p)
    assert np.all(adjusted >= p)
    assert np.all(adjusted <= np.minimum(1, p * len(p)) + 1e-15)
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(adjusted[order]) >= 0)


@given(probabilities, st.data())
def test_a_smaller_p_value_never_raises_another(p: np.ndarray, data: st.DataObject) -> None:
    smaller = p * data.draw(hnp.arrays(np.float64, len(p), elements=st.floats(0, 1)))
    assert np.all(holm(smaller) <= holm(p) + 1e-15)


@given(probabilities)
def test_holm_treats_the_unknown_as_no_evidence(p: np.ndarray) -> None:
    with_unknown = holm(np.append(p, np.nan))
    assert with_unknown == pytest.approx(holm(np.append(p, 1.0)))
    assert np.all(with_unknown[:-1] >= holm(p) - 1e-15)


def test_everything_works_over_leading_axes() -> None:
    rng = np.random.default_rng(0)
    sample = rng.normal(0, 0.01, (4, 3, 6))
    found = p_above(estimate(sample), 0.01)
    assert found.shape == (4, 3)
    assert float(found[2, 1]) == pytest.approx(float(p_above(estimate(sample[2, 1]), 0.01)))
    assert holm(found)[2] == pytest.approx(holm(found[2]))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 3, 0)])
def test_without_blocks_nothing_is_known(shape: tuple[int, ...]) -> None:
    found = estimate(np.empty(shape))
    assert (found.blocks, found.freedom) == (0, -1.0)
    for each in (found.mean, found.se, p_above(found, 0.0), *interval(found, 0.9)):
        assert each.shape == shape[:-1]
        assert each.dtype == np.float64
        assert np.isnan(each).all()
    assert float(floor_of(found, 0.01).max()) == np.log1p(0.01)


@pytest.mark.parametrize("shape", [(1,), (3, 1)])
def test_one_block_has_a_place_and_no_interval(shape: tuple[int, ...]) -> None:
    found = estimate(np.full(shape, 0.05))
    assert (found.blocks, found.freedom) == (1, 0.0)
    assert np.all(found.mean == 0.05)
    for each in (found.se, p_above(found, 0.0), p_below(found, 0.0), *interval(found, 0.9)):
        assert each.shape == shape[:-1]
        assert np.isnan(each).all()
    assert not biased(found, 0.99).any()
    assert np.all(floor_of(found, 0.01) == 0.05)


def test_adjusted_p_values_are_real_numbers() -> None:
    assert holm(np.array([0.01, 0.02], dtype=np.float32)).dtype == np.float64
    assert holm([0, 1]).tolist() == [0.0, 1.0]


def test_the_interval_of_a_sample_in_one_call() -> None:
    sample = (0.01, 0.03, 0.02, 0.024)
    expected = scipy.stats.ttest_1samp(sample, 0.0).confidence_interval(0.9)
    assert mean_interval(sample, 0.9) == pytest.approx((np.mean(sample), expected.low, expected.high))
    assert mean_interval((0.01, 0.03), 0.5)[0] == pytest.approx(0.02)
    with pytest.raises(ValueError, match=r"^an interval needs at least two values$"):
        mean_interval((0.01,), 0.9)
    many = (*sample, 0.021, 0.019, 0.022, -0.5)
    assert (
        mean_interval(many, 0.9, "bisquare")[0]
        == float(estimate(many, "bisquare").mean)
        > 0
        > mean_interval(many, 0.9)[0]
    )


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_difference_of_two_samples_has_welchs_interval(level: float) -> None:
    then, now = (0.01, 0.03, 0.02), (0.05, 0.09, 0.04, 0.06, 0.055)
    found = difference_interval(estimate(then), estimate(now), level)
    expected = scipy.stats.ttest_ind(now, then, equal_var=False).confidence_interval(level)
    assert found == pytest.approx((np.mean(now) - np.mean(then), expected.low, expected.high))
    one = difference_interval(estimate((0.01, 0.01)), estimate((0.03, 0.03)), level)
    assert one == pytest.approx((0.02, 0.02, 0.02))
    # Squares of scatter this small would vanish.
    tiny = difference_interval(estimate(np.array(then) * 1e-9), estimate(np.array(now) * 1e-9), level)
    assert tiny == pytest.approx(tuple(1e-9 * x for x in found), rel=1e-6)
