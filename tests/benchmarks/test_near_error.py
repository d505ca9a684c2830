"""The simulation of what passes for near: its shapes have the mean that they must, the errors their order."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from tests.scripts import load


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load("benchmarks/near_error.py")


def test_every_shape_is_exactly_at_the_margin(bench: ModuleType) -> None:
    for name, draw in bench.SHAPES.items():
        drawn = draw(np.random.default_rng(1), (4_000, 20))
        assert drawn.mean() == pytest.approx(1, abs=5 * drawn.std() / np.sqrt(drawn.size)), name


def test_the_rule_errs_as_often_as_it_says_where_values_are_normal_and_never_more_than_student(
    bench: ModuleType,
) -> None:
    for name in ("KL, normal", "KL, lognormal, sd 1"):
        found = bench.errors(bench.SHAPES[name], 20, 400)
        assert found["the rule"] <= found["Student"], name
    assert bench.errors(bench.SHAPES["KL, normal"], 20, 400)["the rule"] == pytest.approx(0.05, abs=0.035)
