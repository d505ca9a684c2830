"""The simulation of disturbances in step with a session: whom they hit, and that the rule is as blind as it says."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from tests.scripts import ROOT, load


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    for name in ("kept_rows", "outlier_model", "looks_error"):
        sys.modules[name] = load(f"benchmarks/{name}.py")
    return load("benchmarks/in_step_error.py")


def test_each_block_of_three_arms_has_one_slow_process_and_no_arm_more_than_another(bench: ModuleType) -> None:
    short, long = bench.draw(np.random.default_rng(1), 6, bench.Disturbance(0.5, 3), 400)
    slow = short < np.log(0.75)
    assert slow.shape == (400, 3, 6)
    assert (slow.sum(axis=1) == 1).all()
    assert slow.mean(axis=(0, 2)) == pytest.approx([1 / 3] * 3, abs=0.05)
    assert ((long < np.log(0.75)) == slow).all()


def test_what_follows_the_variant_is_slow(bench: ModuleType) -> None:
    short, _ = bench.draw(np.random.default_rng(1), 2, bench.Disturbance(0.5, None), 400)
    slow = short < np.log(0.75)
    last_of_the_first = ~slow[:, :2, 0].any(axis=1)
    # It follows itself only where it ends one block and begins the next, which is reversed.
    assert (slow[:, 2, 1] == last_of_the_first).all()
    assert 0.2 < last_of_the_first.mean() < 0.5


def test_no_disturbance_is_seen_and_a_strong_one_in_step_is_not(bench: ModuleType) -> None:
    candidate, _, promoted = bench.rates(bench.SHAPES["none"], (3,), 1000)
    assert (candidate, promoted) == (0, 0)
    candidate, _, promoted = bench.rates(bench.SHAPES["one process in 3, 20%"], (3,), 1000)
    assert candidate > 0.1
    assert 0 < promoted < 0.1


def test_the_table_of_the_docs_is_of_these_disturbances_and_plans(bench: ModuleType) -> None:
    """One cell of each rate is made again, to the last digit; the others take minutes."""
    page = (ROOT / "docs" / "decision.md").read_text(encoding="utf-8")
    table = page.partition("`python benchmarks/in_step_error.py`")[2].partition("|")[2].partition("\n\n")[0]
    _, _, *rows = (row.strip("| ").split(" | ") for row in table.splitlines())
    told = {name.replace("nothing", "none"): cells for name, *cells in rows}
    assert len(told) == len(rows) > 10
    assert set(told) < set(bench.SHAPES)
    assert {len(cells) for cells in told.values()} == {6}
    name = "one process in 3, 20%"
    candidate, _, promoted = bench.rates(bench.SHAPES[name], bench.PLANS["3 blocks"], bench.SESSIONS)
    assert [f"{100 * rate:.2f}" for rate in (candidate, promoted)] == [told[name][0], told[name][3]]
