"""The pages of the decision's simulations are what their commands write: text, rows, and one row made again."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import ROOT, load

PAGES = {"looks_error": "decision-looks.md", "estimators": "decision-outliers.md"}


@pytest.fixture(scope="module")
def scripts() -> dict[str, ModuleType]:
    for name in ("kept_rows", "outlier_model"):
        sys.modules[name] = load(f"benchmarks/{name}.py")
    return {name: load(f"benchmarks/{name}.py") for name in PAGES}


def page(name: str) -> str:
    return (ROOT / "docs" / PAGES[name]).read_text(encoding="utf-8")


class Named:
    """In the place of kept rows: takes no row, and notes by which names they are asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def row(self, name: str, _: object) -> Any:
        self.names.append(name)
        return sys.modules["kept_rows"].Row(())


@pytest.mark.parametrize("name", PAGES)
def test_a_page_begins_with_what_its_script_writes_first(scripts: dict[str, ModuleType], name: str) -> None:
    written = page(name)
    assert written.startswith(scripts[name].INTRODUCTION.read_text(encoding="utf-8").strip() + "\n\n")
    assert f"python benchmarks/{name}.py" in written


def test_looks_has_as_many_rows_as_the_script_makes(scripts: dict[str, ModuleType]) -> None:
    script = scripts["looks_error"]
    rows = page("looks_error").partition("## One session")[2].splitlines()
    asked = Named()
    heads = [
        row.lines
        for lines in ("calm_lines", "promoted_lines", "stalling_lines", "sound_lines", "fixed_lines")
        for row in getattr(script, lines)(asked, 1)
        if row.lines
    ]
    assert len([row for row in rows if row.startswith("|")]) == len(asked.names) + 2 * len(heads)
    for head in heads:
        assert all(row in rows for row in head)


def test_what_must_hold_is_the_worst_of_the_tables(scripts: dict[str, ModuleType]) -> None:
    """The worst cells, read from the tables of the page itself."""
    written = page("looks_error")

    def cells(title: str, begins: str = "") -> list[list[float]]:
        rows = written.partition(f"## {title}")[2].partition("\n## ")[0].splitlines()[4:]
        parts = [row.strip("| ").split(" | ") for row in rows if row.startswith(f"| {begins}")]
        return [[float(cell) for cell in row[1:]] for row in parts]

    calm = cells("One session")
    worst = {
        "wrong CANDIDATE": max(max(row[:2]) for row in calm),
        "REJECT of some": max(row[2] for row in calm),
        "HOLD of a kernel": max(row[3] for row in calm),
        "wrong PROMOTE of two valid sessions, an arm": max(row[0] for row in cells("Several sessions")),
        "wrong PROMOTE of two valid sessions that": max(row[3] for row in cells("A variant that stalls", "looks")),
    }
    for claim, high in worst.items():
        row = next(line for line in written.splitlines() if line.startswith(f"| {claim}"))
        assert row.split(" | ")[2] == f"{high:.2f}"
        assert row.endswith("| yes |")


def test_a_row_made_again_is_the_pages(scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    (fixed,) = scripts["looks_error"]._fixed(6, 1).lines
    assert fixed in page("looks_error").splitlines()
    script = scripts["estimators"]
    monkeypatch.setattr(
        script, "estimators", lambda blocks, nulls: {"mean, t": script.ByStatistic(script.mean, blocks, nulls)}
    )
    (mean,) = script._compared(6, 1).lines
    assert mean in page("estimators").splitlines()
