"""What of the comparison with llama.cpp needs no GPU: its order, its statistics, what it reads and refuses."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from tests.scripts import load

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = BENCHMARKS / "against_llama_cpp.py"
PRINTED = Path(__file__).parents[1] / "data" / "llama_bench.json"
"""What llama-bench printed for a GGUF of random_gguf.py, one layer of the published sizes, on a CPU."""
ARMS = ["stock", "ours", "stock with cuDNN", "llama.cpp"]


bench = load("benchmarks/against_llama_cpp.py")


def test_every_arm_has_every_place_equally_often() -> None:
    rounds = [bench.in_turn(ARMS, number) for number in range(8)]
    for place in range(4):
        assert sorted(each[place] for each in rounds) == sorted(ARMS * 2)


@given(st.lists(st.floats(1, 1000), min_size=3, max_size=12), st.floats(0.1, 10))
def test_a_constant_ratio_is_found_whatever_the_machine_does_between_rounds(speeds: list[float], by: float) -> None:
    value, low, high = bench.ratio([by * speed for speed in speeds], speeds)
    assert value == pytest.approx(by)
    assert low == pytest.approx(by)
    assert high == pytest.approx(by)


def test_the_interval_is_students_of_the_logarithms() -> None:
    ours, theirs = [500.0, 490.0, 520.0, 505.0], [330.0, 335.0, 328.0, 331.0]
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    low, high = scipy.stats.t.interval(0.95, 3, loc=sum(logs) / 4, scale=scipy.stats.sem(logs))
    assert bench.ratio(ours, theirs)[1:] == pytest.approx((math.exp(low), math.exp(high)))


def sample(rate: float, tokens: str) -> object:
    return bench.Sample({200: rate}, {200: tokens}, "here")


def test_the_table_has_a_row_an_arm_and_says_whose_tokens_they_are() -> None:
    samples = {
        "stock": [sample(100, "a"), sample(102, "a"), sample(101, "a")],
        "ours": [sample(500, "a"), sample(510, "a"), sample(505, "a")],
        "stock with cuDNN": [sample(110, "a"), sample(111, "b"), sample(112, "a")],
        "llama.cpp": [bench.Sample({200: 250.0}, {}, "there")] * 3,
    }
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in bench.table(samples, [200]).splitlines()[2:]]
    assert [row[1] for row in rows] == ARMS
    assert rows[1] == ["200", "ours", "505.0", "2.020", rows[1][4], "stock's"]
    low, high = map(float, rows[1][4].split(" to "))
    assert 1.9 < low < 2.02 < high < 2.1
    assert rows[2][5] == "others"
    assert rows[3][2:] == ["250.0", "", "", ""]


def test_an_arm_that_left_is_paired_with_the_rounds_that_it_was_in() -> None:
    theirs = [bench.Sample({200: rate}, {}, "there") for rate in (200.0, 100.0, 50.0)]
    ours = [sample(400, "a"), sample(200, "a"), sample(100, "a")]
    samples = {
        "stock": [sample(100, "a")],
        "ours": ours,
        "stock with cuDNN": [sample(50, "b")] * 2,
        "llama.cpp": theirs,
    }
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in bench.table(samples, [200]).splitlines()[2:]]
    assert [row[3:] for row in rows[:2]] == [["0.500", "", "stock's"], ["2.000", "2.000 to 2.000", "stock's"]]
    assert rows[2][3] == f"{math.sqrt(0.25 * 0.5):.3f}"


def test_llama_benchs_figures_are_read() -> None:
    found = bench.read_llama(PRINTED.read_text(), [4, 8])
    assert set(found.rates) == {4, 8}
    assert all(rate > 0 for rate in found.rates.values())
    assert found.about.startswith("llama.cpp ")
    with pytest.raises(ValueError, match="llama-bench printed nothing for 200 tokens"):
        bench.read_llama(PRINTED.read_text(), [4, 200])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def test_help_says_where_it_was_run() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "Run on an H200" in done.stdout
    assert "--llama-bench PATH" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--llama-bench", "/no/such/llama-bench"], "'/no/such/llama-bench' is no program"),
        ([], "'' is no program; give the path of llama.cpp's llama-bench"),
        (["--llama-bench", sys.executable, "--rounds", "1"], "an interval needs at least 2"),
        (["--llama-bench", sys.executable, "--stock-rounds", "0"], "stock is in one round at least"),
        (["--llama-bench", sys.executable, "--stock-rounds", "7"], "in no more than all"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(arguments: list[str], says: str) -> None:
    done = run("qwen3", "--variant", "qwen_graph", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_failing_process_is_named_with_its_errors() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)failed \(3\):.*out of order"):
        bench.output_of([sys.executable, "-c", "import sys; print('out of order', file=sys.stderr); sys.exit(3)"], {})
