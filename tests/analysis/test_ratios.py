"""Paired ratios of times and of energy: the block is the unit, and what was not measured has none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.runs import OUTPUTS, failed, generation, run
from zmlx_bench.analysis.figures import derive
from zmlx_bench.analysis.ratios import completed, ratios, whole
from zmlx_bench.analysis.throughput import token_times
from zmlx_bench.files import read_json
from zmlx_bench.schema.base import Role
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.run import Run, RunSet
from zmlx_bench.workspace import Workspace

ROLES: tuple[Role, Role] = ("variant", "baseline")
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


@given(st.lists(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), min_size=2, max_size=2))
def test_of_one_block_the_ratio_is_that_of_the_percentiles_shown(micros: list[list[int]]) -> None:
    variant, stock = ([ticking(tuple(us), 1, role)] for us, role in zip(micros, ROLES, strict=True))
    found, ours, theirs = ratios(variant, stock, None), token_times(variant), token_times(stock)
    assert ours is not None
    assert theirs is not None
    for share in ("p50", "p95", "p99"):
        ratio = getattr(found, f"token_{share}").value
        assert ratio == pytest.approx(getattr(ours, f"{share}_ms") / getattr(theirs, f"{share}_ms"))


def test_a_percentile_shown_is_the_median_of_those_of_the_processes() -> None:
    runs = [ticking((us,) * 9 + (10 * us,), block) for block, us in enumerate((100, 300, 200), start=1)]
    found = token_times([*runs, failed(4)])
    assert found is not None
    assert (found.p50_ms, found.p99_ms) == (0.2, 2.0)
    assert token_times([failed(1)]) is None


def test_figures_from_before_there_were_all_are_made_whole_from_the_runs(repository: Workspace) -> None:
    path = sorted(repository.capsules.glob("*/*_tiny_*qwen_native.json"))[0]
    capsule = read_json(path, Capsule)
    before = capsule.figures.model_copy(update={"ratios": None, "token_times": None, "baseline_token_times": None})
    assert not whole(before)
    found = completed(capsule.model_copy(update={"figures": before}))
    assert whole(found)
    assert completed(capsule.model_copy(update={"figures": found})) is found
    assert found.token_times == token_times(capsule.runs.variant)
    assert found.speedup == capsule.figures.speedup


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
