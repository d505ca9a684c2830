"""Memory of an arm is the largest over its processes; what was not measured is null."""

from __future__ import annotations

import pytest

from tests.analysis.runs import failed, generation, run
from zmlx_bench.analysis.memory import compressed_gb, of_runs
from zmlx_bench.schema.machine import MachineState


def test_the_largest_of_each_figure_wherever_it_stands() -> None:
    first = run(
        generation(peak_mem_gb=3.0, active_before_gb=2.9, cache_gb=0.1),
        generation(peak_mem_gb=2.0, active_before_gb=1.0, cache_gb=0.2),
        peak_rss_gb=5.0, page_faults_minor=10, page_faults_major=2,
    )  # fmt: skip
    second = run(generation(peak_mem_gb=1.0), peak_rss_gb=4.0, page_faults_minor=30, page_faults_major=0)
    found = of_runs([first, second])
    assert (found.peak_mem_gb, found.cache_gb, found.peak_rss_gb) == (3.0, 0.25, 5.0)
    assert found.temporary_gb == pytest.approx(1.0), "peak minus what was active before the same prompt"
    assert (found.page_faults_minor, found.page_faults_major) == (30, 2)


def test_a_temporary_is_never_below_zero() -> None:
    assert of_runs([run(generation(peak_mem_gb=1.0, active_before_gb=1.5))]).temporary_gb == 0


def test_failed_processes_say_nothing() -> None:
    assert set(of_runs([failed()]).model_dump().values()) == {None}
    assert set(of_runs([]).model_dump().values()) == {None}


def test_one_unknown_does_not_hide_the_others() -> None:
    assert of_runs([run(peak_rss_gb=None), run(peak_rss_gb=2.0)]).peak_rss_gb == 2.0


def test_the_compressor_counts_by_its_largest_growth_and_where_both_ends_are_known() -> None:
    def state(gb: float | None) -> MachineState:
        return MachineState(compressed_gb=gb)

    grown = [run(before=state(1.0), after=state(after)) for after in (0.5, 1.2, 1.75, None)]
    assert compressed_gb([*grown, run(before=state(None), after=state(9.0)), run()]) == 0.75
    assert compressed_gb(grown[:1]) == 0.0
    assert compressed_gb([run()]) is None


def test_the_footprint_is_the_largest_too() -> None:
    assert of_runs([run(peak_footprint_gb=1.0), run(peak_footprint_gb=3.0), run()]).peak_footprint_gb == 3.0
