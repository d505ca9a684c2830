"""The parts of host_time.py that need no GPU."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.scripts import load


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load("benchmarks/host_time.py")


def test_a_tokens_parts_have_medians_of_their_own(bench: ModuleType) -> None:
    times = [(0.001, 0.02, 0.004, 0.3), (0.002, 0.01, 0.006, 0.1), (0.003, 0.03, 0.005, 0.2)]
    assert bench.medians(times) == pytest.approx([2, 20, 5, 200])


def test_a_row_counts_the_prompts_that_said_the_same(bench: ModuleType) -> None:
    row = {
        "tokens": 1024,
        "build_ms": 0.3,
        "submit_ms": 0.05,
        "cpu_ms": 0.21,
        "wait_ms": 1.6,
        "decode_tok_s": 498.1,
        "peak_gb": 17.483,
        "said": ["a", "b", "d"],
    }
    line = bench.line("qwen_graph", row, ["a", "b", "c"])
    assert line.split() == [
        *("qwen_graph", "1024", "0.300", "0.050", "0.350", "0.210", "1.600", "498.1", "17.483"),
        *("2", "of", "3", "prompts"),
    ]
