"""A cross-over's figures: a drift cancels, the process is the unit, the advice turns exactly at its bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.analysis import screen
from zmlx_bench.analysis.intervals import ratio_of_logs
from zmlx_bench.analysis.screen import Segment

TOKENS = 41
MS = 1_000_000


def segment(arm: str, per_token_ns: float, tokens: int = TOKENS) -> Segment:
    return Segment(arm, tuple(round(1e15 + at * per_token_ns) for at in range(tokens)))


def process(logs: dict[str, float], drift: float = 0.0) -> list[Segment]:
    """Both halves, each arm slower by its log time, and `drift` (log) more from one segment to the next."""
    order = ["baseline", *logs, "null"]
    times = {"baseline": 0.0, "null": 0.0, **logs}
    return [
        segment(arm, 5 * MS * math.exp(-times[arm] + drift * place)) for place, arm in enumerate([*order, *order[::-1]])
    ]


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.floats(-0.5, 0.5), min_size=1),
    st.floats(-0.05, 0.05),
)
def test_a_linear_drift_cancels_in_every_arm(logs: dict[str, float], drift: float) -> None:
    found = process(logs, drift)
    assert screen.gain(found, "null") == pytest.approx(0, abs=1e-5)
    for arm, log in logs.items():
        assert screen.gain(found, arm) == pytest.approx(log, abs=1e-5)


def test_an_arm_without_segments_or_with_a_single_token_has_no_gain() -> None:
    found = process({"a": 0.1})
    assert screen.gain(found, "b") is None
    assert screen.gain([one for one in found if one.arm != "null"], "a") is None
    assert screen.log_speed(segment("a", 1.0, tokens=1)) is None
    assert screen.log_speed(Segment("a", ())) is None
    assert screen.gains_of({1: found, 4: [], 7: found}, "a").keys() == {1, 7}


@pytest.mark.parametrize(
    ("log", "drifted"), [(0.0, False), (math.log(1.0095), False), (math.log(1.011), True), (-math.log(1.011), True)]
)
def test_a_process_drifted_when_its_whole_interval_is_beyond_one_percent(log: float, drifted: bool) -> None:
    found = [segment("baseline", 5 * MS), segment("a", MS), segment("baseline", 5 * MS * math.exp(-log))]
    ratio = screen.drift(found)
    assert ratio is not None
    assert ratio.value == pytest.approx(math.exp(log), rel=1e-6)
    assert len(ratio.logs) == 10
    assert screen.drifted(ratio) is drifted


@pytest.mark.parametrize("side", [1, -1])
def test_an_interval_that_touches_one_percent_is_no_drift(side: int) -> None:
    def drifted(log: float) -> bool:
        return screen.drifted(ratio_of_logs([side * log] * 2, (1, 2)))

    assert not drifted(screen.MOST_DRIFT)
    assert drifted(float(np.nextafter(screen.MOST_DRIFT, 1)))


def test_a_drift_that_its_own_noise_allows_is_none(rng: np.random.Generator) -> None:
    def noisy(mean_ms: float) -> Segment:
        steps = mean_ms * MS * np.exp(rng.normal(0, 0.3, 200))
        return Segment("baseline", tuple(int(t) for t in 10**15 + np.cumsum(steps)))

    ratio = screen.drift([noisy(5.0), noisy(4.9)])
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.low < 1.01 < ratio.value * 1.1
    assert not screen.drifted(ratio)


def test_what_is_too_short_for_two_parts_has_no_drift() -> None:
    assert screen.drift([segment("baseline", MS, 2), segment("baseline", MS, 2)]) is None
    assert screen.drift([segment("baseline", MS)]) is None
    assert not screen.drifted(None)


@given(st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=8))
def test_the_number_of_processes_is_the_smallest_whose_half_width_is_one_percent(logs: Sequence[float]) -> None:
    needed = screen.processes_needed(logs)
    assert needed is not None
    sd = float(np.std(logs, ddof=1))

    def half(n: int) -> float:
        return float(scipy.stats.t.ppf(0.95, n - 1)) * sd / math.sqrt(n)

    assert half(needed) <= math.log(1.01) * (1 + 1e-9)
    assert needed == 2 or half(needed - 1) > math.log(1.01) * (1 - 1e-9)


def test_one_process_tells_no_number() -> None:
    assert screen.processes_needed([0.1]) is None
    assert screen.pair_scatter([0.1]) is None
    assert screen.against([0.1], [0.1, 0.2]) is None


@pytest.mark.parametrize(
    ("gains", "null", "advice"),
    [
        ([0.05], [0.0], "more"),
        ([0.05, 0.05, 0.05], [0.0, 0.0, 0.0], "session"),
        ([0.05, 0.05, 0.05], [0.06, 0.06, 0.06], "no"),  # stock differs from itself by more
        ([0.05, -0.05, 0.06], [0.0, 0.0, 0.0], "more"),
        ([math.log1p(0.01)] * 3, [0.0, 0.0, 0.0], "no"),
        ([math.log(1.0101)] * 3, [0.0, 0.0, 0.0], "session"),
        ([-0.2, -0.2, -0.2], [0.0, 0.0, 0.0], "no"),
    ],
)
def test_the_advice_turns_at_its_bounds(gains: list[float], null: list[float], advice: str) -> None:
    assert screen.advice(gains, null, 0.01) == advice


def test_stock_under_other_variables_is_compared_between_processes() -> None:
    found = screen.against([1.0, 1.0], [1.1, 1.1])
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((math.exp(0.1),) * 3)


def test_the_scatter_of_a_session_is_that_of_three_processes() -> None:
    assert screen.pair_scatter([0.0, 0.02]) == pytest.approx(0.02 / math.sqrt(2) * math.sqrt(1.5))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
