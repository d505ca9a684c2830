"""The order of arms: ABBA, balanced, and the same for the same seed."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.protocol.order import block_orders

arms = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=8, unique=True)
blocks = st.integers(0, 12)
seeds = st.text(max_size=8)


@given(arms, blocks, seeds)
def test_every_block_has_every_arm_once(names: list[str], count: int, seed: str) -> None:
    orders = block_orders(names, count, seed)
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


@given(arms, blocks, st.integers(0, 5), seeds)
def test_the_seed_fixes_the_order_and_more_blocks_change_no_earlier_one(
    names: list[str], count: int, more: int, seed: str
) -> None:
    assert block_orders(names, count + more, seed)[:count] == block_orders(names, count, seed)


def test_seeds_and_pairs_differ() -> None:
    names = list("abcdef")
    assert len({block_orders(names, 1, str(seed))[0] for seed in range(40)}) > 30
    assert len(set(block_orders(names, 40, "0")[::2])) > 15
