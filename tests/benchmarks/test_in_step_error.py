"""The simulation of disturbances in step with a session: whom they hit, and that the rule is as blind as it says."""

from __future__ import annotations

import sys
from collections import Counter
from types import ModuleType

import numpy as np
import pytest

from tests.scripts import ROOT, load
from zmlx_bench.protocol.order import block_orders, placed_orders


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    for name in ("kept_rows", "outlier_model", "drawn_orders", "looks_error"):
        sys.modules[name] = load(f"benchmarks/{name}.py")
    return load("benchmarks/in_step_error.py")


def test_each_block_of_three_arms_has_one_slow_process_and_each_arm_it_equally_often(bench: ModuleType) -> None:
    short, long = bench.draw(np.random.default_rng(1), 6, bench.Disturbance(0.5, 3), 400)
    slow = short < np.log(0.75)
    assert slow.shape == (400, 3, 6)
    assert (slow.sum(axis=1) == 1).all()
    assert (slow.sum(axis=2) == 2).all()
    assert ((long < np.log(0.75)) == slow).all()


def test_what_follows_the_variant_is_slow(bench: ModuleType) -> None:
    short, _ = bench.draw(np.random.default_rng(1), 2, bench.Disturbance(0.5, None), 400, algorithm=2)
    slow = short < np.log(0.75)
    last_of_the_first = ~slow[:, :2, 0].any(axis=1)
    # It follows itself only where it ends one block and begins the next, which is reversed.
    assert (slow[:, 2, 1] == last_of_the_first).all()
    assert 0.2 < last_of_the_first.mean() < 0.5


def test_one_process_in_three_is_no_arms_own_where_each_stands_in_every_place_and_was_where_not(
    bench: ModuleType,
) -> None:
    candidate, _, promoted = bench.rates(bench.SHAPES["none"], (3,), 1000)
    assert (candidate, promoted) == (0, 0)
    strong = bench.SHAPES["one process in 3, 20%"]
    for looks in ((3,), bench.LOOKS[:8]):
        assert bench.rates(strong, looks, 1000) == (0, 0, 0)
        candidate, _, promoted = bench.rates(strong, looks, 1000, algorithm=2)
        assert candidate > 0.1
        assert 0 < promoted < 0.2


@pytest.mark.parametrize(("arms", "algorithm"), [(3, 3), (3, 2), (4, 3)])
def test_simulated_orders_are_those_of_plans(bench: ModuleType, arms: int, algorithm: int) -> None:
    """As many of each first two blocks, among the real ones, as chance allows."""
    drawn = sys.modules["drawn_orders"].drawn_orders(np.random.default_rng(1), 3000, arms, 2, algorithm)
    orders = placed_orders if algorithm > 2 else block_orders
    real = Counter(tuple(orders([str(arm) for arm in range(arms)], 2, str(seed))) for seed in range(3000))
    simulated = Counter(tuple(tuple(str(arm) for arm in order) for order in each) for each in drawn)
    assert set(simulated) == set(real)
    assert min(simulated.values()) > 3000 / len(real) / 2


def test_the_table_of_the_docs_is_of_these_disturbances_and_plans(bench: ModuleType) -> None:
    """One cell of each rate is made again, to the last digit; the others take minutes."""
    page = (ROOT / "docs" / "decision.md").read_text(encoding="utf-8")
    table = page.partition("`python benchmarks/in_step_error.py`")[2].partition("|")[2].partition("\n\n")[0]
    _, _, *rows = (row.strip("| ").split(" | ") for row in table.splitlines())
    told = {name.replace("nothing", "none"): cells for name, *cells in rows}
    assert len(told) == len(rows) > 10
    assert set(told) < set(bench.SHAPES)
    assert {len(cells) for cells in told.values()} == {6}
    name = "one process in 3.3, 20%"
    candidate, _, promoted = bench.rates(bench.SHAPES[name], bench.PLANS["3 blocks"], bench.SESSIONS)
    assert [f"{100 * rate:.2f}" for rate in (candidate, promoted)] == [told[name][0], told[name][3]]
