"""Figures as people read them: a thing not measured is a dash, an interval stands with its ratio."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.runs import OUTPUTS, generation, run
from zmlx_bench.analysis.fidelity import compare
from zmlx_bench.report import words
from zmlx_bench.schema.figures import Ratio


def test_nothing_measured_is_a_dash() -> None:
    assert {words.number(None), words.ratio(None), words.fidelity(None), words.gigabytes(None)} == {words.DASH}


def test_a_ratio_stands_with_its_interval_where_there_is_one() -> None:
    whole = Ratio(value=1.0234, low=1.0101, high=1.0369, logs=(0.0, 0.0), blocks=(1, 2))
    assert words.ratio(whole) == "1.023x [1.010, 1.037]"
    assert words.ratio(whole.model_copy(update={"low": None, "high": None})) == "1.023x"


@given(st.floats(0.0001, 1000))
def test_gigabytes_of_any_size_keep_their_first_digits(value: float) -> None:
    step = 0.01 if value >= 1 else 0.0001
    assert abs(float(words.gigabytes(value)) - value) <= 0.51 * step


def test_the_earliest_divergence_is_named() -> None:
    text = tuple(range(20))
    base = [run(generation(text, "p")), run(generation(text, "q"))]
    arm = [run(generation((*text[:9], 99), "p")), run(generation((*text[:4], 99), "q"))]
    found = compare(arm, base, None, OUTPUTS, 20, ["p", "q"])
    assert words.fidelity(found) == "diverged at 4 (q)"
    assert words.fidelity(compare(base, base, None, OUTPUTS, 20, ["p", "q"])) == "identical"
