"""A report says of each variant when its kernels, as they were measured, were last verified where that was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.builders import MACHINE, SOFTWARE, Made, add_session, make_workspace
from zmlx_bench.catalog import verified
from zmlx_bench.cli.main import main
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.report import overview_text
from zmlx_bench.report.build import build
from zmlx_bench.report.html.page import report_page
from zmlx_bench.report.overview import as_json
from zmlx_bench.schema.verification import Verification, VerifiedRow
from zmlx_bench.workspace import Workspace

MADE = Made("fast", 0.08, identified=True)
TIME = "2030-01-01T09:00:00.000Z"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path / "workspace")
    add_session(made, 0, [MADE])
    return made


def verification(**changed: Any) -> Verification:
    """Return the record of a run that found the kernel of `MADE` to have stock's bits."""
    (kernel,) = MADE.variant.kernels
    row = VerifiedRow(
        kernel=kernel.kernel, mode="stock", numerics="stock", family="qwen3", sites=kernel.sites, sizes="tiny",
        module="mlp", status="ok", calls=1, compared=8, differing=changed.pop("differing", 0),
    )  # fmt: skip
    whole = {
        "schema_version": 1, "time": TIME, "machine": MACHINE, "mlx": SOFTWARE.mlx, "mlx_lm": SOFTWARE.mlx_lm,
        "zmlx": "0.0.3", "seed": 0, "seconds": 1, "kernels": {kernel.kernel: kernel.source_sha256}, "probes": (),
        "rows": (row,),
    }  # fmt: skip
    return Verification.model_validate({**whole, **changed})


def said(workspace: Workspace) -> str | None:
    """Return the time in the report's JSON, once text, Markdown and page say the same."""
    report = build(workspace, None)
    (group,) = as_json(report.groups)
    (line,) = group["lines"]
    time: str | None = line["verified"]
    assert line["kernels"] == ["kernel_fast.stock"]
    short = "not verified" if time is None else f"verified {time[:10]}"
    console = Console(width=200)
    with console.capture() as captured:
        console.print(overview_text.tables(report.groups, report.legacy, report.refusals))
    assert f"kernels {short}" in captured.get()
    assert f"| {short} |" in overview_text.markdown(report.groups, report.legacy, report.refusals)
    page = report_page(report, workspace, read_policy(workspace), workspace.root)
    assert ("not verified on this device" if time is None else f"these versions {time}") in page
    return time


def test_nothing_was_verified_before_something_was(workspace: Workspace) -> None:
    assert said(workspace) is None


def test_the_latest_record_counts(workspace: Workspace) -> None:
    verified.write(workspace, verification(time="2029-01-01T09:00:00.000Z"))
    verified.write(workspace, verification())
    assert said(workspace) == TIME


def test_promote_says_it_too(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    verified.write(workspace, verification())
    with pytest.raises(SystemExit):
        main(["promote", "--dry-run", "--json", "--workspace", str(workspace.root)])
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert [line["verified"] for line in group["lines"]] == [TIME]


@pytest.mark.parametrize(
    "changed",
    [
        {"machine": MACHINE.model_copy(update={"device": "Other CPU"})},
        {"mlx": "0.0.9"},
        {"mlx_lm": "0.0.9"},
        {"kernels": {"kernel_fast": "f" * 64}},
        {"differing": 1},
    ],
    ids=["another device", "another MLX", "another mlx-lm", "another source", "not stock's bits"],
)
def test_what_was_verified_elsewhere_or_otherwise_does_not_count(workspace: Workspace, changed: dict[str, Any]) -> None:
    verified.write(workspace, verification(**changed))
    assert said(workspace) is None
