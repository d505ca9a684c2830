"""`kernels bench` as a whole: what it says of kernels that are right, wrong, absent or deadly; tiny sizes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.bench.tiny_sizes import SIZES
from tests.conftest import Zmlx
from zmlx_bench.bench import run
from zmlx_bench.bench import show as tables
from zmlx_bench.bench.schema import BenchReport, BenchRow
from zmlx_bench.cli.artifacts import KINDS
from zmlx_bench.workspace import Workspace

PLANTED = ("no_op", "doubles", "killed", "raises_late", "unavailable")


@pytest.fixture(scope="module")
def report(make_workspace: Callable[..., Workspace]) -> BenchReport:
    request = run.Request(
        names=[*PLANTED, "moe_combine.fp32", "moe_combine.fp32_no_fma_staged"],
        families=["qwen3"],
        batches=(1, 5),
        backend="cpu",
        sizes=SIZES["qwen3"],
        effort=0.02,
    )
    workspace = make_workspace(*PLANTED)
    declaration = workspace.kernels / "doubles" / "kernel.toml"
    declaration.write_text(declaration.read_text().replace('max_tokens = "any"', "max_tokens = 4"))
    told: list[BenchRow] = []
    found = run.run(workspace, request, told.append)
    assert tuple(told) == found.rows
    return found


def of(report: BenchReport, kernel: str, mode: str = "stock") -> list[BenchRow]:
    return [row for row in report.rows if (row.kernel, row.mode) == (kernel, mode)]


def test_a_kernel_that_does_what_stock_does_is_identical(report: BenchReport) -> None:
    for row, batch in zip(of(report, "no_op"), (1, 5), strict=True):
        figures = row.figures
        assert (row.status, row.batch, row.module) == ("ok", batch, "mlp")
        assert figures is not None
        assert figures.identical
        assert figures.error == figures.stock_error
        assert figures.temporary_bytes == figures.stock_temporary_bytes
        hidden, k = SIZES["qwen3"]["hidden_size"], SIZES["qwen3"]["num_experts_per_tok"]
        assert figures.activation_bytes == 2 * batch * (k * hidden + k + hidden)
        assert figures.compared == figures.copies * batch * hidden
        assert figures.us.low <= figures.us.median <= figures.us.high


def test_a_kernel_that_is_wrong_differs_and_is_far_from_the_truth(report: BenchReport) -> None:
    figures = of(report, "doubles")[0].figures
    assert figures is not None
    assert figures.differing > 0.9 * figures.compared
    assert figures.error.relative == pytest.approx(1, rel=0.05)
    assert figures.stock_error.relative < 0.02


def test_a_batch_beyond_what_the_kernel_serves_says_so(report: BenchReport) -> None:
    row = of(report, "doubles")[1]
    assert (row.batch, row.status, row.reason) == (5, "unavailable", "serves at most 4 tokens")


def test_fp32_is_nearer_to_the_truth_than_stock(report: BenchReport) -> None:
    for row in of(report, "moe_combine", "fp32"):
        assert row.figures is not None
        assert row.figures.differing > 0
        assert row.figures.error.relative < row.figures.stock_error.relative


def test_a_kernel_that_kills_its_process_leaves_the_others_their_rows(report: BenchReport) -> None:
    [row] = of(report, "killed")
    assert (row.status, row.reason) == ("crash", "killed by SIGKILL")
    assert [row.status for row in of(report, "raises_late")] == ["crash", "crash"]
    assert "planted in decode" in str(of(report, "raises_late")[0].reason)


def test_what_does_not_run_here_says_why(report: BenchReport) -> None:
    assert {row.reason for row in of(report, "unavailable")} == {"needs a machine that is not here"}
    assert [row.reason for row in of(report, "moe_combine", "fp32_no_fma_staged")] == ["not on cpu"]
    assert len(tables.without_figures(report.rows)) == sum(row.figures is None for row in report.rows)


def test_broken_promises_are_failures_and_wrong_stock_modes(report: BenchReport) -> None:
    broken = "\n".join(tables.broken_promises(report.rows))
    assert all(f"{name}.stock" in broken for name in ("doubles", "killed", "raises_late"))
    assert not any(name in broken for name in ("no_op", "moe_combine", "unavailable"))


def test_the_report_is_an_artifact(report: BenchReport) -> None:
    assert KINDS["bench"].model_validate_json(report.model_dump_json()) == report
    assert tables.table(report).row_count == sum(row.figures is not None for row in report.rows)


def answered(zmlx: Zmlx, repository: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return zmlx("kernels", "bench", "--workspace", str(repository.root), *arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("moe_combin",), 3, "did you mean 'moe_combine'"),
        (("moe_combine.exact",), 3, "unknown mode of moe_combine 'exact'"),
        (("moe_combine", "--family", "qwen"), 3, "unknown model family 'qwen'"),
        (("moe_combine", "--family", "any-llama"), 3, "unknown model family 'any-llama'"),
        (("moe_combine", "--batch", "0"), 3, "--batch"),
        (("moe_router", "--backend", "cpu", "--family", "qwen3"), 4, "not on cpu"),
    ],
)
def test_exit_codes(zmlx_inside: Zmlx, repository: Workspace, arguments: Any, code: int, said: str) -> None:
    done = answered(zmlx_inside, repository, *arguments)
    assert done.returncode == code
    assert said in done.stderr + done.stdout


def test_json_is_one_object_on_standard_output(zmlx_inside: Zmlx, repository: Workspace) -> None:
    done = answered(zmlx_inside, repository, "qk_norm_rope", "--backend", "cpu", "--family", "glm47", "--json")
    found = json.loads(done.stdout)
    assert found["schema_version"] == 1
    assert {row["reason"] for row in found["rows"]} == {"not on cpu"}


def test_the_list_is_still_there(zmlx_inside: Zmlx, repository: Workspace) -> None:
    done = zmlx_inside("kernels", "--workspace", str(repository.root), "--json")
    assert {row["kernel"] for row in json.loads(done.stdout)["kernels"]} >= {"moe_combine", "native_moe"}
