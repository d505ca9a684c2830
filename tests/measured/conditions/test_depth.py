"""Memory is taken once at each power of two of the length, and at the last length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.measured.conditions.depth import Depths, next_power


@given(st.integers(0, 1 << 40))
def test_the_next_power_is_the_smallest_above(length: int) -> None:
    power = next_power(length)
    assert power > length
    assert power & (power - 1) == 0
    assert power // 2 <= length


@given(first=st.integers(0, 300), more=st.integers(1, 600))
def test_every_power_that_is_reached_token_by_token_is_there(first: int, more: int) -> None:
    depths = Depths(first)
    for length in range(first + 1, first + more + 1):
        depths.grown(length)
    found = [depth.length for depth in depths.end()]
    powers = [1 << n for n in range(11) if first < 1 << n <= first + more]
    assert found == sorted({*powers, first + more})


def test_chunks_that_jump_over_powers_are_told_at_the_length_that_they_reach() -> None:
    depths = Depths()
    for length in (2048, 4096, 6144, 7000):
        depths.grown(length)
    assert [depth.length for depth in depths.end()] == [2048, 4096, 7000]


def test_peaks_do_not_fall() -> None:
    depths = Depths()
    for length in (1, 2, 4, 8):
        depths.grown(length)
    peaks = [depth.peak_gb for depth in depths.end()]
    assert peaks == sorted(peaks)
    assert all(depth.active_gb <= depth.peak_gb for depth in depths.end())
