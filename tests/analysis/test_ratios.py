"""Paired ratios of times and of energy: the block is the unit, and what was not measured has none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.runs import OUTPUTS, failed, generation, run
from zmlx_bench.analysis.figures import derive
from zmlx_bench.analysis.ratios import ratios
from zmlx_bench.schema.base import Role
from zmlx_bench.schema.run import Run, RunSet

seconds = st.lists(st.tuples(*[st.floats(0.001, 100)] * 3), min_size=1, max_size=5)


def first_after(seconds: float, block: int, role: Role = "variant") -> Run:
    return run(generation(ttft_s=seconds), block=block, role=role)


def used(joules: float | None, block: int, role: Role = "variant") -> Run:
    return run(block=block, role=role, energy_j=joules)


def ticking(microseconds: tuple[int, ...], block: int, role: Role = "variant") -> Run:
    return run(generation(token_us=microseconds), block=block, role=role)


@given(seconds)
def test_the_time_to_the_first_token_is_paired_as_prefill_is(blocks: list[tuple[float, float, float]]) -> None:
    runs = RunSet(
        variant=tuple(first_after(v, i) for i, (v, _, _) in enumerate(blocks, 1)),
        baseline=tuple(first_after(b, i, "baseline") for i, (_, b, _) in enumerate(blocks, 1)),
        null=tuple(first_after(n, i, "null") for i, (_, _, n) in enumerate(blocks, 1)),
    )
    found = derive(runs, RunSet(), OUTPUTS, 11, ["p"], null_arm=True)
    assert found.ratios is not None
    assert found.ratios.ttft is not None
    assert found.prefill is not None
    expected = [math.log(v) - (math.log(b) + math.log(n)) / 2 for v, b, n in blocks]
    assert found.ratios.ttft.logs == pytest.approx(expected, abs=1e-9)
    assert found.ratios.ttft.value == pytest.approx(1 / found.prefill.value)
    if len(blocks) > 1:
        assert found.ratios.ttft.low is not None
        assert found.prefill.high is not None
        assert found.ratios.ttft.low == pytest.approx(1 / found.prefill.high)


def test_a_percentile_is_of_one_process_and_its_block_the_unit() -> None:
    calm, jumpy = (100,) * 10, (100,) * 9 + (1000,)
    variant = [ticking(calm, 1), ticking(jumpy, 2)]
    stock = [ticking(tuple(2 * us for us in calm), block, "baseline") for block in (1, 2)]
    found = ratios(variant, stock, None)
    assert found.token_p50 is not None
    assert found.token_p99 is not None
    assert found.token_p50.logs == pytest.approx([math.log(0.5)] * 2)
    assert found.token_p99.logs == pytest.approx([math.log(0.5), math.log(5)])


def test_energy_has_a_ratio_only_where_every_arm_had_a_counter() -> None:
    variant = [used(10.0, 1), used(30.0, 2), used(None, 3)]
    stock = [used(20.0, block, "baseline") for block in (1, 2, 3)]
    both = ratios(variant, stock, [used(None, 1, "null"), used(20.0, 2, "null")]).energy
    alone = ratios(variant, stock, None).energy
    assert both is not None
    assert both.blocks == (2,)
    assert both.value == pytest.approx(1.5)
    assert alone is not None
    assert alone.logs == pytest.approx([math.log(0.5), math.log(1.5)])
    assert ratios([used(None, 1)], stock, None).energy is None
    assert ratios(variant, [used(None, 1, "baseline")], None).energy is None


def test_what_a_clock_or_a_counter_was_too_coarse_to_see_has_no_ratio() -> None:
    variant = [run(generation(ttft_s=0.0, token_us=(0,) * 10), energy_j=0.0), failed(2)]
    stock = [run(generation(token_us=(5,) * 10), block=b, role="baseline", energy_j=1.0) for b in (1, 2)]
    found = ratios(variant, stock, None)
    assert (found.ttft, found.token_p50, found.token_p95, found.token_p99, found.energy) == (None,) * 5


def test_a_figure_that_an_edited_file_makes_infinite_has_no_ratio() -> None:
    variant = [run(generation(ttft_s=1e308), energy_j=1.0)]
    stock = [run(generation(), role="baseline", energy_j=1.0)]
    assert ratios(variant, stock, None).ttft is None
