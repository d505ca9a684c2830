"""The order of arms: balanced, the same for the same seed, and that of fewer blocks a prefix."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.protocol.order import block_orders, placed_orders

Draw = Callable[[Sequence[str], int, str], list[tuple[str, ...]]]
both = pytest.mark.parametrize("draw", [block_orders, placed_orders])
THREE = ("baseline", "null", "variant")
arms = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=8, unique=True)
blocks = st.integers(0, 12)
seeds = st.text(max_size=8)


@both
@given(arms, blocks, seeds)
def test_every_block_has_every_arm_once(draw: Draw, names: list[str], count: int, seed: str) -> None:
    orders = draw(names, count, seed)
    assert len(orders) == count
    assert all(sorted(order) == sorted(names) for order in orders)


@given(arms, blocks, seeds)
def test_the_second_block_of_a_pair_is_the_first_reversed(names: list[str], count: int, seed: str) -> None:
    orders = block_orders(names, count, seed)
    for first, second in zip(orders[::2], orders[1::2], strict=False):
        assert second == first[::-1]


@given(arms, st.integers(1, 6), seeds)
def test_over_whole_pairs_every_arm_stands_in_the_same_mean_place(names: list[str], pairs: int, seed: str) -> None:
    orders = block_orders(names, 2 * pairs, seed)
    places = {name: statistics.fmean(order.index(name) for order in orders) for name in names}
    assert set(places.values()) == {(len(names) - 1) / 2}


@given(arms, st.integers(1, 6), seeds, st.floats(-1, 1))
def test_a_linear_drift_cancels_over_whole_pairs(names: list[str], pairs: int, seed: str, slope: float) -> None:
    sequence = [name for order in block_orders(names, 2 * pairs, seed) for name in order]
    drift = {name: statistics.fmean(slope * t for t, at in enumerate(sequence) if at == name) for name in names}
    assert max(drift.values()) - min(drift.values()) < 1e-9


@both
@given(arms, blocks, st.integers(0, 5), seeds)
def test_the_seed_fixes_the_order_and_more_blocks_change_no_earlier_one(
    draw: Draw, names: list[str], count: int, more: int, seed: str
) -> None:
    assert draw(names, count + more, seed)[:count] == draw(names, count, seed)


def test_seeds_and_pairs_differ() -> None:
    names = list("abcdef")
    assert len({block_orders(names, 1, str(seed))[0] for seed in range(40)}) > 30
    assert len(set(block_orders(names, 40, "0")[::2])) > 15


@given(arms.filter(lambda names: len(names) != 3), blocks, seeds)
def test_other_numbers_of_arms_than_three_are_reversed_in_pairs(names: list[str], count: int, seed: str) -> None:
    assert placed_orders(names, count, seed) == block_orders(names, count, seed)


@given(st.integers(1, 14), seeds)
def test_each_three_blocks_have_each_of_three_arms_once_in_every_place(squares: int, seed: str) -> None:
    orders = placed_orders(THREE, 3 * squares, seed)
    for first in range(0, len(orders), 3):
        for place in zip(*orders[first : first + 3], strict=True):
            assert sorted(place) == sorted(THREE)


@given(st.integers(1, 7), seeds)
def test_each_six_blocks_have_every_order_of_three_and_each_arm_after_each_other_twice(sixes: int, seed: str) -> None:
    orders = placed_orders(THREE, 6 * sixes, seed)
    for first in range(0, len(orders), 6):
        six = orders[first : first + 6]
        assert len(set(six)) == 6
        assert set(Counter(pair for order in six for pair in pairwise(order)).values()) == {2}


@given(st.integers(1, 14), seeds, st.floats(-1, 1))
def test_of_three_arms_a_linear_drift_cancels_in_each_three_blocks(squares: int, seed: str, slope: float) -> None:
    sequence = [name for order in placed_orders(THREE, 3 * squares, seed) for name in order]
    drift = {name: statistics.fmean(slope * t for t, at in enumerate(sequence) if at == name) for name in THREE}
    assert max(drift.values()) - min(drift.values()) < 1e-9


def hit(every: int, blocks: int, seed: str) -> list[Counter[str]]:
    """Return which of three arms one process in `every` falls on, for each that it may begin with."""
    sequence = [name for order in placed_orders(THREE, blocks, seed) for name in order]
    return [Counter(sequence[first::every]) for first in range(every)]


@given(st.integers(1, 7), seeds)
def test_what_comes_with_every_second_or_third_process_meets_three_arms_equally_often(sixes: int, seed: str) -> None:
    for every in (2, 3):
        for found in hit(every, 6 * sixes, seed):
            assert found == dict.fromkeys(THREE, 6 * sixes // every)


@given(seeds)
def test_no_arm_of_three_meets_one_process_in_three_or_four_in_all_of_the_first_blocks(seed: str) -> None:
    for every in (3, 4):
        assert all(max(found.values()) < 3 for found in hit(every, 3, seed))


def test_evidence_rests_on_what_a_seed_draws() -> None:
    """It may never change: recorded plans are drawn again."""
    assert block_orders("bnv", 4, "7") == [tuple(order) for order in ("nbv", "vbn", "vbn", "nbv")]
    assert placed_orders("bnv", 7, "7") == [tuple(order) for order in ("nbv", "bvn", "vnb", "vbn", "nvb", "bnv", "vbn")]
