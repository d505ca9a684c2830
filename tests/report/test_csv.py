"""`report --format csv`: a row for each arm of each capsule, every figure with its ratio; a page says what each is."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import pytest

from tests.builders import BUDGETS, Made, add_session, make_workspace
from zmlx_bench.report import csv_table
from zmlx_bench.report.build import rows_of
from zmlx_bench.workspace import Workspace

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reading-a-report.md"
FAST, OLD = Made("fast", 0.08, energy_j=98.0), Made("old", 0.02, energy_j=98.0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = make_workspace(tmp_path_factory.mktemp("csv") / "workspace")
    add_session(made, 0, [OLD, FAST, Made("crashed", status="crash")], incumbent=OLD)
    return made


def read(workspace: Workspace) -> list[dict[str, str]]:
    text, refused = csv_table.table(workspace, rows_of(workspace, None))
    assert refused == []
    return list(csv.DictReader(io.StringIO(text)))


def test_each_arm_of_each_capsule_has_a_row_with_its_own_figures(workspace: Workspace) -> None:
    rows = read(workspace)
    mine = [row for row in rows if row["variant"] == "fast" and row["tokens"] == str(BUDGETS[1])]
    assert [row["role"] for row in mine] == ["variant", "incumbent", "null", "baseline"]
    variant, incumbent, null, baseline = mine
    assert len({row["capsule"] for row in mine}) == 1
    assert float(variant["decode_tok_s_ratio"]) == pytest.approx(math.exp(0.08), rel=1e-3)
    assert float(incumbent["decode_tok_s_ratio"]) == pytest.approx(math.exp(0.02), rel=1e-3)
    assert float(null["decode_tok_s_ratio"]) == pytest.approx(1.0, abs=1e-3)
    assert float(variant["token_p50_ms_ratio"]) == pytest.approx(math.exp(-0.08), rel=1e-2)
    assert float(variant["token_p50_ms_ratio_low"]) < float(variant["token_p50_ms_ratio_high"])
    assert float(variant["energy_j_per_token"]) == pytest.approx(2.0)
    assert float(variant["energy_j_per_token_ratio"]) == pytest.approx(1.0)
    assert (variant["fidelity"], null["fidelity"], baseline["fidelity"]) == ("identical", "identical", "")
    assert baseline["decode_tok_s"]
    assert {baseline[name] for name in baseline if "_ratio" in name} == {""}, "the baseline is what ratios are to"
    assert {(row["status"], row["blocks"]) for row in mine} == {("ok", "6")}


def test_the_page_says_how_pandas_keeps_the_null_arm(workspace: Workspace) -> None:
    rows, taken_for_missing = read(workspace), {"null", "NULL", "nan", "NaN", "NA", "N/A", "None", "n/a", "<NA>"}
    assert {name for row in rows for name, cell in row.items() if cell in taken_for_missing} == {"arm", "role"}
    assert 'pandas.read_csv("evidence.csv", keep_default_na=False, na_values=[""])' in PAGE.read_text(encoding="utf-8")


def test_what_was_not_measured_is_empty_and_never_0(workspace: Workspace) -> None:
    failed = [row for row in read(workspace) if row["arm"] == "crashed"]
    assert [row["tokens"] for row in failed] == [str(budget) for budget in BUDGETS]
    assert {(row["status"], row["decode_tok_s"], row["ttft_ms_ratio"], row["fidelity"]) for row in failed} == {
        ("crash", "", "", "")
    }


def test_a_capsule_that_is_not_its_rows_is_left_out_and_named(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "workspace")
    session = add_session(made, 0, [FAST])
    first, second = (made.capsules / session.session / part.file for part in session.capsules)
    first.unlink()
    second.write_text(second.read_text().replace("6", "7", 1))
    text, refused = csv_table.table(made, rows_of(made, None))
    assert len(text.splitlines()) == 1
    assert {Path(refusal.file).name for refusal in refused} == {first.name, second.name}


def test_no_text_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "workspace")
    add_session(made, 0, [FAST], budgets=BUDGETS[:1])
    (row,) = rows_of(made, None)
    hostile = row.model_copy(update={"device": '=HYPERLINK("x")\nnext'})
    text, _ = csv_table.table(made, [hostile])
    assert {line["device"] for line in csv.DictReader(io.StringIO(text))} == {'\'=HYPERLINK("x")\\nnext'}


def test_the_page_says_what_each_column_is() -> None:
    told = re.findall(
        r"`([a-z0-9_]+)`", PAGE.read_text(encoding="utf-8").partition("## As CSV")[2].partition("\n## ")[0]
    )
    measured = {f"{name}{end}" for name in csv_table.MEASURES for end in ("_ratio", "_ratio_low", "_ratio_high")}
    assert set(csv_table.COLUMNS) - measured <= set(told)
