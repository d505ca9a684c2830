"""The t interval against scipy's own and textbook values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zmlx_bench.analysis.decision.statistics import mean_interval
from zmlx_bench.analysis.intervals import DISPLAY_LEVEL, ratio_of_logs

logs = st.lists(st.floats(-2, 2).map(lambda x: round(x, 6)), min_size=2, max_size=12)


def test_a_textbook_interval() -> None:
    # n = 4, mean 2.5, sd 1.290994, t(0.95, 3) = 2.353363: half width 1.519086.
    mean, low, high = mean_interval([1, 2, 3, 4], 0.90)
    assert mean == 2.5
    assert high - mean == pytest.approx(1.519086, abs=1e-5)
    assert mean - low == pytest.approx(1.519086, abs=1e-5)


@given(logs.filter(lambda v: len(set(v)) > 1), st.sampled_from([0.8, 0.9, 0.99]))
def test_it_is_scipys_interval(values: list[float], level: float) -> None:
    mean, low, high = mean_interval(values, level)
    expected = stats.t.interval(level, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert low <= mean <= high


@given(logs)
def test_a_ratio_is_the_geometric_mean_inside_its_interval(values: list[float]) -> None:
    ratio = ratio_of_logs(values, range(1, len(values) + 1))
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.value == pytest.approx(math.prod(math.exp(v) for v in values) ** (1 / len(values)), rel=1e-9)
    assert ratio.low <= ratio.value * (1 + 1e-12)
    assert ratio.value <= ratio.high * (1 + 1e-12)


@given(logs)
def test_exchanging_the_arms_gives_the_reciprocal(values: list[float]) -> None:
    one, other = (ratio_of_logs(side, range(1, len(values) + 1)) for side in (values, [-v for v in values]))
    assert one is not None
    assert other is not None
    assert one.value * other.value == pytest.approx(1)
    assert one.low is not None
    assert other.high is not None
    assert one.low * other.high == pytest.approx(1)


def test_what_too_few_pairs_give() -> None:
    assert ratio_of_logs([], []) is None
    one = ratio_of_logs([0.5], [3])
    assert one is not None
    assert (one.value, one.low, one.high, one.blocks) == (math.exp(0.5), None, None, (3,))
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([1.0], 0.9)
    assert DISPLAY_LEVEL == 0.90
