"""A version is like one end or like the other, or nothing is said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.analysis.likeness import LEAST_CHANGE, WRONG, change, likeness, name_of
from zmlx_bench.protocol.looks import looks_of

LOOKS = looks_of(6, 40)


def drawn(change_log: float, at: float, sd: float, sessions: int, seed: int, arm_sd: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    drift = rng.normal(0, 0.05, (sessions, LOOKS[-1]))
    arms = [rng.normal(0, sd, drift.shape) + rng.normal(0, arm_sd, (sessions, 1)) for _ in range(3)]
    return [drift + arms[0], drift + arms[1] + change_log, drift + arms[2] + at * change_log]


def at_the_end(change_log: float, at: float, sd: float, *, arm_effect: float = 0.0, arm_sd: float = 0.0) -> np.ndarray:
    good, bad, asked = drawn(change_log, at, sd, 1_000, seed=1, arm_sd=arm_sd)
    sign = 1 if change_log > 0 else -1
    return likeness(good, bad, asked, sign, LOOKS, len(LOOKS), arm_effect, "bisquare")


@pytest.mark.parametrize("change_log", [-0.1, 0.1])
@pytest.mark.parametrize(("at", "right"), [(0.0, -1), (1.0, 1)])
def test_a_tenth_is_told_at_two_percent_of_noise_and_is_never_taken_for_the_other(
    change_log: float, at: float, right: int
) -> None:
    found = at_the_end(change_log, at, 0.02)
    assert (found == right).mean() > 0.998
    assert (found == -right).mean() <= WRONG


@pytest.mark.parametrize(("at", "wrong"), [(0.0, 1), (1.0, -1)])
def test_a_change_below_the_noise_is_undecided_not_guessed(at: float, wrong: int) -> None:
    found = at_the_end(-0.05, at, 0.2)
    assert (found == wrong).mean() <= WRONG + 3 * math.sqrt(WRONG / len(found))
    assert (found == 0).mean() > 0.9


@pytest.mark.parametrize(("at", "wrong"), [(0.0, 1), (1.0, -1)])
def test_an_arm_that_is_off_for_a_whole_session_is_allowed_for(at: float, wrong: int) -> None:
    careless = at_the_end(-0.05, at, 0.002, arm_sd=0.01)
    careful = at_the_end(-0.05, at, 0.002, arm_sd=0.01, arm_effect=0.01)
    assert (careless == wrong).mean() > WRONG
    assert (careful == wrong).mean() <= WRONG


@given(
    st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6),
    st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6),
    st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6),
)
def test_the_ends_changed_over_say_the_opposite(a: list[float], b: list[float], c: list[float]) -> None:
    one = int(likeness(a, b, c, -1, [6], 1, 0.0, "mean"))
    other = int(likeness(b, a, c, 1, [6], 1, 0.0, "mean"))
    middle = np.mean(np.asarray(c) - (np.asarray(a) + np.asarray(b)) / 2)
    assert one == -other or middle == pytest.approx(0, abs=1e-12)


def test_figures_without_noise_are_told_at_once() -> None:
    good, bad = [0.0] * 2, [math.log(1.2)] * 2
    for asked, says in ((good, "good"), (bad, "bad")):
        assert name_of(int(likeness(good, bad, asked, 1, [2], 1, 0.0, "mean"))) == says
    assert name_of(int(likeness(good, bad, [math.log(1.1)] * 2, 1, [2], 1, 0.0, "mean"))) != "undecided"


@pytest.mark.parametrize(
    ("ratio", "sd", "kind"),
    [
        (0.8, 0.01, "changed"),
        (1.2, 0.01, "changed"),
        (1 + LEAST_CHANGE / 5, 0.01, "same"),
        (1.0, 0.001, "same"),
        (0.9, 0.5, "undecided"),
    ],
)
def test_the_ends_changed_or_did_not_or_nothing_is_said(ratio: float, sd: float, kind: str) -> None:
    rng = np.random.default_rng(3)
    good = rng.normal(0, sd, LOOKS[-1])
    bad = rng.normal(math.log(ratio), sd, LOOKS[-1])
    found = change(good.tolist(), bad.tolist(), LOOKS, len(LOOKS), 0.0, "bisquare")
    assert found.kind == kind
    assert found.low is not None
    assert found.high is not None
    assert found.ratio is not None
    assert found.low <= found.ratio <= found.high
    if kind == "changed":
        assert (found.ratio > 1) == (ratio > 1)


def test_without_blocks_nothing_is_said() -> None:
    assert change([], [], [], 1, 0.0, "mean").kind == "undecided"
    assert change([0.0], [1.0], [1], 1, 0.0, "mean").kind == "undecided"


def test_one_stray_process_leaves_equal_memory_equal_with_five_blocks() -> None:
    stray = [math.log(1 - 0.0087), 0.0, 0.0, 0.0, 0.0]
    assert change([0.0] * 5, stray, (5,), 1, 0.0, "mean").kind == "same"
    assert change([0.0] * 3, stray[:3], (3,), 1, 0.0, "mean").kind == "undecided"
    more = [math.log(1.06) + each for each in stray]
    assert change([0.0] * 5, more, (5,), 1, 0.0, "mean").kind != "same"
