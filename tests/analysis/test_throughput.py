"""Speeds of single runs and their pairing by block."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.runs import at_speed, failed, generation, run
from zmlx_bench.analysis.throughput import by_block, decode_tok_s, latency, median, paired, prefill_tok_s, ttft_ms

speeds = st.lists(st.tuples(*[st.floats(1, 500)] * 3), min_size=1, max_size=6)


def test_the_first_token_belongs_to_the_prompt() -> None:
    assert decode_tok_s(generation(decode_s=0.5)) == 20, "ten of eleven tokens in half a second"
    assert prefill_tok_s(generation(ttft_s=0.5)) == 40
    assert ttft_ms(generation(ttft_s=0.5)) == 500


def test_what_cannot_be_measured_is_none() -> None:
    assert decode_tok_s(generation((1,))) is None
    assert decode_tok_s(generation(decode_s=0.0)) is None
    assert prefill_tok_s(generation(ttft_s=0.0)) is None
    assert median([], decode_tok_s) is None
    assert paired([], [], None, decode_tok_s) is None
    assert latency([failed()]) is None


def test_failed_and_untimed_processes_are_left_out() -> None:
    runs = [at_speed(10, 1), failed(2), at_speed(30, 3), run(block=None)]
    assert by_block(runs, decode_tok_s) == {1: 10, 3: 30}
    assert median(runs, decode_tok_s) == 20


@given(speeds)
def test_the_reference_is_the_geometric_mean_of_both_stock_arms(blocks: list[tuple[float, float, float]]) -> None:
    variant = [at_speed(v, i) for i, (v, _, _) in enumerate(blocks, 1)]
    base = [at_speed(b, i, "baseline") for i, (_, b, _) in enumerate(blocks, 1)]
    null = [at_speed(n, i, "null") for i, (_, _, n) in enumerate(blocks, 1)]
    ratio = paired(variant, base, null, decode_tok_s)
    assert ratio is not None
    expected = [math.log(v) - (math.log(b) + math.log(n)) / 2 for v, b, n in blocks]
    assert ratio.logs == pytest.approx(expected, abs=1e-9)
    assert ratio.value == pytest.approx(math.exp(math.fsum(expected) / len(expected)))
    alone = paired(variant, base, None, decode_tok_s)
    assert alone is not None
    assert alone.logs == pytest.approx([math.log(v / b) for v, b, _ in blocks], abs=1e-9)


@given(speeds, st.floats(0.1, 10))
def test_a_machine_that_is_slower_in_a_block_changes_nothing(
    blocks: list[tuple[float, float, float]], factor: float
) -> None:
    def ratio(scale: float) -> float:
        arms = [[at_speed(s[k] * scale**i, i) for i, s in enumerate(blocks, 1)] for k in range(3)]
        found = paired(*arms, decode_tok_s)
        assert found is not None
        return found.value

    assert ratio(factor) == pytest.approx(ratio(1.0))


def test_only_blocks_with_every_arm_are_paired() -> None:
    variant = [at_speed(20, 1), at_speed(20, 2), at_speed(20, 3)]
    base = [at_speed(10, 1), failed(2), at_speed(10, 3)]
    null = [at_speed(10, 1), at_speed(10, 2)]
    both, alone = paired(variant, base, null, decode_tok_s), paired(variant, base, None, decode_tok_s)
    assert both is not None
    assert both.blocks == (1,)
    assert (both.low, both.high) == (None, None)
    assert alone is not None
    assert alone.blocks == (1, 3)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_percentiles_are_observed_latencies_in_order(micros: list[int]) -> None:
    found = latency(
        [run(generation(token_us=tuple(micros[::2])), block=1), run(generation(token_us=tuple(micros[1::2])))]
    )
    assert found is not None
    values = [found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms]
    assert values == sorted(values)
    assert {round(v * 1e3) for v in values} <= set(micros)
    assert found.max_ms == max(micros) / 1e3
    assert sum(m <= found.p50_ms * 1e3 + 1e-6 for m in micros) >= len(micros) / 2
