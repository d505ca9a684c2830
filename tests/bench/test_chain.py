"""The chain makes each call wait for the one before, changes no bit, and rotates over the copies."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.bench import figures as bench
from zmlx_bench.bench.chain import Chain
from zmlx_bench.bench.truth import differing


@pytest.fixture(autouse=True)
def _on_cpu() -> None:
    mx.set_default_device(mx.cpu)


def test_a_link_keeps_every_bit() -> None:
    value = mx.array([0.0, -0.0, float("nan"), float("inf"), 1e-40, 3.0]).astype(mx.bfloat16).reshape(1, 2, 3)
    chain = Chain([{"x": value}], "x")
    for waits in (mx.array([float("nan")]), mx.arange(4, dtype=mx.uint32).reshape(2, 2)):
        assert differing([chain.link(value, waits)], [value]) == (0, 6)


def test_calls_rotate_over_the_copies_and_go_on_where_the_last_sample_ended() -> None:
    inputs = [{"x": mx.full((1, 1, 4), float(i))} for i in range(3)]
    chain = Chain(inputs, "x")
    seen: list[int] = []

    def call(copy: int, given: dict[str, Any]) -> tuple[mx.array]:
        seen.append(copy)
        assert given["x"][0, 0, 0].item() == copy
        return (given["x"] + 1,)

    chain.sample(call, 2)
    chain.sample(call, 3)
    assert seen == [0, 1, 2, 0, 1]


@given(
    touched=st.floats(1, 1e9),
    held=st.integers(0, 10**9),
    cold=st.floats(1, 1e9),
    memory=st.floats(0, 1e10),
    most=st.integers(8, 64),
)
def test_copies_are_cold_within_their_bounds(touched: float, held: int, cold: float, memory: float, most: int) -> None:
    inputs, weights = bench.copies(touched, held, cold, memory, most)
    assert 8 <= inputs <= most
    assert 1 <= weights <= inputs
    assert inputs == most or inputs * int(touched) >= int(cold)
    assert weights == 1 or weights * held <= memory


def test_ratios_are_taken_pair_by_pair() -> None:
    found = bench.ratios([10.0, 30.0, 20.0], [10.0, 10.0, 10.0])
    assert (found.low, found.median, found.high) == (1.0, 2.0, 3.0)
    assert bench.share_without_link(1e6, 10, 12, 100) is None
    assert bench.share_without_link(1e6, 20, 10, 200) == pytest.approx(0.5)
