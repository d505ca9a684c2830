"""What a context costs, and memory by length, from raw runs."""

from __future__ import annotations

import pytest

from tests.analysis.runs import OUTPUTS, failed, generation, run
from zmlx_bench.analysis import context, throughput
from zmlx_bench.analysis.figures import derive, energy_j_per_token
from zmlx_bench.analysis.memory import of_runs
from zmlx_bench.schema.base import Role
from zmlx_bench.schema.run import Beside, Depth, Filled, Run, RunSet


def depth(length: int, gb: float) -> Depth:
    return Depth(length=length, active_gb=gb, cache_gb=gb / 10, peak_gb=gb + 1)


def filled(seconds: float, *depths: Depth, block: int = 1, role: Role = "variant", **changes: object) -> Run:
    told = Filled(tokens=100, sha256="0" * 64, seconds=seconds, depths=depths)
    return run(generation(**changes), block=block, role=role, filled=told)


def test_its_speed_is_paired_by_block() -> None:
    runs = RunSet(
        baseline=(filled(2.0, role="baseline"), filled(4.0, block=2, role="baseline")),
        null=(filled(2.0, role="null"), filled(4.0, block=2, role="null")),
        variant=(filled(1.0), filled(2.0, block=2), failed(3)),
    )
    found = derive(runs, RunSet(), OUTPUTS, 11, ["p"], True)
    assert found.context_prefill is not None
    assert (found.context_prefill.value, found.context_prefill.blocks) == (pytest.approx(2.0), (1, 2))
    assert found.context_prefill_tok_s == pytest.approx(75.0)
    assert found.baseline_context_prefill_tok_s == pytest.approx(37.5)


def test_without_one_there_is_no_figure() -> None:
    found = derive(RunSet(baseline=(run(role="baseline"),), variant=(run(),)), RunSet(), OUTPUTS, 11, ["p"], False)
    assert (found.context_prefill, found.context_prefill_tok_s, found.depths) == (None, None, ())


def test_memory_is_the_largest_at_each_length_that_all_reached() -> None:
    runs = [
        filled(1.0, depth(64, 2.0), depth(100, 3.0), depths=(depth(128, 4.0),)),
        filled(1.0, depth(64, 2.5), depth(100, 2.9), depths=(depth(128, 4.5), depth(130, 9.0)), block=2),
        failed(3),
    ]
    found = context.depths(runs)
    assert [(each.length, each.active_gb) for each in found] == [(64, 2.5), (100, 3.0), (128, 4.5)]
    assert context.depths([failed()]) == ()


def test_the_peak_of_an_arm_has_that_of_its_context() -> None:
    assert of_runs([filled(1.0, depth(64, 6.0))]).peak_mem_gb == 7.0
    assert of_runs([filled(1.0, depth(64, 0.5))]).peak_mem_gb == 2.0
    assert of_runs([run()]).peak_mem_gb == 2.0


def test_speed_prefill_and_energy_are_of_the_whole_batch() -> None:
    others = tuple(Beside(prompt="q", prompt_tokens=40, prompt_sha256=None, output="0" * 64) for _ in range(3))
    batch = generation(beside=others)
    assert throughput.decode_tok_s(batch) == pytest.approx(4 * 10.0)
    assert throughput.prefill_tok_s(batch) == pytest.approx((20 + 3 * 40) / 0.5)
    assert energy_j_per_token([run(batch, energy_j=80.0)]) == pytest.approx(2.0)
